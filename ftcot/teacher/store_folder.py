"""The segments of one teacher and task together: which line counts for each key, and what was paid.

    segment A   draw 0 of sample 7, stored 10:15:00   ──┐
    segment B   draw 0 of sample 7, stored 10:15:09     ├──>  A's, since it was stored first
                draw 1 of sample 7, stored 10:15:09   ──┘     and B's draw 1

What other processes append is seen by the next call. A segment that is gone when it is to be read was merged with
others (store_merge.py): then all are listed anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ftcot.errors import InputError
from ftcot.records import Completion
from ftcot.teacher.store_entries import NOTHING, UNPRICED, Entries, Group
from ftcot.teacher.store_index import ChangedError, Segment
from ftcot.teacher.store_lines import Key, gone_or_unreadable, parse_line
from ftcot.teacher.store_selection import Order, Wanted, identity

ATTEMPTS = 10
"""How often all segments are listed anew before a call gives up."""

T = TypeVar("T")


class Spent(NamedTuple):
    """What calls cost together."""

    prompt: int
    """Tokens."""
    completion: int
    usd: float
    """Of those whose price is known."""
    unpriced: int
    """Calls whose price is not known."""


class Folder:
    """The segments under one folder, as far as they were read. Safe to use from several threads."""

    def __init__(self, path: Path, *, saves_index: bool = True) -> None:
        self.path = path
        self._saves_index = saves_index
        self._lock = threading.Lock()
        self._segments: dict[str, Segment] = {}
        self._changed: set[str] = set()

    def groups(self) -> set[Group]:
        """What the lines are about."""
        return self._reading(lambda segments: {group for segment in segments for group in segment.groups})

    def stored(self, group: Group, wanted: Wanted) -> set[tuple[int, int, int]]:
        """(version, sample index, draw) of what is there; parses no line that is indexed."""

        def look(segments: list[Segment]) -> set[tuple[int, int, int]]:
            found: set[tuple[int, int, int]] = set()
            for segment in segments:
                if (number := segment.groups.get(group)) is not None:
                    entries = segment.entries[wanted.rows(segment.entries, number)]
                    found.update(zip(*(entries[name].tolist() for name in ("version", "sample", "draw")), strict=True))
            return found

        return self._reading(look)

    def completions(self, group: Group, wanted: Wanted | None) -> list[tuple[Key, Completion]]:
        """What counts for each key, by sample and draw; None: everything of the group."""
        return self._reading(lambda segments: _read(segments, group, wanted))

    def spent(self, teacher: str, since: int) -> Spent:
        """What was paid for lines stored from `since` (microseconds since 1970) on."""

        def add(segments: list[Segment]) -> Spent:
            paid = [entries for segment in segments if len(entries := _paid_since(segment, teacher, since))]
            if not paid:
                return Spent(0, 0, 0.0, 0)
            entries = np.concatenate(paid)
            if len(paid) > 1:
                # While segments are merged, and after a merge that was cut short, a line stands in two of them.
                entries = entries[np.unique(identity(entries), return_index=True)[1]]
            prompt, completion, usd = (int(entries[f"paid_{name}"].sum()) for name in ("prompt", "completion", "usd"))
            return Spent(prompt, completion, usd / 1e9, int((entries["paid"] == UNPRICED).sum()))

        return self._reading(add)

    def _reading(self, work: Callable[[list[Segment]], T]) -> T:
        """What `work` makes of all segments as they are now.

        Raises:
            InputError: a segment is damaged or cannot be read, or is edited all the time.
        """
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    return work(self._refreshed())
                except ChangedError as change:
                    self._segments.pop(change.path.name, None)
                    self._changed.add(change.path.name)
        raise InputError(f"{self.path}: cannot be read, its files change all the time; is something editing them?")

    def _refreshed(self) -> list[Segment]:
        known, self._segments = self._segments, {}
        for path in segments_in(self.path):
            # An index file that was wrong once is not asked again.
            trusted = path.name not in self._changed
            segment = known.get(path.name) or (Segment.open(path) if trusted else Segment(path))
            segment.refresh()
            if self._saves_index:
                segment.save_index()
            self._segments[path.name] = segment
        return list(self._segments.values())


def segments_in(folder: Path) -> list[Path]:
    """The segments of a folder, by name; none where it is not there.

    Raises:
        InputError: the folder cannot be read.
    """
    # Until two lists agree: a long one is read in pieces, between which a merge may put its segment into a piece that
    # was read already and take the old ones out of one that was not.
    before, now = None, _segments_in(folder)
    while now != before:
        before, now = now, _segments_in(folder)
    return now


def folders_in(folder: Path) -> list[Path]:
    """The folders of teachers, or of a teacher's tasks, by name; none where it is not there.

    Raises:
        InputError: the folder cannot be read.
    """
    return [path for path, is_folder in _list(folder) if is_folder and not path.name.startswith(".")]


def _read(segments: list[Segment], group: Group, wanted: Wanted | None) -> list[tuple[Key, Completion]]:
    rows, entries, owners = [], [], []
    for number, segment in enumerate(segments):
        if (own := segment.groups.get(group)) is not None:
            all_of_it = np.flatnonzero(segment.entries["group"] == own)
            rows.append(all_of_it if wanted is None else wanted.rows(segment.entries, own))
            entries.append(segment.entries[rows[-1]])
            entries[-1]["group"] = 0  # numbers differ from segment to segment
            owners.append(np.full(len(rows[-1]), number))
    if not rows:
        return []
    order = Order.of(np.concatenate(entries))
    counting = order.places[order.first]
    owner, row = np.concatenate(owners)[counting], np.concatenate(rows)[counting]
    found: list[tuple[Key, Completion] | None] = [None] * len(counting)
    for number in np.unique(owner).tolist():
        places = dict(zip(row[owner == number].tolist(), np.flatnonzero(owner == number).tolist(), strict=True))
        for at, parsed in _parsed(segments[number], list(places), group, wanted):
            found[places[at]] = parsed
    return [parsed for parsed in found if parsed is not None]


def _parsed(
    segment: Segment, rows: list[int], group: Group, wanted: Wanted | None
) -> Iterator[tuple[int, tuple[Key, Completion]]]:
    for row, line in segment.lines(rows):
        try:
            key, _, _, completion = parse_line(line)
        except InputError as error:
            raise InputError(f"{segment.place(row)}: {error}") from None
        if Group(key.teacher, completion.task, key.parameters_sha256) != group:
            raise ChangedError(segment.path)
        if wanted is not None and not wanted.holds(key):
            raise ChangedError(segment.path)
        yield row, (key, completion)


def _paid_since(segment: Segment, teacher: str, since: int) -> Entries:
    own = [number for group, number in segment.groups.items() if group.teacher == teacher]
    entries = segment.entries
    rows = np.flatnonzero((entries["stored"] >= since) & (entries["paid"] != NOTHING))
    paid: Entries = entries[rows[np.isin(entries["group"][rows], own)]]
    return paid


def _segments_in(folder: Path) -> list[Path]:
    return [path for path, is_folder in _list(folder) if path.suffix == ".jsonl" and not is_folder]


def _list(folder: Path) -> list[tuple[Path, bool]]:
    """What is in a folder, by name, and whether it is a folder."""
    try:
        with os.scandir(folder) as found:
            return sorted((folder / item.name, item.is_dir()) for item in found)
    except OSError as error:
        problem = gone_or_unreadable(folder, error)
        if isinstance(problem, FileNotFoundError):
            return []
        raise problem from None
