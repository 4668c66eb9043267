"""The completion store: what was put is there, whatever happens to the writer."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError, JobError
from ftcot.records import Completion
from ftcot.teacher.store import CompletionStore, hash_parameters, read_segment, safe_name

GREEDY = {"temperature": 0, "max_tokens": 128}
PROMPT = "Q: Tom had 3 apples and ate 1. How many are left?\nA: Let's think step by step."
SAMPLE = ("multiarith", 1, 7)


def completion(index: int = 7, draw: int | None = 0, rationale: str = " 3 - 1 = 2.", **values: object) -> Completion:
    return replace(
        Completion("multiarith", 1, index, draw, PROMPT, rationale, "\nTherefore, the answer is", " 2."), **values
    )


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "completions")


def get(store: CompletionStore, degree: int = 1) -> dict[tuple[tuple[str, int, int], int], Completion]:
    return store.get("davinci", GREEDY, {SAMPLE: PROMPT}, degree)


def test_what_was_put_is_got_by_another_store_object(store: CompletionStore) -> None:
    put = completion(teacher={"name": "davinci"}, usage={"prompt": 20, "completion": 7}, raw={"id": "cmpl-1"})
    store.put("davinci", GREEDY, [put])
    assert get(CompletionStore(store.root)) == {(SAMPLE, 0): put}


def test_get_does_not_create_anything(store: CompletionStore) -> None:
    assert get(store) == {}
    assert store.rows("davinci", "multiarith", GREEDY) == []
    assert not store.root.exists()


def test_putting_nothing_creates_nothing(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [])
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("teacher", "parameters", "sample", "prompt"),
    [
        pytest.param("Davinci", GREEDY, SAMPLE, PROMPT, id="teacher"),
        pytest.param("davinci", GREEDY | {"temperature": 0.7}, SAMPLE, PROMPT, id="temperature"),
        pytest.param("davinci", {"temperature": 0}, SAMPLE, PROMPT, id="a parameter less"),
        pytest.param("davinci", GREEDY, ("multiarith", 2, 7), PROMPT, id="task version"),
        pytest.param("davinci", GREEDY, ("multiarith", 1, 8), PROMPT, id="sample"),
        pytest.param("davinci", GREEDY, SAMPLE, PROMPT + " ", id="prompt"),
    ],
)
def test_any_part_of_the_key_tells_completions_apart(
    store: CompletionStore, teacher: str, parameters: dict[str, float], sample: tuple[str, int, int], prompt: str
) -> None:
    store.put("davinci", GREEDY, [completion()])
    assert store.get(teacher, parameters, {sample: prompt}, 1) == {}


def test_a_degree_contains_every_smaller_one(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=draw) for draw in (3, 0, 1, 2)])
    assert set(get(store, degree=2)) == {(SAMPLE, 0), (SAMPLE, 1)}
    assert set(get(store, degree=64)) == {(SAMPLE, draw) for draw in range(4)}


def test_of_one_key_the_first_stored_counts_whichever_segment_holds_it(store: CompletionStore) -> None:
    writers = [CompletionStore(store.root) for _ in range(8)]
    for number, writer in enumerate(writers):
        writer.put("davinci", GREEDY, [completion(rationale=f" rationale {number}")])
    assert get(store)[SAMPLE, 0].rationale == " rationale 0"


def test_rows_of_unknown_draw_are_kept_apart_by_their_index(store: CompletionStore) -> None:
    rows = [completion(draw=None, completion_index=index, min_diversity=1) for index in range(3)]
    store.put("davinci", GREEDY, [rows[2], rows[0], rows[1], rows[0]])
    assert store.rows("davinci", "multiarith", GREEDY) == rows
    assert get(store, degree=64) == {}


def test_parameters_are_the_same_in_any_order_and_spelling() -> None:
    assert hash_parameters({"a": 0, "b": [1.0]}) == hash_parameters({"b": (1,), "a": 0.0})
    assert hash_parameters({"a": 0}) != hash_parameters({"a": False})


texts = st.text(st.characters(), max_size=30)  # surrogates too: half of a pair does come out of servers


@given(rationales=st.lists(texts, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_unchanged(tmp_path_factory: pytest.TempPathFactory, rationales: list[str]) -> None:
    store = CompletionStore(tmp_path_factory.mktemp("store"))
    put = [completion(draw=draw, rationale=text) for draw, text in enumerate(rationales)]
    store.put("davinci", GREEDY, put)
    assert list(get(store, degree=9).values()) == put


@given(rationale=texts)
@settings(max_examples=5, deadline=None)
def test_every_truncation_of_the_last_line_loses_that_line_only(
    tmp_path_factory: pytest.TempPathFactory, rationale: str
) -> None:
    store = CompletionStore(tmp_path_factory.mktemp("store"))
    kept = [completion(draw=0), completion(draw=1, rationale=rationale)]
    store.put("davinci", GREEDY, kept)
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    length = segment.stat().st_size
    store.put("davinci", GREEDY, [completion(draw=2, rationale=rationale)])
    os.truncate(segment, segment.stat().st_size - 1)  # only the newline is missing: nothing is lost
    assert len(list(read_segment(segment))) == 3
    for shorter in range(segment.stat().st_size - 1, length - 1, -1):
        os.truncate(segment, shorter)
        assert [found for _, _, found in read_segment(segment)] == kept


def test_a_later_writer_does_not_touch_a_torn_segment(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=0), completion(draw=1)])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    segment.write_bytes(segment.read_bytes()[:-20])
    again = CompletionStore(store.root)
    again.put("davinci", GREEDY, [completion(draw=1)])
    assert set(get(again, degree=2)) == {(SAMPLE, 0), (SAMPLE, 1)}


def test_damage_in_the_middle_is_named_by_file_and_line(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=draw) for draw in range(3)])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    lines = segment.read_text().splitlines(keepends=True)
    lines[1] = lines[1][:40] + "\n"
    segment.write_text("".join(lines))
    with pytest.raises(InputError, match=rf"{segment}, line 2: .*delete the line"):
        get(store)


def test_a_foreign_line_is_named(store: CompletionStore) -> None:
    folder = store.folder("davinci", "multiarith")
    folder.mkdir(parents=True)
    (folder / "notes.jsonl").write_text('{"prompt": "mine"}\n')
    with pytest.raises(InputError, match=r"notes\.jsonl, line 1: not a line of the completion store"):
        get(store)


def _put_many(root: Path, writer: int, n: int) -> None:
    store = CompletionStore(root)
    for number in range(n):
        store.put("davinci", GREEDY, [completion(draw=writer * n + number)])


def test_two_processes_that_write_at_once_lose_nothing(store: CompletionStore) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_put_many, args=(store.root, writer, 40)) for writer in range(2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    assert set(get(store, degree=80)) == {(SAMPLE, draw) for draw in range(80)}
    assert len(list(store.folder("davinci", "multiarith").iterdir())) == 2


def test_what_put_returned_for_survives_a_killed_writer(store: CompletionStore) -> None:
    program = f"""
