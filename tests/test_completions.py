"""`python -m ftcot.completions`: out of a store, into another one, and what is said of both."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcot.completions.__main__ import main
from ftcot.records import Completion, to_line
from ftcot.task import Splits
from ftcot.teacher import Diversity, Session
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.store import CompletionStore, Paid
from tests.scripted_backend import Script, Scripted
from tests.test_teacher_replay import Sums

HOT = Diversity(3, 0.7)
FORMATS = ("mine.jsonl", "mine.jsonl.gz", "mine.parquet", "folder")
STYLES = ("zero_shot_cot", "single_call")
each_format = pytest.mark.parametrize("name", FORMATS)

Ran = tuple[int, str, str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """The command, on a cache of its own (`--cache`) unless another one is named."""

    def ran(command: str, *words: str, cache: str = "cache") -> Ran:
        code = main([command, "--cache", str(tmp_path / cache), *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return ran


def buy(
    cache: Path, style: Any = "zero_shot_cot", script: Script | None = None, name: str = "sums", **asking: Any
) -> list[Completion]:
    """What a live job does: it asks its teacher for what the store lacks."""
    teacher = Scripted(model="m", script=script or Script(), prompting=Prompting(style=style, **asking))
    task: Any = Sums(name=name)
    return teacher.complete(task, task.splits().train, HOT, Session(CompletionStore(cache / "completions")))


def splits() -> Splits:
    return Sums().splits()


def nothing(*asked: Any) -> Any:
    raise AssertionError(f"{asked} was bought")


def lines(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


@pytest.mark.parametrize("style", STYLES)
@each_format
def test_a_live_job_buys_nothing_of_what_was_brought_from_another_cache(
    name: str, style: str, run: Callable[..., Ran], tmp_path: Path
) -> None:
    bought = buy(tmp_path / "cache", style)
    assert run("export", tmp_path / name)[0] == 0
    code, out, _ = run("import", tmp_path / name, cache="other")
    assert (code, out.splitlines()[0]) == (0, f"{tmp_path / name}: {len(bought)} added, 0 were there")
    assert buy(tmp_path / "other", style, Script(reply=nothing)) == bought


@each_format
def test_a_second_import_adds_nothing_and_says_so(name: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    bought = buy(tmp_path / "cache")
    run("export", tmp_path / name)
    run("import", tmp_path / name, cache="other")
    before = sorted((tmp_path / "other").rglob("*.jsonl"))
    code, out, _ = run("import", tmp_path / name, cache="other")
    assert (code, out.splitlines()[0]) == (0, f"{tmp_path / name}: 0 added, {len(bought)} were there")
    assert sorted((tmp_path / "other").rglob("*.jsonl")) == before


def test_an_export_keeps_what_was_paid_and_when(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    run("export", tmp_path / "a.jsonl", "--incomplete", "--raw")
    run("import", tmp_path / "a.jsonl", cache="other")
    run("export", tmp_path / "b.jsonl", "--incomplete", "--raw", cache="other")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    (row, *_) = lines(tmp_path / "a.jsonl")
    assert row["paid"]["prompt"] > 0
    assert row["raw"] == {"said": " yes."}


def test_servers_replies_are_exported_only_if_asked_for(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    run("export", tmp_path / "a.jsonl")
    assert {row["raw"] for row in lines(tmp_path / "a.jsonl")} == {None}


def test_rationales_without_an_answer_go_along_only_if_asked_for(run: Callable[..., Ran], tmp_path: Path) -> None:
    def speechless(ask: Any, draw: int) -> Any:
        if ask.part == "answer" and draw == 2:
            return None
        from tests.scripted_backend import plain

        return plain(ask, draw)

    with pytest.raises(Exception, match="could not be had"):
        buy(tmp_path / "cache", script=Script(reply=speechless))
    code, out, _ = run("export", tmp_path / "whole.jsonl")
    assert (code, out.splitlines()) == (
        0,
        [
            f"6 completions in {tmp_path / 'whole.jsonl'}",
            "3 rationales whose answer was never had are left out; --incomplete exports them",
        ],
    )
    assert run("export", tmp_path / "all.jsonl", "--incomplete")[1].splitlines() == [
        f"9 completions in {tmp_path / 'all.jsonl'}"
    ]
    run("import", tmp_path / "all.jsonl", cache="other")
    script = Script()
    buy(tmp_path / "other", script=script)
    assert [ask.part for ask in script.asked] == ["answer"] * 3


@each_format
def test_what_is_there_is_not_replaced_unless_told_so(name: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    assert run("export", tmp_path / name)[0] == 0
    code, _, err = run("export", tmp_path / name)
    assert (code, err) == (2, f"error: {tmp_path / name}: is there already; --force replaces it\n")
    assert run("export", tmp_path / name, "--force")[0] == 0
    assert run("import", tmp_path / name, cache="other")[0] == 0


def test_a_folder_of_something_else_is_never_replaced(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("...")
    code, _, err = run("export", tmp_path / "thesis", "--force")
    assert (code, err.count("\n")) == (2, 1)
    assert "thesis: holds something else than an export" in err
    assert (tmp_path / "thesis" / "chapter.tex").exists()


@pytest.mark.parametrize("damage", ["not JSON", '{"key": 1}', "{}", '{"rationale": 5}'])
def test_of_a_damaged_file_nothing_is_imported(damage: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    run("export", tmp_path / "a.jsonl")
    content = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join([*content[:5], damage + "\n", *content[5:]]))
    code, _, err = run("import", tmp_path / "a.jsonl", cache="other")
    assert code == 2
    assert err.startswith(f"error: {tmp_path / 'a.jsonl'}, line 6: ")
    assert err.count("\n") == 1
    assert list((tmp_path / "other").rglob("*.jsonl")) == []
    assert list((tmp_path / "other").rglob(".import*")) == []


def test_what_a_killed_import_leaves_is_nobodys(run: Callable[..., Ran], tmp_path: Path) -> None:
    bought = buy(tmp_path / "cache")
    (segment,) = (tmp_path / "cache").rglob("*.jsonl")
    staged = tmp_path / "cache" / "completions" / ".import.0a1b2c3d" / "0.jsonl"
    staged.parent.mkdir()
    staged.write_bytes(segment.read_bytes()[:-50].replace(b'"m"', b'"n"'))
    assert run("verify") == (0, "18 lines in 1 segments: no damage\n", "")
    assert [one["teacher"] for one in json.loads(run("stats", "--json")[1])["sets"]] == ["m"]
    assert buy(tmp_path / "cache", script=Script(reply=nothing)) == bought


def test_an_import_onto_a_full_disk_leaves_nothing(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(tmp_path / "cache")
    run("export", tmp_path / "a.jsonl")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ftcot.completions.intake.os.fsync", full)
    code, _, err = run("import", tmp_path / "a.jsonl", cache="other")
    assert (code, err.count("\n")) == (1, 1)
    assert "completions cannot be stored (No space left on device)" in err
    assert list((tmp_path / "other").rglob("*.jsonl")) == []


def test_a_row_whose_prompt_was_edited_is_refused(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    run("export", tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text((tmp_path / "a.jsonl").read_text().replace("apples", "pears", 1))
    code, _, err = run("import", tmp_path / "a.jsonl", cache="other")
    assert (code, "line 1: the prompt is not the one its key was made of" in err) == (2, True)


def test_an_import_can_be_stored_under_another_name(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    run("export", tmp_path / "a.jsonl")
    run("import", tmp_path / "a.jsonl", "--teacher", "mine", cache="other")
    assert CompletionStore(tmp_path / "other" / "completions").teachers() == [("mine", "sums")]


def test_a_folder_of_exports_is_imported_file_by_file(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    (tmp_path / "all").mkdir()
    run("export", tmp_path / "all" / "a.parquet")
    run("export", tmp_path / "all" / "b.jsonl")
    code, out, _ = run("import", tmp_path / "all", cache="other")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith(str(tmp_path))] == [
        f"{tmp_path}/all/a.parquet: 9 added, 0 were there",
        f"{tmp_path}/all/b.jsonl: 0 added, 9 were there",
    ]


def test_only_what_is_selected_is_exported(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    buy(tmp_path / "cache", name="others")
    assert run("export", tmp_path / "a.jsonl", "--task", "others", "--teacher", "m")[0] == 0
    assert {row["task"] for row in lines(tmp_path / "a.jsonl")} == {"others"}
    assert run("import", tmp_path / "a.jsonl", "--task", "sums", cache="other")[1].startswith(
        f"{tmp_path / 'a.jsonl'}: 0 added, 0 were there"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export",), "export: name one destination"),
        (("export", "a.csv"), "a.csv: expected .jsonl"),
        (("export", "a.jsonl", "--format", "parquet"), "a.jsonl: does not fit --format parquet"),
        (("export", "a.jsonl", "--hub", "lab/set"), "export: name one destination"),
        (("export", "a.jsonl", "b.jsonl"), "export: one destination at a time"),
        (("export", "a.jsonl", "--teacher", "n"), "--teacher n: nothing of it is in"),
        (("export", "a.jsonl", "--task", "n"), "--task n: nothing of it is in"),
        (("export", "a.jsonl", "--set", "zz"), "a.jsonl: nothing to export"),
        (("import", "none.jsonl"), "none.jsonl: no such file or folder"),
        (("import", "task=sums"), "import: which file?"),
        (("stats", "multiarith"), "multiarith: expected KEY=VALUE"),
        (("stats", "--set", "zz"), "--set zz: no such set"),
        (("merge", "none"), "none: no such folder"),
        (("export", "a.jsonl", "--public"), "--public: goes with --hub"),
        (("export", "a.jsonl", "--format", "xml"), "argument --format: invalid choice: 'xml'"),
        (("stats", "--bogus"), "unrecognized arguments: --bogus; see python -m ftcot.completions --help"),
        (("bogus",), "argument COMMAND: invalid choice: 'bogus'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input_is_one_line(
    words: tuple[str, ...], said: str, run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    buy(tmp_path / "cache")
    code, _, err = run(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {said}")


def test_an_empty_store_is_said_to_be_empty(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for command in ("stats", "verify", "merge"):
        code, _, err = run(command)
        assert code == 2
        assert "stored there (another cache: --cache FOLDER)" in err
    assert list((tmp_path / "cache").iterdir()) == []


def test_stats_count_completions_calls_and_money(run: Callable[..., Ran], tmp_path: Path) -> None:
    bought = buy(tmp_path / "cache")
    found = json.loads(run("stats", "--json")[1])
    (one,) = found["sets"]
    assert (one["teacher"], one["task"], one["n"], one["samples"]) == ("m", "sums", 9, 3)
    assert (one["effective_degree"], one["how"]) == (3.0, "T = 0.7, zero_shot_cot, ≤ 512 tokens")
    (stored,) = found["stored"]
    assert (stored["lines"], stored["rationales"], stored["calls"], stored["segments"]) == (18, 9, 18, 1)
    assert stored["paid"] == "18 calls of unknown price"
    assert stored["completion_tokens"] == sum((row.usage or {})["completion"] for row in bought)
    assert stored["bytes"] == sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.jsonl"))


def test_ways_of_asking_are_told_apart(run: Callable[..., Ran], tmp_path: Path) -> None:
    for verbosity in ("normal", "short"):
        buy(tmp_path / "cache", verbosity=verbosity)
    buy(tmp_path / "cache", prompt="Why? {question}")
    sets = {one["how"]: one["set"] for one in json.loads(run("stats", "--json")[1])["sets"]}
    assert set(sets) == {
        "T = 0.7, zero_shot_cot, ≤ 512 tokens",
        "T = 0.7, zero_shot_cot, verbosity short, ≤ 512 tokens",
        "T = 0.7, zero_shot_cot, own prompt, ≤ 512 tokens",
    }
    chosen = sets["T = 0.7, zero_shot_cot, verbosity short, ≤ 512 tokens"]
    run("export", tmp_path / "a.jsonl", "--set", chosen[:8])
    prompts = {row["prompt"] for row in lines(tmp_path / "a.jsonl")}
    assert len(prompts) == 2  # the first and the last question are the same
    assert all(prompt.endswith("in as few words as possible.") for prompt in prompts)


def test_what_judges_said_is_no_completion_but_travels_along(run: Callable[..., Ran], tmp_path: Path) -> None:
    bought = buy(tmp_path / "cache")
    teacher = Scripted(model="m", script=Script(), prompting=Prompting())
    asked = {(row.sample_key, int(row.draw or 0)): f"Is this right? {row.rationale}" for row in bought}
    session = Session(CompletionStore(tmp_path / "cache" / "completions"))
    said = teacher.say(Sums(), asked, session, 16)  # type: ignore[arg-type]
    found = json.loads(run("stats", "--json")[1])
    assert [one["n"] for one in found["sets"]] == [9]
    assert found["stored"][0]["verdicts"] == 9
    run("export", tmp_path / "a.parquet")
    run("import", tmp_path / "a.parquet", cache="other")
    teacher = Scripted(model="m", script=Script(reply=nothing), prompting=Prompting())
    session = Session(CompletionStore(tmp_path / "other" / "completions"))
    assert teacher.say(Sums(), asked, session, 16) == said  # type: ignore[arg-type]


def test_the_table_says_what_it_cannot_know(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    store = CompletionStore(tmp_path / "cache" / "completions")
    said = Completion("sums", 1, 0, 0, "Q", " 2.", answer_text=" 2.", teacher={"name": "priced"})
    store.put("priced", {}, [said], [Paid(10, 2, 0.5)])
    code, out, _ = run("stats")
    assert code == 0
    assert "18 calls of unknown price" in out
    assert "$0.50" in out
    assert "not judged: sums (questions not at hand" in out
    assert "9 lines are first calls of two" in out


def test_a_task_of_ones_own_is_judged_by_its_file(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    questions = [*splits().train, *splits().test]
    text = "".join(to_line({"question": s.question, "answer": "yes", "split": s.split}) for s in questions)
    (tmp_path / "sums.jsonl").write_text(text)
    words = ("task=jsonl", f"task.path={tmp_path / 'sums.jsonl'}", "task.answer=yes_no")
    (one,) = json.loads(run("stats", "--json", *words)[1])["sets"]
    assert (one["accuracy"], one["agreement"]) == (1.0, 1.0)


def test_verify_finds_no_damage_where_there_is_none(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    assert run("verify") == (0, "18 lines in 1 segments: no damage\n", "")


def test_a_torn_last_line_is_no_damage(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "cache")
    (segment,) = (tmp_path / "cache").rglob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-20])
    code, out, _ = run("verify")
    assert code == 0
    assert "ends in the middle of a line" in out
    assert "17 lines in 1 segments: no damage" in out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"rationale": ', '"rationale" ', "a stored completion is damaged"),
        ('"rationale": "', '"rationale": 5, "x": "', "Completion has no field x"),
        ("apples", "pears", "the prompt is not the one its key was made of"),
        ('"task": "sums"', '"task": "multiarith"', "is of m and multiarith, and nobody looks for it here"),
        ('"key": ', '"kee": ', "not a line of the completion store"),
    ],
)
def test_damage_is_named_by_file_and_line(
    old: str, new: str, said: str, run: Callable[..., Ran], tmp_path: Path
) -> None:
    buy(tmp_path / "cache")
    (segment,) = (tmp_path / "cache").rglob("*.jsonl")
    content = segment.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(content) if number > 3 and old in line)
    content[place] = content[place].replace(old, new, 1)
    segment.write_text("".join(content))
    code, out, _ = run("verify")
    assert code == 1
    assert f"{segment}, line {place + 1}: {said}" in out
    assert "1 places are damaged. Take the segment from a backup, or delete the lines named" in out


def many(cache: Path, n: int) -> CompletionStore:
    """A store with an index."""
    store = CompletionStore(cache / "completions")
    rows = [Completion("sums", 1, i, 0, f"Q {i}", " 2.", answer_text=" 2.", teacher={"name": "t"}) for i in range(n)]
    store.put("t", {}, rows)
    assert len(store.has("t", {}, {row.sample_key: str(row.prompt) for row in rows}, 1)) == n
    return store


def test_an_index_that_does_not_fit_is_named_and_made_anew(run: Callable[..., Ran], tmp_path: Path) -> None:
    many(tmp_path / "cache", 600)
    (index,) = (tmp_path / "cache").rglob("*.index")
    assert run("verify")[0] == 0
    index.write_bytes(index.read_bytes()[:-100])
    code, out, _ = run("verify")
    assert (code, f"{index}: is damaged" in out) == (1, True)
    assert run("verify", "--rebuild-index")[0] == 0
    assert run("verify") == (0, "600 lines in 1 segments: no damage\n", "")
    assert index.exists()


def test_merge_joins_the_segments_of_ended_jobs(run: Callable[..., Ran], tmp_path: Path) -> None:
    bought = buy(tmp_path / "cache")
    buy(tmp_path / "second", "single_call")
    run("import", *_exported(run, tmp_path, "second"))
    assert len(list((tmp_path / "cache").rglob("*.jsonl"))) == 2
    assert run("merge", "--dry-run")[1] == "m, sums: 2 segments would be joined\n"
    code, out, _ = run("merge")
    assert (code, out) == (0, "m, sums: 2 segments are one now, of 27 lines\n")
    assert run("merge")[1] == run("merge", "--dry-run")[1] == "m, sums: nothing to join\n"
    assert buy(tmp_path / "cache", script=Script(reply=nothing)) == bought


def _exported(run: Callable[..., Ran], folder: Path, cache: str) -> tuple[str]:
    assert run("export", folder / f"{cache}.jsonl", cache=cache)[0] == 0
    return (str(folder / f"{cache}.jsonl"),)


def test_merge_takes_what_another_cache_has_and_leaves_that_alone(run: Callable[..., Ran], tmp_path: Path) -> None:
    bought = buy(tmp_path / "cache")
    shutil.copytree(tmp_path / "cache", tmp_path / "other")
    more = buy(tmp_path / "other", name="others")
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*.jsonl")}
    code, out, _ = run("merge", tmp_path / "other", "--dry-run")
    assert (code, out.splitlines()[0]) == (0, f"{tmp_path}/other/completions: 18 would be added, 18 were there")
    assert buy(tmp_path / "cache", script=Script(reply=nothing)) == bought
    assert not (tmp_path / "cache" / "completions" / "m" / "others").exists()
    assert run("merge", tmp_path / "other")[0] == 0
    assert buy(tmp_path / "cache", script=Script(reply=nothing), name="others") == more
    assert {path: path.read_bytes() for path in (tmp_path / "other").rglob("*.jsonl")} == before
    assert run("verify")[0] == 0


def test_a_damaged_store_gives_nothing(run: Callable[..., Ran], tmp_path: Path) -> None:
    buy(tmp_path / "other")
    (segment,) = (tmp_path / "other").rglob("*.jsonl")
    segment.write_text("{}\n" + segment.read_text())
    code, _, err = run("merge", tmp_path / "other")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{segment}, line 1: " in err
    assert list((tmp_path / "cache").rglob("*.jsonl")) == []


def test_an_export_can_be_replayed(run: Callable[..., Ran], tmp_path: Path) -> None:
    from ftcot.teacher.replay import Replay

    bought = buy(tmp_path / "cache")
    run("export", tmp_path / "mine.jsonl.gz")
    replay = Replay("", None, tmp_path / "mine.jsonl.gz")
    found = replay.complete(Sums(), splits().train, HOT, Session(CompletionStore(tmp_path / "new")))  # type: ignore[arg-type]
    assert [(c.sample_index, c.draw, c.rationale) for c in found] == [
        (c.sample_index, c.draw, c.rationale) for c in bought
    ]


def test_the_command_starts_without_heavy_libraries(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, contextlib\nfrom ftcot.completions.__main__ import main\n"
        f"main(['merge', '--dry-run', '--cache', {str(tmp_path)!r}])\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pyarrow', 'openai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
