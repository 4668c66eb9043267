"""The worker: from a run folder's job.yaml to built parts to the pipeline.

    python -m ftcot.worker RUN_FOLDER      exit code 0 done, 1 the job failed, 2 wrong input, 130 or 143 stopped

No Hydra command line: whatever starts this (the launcher, torchrun) says all there is to say with one folder. It ends
when its launcher is gone, stops cleanly when asked to, and leaves the cause of a failure in status.json; the traceback
goes to log.txt, never to the screen.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ftcot.errors import InputError, JobError, cause_of
from ftcot.folder import thaw
from ftcot.log import Log
from ftcot.process import LAUNCHER_PID
from ftcot.status import STAGES, Status

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT = 10.0
"""Seconds between heartbeats; jobs.HEARTBEAT_LIMIT is a multiple of it."""

GRACE = 10.0
"""Seconds an orphan has to stop cleanly."""


class Stop(BaseException):
    """Asked to stop, by a person or the system. No `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def main(arguments: list[str]) -> int:
    """Run the job of a folder; returns the exit code."""
    try:
        signal.signal(signal.SIGINT, _stop)
        signal.signal(signal.SIGTERM, _stop)
        if len(arguments) != 1:
            raise InputError("usage: python -m ftcot.worker RUN_FOLDER")
        end_with_launcher()
        folder = Path(arguments[0]).absolute()
        config = thaw(folder)
        status = Status(folder)
    except InputError as error:
        return _say(str(error), 2)
    except Stop as stop:
        return 128 + stop.number
    if "OMP_WAIT_POLICY" not in os.environ:
        # GNU OpenMP's threads spin while they wait: beside another job on the same cores a small student crawled at
        # 400 tokens a second. Spinning this briefly it makes 4,300, and on quiet cores 10,300 instead of 11,000.
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads and forked data loaders do not go together
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of libraries, which a pipe would keep every state of
    try:
        log = Log(folder / "log.txt", f"worker {os.getpid()}")
    except OSError as error:
        return _say(cause_of(error), 1)
    with log:
        return _run(folder, config, status, log)


def _run(folder: Path, config: Mapping[str, Any], status: Status, log: Log) -> int:
    ended = threading.Event()
    try:
        status.claim()
        threading.Thread(target=_beat, args=(status, ended), daemon=True).start()
        _pipeline(folder, config, status, log.console)
        ended.set()
        complete = set(STAGES) <= set(status.stages)
        status.update(state="complete" if complete else "partial", cause=None)
        _show(folder, config, status, log.console)
        return 0
    except Stop as stop:
        _heed_no_more()
        ended.set()
        with suppress(OSError):
            log.write(f"{stop}\n")
        _record(status, "stopped", str(stop))
        return 128 + stop.number
    except BaseException as error:
        _heed_no_more()
        ended.set()
        if isinstance(error, SystemExit | KeyboardInterrupt):
            error = JobError(f"a library ended the process ({error!r})")
        cause = cause_of(error)
        with suppress(OSError):
            log.write(traceback.format_exc())
        _record(status, "failed", cause)
        # Before any stage is done, nothing is spent: wrong input, like what the launcher's checks find.
        return _say(cause, 2 if isinstance(error, InputError) and not status.stages else 1)


def _pipeline(folder: Path, config: Mapping[str, Any], status: Status, console: Console) -> None:
    from ftcot import job, pipeline

    pipeline.run(job.build(config), folder, status, console)


def _show(folder: Path, config: Mapping[str, Any], status: Status, console: Console) -> None:
    from ftcot import display

    if (folder / "score.json").exists():
        display.result(console, folder, config, status.get("counts", {}).get("train", 0))
    else:
        console.print(f"done up to {status.stages[-1]}; folder {folder}", soft_wrap=True, highlight=False)


def end_with_launcher() -> None:
    """See to it that this process does not outlive the one that started it, where that one said who it is.

    Raises:
        Stop: it is gone already.
    """
    launcher = os.environ.pop(LAUNCHER_PID, None)
    if launcher is None:
        return
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG
    if os.getppid() != int(launcher):  # it died before prctl could know
        raise Stop(signal.SIGTERM)
    threading.Thread(target=_watch, args=(int(launcher),), daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1.0)
    # Where there is no prctl this is the signal; where there is, the worker may be deep in a library.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _beat(status: Status, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):  # a full disk: the job itself will say so
            status.beat()


def _stop(number: int, frame: FrameType | None) -> None:
    _heed_no_more()
    raise Stop(number)


def _heed_no_more() -> None:
    # Not SIG_IGN: Python complains of a signal that was on its way when it was set.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)


def _record(status: Status, state: str, cause: str) -> None:
    with suppress(OSError):  # a full disk: the exit code and the line on the screen still tell
        status.update(state=state, cause=cause)


def _say(cause: str, code: int) -> int:
    with suppress(OSError, ValueError):
        print(f"error: {cause}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
