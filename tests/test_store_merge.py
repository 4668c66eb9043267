"""Merging segments: fewer files, the same answers, whatever happens in the middle of it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ftcot.errors import InputError, JobError
from ftcot.records import Completion
from ftcot.teacher import store_merge
from ftcot.teacher.store import CompletionStore, Merged, Paid, Spent
from ftcot.teacher.store_writer import Writer

PARAMETERS = {"temperature": 0.7}
PROMPTS = {("multiarith", 1, index): f"Q: {index}?" for index in range(4)}
DEGREE = 500


def row(sample: int = 0, draw: int | None = 0, text: str = " ok", **values: Any) -> Completion:
    return Completion("multiarith", 1, sample, draw, f"Q: {sample}?", text, **values)


def put(store: CompletionStore, *completions: Completion, paid: Paid | None = None, n: int = 1) -> None:
    """By writers that have ended when this returns: a segment for each of `n` times."""
    for _ in range(n):
        CompletionStore(store.root).put("davinci", PARAMETERS, completions, [paid] * len(completions))


def merge(store: CompletionStore) -> Merged:
    return store.merge("davinci", "multiarith")


def segments(store: CompletionStore) -> list[Path]:
    return sorted(store.folder("davinci", "multiarith").glob("*.jsonl"))


def contents(root: Path) -> tuple[dict[Any, Completion], list[Completion], Spent]:
    """All that a new reader is told."""
    store = CompletionStore(root)
    found = store.get("davinci", PARAMETERS, PROMPTS, DEGREE)
    assert store.has("davinci", PARAMETERS, PROMPTS, DEGREE) == set(found)
    return found, store.rows("davinci", "multiarith", PARAMETERS), store.spent("davinci", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "completions")


def test_ended_segments_become_one(store: CompletionStore) -> None:
    for draw in range(5):
        put(store, row(0, draw), row(1, draw), paid=Paid(1, 2, 0.5))
    before = contents(store.root)
    assert len(store.idle_segments("davinci", "multiarith")) == 5
    assert merge(store) == Merged(5, 10, 0)
    assert len(segments(store)) == 1
    assert contents(store.root) == before
    assert merge(store) == Merged(0, 10, 0)


def test_merging_nothing_creates_nothing(store: CompletionStore) -> None:
    assert merge(store) == Merged(0, 0, 0)
    assert store.idle_segments("davinci", "multiarith") == []
    assert not store.root.exists()


def test_a_living_writer_keeps_its_segment(store: CompletionStore) -> None:
    put(store, row(0, 0), n=2)
    store.put("davinci", PARAMETERS, [row(0, 1)])
    (mine,) = set(segments(store)) - set(store.idle_segments("davinci", "multiarith"))
    merge(store)
    assert mine in segments(store)
    assert len(segments(store)) == 2
    store.put("davinci", PARAMETERS, [row(0, 2)])
    assert len(contents(store.root)[0]) == 3


def test_a_killed_writers_segment_is_free(store: CompletionStore) -> None:
    context = multiprocessing.get_context("fork")

    def write(told: Any) -> None:
        store.put("davinci", PARAMETERS, [row(0, 1)])
        told.set()
        time.sleep(60)

    told = context.Event()
    writer = context.Process(target=write, args=(told,))
    writer.start()
    assert told.wait(20)
    assert store.idle_segments("davinci", "multiarith") == []
    writer.kill()
    writer.join()
    assert len(store.idle_segments("davinci", "multiarith")) == 1


def test_duplicates_are_dropped_and_the_first_stored_stays(store: CompletionStore) -> None:
    for number in range(6):
        put(store, row(0, 0, f" {number}"), row(0, None, " one", completion_index=0))
    before = contents(store.root)
    assert merge(store) == Merged(6, 2, 10)
    assert contents(store.root) == before
    assert before[0][("multiarith", 1, 0), 0].rationale == " 0"


def test_duplicates_in_one_segment_are_dropped(store: CompletionStore) -> None:
    put(store, row(0, 0, " a"), row(0, 0, " b"), row(0, 1))
    before = contents(store.root)
    assert merge(store) == Merged(1, 2, 1)
    assert contents(store.root) == before


def test_what_was_paid_for_is_never_dropped(store: CompletionStore) -> None:
    put(store, row(0, 0, " free"))
    put(store, row(0, 0, " bought"), paid=Paid(10, 5, 0.25))
    put(store, row(0, 0, " bought again"), paid=Paid(10, 6, None))
    put(store, row(0, 0, " free again"))
    assert merge(store) == Merged(4, 3, 1)
    assert contents(store.root)[2] == Spent(20, 11, 0.25, 1)
    assert contents(store.root)[0][("multiarith", 1, 0), 0].rationale == " free"


def test_a_line_that_stands_in_two_segments_was_paid_once(store: CompletionStore) -> None:
    put(store, row(0, 0), row(0, 1), paid=Paid(10, 5, 0.25))
    (segment,) = segments(store)
    segment.with_name("copy.jsonl").write_bytes(segment.read_bytes())
    assert contents(store.root)[2] == Spent(20, 10, 0.5, 0)
    assert merge(store) == Merged(2, 2, 2)
    assert contents(store.root)[2] == Spent(20, 10, 0.5, 0)


def test_teachers_parameters_and_prompts_are_kept_apart(store: CompletionStore) -> None:
    put(store, row(0, 0))
    CompletionStore(store.root).put("davinci", {"temperature": 0}, [row(0, 0)])
    put(
        store,
        Completion("multiarith", 1, 0, 0, "Another prompt", " ok"),
        Completion("multiarith", 2, 0, 0, "Q: 0?", ""),
    )
    assert merge(store) == Merged(3, 4, 0)


def test_a_torn_line_is_left_behind(store: CompletionStore) -> None:
    put(store, row(0, 0), row(0, 1))
    put(store, row(0, 1))
    first, second = segments(store)
    longer = max(first, second, key=lambda path: path.stat().st_size)
    os.truncate(longer, longer.stat().st_size - 20)
    assert merge(store) == Merged(2, 2, 0)
    assert len(contents(store.root)[0]) == 2


def test_a_line_without_its_newline_is_kept(store: CompletionStore) -> None:
    put(store, row(0, 0))
    put(store, row(0, 1))
    for segment in segments(store):
        os.truncate(segment, segment.stat().st_size - 1)
    before = contents(store.root)
    merge(store)
    assert contents(store.root) == before
    assert len(before[0]) == 2


def test_damaged_segments_are_left_as_they_are(store: CompletionStore) -> None:
    put(store, row(0, 0), n=2)
    spoilt = segments(store)[0]
    spoilt.write_bytes(b"x" + spoilt.read_bytes())
    before = {path: path.read_bytes() for path in segments(store)}
    with pytest.raises(InputError, match=rf"{spoilt}, line 1: .*damaged"):
        merge(store)
    assert {path: path.read_bytes() for path in segments(store)} == before


# Cut short anywhere.


class Cut(BaseException):
    """What a killed process leaves behind: nothing that comes after this is done."""


@contextmanager
def cut_after(steps: int, *, by: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let so many steps that change or open files pass; the next one, and with Cut all after it, raise."""
    done: list[str] = []

    def counted(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if len(done) >= steps and (by is Cut or len(done) == steps):
                done.append(name)
                raise by(errno.EIO, "Input/output error")
            done.append(name)
            return step(*arguments, **named)

        return run

    with monkeypatch.context() as patch:
        for name in ("fsync", "rename", "unlink"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        patch.setattr(store_merge, "_write", counted("write", store_merge._write))
        yield done


@pytest.mark.parametrize("by", [Cut, OSError])
def test_a_merge_that_is_cut_short_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: type[BaseException]
) -> None:
    for steps in range(100):
        store = CompletionStore(tmp_path / str(steps))
        for draw in range(3):
            put(store, row(0, draw), row(0, 0, f" again {draw}"), paid=Paid(1, 1, 1.0))
            put(store, row(0, draw, " late"))
        before = contents(store.root)
        with cut_after(steps, by=by, monkeypatch=monkeypatch) as done, suppress(Cut, JobError):
            merge(store)
        assert contents(store.root) == before
        merge(store)
        assert contents(store.root) == before
        left = list(store.folder("davinci", "multiarith").iterdir())
        assert left == segments(store)
        assert len(left) == 1
        if len(done) <= steps:
            break
    assert steps > 12


def test_a_disk_that_is_full_leaves_everything_as_it_was(
    store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, row(0, 0), n=3)
    before = segments(store)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_merge, "_write", full)
    with pytest.raises(JobError, match=r"cannot be merged \(No space left on device\); nothing is lost"):
        merge(store)
    assert sorted(store.folder("davinci", "multiarith").iterdir()) == before


