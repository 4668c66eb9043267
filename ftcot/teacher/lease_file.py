"""The file in which leases stand: read, changed and written under its lock, draws written as ranges.

draws 0 to 7 of the samples 0, 2, 3, 4, 5 and 9, draws 4 to 7 of sample 8   <──>   {"0-7": "0,2-5,9", "4-7": "8"}
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from ftcot.records import SampleKey

Draw = tuple[SampleKey, int]

PATIENCE = 5.0
"""Seconds to wait for the lock of the file, which others hold for milliseconds, before going on without it."""


@contextmanager
def locked(path: Path, *, create: bool = False) -> Iterator[dict[str, Any]]:
    """The entries of the file, by holder; what is changed in them is written when this is left."""
    handle = None
    try:
        handle = _open_locked(path, create=create)
        text = os.pread(handle, os.fstat(handle).st_size, 0)
    except OSError:  # not there, or not to be had: nobody's leases are known
        if handle is not None:
            os.close(handle)
        yield {}
        return
    try:
        holders = _parse(text)
        yield holders
        written = json.dumps(holders, separators=(",", ":")).encode() + b"\n"
        # In place, since the lock is the file's own: a new file in its place would not be locked.
        with suppress(OSError):
            if not holders:
                path.unlink(missing_ok=True)
            elif written != text:
                os.pwrite(handle, written, 0)
                os.ftruncate(handle, len(written))
    finally:
        os.close(handle)


def _open_locked(path: Path, *, create: bool) -> int:
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + PATIENCE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
        try:
            while not _lock(handle) and time.monotonic() < until:
                time.sleep(0.005)
            # The last holder removes the file, perhaps while this one waited for its lock.
            if time.monotonic() >= until or path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether there is no more to wait for: the file is locked, or cannot be."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _parse(text: bytes) -> dict[str, Any]:
    """The entries in a file; none where it is damaged. What follows them is left from a longer list."""
    try:
        holders, _ = json.JSONDecoder().raw_decode(text.decode())
    except ValueError:
        return {}
    return holders if isinstance(holders, dict) else {}


def to_ranges(items: Iterable[Draw]) -> dict[str, dict[str, str]]:
    """The items as `{version: {draws: samples}}`, written as ranges."""
    draws: dict[tuple[int, int], list[int]] = {}
    for (_, version, index), draw in items:
        draws.setdefault((version, index), []).append(draw)
    samples: dict[str, dict[str, list[int]]] = {}
    for (version, index), numbers in draws.items():
        samples.setdefault(str(version), {}).setdefault(_write(numbers), []).append(index)
    return {
        version: {numbers: _write(indices) for numbers, indices in by_draws.items()}
        for version, by_draws in samples.items()
    }


def from_ranges(task: str, ranges: Mapping[str, Mapping[str, str]]) -> Iterator[Draw]:
    """The items of such ranges."""
    for version, by_draws in ranges.items():
        for numbers, indices in by_draws.items():
            draws = _read(numbers)
            yield from (((task, int(version), index), draw) for index in _read(indices) for draw in draws)


def _write(numbers: Iterable[int]) -> str:
    """`0,2-5,9` for 0, 2, 3, 4, 5 and 9."""
    runs = groupby(enumerate(sorted(numbers)), key=lambda item: item[1] - item[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(run) for _, run in runs)]
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def _read(text: str) -> list[int]:
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
