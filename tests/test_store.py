"""The completion store: what was put is there, whatever happens to the writer."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError, JobError
from ftcot.records import Completion
from ftcot.teacher.store import CompletionStore, Paid, Spent, hash_parameters, safe_name

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


def test_has_is_what_get_would_find(store: CompletionStore) -> None:
    put = [completion(index, draw) for index in (7, 8) for draw in range(4)]
    store.put("davinci", GREEDY, [*put, completion(7, None, completion_index=3), completion(9, 0, prompt=None)])
    prompts = {("multiarith", 1, index): PROMPT for index in (6, 7, 9)} | {("multiarith", 1, 8): "Another."}
    for degree in range(6):
        assert store.has("davinci", GREEDY, prompts, degree) == set(store.get("davinci", GREEDY, prompts, degree))
    assert store.has("davinci", GREEDY, prompts, 3) == {(SAMPLE, draw) for draw in range(3)}
    assert store.has("davinci", {}, prompts, 3) == store.has("ada", GREEDY, prompts, 3) == set()


def test_find_asks_each_draw_by_its_own_prompt(store: CompletionStore) -> None:
    put = [completion(index, draw, prompt=f"Is draw {draw} of {index} right?") for index in (7, 8) for draw in (0, 1)]
    store.put("judge", GREEDY, [*put, replace(put[0], task="svamp")])
    wanted = {(row.sample_key, row.draw or 0): row.prompt or "" for row in put[:3]}
    assert store.find("judge", GREEDY, wanted) == {(row.sample_key, row.draw): row for row in put[:3]}
    wanted[SAMPLE, 0] = "Is draw 1 of 7 right?"
    assert set(store.find("judge", GREEDY, wanted)) == {(SAMPLE, 1), (("multiarith", 1, 8), 0)}
    assert store.find("judge", GREEDY, {}) == {}


def test_tasks_are_asked_together(store: CompletionStore) -> None:
    put = [completion(task=task, draw=draw) for task in ("multiarith", "svamp") for draw in range(2)]
    store.put("davinci", GREEDY, put)
    prompts = {row.sample_key: PROMPT for row in put}
    assert list(store.get("davinci", GREEDY, prompts, 2).values()) == put
    assert len(store.has("davinci", GREEDY, prompts, 2)) == 4


# What was paid.


def test_spent_adds_up_what_was_paid_over_all_tasks(store: CompletionStore) -> None:
    began = time.time()
    store.put("davinci", GREEDY, [completion(), completion(draw=1)], [Paid(20, 7, 0.125), None])
    store.put("davinci", GREEDY, [completion(task="svamp")], [Paid(30, 9, 0.0625)])
    store.put("davinci", {"part": "rationale"}, [completion(draw=2)], [Paid(1, 2, None)])
    store.put("ada", GREEDY, [completion()], [Paid(5, 5, 5.0)])
    assert store.spent("davinci", began) == Spent(51, 18, 0.1875, 1)
    assert CompletionStore(store.root).spent("davinci", 0.0) == Spent(51, 18, 0.1875, 1)
    assert store.spent("davinci", time.time() + 1) == store.spent("babbage", 0.0) == Spent(0, 0, 0.0, 0)


def test_spent_sees_what_other_jobs_buy_meanwhile(store: CompletionStore) -> None:
    others = [CompletionStore(store.root) for _ in range(3)]
    for n in range(1, 10):
        others[n % 3].put("davinci", GREEDY, [completion(draw=n)], [Paid(10, 1, 0.5)])
        assert store.spent("davinci", 0.0) == Spent(10 * n, n, 0.5 * n, 0)


def test_what_is_bought_twice_is_paid_twice(store: CompletionStore) -> None:
    for _ in range(2):
        CompletionStore(store.root).put("davinci", GREEDY, [completion()], [Paid(10, 1, 0.5)])
    assert store.spent("davinci", 0.0) == Spent(20, 2, 1.0, 0)
    assert len(get(store)) == 1


def test_a_cost_that_is_no_number_is_not_stored(store: CompletionStore) -> None:
    with pytest.raises(ValueError, match="nan dollars"):
        store.put("davinci", GREEDY, [completion()], [Paid(1, 1, math.nan)])
    assert not store.root.exists()


def test_scan_gives_every_line_and_its_place(store: CompletionStore) -> None:
    put = [completion(draw=0), completion(draw=1), completion(draw=1, rationale=" again")]
    store.put("davinci", GREEDY, put, [Paid(20, 7, None), None, None])
    store.put("ada", GREEDY, [completion(task="svamp")])
    rows = list(store.scan("davinci"))
    assert [row.completion for row in rows] == put
    assert [row.line for row in rows] == [1, 2, 3]
    assert [row.paid for row in rows] == [Paid(20, 7, None), None, None]
    assert {row.path.parent for row in rows} == {store.folder("davinci", "multiarith")}
    assert {row.key.teacher for row in rows} == {"davinci"}
    assert len(list(store.scan())) == 4
    assert [row.key.teacher for row in store.scan(task="svamp")] == ["ada"]
    assert list(store.scan("ada", "multiarith")) == []


def test_teachers_are_told_by_their_own_names(store: CompletionStore) -> None:
    assert store.teachers() == []
    names = [("../org/model", "a b"), ("m" * 300, "multiarith"), ("é.", ".")]
    for teacher, task in names:
        store.put(teacher, GREEDY, [completion(task=task)])
    (store.root / ".import-1" / "x").mkdir(parents=True)
    (store.root / "notes.txt").write_text("mine")
    assert store.teachers() == sorted(names)


def test_names_that_share_a_folder_are_kept_apart(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems that do not tell A from a."""
    monkeypatch.setattr("ftcot.teacher.store.safe_name", lambda name: safe_name(name.lower()))
    store.put("davinci", GREEDY, [completion(rationale=" small")], [Paid(1, 1, 1.0)])
    store.put("Davinci", GREEDY, [completion(rationale=" large")], [Paid(2, 2, 2.0)])
    store.put("Davinci", GREEDY, [completion(task="Multiarith")])
    assert get(store)[SAMPLE, 0].rationale == " small"
    assert store.spent("davinci", 0.0).usd == 1.0
    assert [row.completion.rationale for row in store.scan("Davinci", "multiarith")] == [" large"]
    assert len(store.teachers()) == 3


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
    assert len(list(store.scan())) == 3
    for shorter in range(segment.stat().st_size - 1, length - 1, -1):
        os.truncate(segment, shorter)
        assert [row.completion for row in store.scan()] == kept
        assert list(get(store, degree=3).values()) == kept


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


