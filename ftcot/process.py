"""The worker as a process of the launcher: started with a clean environment, waited for, and stopped when asked to.

run_worker(Path("outputs/2026-11-22/10-15-00-ab12"))      Ended(code=0, ...)      after Ctrl-C Ended(code=130, asked=2)

Asked once (a signal, `stop`, a timeout) the worker ends cleanly: it saves a checkpoint and says so. Asked twice, or
where it does not heed a timeout, it is killed with all that it started. It never outlives its launcher.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from ftcot.devices import Slot
from ftcot.errors import JobError
from ftcot.nursery import Forked, fork_worker
from ftcot.procfs import children, kill_tree
from ftcot.stop import SIGNALS

LAUNCHER_PID = "FTCOT_LAUNCHER_PID"
"""Tells the worker whom to end with."""

RANK_VARIABLES = frozenset(
    {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"}
    | {"ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE"}
)
"""Left by an earlier fit or by a torchrun around us, they would make a job wait for ranks that nobody starts. So would
TORCHELASTIC_*."""

OTHERS = (*RANK_VARIABLES, "WANDB_SERVICE")
"""Of the environment, what is not for a worker. A W&B service that a process before us started would end with it, and
take our run along."""

PEER_GONE = "another rank of the job is gone"
"""All that a rank knows whose neighbour has ended; the agent looks for the cause elsewhere."""

GRACE = 30.0
"""Seconds to end cleanly for a worker whose launcher is gone, or whose time is up."""

TAIL = 4000
"""Bytes of a silent worker's stderr that are kept where it could not write its log."""


Worker = subprocess.Popen[bytes] | Forked


@dataclass(frozen=True)
class Ended:
    """How a worker ended."""

    code: int
    """Its exit code; -n where signal n killed it."""
    asked: int | None = None
    """The signal that asked to stop, if any."""
    late: bool = False
    """It ran longer than its timeout."""
    words: str = ""
    """The end of what it wrote to stderr, where nobody saw it."""


@dataclass
class _Requests:
    """What has been asked of the worker so far."""

    asked: list[int] = field(default_factory=list)
    late_at: float | None = None


def run_worker(
    folder: Path,
    *,
    module: str = "ftcot.worker",
    quiet: bool = False,
    stop: Callable[[], bool] | None = None,
    slot: Slot | None = None,
    timeout: float | None = None,
    forked: bool = False,
) -> Ended:
    """Run the worker of `folder` to its end.

    Args:
        folder: the run folder.
        module: what is run: one worker, or the agent of several.
        quiet: it says nothing on the screen, and a terminal's Ctrl-C does not reach it.
        stop: asked about four times a second whether to stop.
        slot: the part of the machine it keeps to.
        timeout: seconds.
        forked: a quiet one may come from this process's nursery: more jobs follow here.
    Raises:
        JobError: it cannot be started.
    """
    slot = slot or Slot()
    requests = _Requests()
    with tempfile.TemporaryFile() as errors:  # not a pipe, which would break with the launcher
        with _heeding(requests) as workers:
            worker = _start(
                *(module, folder, slot, errors if quiet else None, forked and quiet),
                stopped=lambda: bool(requests.asked) or (stop is not None and stop()),
            )
            workers.append(worker)
            if requests.asked:  # while it was being started
                worker.send_signal(requests.asked[0])
            end = None if timeout is None else time.monotonic() + timeout
            try:
                code = _wait(worker, requests, stop, end)
            except BaseException:  # a signal that the caller handles by raising; nobody would wait for the worker
                _end(worker, at_once=bool(requests.asked))
                raise
        return Ended(
            code,
            requests.asked[0] if requests.asked else None,
            requests.late_at is not None,
            _tail(errors),
        )


