"""A machine that is taken away: the worker saves first, then whoever handles the signal may do so.

    SLURM, before a time limit   SIGUSR2   ──>   worker saves, ends   ──>   submitit puts the job into the queue again
    SLURM, for an urgent job     SIGTERM   ──>   worker saves, ends   ──>   SLURM kills, and queues the job again itself

submitit would answer SIGUSR2 at once, upon which SLURM kills what is left of the job; and it ignores SIGTERM, so that a
job whose worker has ended would count as done.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)

DEATH_ROW = 120.0
"""Seconds in which SLURM kills a job that it has sent SIGTERM; 30 if nobody has set another time."""


@contextmanager
def saving_first() -> Iterator[Callable[[], bool]]:
    """Yields whether this process is about to be preempted; what its caller does about that waits until we are done.

    Only signals that somebody handles count, and only in the main thread.
    """
    asked: dict[int, FrameType | None] = {}
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, asked.__setitem__)
    try:
        yield lambda: bool(asked) and (set(asked) != {signal.SIGTERM} or _is_queued_again())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, handler in handlers.items():
        if number in asked:
            handler(number, asked[number])  # submitit leaves the process here, unless it was SIGTERM
    if signal.SIGTERM in asked and _is_queued_again():
        time.sleep(DEATH_ROW)


@cache
def _is_queued_again() -> bool:
    """Whether SLURM, which has sent SIGTERM, will start this job again: not after `scancel`."""
    if (job := os.environ.get("SLURM_JOB_ID")) is None:
        return False
    command = ["scontrol", "show", "job", "--oneliner", job]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return True
    found = re.search(r"\bRestarts=(\d+)", said)
    return found is None or int(found[1]) > int(os.environ.get("SLURM_RESTART_COUNT", "0"))