def test_whoever_wants_to_go_on_is_told_of_each_damaged_line(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=draw) for draw in range(4)])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    lines = segment.read_text().splitlines(keepends=True)
    segment.write_text(lines[0] + "{}\n" + lines[2][:-9] + "\n" + lines[3][:-9])
    told: list[InputError] = []
    assert [row.line for row in store.scan(damaged=told.append)] == [1]
    assert [str(error).partition(":")[0] for error in told] == [f"{segment}, line {line}" for line in (2, 3)]
    with pytest.raises(InputError, match="line 2"):
        list(store.scan())


@pytest.mark.parametrize("spoil", ["text", "beginning"])
def test_damage_is_told_when_the_line_is_read(store: CompletionStore, spoil: str) -> None:
    store.put("davinci", GREEDY, [completion(draw=draw) for draw in range(3)])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    at = lines[1].index(b"apples") if spoil == "text" else 5
    lines[1] = lines[1][:at] + b"\0" + lines[1][at + 1 :]
    segment.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=rf"{segment}, line 2: .*damaged"):
        get(store, degree=2)
    if spoil == "text":
        assert len(get(store, degree=1)) == 1


def test_a_damaged_line_that_was_deleted_is_made_again(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=draw) for draw in range(3)])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0] + b"x" + lines[1] + lines[2])
    with pytest.raises(InputError, match="line 2"):
        get(store)
    segment.write_bytes(lines[0] + lines[2])
    assert set(get(store, degree=3)) == {(SAMPLE, 0), (SAMPLE, 2)}
    store.put("davinci", GREEDY, [completion(draw=1)])
    assert len(get(store, degree=3)) == 3


