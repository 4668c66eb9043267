"""A report that keeps up with sweeps that are running: made again whenever something has happened, until they end.

    python -m ftcot.report multirun/2026-11-23/10-15-00-ab12 --watch

All it knows comes from files: the ledger grows when a job begins or ends, and a running job's metrics.csv when an epoch
does. A sweep runs while its process holds the folder's lock, or a job of it has a heart that beats.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ftcot.folder import read_status
from ftcot.jobs import HEARTBEAT_LIMIT
from ftcot.ledger import Ledger

Stamp = tuple[tuple[str, int, int], ...]

REST = 4
"""Times as long as a report took, until the next one: the cores are the sweep's."""

WATCHED = ("sweep.jsonl", "metrics.csv", "score.json")


def watch(
    folders: Sequence[Path], seconds: float, make: Callable[[bool], None], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Make a report now, whenever something has changed, and once more when nothing runs any longer.

    Args:
        folders: that the report is of.
        seconds: between looks.
        make: makes it; told whether it will be made again.
        sleep: waits.
    """
    before: Stamp | None = None
    while (running := is_running(folders)) or before is None:
        began = time.monotonic()
        if (now := stamp(folders)) != before and running:
            make(True)
        before = now
        if running:
            sleep(max(seconds, REST * (time.monotonic() - began)))
    make(False)


def stamp(folders: Sequence[Path]) -> Stamp:
    """What changes whenever a report would."""
    found = []
    for sweep in sweeps(folders):
        for file in [sweep / "sweep.jsonl", *sorted(path for name in WATCHED[1:] for path in sweep.glob(f"*/{name}"))]:
            try:
                stat = file.stat()
            except OSError:
                continue
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def sweeps(folders: Iterable[Path]) -> list[Path]:
    """The sweep folders among these and below them."""
    ledgers = (path for folder in folders for path in [folder / "sweep.jsonl", *sorted(folder.rglob("sweep.jsonl"))])
    return list(dict.fromkeys(path.parent for path in ledgers if path.is_file()))


def is_running(folders: Iterable[Path]) -> bool:
    """Whether anybody works on any of the sweeps."""
    return any(_is_held(sweep / ".lock") or _beats(sweep) for sweep in sweeps(folders))


def _is_held(lock: Path) -> bool:
    """Whether a process holds the lock of a sweep; False on a file system without locks."""
    try:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except OSError:
        return False
    return False


def _beats(sweep: Path) -> bool:
    """Whether a job of a sweep runs, as it may without its launcher (SLURM)."""
    for row in Ledger(sweep).states().values():
        if row.get("state") == "running":
            home = Path(row.get("home") or sweep / str(row.get("folder")))
            status = read_status(home)
            beat = float(status.get("heartbeat") or 0.0)
            if status.get("state") == "running" and time.time() - beat < HEARTBEAT_LIMIT:
                return True
    return False