import os
from pathlib import Path
from ftcot.records import Completion
from ftcot.teacher.store import CompletionStore
store = CompletionStore(Path({str(store.root)!r}))
store.put("davinci", {GREEDY!r}, [Completion("multiarith", 1, 7, 0, {PROMPT!r}, " 2.")])
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert len(get(store)) == 1


def test_a_write_that_fails_is_a_job_error_and_spoils_nothing_later(store: CompletionStore) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    store.put("davinci", GREEDY, [completion(draw=0)])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The kernel lets half of the next line through, then refuses, as a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 50, hard))
        with pytest.raises(JobError, match="cannot be stored"):
            store.put("davinci", GREEDY, [completion(draw=1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert set(get(store, degree=9)) == {(SAMPLE, 0)}
    store.put("davinci", GREEDY, [completion(draw=1), completion(draw=2)])
    assert set(get(store, degree=9)) == {(SAMPLE, 0), (SAMPLE, 1), (SAMPLE, 2)}


@given(names=st.lists(st.text(max_size=200), min_size=2, max_size=2, unique=True))
@settings(max_examples=200, deadline=None)
def test_every_name_has_a_folder_of_its_own(names: list[str]) -> None:
    folders = [safe_name(name) for name in names]
    assert folders[0] != folders[1]
    for folder in folders:
        assert 0 < len(os.fsencode(folder)) < 255
        assert "/" not in folder
        assert not folder.startswith(".")


def test_plain_names_are_their_own_folder(store: CompletionStore) -> None:
    assert store.folder("text-davinci-002", "multiarith") == store.root / "text-davinci-002" / "multiarith"
    assert store.folder("../org/model", "a b").relative_to(store.root).parts == ("%%2E%2E%2Forg%2Fmodel", "a b")
