"""Indexes: they save time, and nothing that happens to them changes an answer."""

from __future__ import annotations

import json
import os
import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.records import Completion
from ftcot.teacher import store_entries, store_folder, store_index
from ftcot.teacher.store import CompletionStore, Paid, Spent
from ftcot.teacher.store_entries import ENTRY, Group, entry_of, entry_of_parsed
from ftcot.teacher.store_index import SAVED_FROM, Segment
from ftcot.teacher.store_lines import hash_parameters, parse_line, write_line

PARAMETERS = {"temperature": 0.7}
N = SAVED_FROM + 50
PROMPTS = {("multiarith", 1, index): f"Q: {index}?" for index in range(N // 4)}


def rows(first: int = 0, last: int = N) -> list[Completion]:
    """Draws 0 to 3 of each sample, in a mixed order."""
    order = random.Random(0).sample(range(N), N)[first:last]
    return [Completion("multiarith", 1, n // 4, n % 4, f"Q: {n // 4}?", f" {n}.", answer_text="2") for n in order]


def put(store: CompletionStore, completions: list[Completion]) -> Path:
    """Store them in a segment of their own, whose path is returned."""
    before = set(store.root.rglob("*.jsonl"))
    writer = CompletionStore(store.root)
    for start in range(0, len(completions), 100):
        some = completions[start : start + 100]
        writer.put("davinci", PARAMETERS, some, [Paid(3, 2, 0.25)] * len(some))
    (segment,) = set(store.root.rglob("*.jsonl")) - before
    return segment


def everything(root: Path) -> tuple[dict[tuple[tuple[str, int, int], int], Completion], Spent]:
    store = CompletionStore(root)
    found = store.get("davinci", PARAMETERS, PROMPTS, 4)
    assert store.has("davinci", PARAMETERS, PROMPTS, 4) == set(found)
    assert [row for row in store.rows("davinci", "multiarith", PARAMETERS) if row.sample_key in PROMPTS] == list(
        found.values()
    )
    return found, store.spent("davinci", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "completions")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines whose text was parsed since."""
    lines: list[bytes] = []

    def parse(line: bytes) -> object:
        lines.append(line)
        return parse_line(line)

    monkeypatch.setattr(store_folder, "parse_line", parse)
    monkeypatch.setattr(store_entries, "parse_line", parse)
    return lines


# The entry of a line.

texts = st.text(st.characters(), max_size=12)
counts = st.integers(0, 10**6)
completions = st.builds(
    Completion,
    task=texts,
    version=st.integers(0, 3),
    sample_index=counts,
    draw=st.none() | st.integers(0, 70),
    prompt=st.none() | texts,
    rationale=texts,
    completion_index=st.none() | counts,
)
payments = st.none() | st.builds(
    Paid, counts, counts, st.none() | st.floats(0, 1e6, allow_nan=False) | st.integers(0, 9)
)


@given(completion=completions, paid=payments, teacher=texts)
@settings(max_examples=200, deadline=None)
def test_an_entry_read_from_the_beginning_of_a_line_is_that_of_the_whole_line(
    completion: Completion, paid: Paid | None, teacher: str
) -> None:
    line = write_line(teacher, hash_parameters({}), "2026-11-22T10:15:00.123456Z", paid, completion).removesuffix(b"\n")
    quick: dict[Group, int] = {}
    whole: dict[Group, int] = {}
    assert entry_of(line, 5, quick) == entry_of_parsed(line, 5, whole)
    assert list(quick) == list(whole) == [Group(teacher, completion.task, hash_parameters({}))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"stored": "2026', '"stored": "26', id="time"),
        pytest.param('Z", "schema"', '", "schema"', id="time zone"),
        pytest.param('"draw": 0', '"draw": "0"', id="text for a number"),
        pytest.param('"draw": 0', '"draw": -2', id="negative"),
        pytest.param('"sample_index": 7', '"sample_index": 7000000000', id="too large"),
        pytest.param('"key": {', '"kee": {', id="no key"),
        pytest.param('"schema": 1', '"schema": 2', id="newer"),
        pytest.param('"rationale"', '"reason"', id="unknown field"),
        pytest.param('"prompt_sha256": "', '"prompt_sha256": "x', id="hash"),
    ],
)
def test_a_line_that_is_not_the_stores_is_named(store: CompletionStore, old: str, new: str) -> None:
    segment = put(store, [Completion("multiarith", 1, 7, 0, "Q", " ok"), Completion("multiarith", 1, 7, 1, "Q", " ok")])
    first, _, rest = (
        segment.read_text().replace(', "paid": {"prompt": 3, "completion": 2, "usd": 0.25}', "").partition("\n")
    )
    assert old in first
    segment.write_text(first.replace(old, new) + "\n" + rest)
    with pytest.raises(InputError, match=rf"{segment}, line 1: "):
        store.get("davinci", PARAMETERS, {("multiarith", 1, 7): "Q"}, 1)


def test_lines_in_another_style_are_read_as_well(store: CompletionStore) -> None:
    segment = put(store, rows())
    before = everything(store.root)
    lines = [json.dumps(json.loads(line), indent=None, sort_keys=True) for line in segment.read_text().splitlines()]
    segment.write_text("\n\n".join(lines))
    assert everything(store.root) == before


# When an index is used, and when it is made.


def test_only_what_is_asked_for_is_parsed(store: CompletionStore, parsed: list[bytes]) -> None:
    put(store, rows())
    asked = dict(list(PROMPTS.items())[:3])
    assert len(CompletionStore(store.root).has("davinci", PARAMETERS, asked, 4)) == 12
    assert parsed == []
    assert len(store.get("davinci", PARAMETERS, asked, 2)) == 6
    assert len(parsed) == 6


def test_an_index_file_is_made_by_the_first_reader_and_used_by_the_next(
    store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = put(store, rows())
    assert not segment.with_suffix(".index").exists()
    before = everything(store.root)
    assert segment.with_suffix(".index").exists()
    monkeypatch.setattr(store_index, "entry_of", None)  # nothing is left to be indexed
    assert everything(store.root) == before


def test_what_was_appended_since_is_found(store: CompletionStore) -> None:
    writer = CompletionStore(store.root)
    writer.put("davinci", PARAMETERS, rows(0, SAVED_FROM))
    everything(store.root)
    (index,) = store.root.rglob("*.index")
    saved = index.read_bytes()
    writer.put("davinci", PARAMETERS, rows(SAVED_FROM, N))
    assert len(everything(store.root)[0]) == N // 4 * 4
    assert index.read_bytes() == saved  # few lines: not worth another one yet


def test_a_small_segment_needs_no_index_file(store: CompletionStore) -> None:
    put(store, rows(0, SAVED_FROM - 1))
    everything(store.root)
    assert list(store.root.rglob("*.index")) == []


def test_a_store_that_can_only_be_read_is_read(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, rows())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store_index, "write_atomic", refuse)
    assert len(everything(store.root)[0]) == N // 4 * 4
    assert list(store.root.rglob("*.index")) == []


# Whatever happens to an index, the answers stay.


def _other(index: Path) -> None:
    """The index of another segment, whole and well."""
    root = index.parent / "other"
    other = put(CompletionStore(root), rows()[::-1])
    everything(root)
    shutil.move(other.with_suffix(".index"), index)
    shutil.rmtree(root)


def _older(index: Path) -> None:
    index.write_bytes(index.read_bytes().replace(b'"format": 1', b'"format": 0', 1))


def _empty_but_valid(index: Path) -> None:
    body = b'{"format": 1, "end": 0, "groups": []}\n'
    index.write_bytes(sha256(body).hexdigest().encode() + b"\n" + body)


FATES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda index: index.unlink(),
    "empty": lambda index: index.write_bytes(b""),
    "empty but valid": _empty_but_valid,
    "another's": _other,
    "another format": _older,
    "a folder": lambda index: (index.unlink(), index.mkdir()),
    "torn": lambda index: os.truncate(index, index.stat().st_size - ENTRY.itemsize),
}


@pytest.mark.parametrize("fate", FATES)
def test_an_index_that_does_not_fit_is_made_anew(store: CompletionStore, fate: str) -> None:
    segment = put(store, rows())
    before = everything(store.root)
    FATES[fate](segment.with_suffix(".index"))
    assert everything(store.root) == before
    if fate != "a folder":
        assert Segment.open(segment).size == segment.stat().st_size


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an index."""
    store = CompletionStore(tmp_path_factory.mktemp("indexed"))
    put(store, rows())
    everything(store.root)
    return store.root


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_spoilt_index_never_changes_an_answer(indexed: Path, data: st.DataObject) -> None:
    (index,) = indexed.rglob("*.index")
    whole = index.read_bytes()
    before = everything(indexed)
    try:
        spoilt = bytearray(whole)
        for _ in range(data.draw(st.integers(0, 4))):
            spoilt[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        index.write_bytes(spoilt[: data.draw(st.integers(0, len(whole)))])
        assert everything(indexed) == before
    finally:
        index.write_bytes(whole)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_an_edited_segment_is_read_as_it_is_now(indexed: Path, data: st.DataObject) -> None:
    """With the index of before, by a store that has read it and by a new one."""
    (segment,) = indexed.rglob("*.jsonl")
    whole, index = segment.read_bytes(), segment.with_suffix(".index").read_bytes()
    knows = CompletionStore(indexed)
    knows.has("davinci", PARAMETERS, PROMPTS, 4)
    try:
        lines = whole.splitlines(keepends=True)
        at = data.draw(st.integers(0, len(lines) - 1))
        edit = data.draw(st.sampled_from(["delete", "repeat", "swap", "cut"]))
        if edit == "delete":
            del lines[at : at + data.draw(st.integers(1, 3))]
        elif edit == "repeat":
            lines[at:at] = lines[-3:]
        elif edit == "swap":
            lines[at], lines[0] = lines[0], lines[at]
        else:
            del lines[at:]
        segment.write_bytes(b"".join(lines))
        wanted = {}
        for line in lines:
            key, _, _, completion = parse_line(line)
            if completion.sample_key in PROMPTS:
                wanted[key.sample, key.draw] = completion
        assert CompletionStore(indexed).get("davinci", PARAMETERS, PROMPTS, 4) == wanted
        assert knows.get("davinci", PARAMETERS, PROMPTS, 4) == wanted
    finally:
        segment.write_bytes(whole)
        segment.with_suffix(".index").write_bytes(index)


def test_a_line_that_was_changed_in_place_is_read_anew(store: CompletionStore) -> None:
    """Its length is that of before, and no probe may have met it."""
    segment = put(store, rows())
    before, _ = everything(store.root)
    text = segment.read_text()
    at = text.index('"answer_text": "2"', len(text) // 3)
    segment.write_text(text[:at] + '"answer_text": "3"' + text[at + 18 :])
    after, _ = everything(store.root)
    (changed,) = [draw for draw in before if before[draw] != after[draw]]
    assert after[changed] == replace(before[changed], answer_text="3")


def test_a_segment_that_changes_all_the_time_is_an_input_error(
    store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = put(store, rows())
    numbers = count()
    monkeypatch.setattr(zlib, "crc32", lambda line: next(numbers))
    with pytest.raises(InputError, match=rf"{segment.parent}: .* is something editing them"):
        store.get("davinci", PARAMETERS, PROMPTS, 4)