def _start(
    module: str, folder: Path, slot: Slot, errors: IO[bytes] | None, forked: bool, stopped: Callable[[], bool]
) -> Worker:
    environment = {
        name: value for name, value in os.environ.items() if name not in OTHERS and not name.startswith("TORCHELASTIC_")
    }
    environment |= {**slot.environment, LAUNCHER_PID: str(os.getpid())}
    # A signal that comes before the worker has its handlers waits for them (`end_with_launcher` lets it through).
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    worker: Worker | None = None
    try:
        if forked and errors is not None:
            worker = fork_worker(module, folder, environment, errors.fileno(), slot.handles, stopped)
        worker = worker or subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            env=environment,
            stdout=None if errors is None else subprocess.DEVNULL,
            stderr=errors,
            stdin=None if errors is None else subprocess.DEVNULL,
            start_new_session=errors is not None,
            pass_fds=slot.handles,
        )
    except OSError as error:
        raise JobError(f"the worker cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if slot.cores and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # it has ended already
            os.sched_setaffinity(worker.pid, slot.cores)
    return worker


@contextmanager
def _heeding(requests: _Requests) -> Iterator[list[Worker]]:
    """Within it the stop signals go to the workers in the list; only those that the caller does not handle itself."""
    workers: list[Worker] = []

    def heed(number: int, frame: FrameType | None) -> None:
        requests.asked.append(number)
        for worker in workers:
            # A terminal's Ctrl-C reaches a worker in the foreground too; it heeds the first signal only.
            worker.send_signal(number) if len(requests.asked) == 1 else kill_tree(worker.pid)

    before = {}
    if threading.current_thread() is threading.main_thread():
        unhandled = (signal.SIG_DFL, signal.default_int_handler)
        before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) in unhandled}
    for number in before:
        signal.signal(number, heed)
    try:
        yield workers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(worker: Worker, requests: _Requests, stop: Callable[[], bool] | None, end: float | None) -> int:
    while True:
        try:
            # Never without an end: of two signals at once the second may be given to another thread, which does not
            # wake this one, and only this one runs Python's handlers.
            return worker.wait(timeout=0.25)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if stop is not None and not requests.asked and stop():
            requests.asked.append(signal.SIGINT)
            worker.send_signal(signal.SIGINT)
        if requests.late_at is not None:
            if now > requests.late_at + GRACE:
                kill_tree(worker.pid)
        elif end is not None and now > end:
            requests.late_at = now
            worker.send_signal(signal.SIGTERM)


def _end(worker: Worker, *, at_once: bool) -> None:
    if not at_once:
        worker.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(GRACE)
    kill_tree(worker.pid)
    worker.wait()


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - TAIL))
    return errors.read().decode(errors="replace").strip()


def describe_death(code: int, words: str = "") -> str:
    """How a worker ended that left no word of its own, from its exit code and the end of its stderr."""
    if code >= 0:
        last = words.splitlines()[-1].strip() if words else ""
        return last or f"the worker ended with exit code {code} and left no cause; see log.txt"
    name = signal.Signals(-code).name
    hint = " (often: the machine ran out of memory)" if name == "SIGKILL" else ""
    return f"the worker was killed by {name}{hint}"


FONTS = "matplotlib"
"""The folder for it in `paths.cache`."""


def settle_libraries(fonts: Path | None) -> None:
    """Tell the libraries of this process, by its environment, what they are to know before they are imported.

    Args:
        fonts: where matplotlib may keep its list of the machine's fonts; without a word it would write into the
            user's home. None: nobody will import it.
    """
    if fonts is not None:
        os.environ.setdefault("MPLCONFIGDIR", str(fonts))
    if "OMP_WAIT_POLICY" not in os.environ:
        # GNU OpenMP's threads spin while they wait: beside another job on the same cores a small student crawled at
        # 400 tokens a second. Spinning this briefly it makes 4,300, and on quiet cores 10,300 instead of 11,000.
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads and forked data loaders do not go together
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of libraries, which a pipe would keep every state of


def leave(code: int) -> NoReturn:
    """End this process: threads and exit handlers do their work as ever, but nobody takes the libraries apart, which
    would take longer than importing some of them did."""
    threading._shutdown()  # type: ignore[attr-defined]  # as multiprocessing leaves its processes
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)  # what libraries in C have written
    os._exit(code)


def end_with_launcher(*, take_along: bool = False) -> None:
    """See to it that this process does not outlive the one that started it, where that one said who it is.

    Call it once the signals have their handlers: one that came before is delivered now, and a launcher that is gone
    reads as SIGTERM.

    Args:
        take_along: kill also what this process has started, if it comes to that.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    launcher = os.environ.pop(LAUNCHER_PID, None)
    if launcher is None:
        return
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG
    if os.getppid() != int(launcher):  # it died before prctl could know
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=_watch, args=(int(launcher), take_along), daemon=True).start()


def _watch(launcher: int, take_along: bool) -> None:
    while os.getppid() == launcher:
        time.sleep(1.0)
    # Where there is no prctl this is the signal; where there is, the worker may be deep in a library.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    for child in children(os.getpid()) if take_along else ():
        kill_tree(child)
    os._exit(128 + signal.SIGTERM)