def test_a_writer_that_no_lock_protects_loses_nothing(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one on another machine, where the file system knows no locks between them."""
    monkeypatch.setattr(Writer, "_lock", lambda writer: None)
    put(store, row(1, 0))
    store.put("davinci", PARAMETERS, [row(0, 0)])
    merge(store)
    store.put("davinci", PARAMETERS, [row(0, 1)])
    assert len(contents(store.root)[0]) == 3
    remove = store_merge._remove

    def remove_late(path: Path, size: int) -> None:
        store.put("davinci", PARAMETERS, [row(0, 2)])
        remove(path, size)

    monkeypatch.setattr(store_merge, "_remove", remove_late)
    with pytest.raises(JobError, match="was changed while it was merged; nothing is lost"):
        merge(store)
    assert len(contents(store.root)[0]) == 4


def test_a_merge_clears_away_indexes_that_are_of_no_use(store: CompletionStore) -> None:
    put(store, row(0, 0))
    folder = store.folder("davinci", "multiarith")
    useless = [folder / "gone.index", folder / ".old.index.x1f2"]
    for path in [*useless, folder / ".new.index.y3z4"]:
        path.write_bytes(b"")
    os.utime(useless[1], (0, 0))
    merge(store)
    assert sorted(folder.iterdir()) == sorted([folder / ".new.index.y3z4", *segments(store)])


# Readers and writers at the same time.


def test_readers_see_everything_while_segments_are_merged(store: CompletionStore) -> None:
    ended = threading.Event()

    def write_and_merge() -> None:
        try:
            for draw in range(30):
                put(store, row(1, draw), n=2)
                merge(CompletionStore(store.root))
        finally:
            ended.set()

    put(store, *(row(0, draw) for draw in range(20)), paid=Paid(1, 1, 1.0))
    wanted = {(("multiarith", 1, 0), draw) for draw in range(20)}
    merging = threading.Thread(target=write_and_merge)
    merging.start()
    reads = 0
    while not ended.is_set():
        assert store.has("davinci", PARAMETERS, PROMPTS, DEGREE) >= wanted
        assert set(CompletionStore(store.root).get("davinci", PARAMETERS, PROMPTS, DEGREE)) >= wanted
        assert {(found.key.sample, found.key.draw) for found in store.scan("davinci")} >= wanted
        assert store.spent("davinci", 0.0) == Spent(20, 20, 20.0, 0)
        reads += 1
    merging.join()
    assert reads > 3
    assert len(store.get("davinci", PARAMETERS, PROMPTS, DEGREE)) == 50


KEEP_MERGING = """
import sys
from pathlib import Path
from ftcot.teacher.store import CompletionStore
store = CompletionStore(Path(sys.argv[1]))
print(flush=True)
while True:
    store.merge("davinci", "multiarith")
"""


def test_killing_mergers_loses_nothing(store: CompletionStore) -> None:
    draws = 0
    for attempt in range(8):
        command = [sys.executable, "-c", KEEP_MERGING, str(store.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as merger:
            assert merger.stdout is not None
            merger.stdout.readline()
            until = time.monotonic() + 0.05 + 0.013 * attempt
            while time.monotonic() < until:
                put(store, row(0, draws), paid=Paid(1, 1, 1.0))
                draws += 1
            merger.kill()
    found, _, spent = contents(store.root)
    assert len(found) == min(draws, DEGREE)
    assert spent == Spent(draws, draws, float(draws), 0)
    merge(store)
    assert (contents(store.root)[0], contents(store.root)[2]) == (found, spent)
    # A segment of some hundred lines has an index beside it.
    left = [path for path in store.folder("davinci", "multiarith").iterdir() if path.suffix != ".index"]
    assert left == segments(store)


class TwoStores(RuleBasedStateMachine):
    """Two stores over one folder, which put, get, merge and come back anew in any order, against a dictionary."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=TwoStores.folder))
        self.stores = [CompletionStore(self.root) for _ in range(2)]
        self.first: dict[tuple[int, int], str] = {}
        self.paid = 0
        self.count = 0

    @rule(
        which=st.integers(0, 1),
        draws=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=4, unique=True),
        paid=st.booleans(),
    )
    def put(self, which: int, draws: list[tuple[int, int]], paid: bool) -> None:
        self.count += 1
        rows = [row(sample, draw, f" {self.count}") for sample, draw in draws]
        self.stores[which].put("davinci", PARAMETERS, rows, [Paid(1, 0, 0.5) if paid else None] * len(rows))
        self.paid += paid * len(rows)
        for draw in draws:
            self.first.setdefault(draw, f" {self.count}")

    @rule(which=st.integers(0, 1))
    def merge(self, which: int) -> None:
        merge(self.stores[which])

    @rule(which=st.integers(0, 1))
    def begin_anew(self, which: int) -> None:
        self.stores[which] = CompletionStore(self.root)

    @rule(which=st.integers(0, 1), part=st.binary(max_size=40))
    def tear(self, which: int, part: bytes) -> None:
        """A writer dies in the middle of a line."""
        found = segments(self.stores[which])
        self.stores[which] = CompletionStore(self.root)
        if idle := self.stores[which].idle_segments("davinci", "multiarith"):
            with idle[0].open("ab") as file:
                if idle[0].read_bytes().endswith(b"\n"):
                    file.write(b'{"key": ' + part.replace(b"\n", b""))
        assert segments(self.stores[which]) == found

    @rule(which=st.integers(0, 1), degree=st.integers(0, 6))
    def get(self, which: int, degree: int) -> None:
        found = self.stores[which].get("davinci", PARAMETERS, PROMPTS, degree)
        assert {(sample[2], draw): completion.rationale for (sample, draw), completion in found.items()} == {
            (sample, draw): text for (sample, draw), text in self.first.items() if draw < degree
        }

    @invariant()
    def nothing_paid_is_forgotten(self) -> None:
        for store in self.stores:
            assert store.spent("davinci", 0.0) == Spent(self.paid, 0, 0.5 * self.paid, 0)


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@pytest.fixture(autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    TwoStores.folder = tmp_path_factory.mktemp("two")


@given(cuts=st.lists(st.integers(0, 300), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_ends_of_segments_merge_into_what_was_readable(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    store = CompletionStore(tmp_path_factory.mktemp("cut"))
    for sample, cut in enumerate(cuts):
        put(store, *(row(sample, draw) for draw in range(3)))
        (segment,) = [path for path in segments(store) if f'"sample_index": {sample},' in path.read_text()]
        os.truncate(segment, max(0, segment.stat().st_size - cut))
    before = contents(store.root)
    merge(store)
    assert contents(store.root) == before
