"""Where the workers of a sweep come from: a process that has imported what they need, and forks them.

    nursery = Nursery(environment)           python -m ftcot.warm, 2.5 s of importing, once for all jobs of a process
    nursery.worker(folder, ...)              Forked(pid=4242): it begins 0.05 s later, as `python -m ftcot.worker` would

A forked worker is like a started one in all that others see: it is the launcher's own child, leads a session of its
own, has its job's environment, its own stderr, and ends with its launcher. The nursery forks a process that forks the
worker and ends; an orphan goes to the next ancestor that takes orphans, which the launcher is for that moment.

Linux alone can do all this. Anything unexpected, and the worker is started as ever: the nursery saves time, no more.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftcot.stop import SIGNALS

OFF = "FTCOT_NURSERY"
"""Set to 0 it keeps workers from being forked."""

OF_A_JOB = frozenset({"FTCOT_LAUNCHER_PID", "CUDA_VISIBLE_DEVICES"})
"""What may differ between a nursery's environment and a worker's: no library has looked at it by then."""

PATIENCE = 60.0
"""Seconds to wait for a nursery's answer; before its first one, it imports."""

GO = b"g"

_lock = threading.Lock()
_open: dict[int, Nursery] = {}  # of this process, by its number: one that was forked from it has none


class Forked:
    """A worker that a nursery forked: what `subprocess.Popen` is for one that was started."""

    def __init__(self, pid: int) -> None:
        """A handle of this process's own child."""
        self.pid = pid
        self.returncode: int | None = None
        self._handle = os.pidfd_open(pid)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; -n where signal n killed it.

        Raises:
            TimeoutExpired: it runs still, after `timeout` seconds.
        """
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._handle, select.POLLIN)
            if not ended.poll(None if timeout is None else 1000 * timeout):
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._handle)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs still."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)  # until `wait` has seen its end, the number is its own


def fork_worker(
    module: str,
    folder: Path,
    environment: Mapping[str, str],
    errors: int,
    handles: Sequence[int],
    stopped: Callable[[], bool] = lambda: False,
) -> Forked | None:
    """A worker from this process's nursery, which is made where there is none; None: start it otherwise.

    Args:
        module: what it runs, as `python -m` does.
        environment: all of it.
        errors: its stderr.
        handles: open files that it inherits.
        stopped: whether it need not be waited for any more.
    """
    if not sys.platform.startswith("linux") or os.environ.get(OFF) == "0":
        return None
    with _lock:
        nursery = _open.get(os.getpid())
        if nursery is not None and not nursery.suits(environment):
            nursery.close()
            nursery = None
        try:
            if nursery is None:
                nursery = _open[os.getpid()] = Nursery(environment)
                atexit.register(close)
            return nursery.worker(module, folder, environment, errors, handles, stopped)
        except BaseException as error:
            if nursery is not None:
                nursery.close()  # a new one for the next job: an answer of this one may be on its way
            if isinstance(error, OSError | ValueError | EOFError):
                return None
            raise


def close() -> None:
    """End this process's nursery; its workers go on."""
    with _lock:
        if (nursery := _open.pop(os.getpid(), None)) is not None:
            nursery.close()


class Nursery:
    """The process, and the line to it. It ends when the line does, hence with this process at the latest."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Begin one.

        Raises:
            OSError: it cannot be started.
        """
        self.key = _key(environment)
        self.line, theirs = socket.socketpair()
        self.line.settimeout(PATIENCE)
        # The threads that numpy's algebra would start at its import could not be forked; a worker needs none of them.
        settings = {"OPENBLAS_NUM_THREADS": "1", **environment}
        # It heeds no signal: a terminal's Ctrl-C is for the launcher, which lets go of the line.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ftcot.warm", str(theirs.fileno())],
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether a worker with this environment, in today's working directory, can come from here."""
        return self.key == _key(environment) and self.process.poll() is None

    def worker(
        self,
        module: str,
        folder: Path,
        environment: Mapping[str, str],
        errors: int,
        handles: Sequence[int],
        stopped: Callable[[], bool],
    ) -> Forked | None:
        """A worker; None where it would not be this process's child. The arguments are those of `fork_worker`.

        Raises:
            OSError, ValueError, EOFError: the nursery is gone, or does not answer.
        """
        waits, go = os.pipe()
        try:
            asked = {"module": module, "folder": str(folder), "environment": dict(environment), "parent": os.getpid()}
            with _taking_orphans():
                send(self.line, asked, [waits, errors, *handles])
                self._wait(stopped)
                answer, _ = receive(self.line)
            pid = int(answer["pid"])
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                worker = Forked(pid)
            except OSError:  # it reads the end of the pipe, and is gone without having done anything
                return None
            os.write(go, GO)
            return worker
        finally:
            os.close(waits)
            os.close(go)

    def _wait(self, stopped: Callable[[], bool]) -> None:
        """Until there is an answer.

        Raises:
            OSError: none came in time, or it is not waited for any more; so, too, where a signal that asks to stop is
                held back until the worker is there.
        """
        answered = select.poll()
        answered.register(self.line, select.POLLIN)
        end = time.monotonic() + PATIENCE
        while not answered.poll(100):
            if signal.sigpending() & set(SIGNALS) or stopped() or time.monotonic() > end:
                raise TimeoutError("no answer from the nursery")

    def close(self) -> None:
        """Let it end."""
        _open.pop(os.getpid(), None)
        self.line.close()
        with suppress(OSError):
            self.process.kill()
        self.process.wait()


def send(line: socket.socket, message: Mapping[str, Any], handles: Sequence[int] = ()) -> None:
    """Send a message, and open files along with it."""
    data = json.dumps(message).encode()
    socket.send_fds(line, [len(data).to_bytes(8, "big")], handles)
    line.sendall(data)


def receive(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message, and the files that came with it.

    Raises:
        EOFError: the other end is closed.
    """
    head, handles, _, _ = socket.recv_fds(line, 8, 64)
    head += _exactly(line, 8 - len(head)) if head else b""
    if not head:
        raise EOFError
    message: dict[str, Any] = json.loads(_exactly(line, int.from_bytes(head, "big")))
    return message, handles


def _exactly(line: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        if not (more := line.recv(n - len(data))):
            raise EOFError
        data += more
    return data


def _key(environment: Mapping[str, str]) -> tuple[Any, ...]:
    return {name: value for name, value in environment.items() if name not in OF_A_JOB}, Path.cwd()


@contextmanager
def _taking_orphans() -> Iterator[None]:
    """Within this, descendants of this process that lose their parent become its children."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER
        raise OSError(ctypes.get_errno(), "prctl")
    try:
        yield
    finally:
        library.prctl(36, 0, 0, 0, 0)
