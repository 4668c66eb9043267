"""What the kernel tells of processes, where it does (Linux): which live, since when, and who started whom.

/proc/4242/stat   "4242 (python) S 4200 ..."   ──>   alive, child of 4200, began at tick 8812345
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def is_alive(pid: int, started: str | None) -> bool:
    """Whether the process runs; `started` (where known) tells it from a later one of the same number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, but there
    if not Path("/proc/self/stat").exists():
        return True
    now = start_of(pid)
    return now != "" and started in (None, "", now)


def start_of(pid: int) -> str:
    """When the process began, as Linux counts it; empty where it is gone, a zombie, or the system does not tell."""
    fields = _stat(pid)
    return "" if not fields or fields[0] in "ZX" else fields[19]


def children(pid: int) -> list[int]:
    """The living processes that `pid` started."""
    return _families().get(pid, [])


def descendants(pid: int) -> list[int]:
    """The living processes that `pid` started, and those that they started."""
    families = _families()
    found = list(families.get(pid, ()))
    for child in found:  # grows while it is walked
        found += families.get(child, ())
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started; those may have left its group, and lead sessions of their own."""
    for victim in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(victim, signal.SIGKILL)


def _families() -> dict[int, list[int]]:
    families: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if (fields := _stat(int(folder.name))) and fields[0] not in "ZX":
            families.setdefault(int(fields[1]), []).append(int(folder.name))
    return families


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: [1] is the parent, [19] the start time; [] if gone."""
    try:
        # The name, in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
