"""The worker as a process of the launcher: started with a clean environment, waited for, and stopped when asked to.

run_worker(Path("outputs/2026-11-22/10-15-00-ab12"))      (0, None)      after Ctrl-C (130, 2)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from ftcot.errors import JobError

LAUNCHER_PID = "FTCOT_LAUNCHER_PID"
"""Tells the worker whom to end with."""

RANK_VARIABLES = frozenset(
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
)
"""Left by an earlier fit, they would make a job wait for ranks that nobody starts."""


def run_worker(folder: Path) -> tuple[int, int | None]:
    """Run the worker of `folder` to its end.

    Returns:
        Its exit code, and the number of the signal that asked to stop, if any.
    """
    environment = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    environment[LAUNCHER_PID] = str(os.getpid())
    asked: list[int] = []
    worker: list[subprocess.Popen[bytes]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        # A terminal's Ctrl-C reaches the worker too; it heeds the first signal only. The second time, no more waiting.
        for process in worker:
            process.terminate() if len(asked) == 1 else process.kill()

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        try:
            worker.append(subprocess.Popen([sys.executable, "-m", "ftcot.worker", str(folder)], env=environment))
        except OSError as error:
            raise JobError(f"the worker cannot be started: {error}") from error
        if asked:
            worker[0].terminate()
        code = worker[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code, asked[0] if asked else None


def describe_death(code: int) -> str:
    """How a worker ended that left no word of its own, from its exit code."""
    if code >= 0:
        return f"the worker ended with exit code {code} and left no cause; see log.txt"
    name = signal.Signals(-code).name
    hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
    return f"the worker was killed by {name}{hint}"
