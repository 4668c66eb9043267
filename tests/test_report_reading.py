"""What a report reads of folders, and what it says of those it cannot use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ftcot
from ftcot.errors import InputError
from ftcot.files import read_json, write_json
from ftcot.report.model import Found
from ftcot.report.reading import nothing_found, read
from tests.report_folders import make_run, make_sweep, reuse


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", "diversity=2", "seed=3", n_questions=10)


@pytest.fixture
def broken(run: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be damaged."""
    return shutil.copytree(run, tmp_path / "folder" / "run").resolve()


def told(found: Found) -> list[tuple[str, str]]:
    return [(one.path.name, one.reason) for one in found.skipped]


def test_a_run_is_read_from_its_own_files(run: Path) -> None:
    [found] = read([run]).runs
    facts = found.facts
    assert (facts.task, facts.method, facts.student) == ("generated_coin_flip", "fine_tune_cot", "tiny")
    assert (facts.diversity, facts.temperature, facts.seed, facts.n_train) == (2, 0.7, 3, 24)
    assert (facts.skill, facts.filter, facts.kind) == (1.0, "answer", "fine_tune_cot_diverse")
    assert found.asked == tuple(range(1, 20, 2))
    assert found.epochs == (1, 2)
    assert [bool(one.correct) for one in found.said()] == found.right[2].tolist()
    assert found.right[2].mean() == found.score.accuracy


def test_what_a_run_does_not_use_is_none_of_its_facts(tmp_path: Path) -> None:
    [found] = read([make_run(tmp_path, "method=fine_tune", n_questions=8)]).runs
    assert (found.facts.teacher, found.facts.diversity, found.facts.filter, found.facts.skill) == (None,) * 4
    assert found.facts.epochs == 2


def test_keys_are_equal_for_runs_that_differ_in_their_seed_only(tmp_path: Path) -> None:
    words = {"a": ["seed=0"], "b": ["seed=1"], "c": ["diversity=4"], "d": ["task.n_flips=4"]}
    for name, own in words.items():
        make_run(tmp_path / name, *own, n_questions=8)
    key = {run.folder.name: run.key for run in read([tmp_path]).runs}
    assert key["a"] == key["b"]
    assert len(set(key.values())) == 3


def test_keys_of_vanilla_fine_tuning_leave_out_the_teacher(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "method=fine_tune", "diversity=1", n_questions=8)
    make_run(tmp_path / "b", "method=fine_tune", "diversity=8", "seed=1", n_questions=8)
    assert len({run.key for run in read([tmp_path]).runs}) == 1


def test_a_sweep_is_read_by_its_ledger(tmp_path: Path) -> None:
    states = {1: "running", 2: "failed", 3: "frozen"}
    make_sweep(tmp_path / "sweep", n_seeds=1, n_questions=8, states=states)
    found = read([tmp_path])
    [sweep] = found.sweeps
    assert sweep.states == {"complete": 1, "failed": 1, "frozen": 1, "running": 1}
    assert sweep.figures == {"mini/diversity": sweep.jobs}
    assert [run.facts.diversity for run in found.runs] == [1]
    assert [reason for _, reason in told(found)] == [
        "not finished (running, train, epoch 1 of 2)",
        "failed (JobError: the loss is not finite)",
        "not started",
    ]


def test_a_job_that_sweeps_share_is_one_run_and_its_home_is_preferred(tmp_path: Path) -> None:
    [home] = make_sweep(tmp_path / "b", n_seeds=1, degrees=(2,), n_questions=8)
    reuse(home, tmp_path / "a")
    found = read([tmp_path])
    assert [run.folder for run in found.runs] == [home]
    assert len(found.sweeps) == 2
    assert found.skipped == ()


def test_a_filled_folder_stands_for_a_home_that_is_not_looked_at(tmp_path: Path) -> None:
    home = make_run(tmp_path / "home", n_questions=8)
    copy = reuse(home, tmp_path / "sweep")
    assert [run.folder for run in read([tmp_path / "sweep"]).runs] == [copy]


def test_a_folder_given_twice_is_read_once(run: Path) -> None:
    assert len(read([run, run, run.parent]).runs) == 1


def test_a_job_that_was_run_again_counts_once(run: Path, tmp_path: Path) -> None:
    for name, heartbeat in (("old", 1.0), ("new", 2.0)):
        folder = shutil.copytree(run, tmp_path / name)
        write_json(folder / "status.json", read_json(folder / "status.json") | {"heartbeat": heartbeat})
    found = read([tmp_path])
    assert [run.folder.name for run in found.runs] == ["new"]
    assert told(found) == [("old", f"the same job was run again: {tmp_path / 'new'}")]


def test_folders_outside_the_ledger_of_a_sweep_are_named(tmp_path: Path) -> None:
    [folder] = make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(2,), n_questions=8)
    shutil.copytree(folder, folder.with_name(f"{folder.name}.old1"))
    found = read([tmp_path])
    assert len(found.runs) == 1
    assert told(found) == [(f"{folder.name}.old1", "not in the sweep's ledger: moved aside by reuse=false, perhaps")]


