"""Files of others in the store: the authors' own go in and come out as they were, and live teachers find them."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcot.completions.__main__ import main
from ftcot.completions.questions import compose
from ftcot.records import Completion, to_line
from ftcot.teacher import Session
from ftcot.teacher.replay import FINE_TUNING
from ftcot.teacher.store import CompletionStore

COMPLETE = ("addsub", "coin_flip", "date_understanding", "multiarith", "single_eq")
RECORDINGS = "reasoning_teacher/completion_data/B_text-davinci-002__C_zs_cot"
LIVE = (
    *("teacher=api", "teacher.model=text-davinci-002", "teacher.endpoint=completions", "diversity=greedy"),
    *("teacher.prompting.max_tokens=128", "teacher.prompting.answer_max_tokens=128"),
)
"""A job that asks as the authors asked."""

Ran = tuple[int, str, str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    monkeypatch.setenv("FTCOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FTCOT_DATA", raising=False)

    def ran(*words: object) -> Ran:
        code = main(list(map(str, words)))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran


@pytest.fixture
def data(data_dir: Path, run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTCOT_DATA", str(data_dir))
    return data_dir


def authors(data: Path, name: str) -> Path:
    return data / RECORDINGS / f"D_{name}.json.gz"


def content(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


def complete(*words: str) -> list[Completion]:
    """What a job's teacher says, without a key and without a network: it must all be in the store."""
    job = compose([*words, "logger=none"])
    session = Session(CompletionStore(job.cache / "completions"))
    return job.teacher.complete(job.task, job.task.splits().train, job.diversity, session)


@pytest.mark.data
@pytest.mark.parametrize("name", COMPLETE)
def test_the_authors_completions_come_out_as_they_went_in(
    name: str, run: Callable[..., Ran], data: Path, tmp_path: Path
) -> None:
    assert run("import", authors(data, name))[0] == 0
    assert run("export", tmp_path / "out.json")[0] == 0
    assert content(tmp_path / "out.json") == content(authors(data, name))
    # Even their white space: four columns a level.
    assert (tmp_path / "out.json").read_bytes().count(b"\n") == gzip.decompress(authors(data, name).read_bytes()).count(
        b"\n"
    )


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n"),
    [("addsub", 210), ("coin_flip", 314), ("date_understanding", 170), ("multiarith", 323), ("single_eq", 287)],
)
def test_pairs_of_the_recorded_completions_are_the_authors_file_byte_for_byte(
    name: str, n: int, run: Callable[..., Ran], data: Path, tmp_path: Path
) -> None:
    run("import", authors(data, name))
    code, out, _ = run("export", tmp_path / "out.jsonl", "--format", "pairs", "diversity=greedy")
    assert (code, out) == (0, f"{n} pairs in {tmp_path / 'out.jsonl'}\n")
    theirs = data / FINE_TUNING / f"F_zs_cot_{name}.jsonl.gz"
    assert (tmp_path / "out.jsonl").read_bytes() == gzip.decompress(theirs.read_bytes())


@pytest.mark.data
def test_a_fine_tuning_file_comes_out_as_it_went_in(run: Callable[..., Ran], data: Path, tmp_path: Path) -> None:
    theirs = data / FINE_TUNING / "F_zs_cot_t70_svamp_8aug.jsonl.gz"
    code, out, _ = run("import", theirs)
    assert (code, "text-davinci-002, svamp" in out, "diversity=8" in out) == (0, True, True)
    assert run("export", tmp_path / "out.jsonl.gz", "--format", "pairs")[0] == 0
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == gzip.decompress(theirs.read_bytes())


@pytest.mark.data
@pytest.mark.parametrize("name", ["addsub", "multiarith"])
def test_a_live_teacher_finds_the_recording_and_buys_nothing(
    name: str, run: Callable[..., Ran], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    words = (*LIVE, f"task={name}")
    code, out, err = run("import", authors(data, name), *words)
    assert (code, err) == (0, "")
    found = complete(*words)
    recorded = {int(key): rows[0] for key, rows in content(authors(data, name))["data"].items()}
    assert found
    assert [(c.rationale, c.answer_text) for c in found] == [
        (recorded[c.sample_index]["reasoning_completion"], recorded[c.sample_index]["completion"]) for c in found
    ]
    *_, left, found_by = out.splitlines()
    assert found_by.startswith("  found by: python -m ftcot.run teacher=api ")
    # Of eight MultiArith questions the authors kept 25 greedy completions, 24 of them asked in another way.
    assert left.startswith("  192 draws that the job does not ask for") == (name == "multiarith")


@pytest.mark.data
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("teacher.model=gpt-4o", "is of text-davinci-002, and the job has teacher.model=gpt-4o"),
        ("teacher.prompting.max_tokens=512", "recorded with teacher.prompting.max_tokens=128, and the job has 512"),
        ("diversity=8", "recorded with diversity.temperature=0, and the job has 0.7"),
        ("teacher.prompting.style=single_call", 'sample 0, draw 0: was asked "Q: For Halloween'),
        ("task.answer_prompt=So", "was asked for its answer with "),
        ("task=coin_flip", "of the task multiarith, not coin_flip"),
        ("teacher=procedural", "teacher=: only a live teacher can take over a recording"),
    ],
)
def test_a_live_teacher_is_promised_nothing_it_would_not_have_said(
    change: str, said: str, run: Callable[..., Ran], data: Path, tmp_path: Path
) -> None:
    words = [word for word in (*LIVE, "task=multiarith") if word.partition("=")[0] != change.partition("=")[0]]
    if change == "teacher=procedural":
        words = [word for word in words if not word.startswith("teacher.")]
    code, _, err = run("import", authors(data, "multiarith"), *words, change)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


