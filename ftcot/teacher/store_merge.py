"""Joining the segments of writers that have ended into one.

    A.jsonl, B.jsonl        locked, and copied line by line to   .C.merging
    A.jsonl, B.jsonl        and C.jsonl: every line is there twice, which readers know it by
    .A.merged, .B.merged    and C.jsonl: nobody reads the first two any more
    C.jsonl

Each step is on disk before the next, so a merge can be cut short anywhere: what it leaves is taken up by the next one.
A line is left out if it stands there a second time, or if another one counts for its key and nothing was paid for it:
the sums of what was paid stay as they are.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ftcot.errors import JobError
from ftcot.files import sync_folder
from ftcot.teacher.store_entries import NOTHING, Group
from ftcot.teacher.store_folder import segments_in
from ftcot.teacher.store_index import ChangedError, Segment
from ftcot.teacher.store_selection import Order
from ftcot.teacher.store_writer import lock_alone, new_name

MERGING, MERGED = ".merging", ".merged"

ABANDONED = 3600.0
"""Seconds after which nobody is still writing an index."""


class Merged(NamedTuple):
    """What a merge did."""

    segments: int
    """That are one now; 0: there was nothing to do."""
    lines: int
    """In it."""
    dropped: int
    """Lines that it left out."""


def idle_segments(folder: Path) -> list[Path]:
    """Segments whose writer has ended. Where files cannot be locked nobody can tell, and there are none.

    Raises:
        InputError: the folder cannot be read.
    """
    idle = []
    for path in segments_in(folder):
        if (handle := lock_alone(path)) is not None:
            os.close(handle)
            idle.append(path)
    return idle


def merge(folder: Path) -> Merged:
    """Join all idle segments; readers and writers may go on.

    Raises:
        InputError: a segment is damaged; none is touched then.
        JobError: the new one could not be written, or a segment is edited meanwhile; all lines are still there.
    """
    try:
        with ExitStack() as held:
            _take_up(folder)
            segments = _lock_idle(folder, held)
            if not segments:
                return Merged(0, 0, 0)
            keep = _chosen(segments)
            n_lines, n_kept = sum(len(segment.entries) for segment in segments), sum(map(len, keep))
            if len(segments) == 1 and n_lines == n_kept:
                return Merged(0, n_lines, 0)
            _copy(folder, segments, keep)
            for segment in segments:
                _remove(segment.path, size=segment.size)
            sync_folder(folder)
            return Merged(len(segments), n_kept, n_lines - n_kept)
    except OSError as error:
        raise JobError(f"{folder}: segments cannot be merged ({error.strerror or error}); nothing is lost") from None
    except ChangedError as change:
        raise JobError(f"{change.path}: was changed while it was merged; nothing is lost, merge again") from None


def _lock_idle(folder: Path, held: ExitStack) -> list[Segment]:
    segments = []
    for path in segments_in(folder):
        if (handle := lock_alone(path)) is not None:
            held.callback(os.close, handle)
            # Not from its index: it is parsed once more before the original goes.
            segments.append(Segment(path))
            segments[-1].refresh()
    return segments


def _chosen(segments: Sequence[Segment]) -> list[NDArray[np.intp]]:
    """Of each segment the lines to keep."""
    numbers: dict[Group, int] = {}
    parts = []
    for segment in segments:
        renumbered = np.array([numbers.setdefault(group, len(numbers)) for group in segment.groups], np.uint32)
        parts.append(segment.entries.copy())
        parts[-1]["group"] = renumbered[parts[-1]["group"]]
    entries = np.concatenate(parts)
    order = Order.of(entries)
    keep = np.zeros(len(entries), bool)
    keep[order.places] = order.first | ((entries["paid"][order.places] != NOTHING) & ~order.repeated)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return [np.flatnonzero(part) for part in np.split(keep, ends)]


def _copy(folder: Path, segments: Sequence[Segment], keep: Sequence[NDArray[np.intp]]) -> None:
    """A new segment of these lines."""
    name = new_name()
    path = folder / f".{name}{MERGING}"
    try:
        with path.open("xb") as file:
            # Whoever takes up what a dead merge left shall see that this one lives.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            for segment, rows in zip(segments, keep, strict=True):
                _write(file, segment, rows)
            file.flush()
            os.fsync(file.fileno())
        path.rename(folder / name)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def _write(file: BinaryIO, segment: Segment, rows: NDArray[np.intp]) -> None:
    for _, line in segment.lines(rows):
        file.write(line + b"\n")


def _remove(path: Path, size: int) -> None:
    """Take a segment away whose lines are in another one.

    A writer that the lock did not keep away either sees that its segment is gone, or has written to it before: then
    it has grown, and stays.
    """
    aside = path.with_name(f".{path.name}{MERGED}")
    path.rename(aside)
    with aside.open("rb") as file:
        grown = os.fstat(file.fileno()).st_size != size
    if grown:
        aside.rename(path)
        raise ChangedError(path)
    path.with_suffix(".index").unlink(missing_ok=True)
    aside.unlink()


def _take_up(folder: Path) -> None:
    """Undo and clear away what merges that were cut short have left, and indexes that are of no use."""
    for path in folder.glob(f".*{MERGED}"):
        if (handle := lock_alone(path)) is not None:
            path.rename(path.with_name(path.name.removeprefix(".").removesuffix(MERGED)))
            os.close(handle)
    for path in folder.glob(f".*{MERGING}"):
        if (handle := lock_alone(path)) is not None:
            path.unlink()
            os.close(handle)
    for path in folder.glob("*.index"):
        if not path.with_suffix(".jsonl").exists():
            path.unlink(missing_ok=True)
    for path in folder.glob(".*.index.*"):  # being written, or left by a reader that was killed
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
