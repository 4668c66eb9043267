"""The ledger of a sweep, `sweep.jsonl`: one line an event of a job; the last line of a job is its state.

{"schema": 1, "time": "2026-11-22T10:15:00+00:00", "number": 3, "hash": "5f0c...", "overrides": ["diversity=8"],
 "folder": "3-5f0c12ab", "action": "new", "state": "complete", "attempt": 1, "started": "...", "ended": "...",
 "accuracy": 0.53, "interval": [0.46, 0.6], "seconds": 71.2, "device_seconds": 142.4, "tokens": {...},
 "study": {"right": 0.51, ...}, "diversity": {...}, "cost_usd": 0.0, "cause": null, "home": null, "reused_from": null}

Whoever runs a job writes its lines, on whatever machine that is; whoever looks on reads them. A line is durable when
the call that adds it returns, and one that a crash tore is dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftcot.records import SCHEMA, to_line

DONE = ("complete", "partial")
"""What was asked for is there."""

ENDED = (*DONE, "failed", "stopped")
"""Nobody works on it, and it said so itself."""

IDLE = (*ENDED, "frozen", "interrupted", "elsewhere", "preempted")
"""Nobody of this sweep works on it. interrupted: whoever did is gone without a word; elsewhere: another command runs
it; preempted: it made way for others, and its launcher (SLURM, say) starts it again."""


@dataclass(frozen=True)
class Member:
    """One job of a sweep."""

    number: int
    hash: str
    overrides: tuple[str, ...]
    """What tells it from the others."""

    @property
    def name(self) -> str:
        """Of its folder in the sweep folder."""
        return f"{self.number}-{self.hash[:8]}"

    def row(self, **values: Any) -> dict[str, Any]:
        """An event of this job."""
        known = {"number": self.number, "hash": self.hash, "overrides": list(self.overrides), "folder": self.name}
        return known | {"cause": None} | values


class Ledger:
    """`sweep.jsonl` of one sweep folder. Several processes may append at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sweep.jsonl"
        self._read = 0

    def append(self, event: Mapping[str, Any]) -> None:
        """Add a line; it is durable when this returns."""
        self.extend([event])

    def extend(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add lines; all are durable when this returns."""
        head = {"schema": SCHEMA, "time": now()}
        data = "".join(to_line(head | dict(event)) for event in events).encode()
        if not data:
            return
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with suppress(OSError):  # a file system without locks; on one machine appending is safe without
                fcntl.flock(handle, fcntl.LOCK_EX)
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                data = b"\n" + data  # the last writer died in the middle of a line
            view = memoryview(data)
            while view:  # a disk that is nearly full takes a part, and says so only when asked again
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def news(self) -> list[dict[str, Any]]:
        """The lines that were added since this was last called."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return list(_rows(whole))

    def states(self) -> dict[int, dict[str, Any]]:
        """The last line of each job, by its number."""
        data = self.path.read_bytes() if self.path.exists() else b""
        return {row["number"]: row for row in _rows(data)}


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are whole. A torn one is dropped: what it said was not durable."""
    for line in data.decode(errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("number"), int):
            yield row


def member(row: Mapping[str, Any]) -> Member:
    """The job that a line tells of."""
    return Member(row["number"], row["hash"], tuple(row["overrides"]))


def now() -> str:
    """The time as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
