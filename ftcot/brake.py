"""How a sweep is brought to a halt, wherever its jobs run: the file `stop` in the sweep folder, and signals.

Ctrl-C          stop: "stop"    no job starts; running ones save a checkpoint and end
on_error=stop   stop: "hold"    no job starts; running ones go on to their end
Ctrl-C again                    everything that this process started is killed

What SLURM sends ahead of a time limit (SIGUSR1) counts as a Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from ftcot.procfs import descendants
from ftcot.stop import SIGNALS


class Brake:
    """The file `stop` of a sweep folder. Any process that sees the folder can pull it or look at it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stop"

    def pull(self, how: Literal["stop", "hold"]) -> None:
        """Let no job of the sweep start; `stop`: let none go on either."""
        if how == "stop" or not self.holds():
            self.path.write_text(how)

    def release(self) -> None:
        """Let jobs start again."""
        self.path.unlink(missing_ok=True)

    def holds(self) -> bool:
        """Whether no job is to be started."""
        return self.path.exists()

    def stops(self) -> bool:
        """Whether running jobs are to stop."""
        try:
            return self.path.read_text() == "stop"
        except OSError:
            return False


@dataclass
class Request:
    """What a person or the system has asked of this process."""

    number: int | None = None
    """The first signal."""
    told: bool = False
    """Whoever asked has been told what happens now."""
    at_once: bool = False
    """There was a second one; what this process started has been killed."""


@contextmanager
def heeding(brake: Brake) -> Iterator[Request]:
    """Within it the first signal pulls the brake, and the second kills. Only in the main thread."""
    request = Request()

    def heed(number: int, frame: FrameType | None) -> None:
        if request.number is None:
            request.number = number
            with suppress(OSError):  # a full disk: the second signal still works
                brake.pull("stop")
        else:
            request.at_once = True
            kill_all()

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, heed) for number in SIGNALS if main}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def kill_all() -> None:
    """Kill all that this process started, and what that started."""
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
