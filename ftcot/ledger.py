"""The ledger of a sweep, `sweep.jsonl`: one line an event of a job; the last line of a job is its state.

{"schema": 1, "time": "2026-11-22T10:15:00+00:00", "number": 3, "hash": "5f0c...", "overrides": ["diversity=8"],
 "folder": "3-5f0c12ab", "action": "new", "state": "complete", "accuracy": 0.53, "interval": [0.46, 0.6],
 "seconds": 71.2, "tokens": {...}, "cost_usd": null, "cause": null, "reused_from": null}
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftcot.records import SCHEMA, to_line


class Ledger:
    """`sweep.jsonl` of one sweep folder. Several processes may append at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sweep.jsonl"

    def append(self, event: dict[str, Any]) -> None:
        """Add a line; it is durable when this returns."""
        row = {"schema": SCHEMA, "time": datetime.now(UTC).isoformat(timespec="seconds")} | event
        line = to_line(row).encode()
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last writer died in the middle of a line
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)

    def states(self) -> dict[int, dict[str, Any]]:
        """The last line of each job, by its number. A torn line is dropped: what it said was not durable."""
        found: dict[int, dict[str, Any]] = {}
        if not self.path.exists():
            return found
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line)
                found[row["number"]] = row
            except (ValueError, KeyError, TypeError):
                continue
        return found
