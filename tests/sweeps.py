"""What the tests of sweeps ask of a sweep folder, and the commands they share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ftcot.ledger import Ledger
from ftcot.procfs import descendants
from tests.command import Command, wait_for

CURATED = ("logger=none", "task.n_train=16", "task.n_test=8", "diversity=1", "until=curate")
"""A job that is over in no time."""

LONG = ("logger=none", "task.n_train=300", "diversity=64", "until=teach")
"""A job of some seconds, to be killed in and to be finished afterwards."""

ENDLESS = ("logger=none", "task.n_train=20000", "diversity=64", "until=teach")


def states(folder: Path) -> list[str]:
    """The state of each job, in order."""
    return [row["state"] for _, row in sorted(Ledger(folder).states().items())]


def rows(folder: Path, state: str) -> list[dict[str, Any]]:
    """The lines of the ledger with this state."""
    return [row for row in Ledger(folder).news() if row["state"] == state]


def workers(*folders: Path) -> list[str]:
    """The workers that have begun in these sweeps; one that was reused by the other is listed once."""
    logs = [path.read_text() for folder in folders for path in folder.glob("*/log.txt")]
    return sorted({line for log in logs for line in re.findall(r"^── .* worker \d+ ──$", log, re.MULTILINE)})


def resume(command: Command, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m ftcot.resume` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ftcot.resume", *map(str, words)],
        cwd=command.cwd,
        env=command.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def until_running(process: subprocess.Popen[str], folder: Path, jobs: int = 1) -> None:
    """Wait until so many jobs of a sweep have workers that are at work."""

    def running() -> bool | None:
        assert process.poll() is None, process.communicate()
        return len(workers(folder)) >= jobs or None

    wait_for(running)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command and all that it started, as a machine does that goes down."""
    for pid in [process.pid, *descendants(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
