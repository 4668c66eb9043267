"""How long jobs would take: learned from earlier runs, else from a short probe, else not known."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ftcot import costs, hardware, probing
from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.costs import Cost, Costs, Sharing
from ftcot.devices import Memory
from ftcot.expected import Asked
from ftcot.files import write_json
from ftcot.hashes import FileHashes
from ftcot.launch import Launch
from ftcot.probing import Probes, Request
from ftcot.speeds import Answers, Speed, Use, read_earlier
from ftcot.walltime import BETWEEN, at_once, wall
from tests.command import SMALL, TRAINED, Command

SPEED = Speed(train=1000.0, decode=10.0, startup=5.0, density={"generated_coin_flip": 0.25})

BASE = ("logger=none", "trainer=cpu", "student=tiny-0.2m", "task.n_train=40", "task.n_test=64", "diversity=2")


class Timing:
    """Stands in for the worker; knows what it was asked."""

    def __init__(self, answer: Speed | str = SPEED) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    def __call__(self, requests: Sequence[Request], told: Callable[[int, Speed | str], None]) -> None:
        for number, request in enumerate(requests):
            self.asked.append(request)
            told(number, self.answer)


@pytest.fixture
def timing(monkeypatch: pytest.MonkeyPatch) -> Timing:
    timing = Timing()
    monkeypatch.setattr(costs, "probe", timing)
    return timing


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Cost]]:
    """The costs of jobs, each given by its overrides."""
    monkeypatch.delenv("FTCOT_DATA", raising=False)

    def costs_of(*jobs: Sequence[str], sharing: Sharing | None = None, base: Sequence[str] = BASE) -> list[Cost]:
        composer = Composer(conf_dir())
        checker = Checker(FileHashes(tmp_path / "hashes.json"), dry=True)
        asked = []
        for words in jobs:
            checked = checker.check(composer.job([*base, f"paths.cache={tmp_path / 'cache'}", *words]))
            asked.append(
                Asked(" ".join(words), checked, Launch(checked.config, checked.hash, None).peek(), tuple(words))
            )
        return Costs(Console(file=io.StringIO()), checker, sharing or Sharing(slots=False)).of(asked)

    return costs_of


def use_of(cost: Cost) -> Use:
    return Use.of(cost.job.checked.config, cost.device, trains=cost.job.checked.job.method.trains)


# -- the estimate ------------------------------------------------------------------------------------------------------


def test_the_time_of_a_job_is_what_its_parts_take(timing: Timing, told: Any) -> None:
    [cost] = told(["training.epochs=4", "training.evaluate_every=2", "evaluation.max_new_tokens=512"])
    pairs = cost.work.pairs
    assert (pairs.n, cost.work.tests, cost.work.questions) == (80, 2, 64)
    train = 4 * pairs.characters * 0.25 / 1000
    target = pairs.targets * 0.25 / 80 + 1
    answers = Answers(0.98 * target + 0.02 * 512, 0.02)
    test = 2 * 64 * answers.tokens / 10
    assert cost.seconds == pytest.approx(5 + train + test)
    assert cost.supervised == pytest.approx(4 * (pairs.targets * 0.25 + 80))
    assert cost.generated == pytest.approx(2 * 64 * answers.tokens)
    assert cost.work.most_new_tokens == 2 * 64 * 512


def test_estimates_grow_with_d_epochs_questions_and_seeds(timing: Timing, told: Any) -> None:
    def seconds(*words: str) -> float:
        return sum(cost.seconds for cost in told(words))

    base = seconds("training.epochs=2")
    assert seconds("training.epochs=3") > base
    assert seconds("training.epochs=2", "diversity=8") > base
    assert seconds("training.epochs=2", "task.n_test=300") > base
    assert seconds("training.epochs=2", "task.n_train=80") > base
    assert seconds("training.epochs=2", "evaluation.max_new_tokens=2000") > base
    assert seconds("training.epochs=2", "training.evaluate_every=2") < base
    assert sum(cost.seconds for cost in told(["seed=0"], ["seed=1"])) == pytest.approx(2 * told(["seed=0"])[0].seconds)


@given(st.lists(st.floats(1, 1e4), min_size=1, max_size=30), st.integers(1, 8))
def test_jobs_side_by_side_take_between_their_share_and_all_of_it(seconds: list[float], n: int) -> None:
    jobs = [Cost(None, None, "", False, seconds=value + 0.0) for value in seconds]  # type: ignore[arg-type]
    total = sum(seconds) + len(seconds) * BETWEEN
    assert total / n <= wall(jobs, n) * (1 + 1e-9)
    assert wall(jobs, n) <= total * (1 + 1e-9)
    assert wall(jobs, 1) == pytest.approx(total)


def test_a_job_that_trains_nothing_takes_no_time(timing: Timing, told: Any) -> None:
    [cost] = told(["until=curate"])
    assert (cost.seconds, cost.supervised, cost.generated) == (0, 0, 0)
    assert timing.asked == []


def test_students_that_are_not_trained_may_say_as_much_as_they_are_let(timing: Timing, told: Any) -> None:
    [cost] = told(["method=zero_shot", "evaluation.max_new_tokens=50"])
    assert cost.generated == cost.work.most_new_tokens == 64 * 50
    assert cost.seconds == pytest.approx(5 + 64 * 50 / 10)


@pytest.mark.data
def test_the_pairs_of_a_recording_are_counted(timing: Timing, told: Any, data_dir: Path) -> None:
    base = ("logger=none", "trainer=cpu", "student=tiny-0.2m", "task=multiarith", f"paths.data={data_dir}")
    found = told(["diversity=8"], ["diversity=greedy"], ["method=fine_tune"], base=base)
    assert [cost.pairs for cost in found] == [2574, 323, 420]  # METHOD's counts


# -- probes ------------------------------------------------------------------------------------------------------------


def test_a_student_is_timed_once_and_its_speed_is_kept(timing: Timing, told: Any, tmp_path: Path) -> None:
    assert told(["seed=0"], ["seed=1"], ["diversity=1"])[0].source == "a probe"
    assert len(timing.asked) == 1
    assert [str(path.relative_to(tmp_path)) for path in (tmp_path / "cache").rglob("*")] == ["cache/probes.json"]
    told(["training.epochs=7"])
    assert len(timing.asked) == 1
    told(["training.batch_size=4"])
    assert len(timing.asked) == 2


def test_a_student_that_is_trained_elsewhere_is_not_timed_again_for_its_answers(timing: Timing, told: Any) -> None:
    asked, _ = told(["method=zero_shot"], [])
    assert len(timing.asked) == 1
    assert asked.seconds is not None
    told(["method=zero_shot_cot"])
    assert len(timing.asked) == 1


def test_nothing_is_timed_where_that_is_not_wanted(timing: Timing, told: Any) -> None:
    [cost] = told([], sharing=Sharing(slots=False, probes=False))
    assert (cost.seconds, timing.asked) == (None, [])
    assert cost.source == "not known: no earlier run, and no probe (dry_run=true makes one)"
    assert cost.supervised > 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"decode": 10.0', '"decode": "fast"'),
        lambda text: text.replace('"density"', '"thickness"'),
        lambda text: text.replace('"torch"', '"flame"'),
    ],
    ids=["torn", "other", "word", "key", "version"],
)
def test_a_damaged_cache_is_made_anew(damage: Any, timing: Timing, told: Any, tmp_path: Path) -> None:
    whole = told([])[0].seconds
    file = tmp_path / "cache" / "probes.json"
    file.write_text(damage(file.read_text()))
    assert told([])[0].seconds == whole
    assert len(timing.asked) == 2
    assert told([])[0].seconds == whole
    assert len(timing.asked) == 2


def test_a_speed_of_another_torch_does_not_count(timing: Timing, told: Any, tmp_path: Path) -> None:
    told([])
    file = tmp_path / "cache" / "probes.json"
    rows = json.loads(file.read_text())
    rows["probes"][0]["torch"] = "1.0"
    file.write_text(json.dumps(rows))
    told([])
    assert len(timing.asked) == 2


def test_a_cache_that_cannot_be_written_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    probes = Probes(tmp_path / "file" / "probes.json")
    probes.add(Use("{}", "cpu", "", "", 1), SPEED)
    assert "probes.json: File exists" in str(probes.unkept)


def test_a_student_that_cannot_be_timed_is_not_known_and_others_are(
    told: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(requests: Sequence[Request], say: Callable[[int, Speed | str], None]) -> None:
        for number, request in enumerate(requests):
            say(number, "no memory" if request.use.name == "tiny" else SPEED)

    monkeypatch.setattr(costs, "probe", fails)
    big, small = told(["student=tiny"], [])
    assert (big.seconds, big.source) == (None, "not known: no memory")
    assert small.seconds is not None
    assert "tiny-0.2m" in (tmp_path / "cache" / "probes.json").read_text()
    assert '\\"name\\": \\"tiny\\"' not in (tmp_path / "cache" / "probes.json").read_text()


def test_a_student_without_weights_and_config_is_not_known(timing: Timing, told: Any) -> None:
    [cost] = told(["student=decoder", "student.checkpoint=nobody/no-such-model"])
    assert cost.seconds is None
    assert cost.source.startswith("not known: student.checkpoint=nobody/no-such-model: not in the local cache")
    assert timing.asked == []


@pytest.mark.parametrize(
    ("code", "told_all"),
    [
        ("import sys; sys.exit(3)", ["the worker ended with exit code 3 and left no cause; see log.txt"] * 2),
        ("import os; os.kill(os.getpid(), 9)", ["the worker was killed by SIGKILL (often: the machine ran out"] * 2),
        ("import time; time.sleep(60)", ["it takes longer than 0 seconds"] * 2),
    ],
    ids=["exit", "killed", "hangs"],
)
def test_a_worker_that_dies_is_told_of_and_the_rest_get_another(
    code: str, told_all: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = subprocess.Popen

    def instead(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return started([sys.executable, "-c", code], **options)

    monkeypatch.setattr(probing.subprocess, "Popen", instead)
    monkeypatch.setattr(probing, "PATIENCE", 0.2 if "sleep" in code else 30.0)
    request = Request(Use("{}", "cpu", "", "", 1), {}, {}, (), {})
    answers: list[tuple[int, Speed | str]] = []
    probing.probe([request, request], lambda number, answer: answers.append((number, answer)))
    assert [number for number, _ in answers] == [0, 1]
    assert all(str(answer).startswith(said) for (_, answer), said in zip(answers, told_all, strict=True))


def test_ctrl_c_ends_the_worker_and_keeps_what_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = f"print({json.dumps(json.dumps({'speed': vars(SPEED)}))}, flush=True); import time; time.sleep(60)"
    started, workers = subprocess.Popen, []

    def instead(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        workers.append(started([sys.executable, "-c", code], **options))
        return workers[-1]

    monkeypatch.setattr(probing.subprocess, "Popen", instead)
    uses = [Use("{}", name, "", "", 1) for name in ("one", "two")]
    probes = Probes(tmp_path / "probes.json")

    def heard(number: int, answer: Speed | str) -> None:
        assert isinstance(answer, Speed)
        probes.add(uses[number], answer)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probing.probe([Request(use, {}, {}, (), {}) for use in uses], heard)
    assert workers[0].poll() is not None
    assert (probes.find(uses[0]), probes.find(uses[1])) == (SPEED, None)


# -- earlier runs ------------------------------------------------------------------------------------------------------


def finished(tmp_path: Path, cost: Cost, name: str, *, train: float = 60.0, test: float = 20.0, **counts: Any) -> None:
    """A run of this job that is done, in the index."""
    folder = tmp_path / name
    folder.mkdir()
    config = json.loads(json.dumps(cost.job.checked.config))
    (folder / "job.yaml").write_text(json.dumps(config))  # which is YAML too
    known = {"steps": 100, "examples": 80, "pair_tokens": 5000, "pair_characters": 20000} | counts
    known |= {"training_seconds": train, "testing_seconds": test}
    write_json(
        folder / "status.json",
        {
            "schema": 1,
            "state": "complete",
            "computed_on": cost.device,
            "counts": known,
            "seconds": {"train": train + test + 7.0},
        },
    )
    epochs = [{"epoch": 1, "split": "test", "n": 64, "mean_tokens": 40.0, "truncation_rate": 0.0}]
    job = cost.job.checked.job
    score = {"task": job.task.name, "method": job.method.name, "student": job.student.name, "epochs": epochs}
    write_json(folder / "score.json", score)
    index = tmp_path / "cache" / "jobs"
    index.mkdir(parents=True, exist_ok=True)
    write_json(index / f"{name}.json", {"folder": str(folder), "state": "complete"})


def test_earlier_runs_beat_probes(timing: Timing, told: Any, tmp_path: Path) -> None:
    [cost] = told(["training.epochs=2"])
    finished(tmp_path, cost, "one")
    [again] = told(["training.epochs=2"])
    assert again.source == "1 earlier run"
    # 5,000 tokens a pass in 60 s, over the 2 epochs that 100 steps of 16 are; 64 answers of 40 tokens in 20 s.
    expected = 7.0 + 2 * again.work.pairs.characters * 0.25 / (5000 * 2 / 60) + 2 * 64 * 40 / (64 * 40 / 20)
    assert again.seconds == pytest.approx(expected)
    assert again.generated == pytest.approx(2 * 64 * 40)


def test_tests_beside_training_count_for_what_they_hold_up(timing: Timing, told: Any, tmp_path: Path) -> None:
    [cost] = told(["training.epochs=2"])
    finished(tmp_path, cost, "one", overlapped_seconds=15.0)
    speed, _ = read_earlier(tmp_path / "cache" / "jobs", ["tiny-0.2m"]).speed(use_of(cost))
    # The stage took 87 s: 60 of training, 5 of waiting for tests.
    assert (speed.startup, speed.overlap) == (22.0, 0.75)
    [beside] = told(["training.epochs=2"])
    finished(tmp_path, cost, "one, again", overlapped_seconds=0.0)
    finished(tmp_path, cost, "and again", overlapped_seconds=0.0)
    [in_turns] = told(["training.epochs=2"])
    # 15 s less to start with; two tests of 20 s, of which training no longer hides three quarters.
    assert in_turns.seconds - beside.seconds == pytest.approx(-15.0 + 0.75 * 2 * 20)


@pytest.mark.parametrize(
    ("devices", "student", "n"),
    [
        ("devices.jobs_per_gpu=auto", "student=tiny-0.2m", 8),
        ("devices.jobs_per_gpu=2", "student=tiny-0.2m", 2),
        ("devices.jobs_per_gpu=auto", "student=gpt2", 1),
    ],
)
def test_so_many_jobs_run_at_a_time_as_share_the_gpus(
    devices: str, student: str, n: int, timing: Timing, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told([devices], ["seed=1", devices, student])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("ftcot.devices.gpu_memory", lambda: {"0": Memory(80 * 2**30, 80 * 2**30)})
    monkeypatch.setattr("ftcot.devices.own_cores", lambda: list(range(32)))
    for cost in found:
        cost.job.checked.config["trainer"]["accelerator"] = "gpu"
    assert at_once(found, Sharing(side_by_side=20)) == n


def test_of_several_runs_the_median_of_the_last_ones_counts(timing: Timing, told: Any, tmp_path: Path) -> None:
    [cost] = told(["training.epochs=2"])
    for name, seconds in (("a", 60.0), ("b", 61.0), ("c", 900.0)):
        finished(tmp_path, cost, name, train=seconds)
    speed, n = read_earlier(tmp_path / "cache" / "jobs", ["tiny-0.2m"]).speed(use_of(cost))
    assert n == 3
    assert speed.train == pytest.approx(5000 * 2 / 61)


@pytest.mark.parametrize(
    "words",
    [["student=tiny"], ["training.batch_size=4"], ["training.device_batch_size=4"], ["training.lora={r: 8}"]],
    ids=lambda words: words[0].partition("=")[0],
)
def test_runs_of_another_student_or_other_batches_say_nothing(
    words: list[str], timing: Timing, told: Any, tmp_path: Path
) -> None:
    [cost] = told([])
    finished(tmp_path, cost, "one")
    assert told(words)[0].source == "a probe"


def test_runs_on_another_device_say_nothing(timing: Timing, told: Any, tmp_path: Path) -> None:
    [cost] = told([])
    finished(tmp_path, replace(cost, device="NVIDIA H100 80GB HBM3"), "one")
    assert told([])[0].source == "a probe"
    # but of a cluster nothing else is known
    elsewhere = told([], sharing=Sharing(side_by_side=None, local=False))
    assert elsewhere[0].source == "1 earlier run"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "score.json").unlink(),
        lambda folder: (folder / "score.json").write_text("{"),
        lambda folder: (folder / "job.yaml").write_text("a: ["),
        lambda folder: (folder / "status.json").write_text(
            (folder / "status.json").read_text().replace('"pair_tokens"', '"x"')
        ),
        lambda folder: (folder / "status.json").unlink(),
    ],
    ids=["no score", "half a score", "no config", "another version", "no status"],
)
def test_a_run_that_cannot_be_read_is_passed_over(damage: Any, timing: Timing, told: Any, tmp_path: Path) -> None:
    [cost] = told([])
    finished(tmp_path, cost, "one")
    damage(tmp_path / "one")
    assert told([])[0].source == "a probe"


def test_what_computes_is_called_the_same_before_and_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    trainer = {"accelerator": "cpu"}
    assert hardware.describe(trainer, 1) == hardware.describe(trainer, 1, 3)
    assert hardware.describe(trainer, 1, 1).startswith("1 thread of ")
    assert hardware.describe(trainer, 2, 1).startswith("2 x 1 thread of ")


# -- the real thing ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_probe_times_a_student_and_a_run_replaces_it(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    first = ftcot("dry_run=true", *TRAINED)
    assert (first.returncode, first.stderr) == (0, "")
    assert ftcot.files() == ["cache", "cache/probes.json"]
    assert re.search(r"\d device-hours \(1 thread of .*\); speeds from a probe\n", first.stdout)
    assert ftcot("dry_run=quick", *TRAINED).stdout == first.stdout
    assert ftcot(*TRAINED).returncode == 0
    again = ftcot("dry_run=true", *TRAINED, "seed=1")
    assert "speeds from earlier runs\n" in again.stdout
    assert ftcot("dry_run=true", *SMALL, "student=decoder", "student.checkpoint=nobody/none").returncode == 0