# A store that cannot be read.


def read_all(store: CompletionStore) -> None:
    store.spent("davinci", 0.0)
    store.teachers()
    list(store.scan())
    get(store)


@pytest.mark.parametrize("at", [".", "davinci", "davinci/multiarith"])
def test_a_file_where_a_folder_should_be_is_an_input_error(store: CompletionStore, at: str) -> None:
    (store.root / at).parent.mkdir(parents=True, exist_ok=True)
    (store.root / at).write_text("mine")
    with pytest.raises(InputError, match=r"cannot be read \(Not a directory\)"):
        get(store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("depth", range(4))
def test_a_store_without_permission_is_an_input_error(store: CompletionStore, depth: int) -> None:
    store.put("davinci", GREEDY, [completion()])
    (segment,) = store.folder("davinci", "multiarith").iterdir()
    closed = [segment, *segment.parents][depth]
    closed.chmod(0)
    try:
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
            read_all(store)
    finally:
        closed.chmod(0o755)


def test_a_disk_that_fails_is_an_input_error(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root too: an empty store would be bought anew."""
    store.put("davinci", GREEDY, [completion()])

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for function in ("scandir", "pread"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(InputError, match=r"cannot be read \(Input/output error\)"):
                get(CompletionStore(store.root))
    assert len(get(store)) == 1


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


KEEP_PUTTING = """
import sys
from pathlib import Path
from ftcot.records import Completion
from ftcot.teacher.store import CompletionStore
store, first = CompletionStore(Path(sys.argv[1])), int(sys.argv[2])
for draw in range(first, first + 10**6, 3):
    put = [Completion("multiarith", 1, 7, n, sys.argv[3], "x" * 3000) for n in range(draw, draw + 3)]
    store.put("davinci", {"temperature": 0, "max_tokens": 128}, put)
    print(draw + 3, flush=True)
"""


def test_killing_writers_loses_nothing_that_put_returned_for(store: CompletionStore) -> None:
    acknowledged: set[int] = set()
    for attempt in range(5):
        first = attempt * 10**6
        command = [sys.executable, "-c", KEEP_PUTTING, str(store.root), str(first), PROMPT]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline() for _ in range(1 + attempt)]
            time.sleep(0.001 * attempt)
            writer.kill()
            told += writer.stdout.readlines()
        acknowledged.update(range(first, int(told[-1])))
    assert {draw for _, draw in get(store, degree=10**7)} >= acknowledged


def test_a_forked_process_writes_to_a_segment_of_its_own(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=0)])
    get(store)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: (store.put("davinci", GREEDY, [completion(draw=1)]), get(store))
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    store.put("davinci", GREEDY, [completion(draw=2)])
    assert len(get(store, degree=3)) == 3
    assert len(list(store.folder("davinci", "multiarith").iterdir())) == 2


def test_threads_share_a_store(store: CompletionStore) -> None:
    def work(thread: int) -> None:
        for n in range(20):
            draw = thread * 20 + n
            store.put("davinci", GREEDY, [completion(draw=draw)], [Paid(1, 1, 1.0)])
            assert store.has("davinci", GREEDY, {SAMPLE: PROMPT}, 99) >= {(SAMPLE, draw)}
            assert store.spent("davinci", 0.0).prompt > n

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(get(store, degree=99)) == 80
    assert len(list(store.folder("davinci", "multiarith").iterdir())) == 1


def test_a_store_that_is_deleted_under_its_writer_begins_anew(store: CompletionStore) -> None:
    store.put("davinci", GREEDY, [completion(draw=0)])
    assert len(get(store)) == 1
    shutil.rmtree(store.root)
    assert get(store) == {}
    store.put("davinci", GREEDY, [completion(draw=1)])
    assert set(get(store, degree=2)) == {(SAMPLE, 1)}


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