def test_the_folder_of_a_report_is_not_read(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "report" / "run")
    assert read([tmp_path]).runs == ()


def damage(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def change(name: str, **values: object) -> Callable[[Path], object]:
    return lambda folder: write_json(folder / name, read_json(folder / name) | values)


def edit(old: str, new: str) -> Callable[[Path], object]:
    """Change a line of job.yaml."""

    def act(folder: Path) -> None:
        text = (folder / "job.yaml").read_text()
        assert old in text
        (folder / "job.yaml").write_text(text.replace(old, new))

    return act


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], object]:
    """Change the lines of the predictions."""

    def act(folder: Path) -> None:
        path = folder / "predictions.jsonl"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return act


def row(number: int, **values: object) -> Callable[[list[str]], list[str]]:
    def act(all_lines: list[str]) -> list[str]:
        changed = json.loads(all_lines[number]) | values
        return [*all_lines[:number], json.dumps(changed), *all_lines[number + 1 :]]

    return act


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no job.yaml": (lambda folder: (folder / "job.yaml").unlink(), "half-written: it has no job.yaml"),
    "job.yaml damaged": (damage("job.yaml", "task: ["), "job.yaml: not valid YAML"),
    "job.yaml not a job": (damage("job.yaml", "- 1"), "job.yaml: not a job"),
    "job.yaml says too little": (damage("job.yaml", "seed: 0"), "job.yaml: has no diversity.degree"),
    "no status": (lambda folder: (folder / "status.json").unlink(), "status.json: no such file"),
    "status damaged": (damage("status.json", '{"schema": 1, "sta'), "status.json: not valid JSON"),
    "status not an object": (damage("status.json", "[]"), "status.json: expected a JSON object, found list"),
    "status of a newer ftcot": (change("status.json", schema=2), "status.json: schema 2 is not one this version reads"),
    "status without a hash": (change("status.json", hash=None), "status.json: names no job"),
    "running": (change("status.json", state="running", stage="teach"), "not finished (running, teach)"),
    "stopped": (change("status.json", state="stopped", stage="train"), "not finished (stopped, train, epoch 2 of 2)"),
    "failed": (change("status.json", state="failed", cause="disk\nfull"), "failed (disk full)"),
    "curated only": (change("status.json", state="partial"), "has no score (until=evaluate)"),
    "no score": (lambda folder: (folder / "score.json").unlink(), "score.json: missing, though the run is complete"),
    "score damaged": (damage("score.json", '{"schema": 1'), "score.json: not valid JSON"),
    "score of a newer ftcot": (change("score.json", schema=2), "score.json: schema 2 is not one this version reads"),
    "score with too little": (damage("score.json", '{"schema": 1, "task": "x"}'), "score.json: not a score of this"),
    "score with other fields": (change("score.json", luck=1), "score.json: not a score of this ftcot (Score has no"),
    "accuracy no number": (change("score.json", accuracy="high"), "score.json: accuracy is 'high'"),
    "epochs damaged": (change("score.json", epochs=[1]), "score.json: epochs is damaged"),
    "seconds no numbers": (change("score.json", seconds={"train": "long"}), "score.json: seconds is damaged"),
    "best epoch damaged": (change("score.json", best_on_test=3), "score.json: best_on_test is damaged"),
    "counts damaged": (change("status.json", counts=[1]), "status.json: counts is damaged"),
    "a seed that is none": (edit("seed: 3", "seed: x"), "job.yaml: seed is 'x'"),
    "a method that is none": (edit("template: token", "template: odd"), "job.yaml: method.template='odd'"),
    "completions torn": (damage("completions.jsonl", '{"schema": 1, '), "completions.jsonl, line 1: not valid JSON"),
    "pairs of another kind": (damage("examples.jsonl", '{"schema": 1}'), "examples.jsonl, line 1: not a Example"),
    "a completion of no question": (
        damage(
            "completions.jsonl",
            '{"schema": 1, "task": "t", "version": 1, "sample_index": "x", "draw": 0, '
            '"prompt": null, "rationale": "r"}',
        ),
        "completions.jsonl: record 1 has a damaged sample_index or rationale",
    ),
    "no predictions": (lambda f: (f / "predictions.jsonl").unlink(), "predictions.jsonl: no such file"),
    "predictions not text": (lambda f: (f / "predictions.jsonl").write_bytes(b"\xff\xfe\x00"), "not UTF-8 text"),
    "predictions empty": (damage("predictions.jsonl", ""), "predictions.jsonl: 0 answers do not make the accuracy"),
    "a torn line": (lines(lambda known: [*known[:-1], known[-1][:40]]), "predictions.jsonl: line 20 is damaged"),
    "a line of something else": (lines(lambda known: ["[1]", *known[1:]]), "predictions.jsonl: line 1 is damaged"),
    "a line of a newer ftcot": (lines(row(4, schema=2)), "predictions.jsonl: line 5 is damaged, or of a newer ftcot"),
    "a line with a new field": (lines(row(4, mood="good")), "predictions.jsonl: line 5 is damaged, or of a newer"),
    "a verdict no truth value": (lines(row(0, correct=1)), "predictions.jsonl: line 1 is damaged"),
    "accuracy infinite": (change("score.json", accuracy=float("inf")), "score.json: accuracy is inf"),
    "best epoch no number": (
        change("score.json", best_on_test={"epoch": 1, "accuracy": "x", "n": 10, "interval": [0, 1]}),
        "score.json: best_on_test is damaged",
    ),
    "nested too deeply": (damage("score.json", "[" * 100_000), "score.json: not valid JSON"),
    "a date that is none": (damage("job.yaml", "seed: 2026-13-45"), "job.yaml: not valid YAML"),
    "a heart that beats oddly": (change("status.json", heartbeat="now"), "status.json: heartbeat is damaged"),
    "versions no texts": (change("status.json", versions={"ftcot": [1]}), "status.json: versions is damaged"),
    "a version no number": (change("status.json", result_version="two"), "status.json: result_version is damaged"),
    "a count no number": (change("status.json", counts={"train": None}), "status.json: counts is damaged"),
    "a text that is none": (lines(row(0, text=7)), "predictions.jsonl: line 1 is damaged"),
    "a question answered twice": (
        lines(lambda known: [*known, known[-1]]),
        "predictions.jsonl: line 21 answers question 19 again after epoch 2",
    ),
    "two right answers": (lines(row(0, answer="maybe")), "predictions.jsonl: line 11 has another right answer than"),
    "an answer missing": (lines(lambda known: known[1:]), "not the same questions after epoch 1 as after epoch 2"),
    "other answers": (
        change("score.json", accuracy=0.1),
        "predictions.jsonl: 10 answers do not make the accuracy of 10 in score.json",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_named_and_left_out(broken: Path, run: Path, name: str) -> None:
    act, reason = WRONG[name]
    act(broken)
    found = read([broken.parent, run])
    assert [one.folder for one in found.runs] == [run]
    [(folder, said)] = told(found)
    assert folder == "run"
    assert reason in said
    assert "\n" not in said
    assert str(broken) not in said
    assert read([broken]).runs == ()
    assert reason in str(nothing_found([broken], read([broken])))


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert "holds no run; name a folder of outputs/ or multirun/" in str(nothing_found([tmp_path], read([tmp_path])))
    with pytest.raises(InputError, match=r"nowhere: no such folder$"):
        read([tmp_path / "nowhere"])


def test_versions_of_results_are_never_mixed(run: Path, tmp_path: Path) -> None:
    old = make_run(tmp_path / "old", "seed=7", n_questions=8)
    write_json(old / "status.json", read_json(old / "status.json") | {"result_version": 1})
    found = read([run, tmp_path])
    assert (found.result_version, [one.folder for one in found.runs]) == (ftcot.RESULT_VERSION, [run])
    reason = f"results of version 1, which differ from those of version {ftcot.RESULT_VERSION}: not comparable"
    assert told(found) == [("old", reason)]
    # Alone they make a report.
    assert (read([old]).result_version, len(read([old]).runs)) == (1, 1)


def test_the_version_of_runs_that_do_not_say_it_is_known(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    status, score = read_json(folder / "status.json"), read_json(folder / "score.json")
    write_json(folder / "status.json", {key: value for key, value in status.items() if key != "result_version"})
    assert read([folder]).result_version == 2
    write_json(folder / "score.json", {key: value for key, value in score.items() if key != "devices"})
    assert read([folder]).result_version == 1


def test_what_only_seems_to_be_the_same_experiment_is_left_out(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    write_json(other / "status.json", read_json(other / "status.json") | {"hash": "f" * 64})
    found = read([run, other])
    assert len(found.runs) == 1
    assert told(found)[0][1].startswith("the same settings and seed as ")


@pytest.mark.parametrize(
    "text", ["schema: [", "- 1", "schema: 9\noverrides: []", "overrides: 5", "figures: {mine: 5}", "began: 2026-13-45"]
)
def test_a_damaged_sweep_is_named(tmp_path: Path, run: Path, text: str) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(2,), n_questions=8)
    (tmp_path / "sweep" / "sweep.yaml").write_text(text)
    found = read([tmp_path, run])
    assert [one.folder for one in found.runs] == [run]
    assert told(found)[0][0] == "sweep"
    assert told(found)[0][1].startswith("sweep.yaml: ")


def test_predictions_may_have_been_written_by_another_program(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    path = folder / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(json.dumps(row, separators=(",", ":")) for row in rows).encode())
    [found], [first] = read([folder]).runs, read([run]).runs
    assert found.said() == first.said()


def test_tasks_may_be_mixed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", n_questions=8)
    make_run(tmp_path / "b", "task=generated/last_letter_concatenation", n_questions=8)
    assert len({run.task_key for run in read([tmp_path]).runs}) == 2
