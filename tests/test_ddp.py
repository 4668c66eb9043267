"""Several ranks do what one does: the same losses, weights, predictions and files, and they stop and go on together."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ftcot.compose import Composer, conf_dir
from ftcot.compose import freeze as compose_job
from ftcot.files import read_json
from ftcot.folder import freeze
from ftcot.ranks import Ranks
from ftcot.records import Prediction, Score, read_records
from tests.command import read, wait_for
from tests.conftest import ROOT
from tests.ranks_job import TRAININGS, answers, asked, spoken, trained

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]

SMALL = [
    *("task=generated/coin_flip", "task.n_flips=2", "task.n_train=40", "task.n_test=10", "task.validation_size=6"),
    *("student=tiny-t5", "student.width=32", "diversity='4'", "training.epochs=3", "training.batch_size=8"),
    *("evaluation.max_new_tokens=16", "evaluation.batch_tokens=600", "keep=best"),
]


pytestmark = pytest.mark.usefixtures("one_thread")


def start(*words: str) -> subprocess.Popen[str]:
    """A program on two ranks."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*TORCHRUN, *words], env=environment, text=True, cwd=ROOT, **pipes)  # type: ignore[call-overload,no-any-return]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row | {"tokens_per_second": ""} for row in csv.DictReader(file)]


def test_one_rank_needs_nobody() -> None:
    ranks = Ranks.here({})
    assert (ranks.alone, ranks.first) == (True, True)
    ranks.start(cuda=False)
    ranks.wait()
    assert (ranks.gather("a"), ranks.share("b"), ranks.sum([1, 2])) == (["a"], "b", [1, 2])
    assert not torch.distributed.is_initialized()


# What one rank does and what two do


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks left of everything in `tests.ranks_job`."""
    folder = tmp_path_factory.mktemp("two")
    process = start("tests.ranks_job", str(folder))
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_two_ranks_train_as_one_does(two: Path, tmp_path: Path, name: str) -> None:
    trained(name, tmp_path, Ranks())
    one = torch.load(tmp_path / f"{name}.pt", weights_only=True)
    both = torch.load(two / f"{'whole' if name == 'in parts' else name}.pt", weights_only=True)
    assert len(both["losses"]) == len(one["losses"])
    assert both["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert both["weights"].keys() == one["weights"].keys()
    for key, tensor in one["weights"].items():
        torch.testing.assert_close(both["weights"][key], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_groups_are_trained_alike_in_micro_batches_and_on_two_ranks(two: Path, tmp_path: Path) -> None:
    losses = []
    for name in ("groups", "groups in micro batches"):
        trained(name, tmp_path, Ranks())
        losses += [torch.load(folder / f"{name}.pt", weights_only=True)["losses"] for folder in (tmp_path, two)]
    whole, *others = losses
    assert len(whole) == 2 * 3
    assert whole[-1] < 0.9 * whole[0]
    for other in others:
        assert other == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_a_student_in_parts_goes_on_from_a_checkpoint(two: Path) -> None:
    whole, cut = (torch.load(two / name, weights_only=True)["weights"] for name in ("whole.pt", "cut/in parts.pt"))
    assert all(torch.equal(cut[name], tensor) for name, tensor in whole.items())


@pytest.mark.slow
def test_two_ranks_answer_as_one_does(two: Path) -> None:
    found = json.loads((two / "found.json").read_text())
    alone = spoken(answers(Ranks()))
    assert len({text for group in alone for text, *_ in group}) > 3
    assert found["answers"] == [alone, alone]


@pytest.mark.slow
def test_a_student_that_is_not_trained_is_asked_by_all_ranks(two: Path, tmp_path: Path) -> None:
    asked(tmp_path, Ranks())
    assert (two / "asked" / "predictions.jsonl").read_bytes() == (tmp_path / "predictions.jsonl").read_bytes()
    score = Score.from_json(read_json(two / "asked" / "score.json"))
    assert (score.n, score.devices) == (10, 2)


@pytest.mark.slow
def test_ranks_hear_of_each_other(two: Path) -> None:
    found = json.loads((two / "found.json").read_text())
    assert found["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert found["shared"] == ["said by 0"] * 2
    assert found["sum"] == [2, 2.0**41 + 1]


# A whole job


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def frozen(folder: Path) -> Path:
    """A job for two ranks, ready for the worker."""
    config = compose_job(Composer(conf_dir()).compose([f"paths.cache={folder.parent}", "logger=none", *SMALL, *TWO]))
    freeze(folder, config, "0" * 64)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a job that nobody stopped, and what it said."""
    folder = frozen(tmp_path_factory.mktemp("jobs") / "whole")
    process = start("ftcot.worker", str(folder))
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return folder, said


@pytest.mark.slow
def test_a_job_on_two_ranks_leaves_what_one_rank_would(whole: tuple[Path, str]) -> None:
    folder, said = whole
    assert said.count("epoch 2/3") == said.count("pairs, ") == 1
    assert {path.name for path in folder.iterdir()} == {
        *("job.yaml", "status.json", "log.txt", "metrics.csv", "score.json", "student"),
        *("completions.jsonl", "examples.jsonl", "predictions.jsonl"),
    }
    score = Score.from_json(read_json(folder / "score.json"))
    assert (score.n, score.devices, score.cost_usd) == (10, 2, 0.0)
    assert score.device_seconds == pytest.approx(2 * (score.seconds["train"] + score.seconds["evaluate"]), abs=0.1)
    answered = [(p.epoch, p.split, p.sample_index) for p in read_records(folder / "predictions.jsonl", Prediction)]
    assert len(answered) == len(set(answered)) == 3 * 16
    assert (read(folder / "status.json")["state"], read(folder / "status.json")["kept"]) == ("complete", "best")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks in /proc")
def test_two_ranks_stop_together_and_go_on_as_if_nothing_had_been(whole: tuple[Path, str], tmp_path: Path) -> None:
    folder = frozen(tmp_path / "cut")
    process = start("ftcot.worker", str(folder))
    wait_for(lambda: True if (folder / "metrics.csv").exists() else None)
    _, second = children(process.pid)
    os.kill(second, signal.SIGUSR1)  # one of them is enough: the other hears of it with the next step
    process.communicate(timeout=120)
    status = read(folder / "status.json")
    assert (status["state"], status["cause"]) == ("stopped", "stopped by SIGUSR1")
    assert len(list((folder / "checkpoints").iterdir())) == 1
    process = start("ftcot.worker", str(folder))
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "going on in epoch " in said
    assert rows(folder) == rows(whole[0])
    for name in ("predictions.jsonl", "student/model.safetensors"):
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()
    assert read(folder / "status.json")["seconds"]["train"] > status["seconds"]["train"]