@pytest.mark.data
def test_correct_ones_alone_are_no_draws_of_a_live_teacher(run: Callable[..., Ran], data: Path) -> None:
    path = data / FINE_TUNING / "F_zs_cot_multiarith.jsonl.gz"
    code, _, err = run("import", path, *LIVE, "task=multiarith")
    assert (code, "keeps correct completions only" in err) == (2, True)


@pytest.mark.data
def test_replay_finds_what_was_imported(run: Callable[..., Ran], data: Path, tmp_path: Path) -> None:
    _, out, _ = run("import", authors(data, "multiarith"))
    words = out.splitlines()[-1].partition("ftcot.run ")[2].split()
    before = [path.stat().st_size for path in (tmp_path / "cache").rglob("*.jsonl")]
    assert len(complete(*words)) == 420
    assert [path.stat().st_size for path in (tmp_path / "cache").rglob("*.jsonl")] == before


@pytest.mark.data
def test_an_export_into_the_data_folder_is_replayed_by_name(
    run: Callable[..., Ran], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import", data / FINE_TUNING / "F_zs_cot_t70_multiarith_8aug.jsonl.gz", "--teacher", "mine")
    out = tmp_path / "data" / "recorded" / "mine-t70" / "multiarith.jsonl.gz"
    assert run("export", out, "--teacher", "mine", "--task", "multiarith")[0] == 0
    (tmp_path / "data" / "datasets").mkdir()
    (tmp_path / "data" / "datasets" / "multiarith.jsonl").symlink_to(data / "datasets" / "multiarith.jsonl")
    monkeypatch.setenv("FTCOT_DATA", str(tmp_path / "data"))
    assert len(complete("teacher=replay", "teacher.name=mine", "task=multiarith", "diversity=8")) == 2574


@pytest.mark.data
def test_stats_of_the_recorded_teacher_are_those_of_the_paper(run: Callable[..., Ran], data: Path) -> None:
    for name in COMPLETE:
        run("import", authors(data, name))
    sets = {one["task"]: one for one in json.loads(run("stats", "--json")[1])["sets"]}
    # Table 1 of the paper, the teacher's row.
    published = {"addsub": 77.22, "coin_flip": 90.04, "date_understanding": 67.58, "multiarith": 78.79}
    for name, accuracy in published.items():
        assert abs(100 * sets[name]["accuracy"] - accuracy) < 0.5, name
    assert (sets["multiarith"]["n"], sets["multiarith"]["samples"]) == (792, 600)
    _, table, _ = run("stats")
    assert "not recorded" in table
    assert "not judged" not in table


@pytest.mark.data
def test_formats_of_one_set_ask_which_where_there_are_two(run: Callable[..., Ran], data: Path, tmp_path: Path) -> None:
    run("import", authors(data, "multiarith"))
    run("import", data / FINE_TUNING / "F_zs_cot_t70_multiarith_8aug.jsonl.gz")
    code, _, err = run("export", tmp_path / "a.json")
    assert (code, err.count("\n"), err.count("--set ")) == (2, 1, 2)
    (chosen,) = (one.partition("--set ")[2].split()[0] for one in err.split("; ") if "(T = 0," in one)
    assert run("export", tmp_path / "a.json", "--set", chosen)[0] == 0


def own(folder: Path, *rows: dict[str, Any]) -> tuple[Path, tuple[str, ...]]:
    """A task of one's own and completions of it, and the words that name the task."""
    questions = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(4)]
    (folder / "sums.jsonl").write_text("".join(map(to_line, questions)))
    (folder / "said.jsonl").write_text("".join(map(to_line, rows)))
    return folder / "said.jsonl", ("task=jsonl", f"task.path={folder / 'sums.jsonl'}", "task.answer=number")


def test_rows_that_say_little_are_believed(run: Callable[..., Ran], tmp_path: Path) -> None:
    rows = [{"sample_index": n, "rationale": f"{n} + 1 = {n + 1}.", "answer_text": str(n + 1)} for n in range(4)]
    path, words = own(tmp_path, *rows)
    asked = ("teacher=api", "teacher.model=local", "diversity=greedy", *words)
    assert run("import", path, *asked)[0] == 0
    found = complete(*asked)
    assert {c.rationale for c in found} <= {row["rationale"] for row in rows}
    assert {c.prompt for c in found} == {
        f"Q: What is {c.sample_index} + 1?\nA: Let's think step by step." for c in found
    }
    (one,) = json.loads(run("stats", "--json", *words)[1])["sets"]
    assert (one["n"], one["accuracy"], one["recording"]) == (4, 1.0, "said.jsonl")


def test_several_draws_of_ones_own_are_found_by_a_job_of_that_degree(run: Callable[..., Ran], tmp_path: Path) -> None:
    rows = [
        {"sample_index": n, "draw": draw, "rationale": f"Way {draw}.", "answer_text": str(n + 1)}
        for n in range(4)
        for draw in range(8)
    ]
    path, words = own(tmp_path, *rows)
    asked = ("teacher=api", "teacher.model=local", "diversity=8", *words)
    assert run("import", path, *asked)[0] == 0
    assert len(complete(*asked)) == 8 * len(compose(words).task.splits().train)


def test_a_recording_that_does_not_say_its_task_asks_for_it(run: Callable[..., Ran], tmp_path: Path) -> None:
    path, _ = own(tmp_path, {"sample_index": 0, "rationale": "1.", "answer_text": "1"})
    code, _, err = run("import", path)
    assert (code, err.startswith(f"error: {path}: does not say of which task it is; add --task NAME")) == (2, True)


def test_a_recording_that_does_not_say_its_temperature_asks_for_it(run: Callable[..., Ran], tmp_path: Path) -> None:
    path, words = own(tmp_path, {"sample_index": 0, "rationale": "1.", "answer_text": "1"})
    code, _, err = run("import", path, *words)
    assert (code, "does not say at which temperature it was drawn; add diversity=greedy" in err) == (2, True)
    assert run("import", path, *words, "diversity=greedy")[0] == 0


def test_a_damaged_recording_leaves_the_store_as_it_was(run: Callable[..., Ran], tmp_path: Path) -> None:
    path, words = own(tmp_path, {"sample_index": 0, "rationale": "1.", "answer_text": "1"}, {"sample_index": "x"})
    code, _, err = run("import", path, *words, "diversity=greedy")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{path}, line 2: " in err
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


def said_words(out: str) -> list[str]:
    """The words of the job that an import says finds its rows."""
    return shlex.split(out.splitlines()[-1].partition("ftcot.run ")[2])


def test_the_words_that_find_rows_of_ones_own_task_are_words_of_a_job(run: Callable[..., Ran], tmp_path: Path) -> None:
    folder = tmp_path / "it's (mine), x=1"
    folder.mkdir()
    rows = [{"sample_index": n, "rationale": f"{n} + 1 = {n + 1}.", "answer_text": str(n + 1)} for n in range(4)]
    path, _ = own(folder, *rows)
    words = ("task=jsonl", f"task.path={tmp_path / 'sums.jsonl'}", "task.answer=number")
    (tmp_path / "sums.jsonl").write_text((folder / "sums.jsonl").read_text())
    code, out, err = run("import", path, *words, "diversity=greedy")
    assert (code, err) == (0, "")
    before = sorted(file.stat().st_size for file in (tmp_path / "cache").rglob("*.jsonl"))
    assert len(complete(*said_words(out))) == 3  # of the training split
    assert sorted(file.stat().st_size for file in (tmp_path / "cache").rglob("*.jsonl")) == before


def test_completions_of_a_run_on_a_generated_task_are_imported(run: Callable[..., Ran], tmp_path: Path) -> None:
    asked = ("task=generated/coin_flip", "teacher=procedural", "task.n_train=6", "task.n_test=2", "diversity=greedy")
    (tmp_path / "completions.jsonl").write_text("".join(to_line(row.to_json()) for row in complete(*asked)))
    words = ("task.n_train=6", "task.n_test=2")
    code, out, err = run("import", tmp_path / "completions.jsonl", *words)
    assert (code, err) == (0, "")
    assert len(complete(*said_words(out))) == 6
    again = run("import", tmp_path / "completions.jsonl", "--task", "generated_coin_flip", *words)
    assert (again[0], ": 0 added, 6 were there" in again[1]) == (0, True)
