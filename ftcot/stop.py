"""Being asked to stop: SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 all mean it, and only the first request counts.

anywhere                 Stop is raised at once
between hold, release    the request waits: a training step is finished and saved before anyone looks at `asked`
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""A person, a system, and SLURM before it takes the machine away."""


class Stop(BaseException):
    """Asked to stop, by a person or the system. No `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class _Requests:
    """A process has one set of signal handlers, hence one of these."""

    listening = False
    held = False
    number: int | None = None
    raised = False


_requests = _Requests()


def listen() -> None:
    """Heed the signals from now on; once more, after a library has put its own handlers in front."""
    _requests.listening = True
    for number in SIGNALS:
        signal.signal(number, _heed)


def listen_again() -> None:
    """As `listen`, where this process listens at all."""
    if _requests.listening:
        listen()


def ignore() -> None:
    """Heed no signal any more: the process is ending as it is."""
    # Not SIG_IGN: Python complains of a signal that was on its way when it was set.
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)


def hold() -> None:
    """Let requests wait."""
    _requests.held = True


def release(*, quietly: bool = False) -> None:
    """Let requests wait no more.

    Args:
        quietly: one that came meanwhile is forgotten: something else ends the work already.
    Raises:
        Stop: one came meanwhile.
    """
    _requests.held = False
    if _requests.number is not None and not quietly:
        _requests.raised = True
        raise Stop(_requests.number)


@contextmanager
def held() -> Iterator[None]:
    """Within this, requests wait for whoever looks for them with `asked`. Signals are the main thread's: in another
    one, this only ends like there.

    Raises:
        Stop: one came meanwhile. An error that came with it is most likely its consequence.
    """
    main = threading.current_thread() is threading.main_thread()
    if main:
        hold()
    try:
        yield
    except BaseException as error:
        if main:
            release(quietly=not isinstance(error, Exception))
        raise
    if main:
        release()
    elif _requests.number is not None:
        raise Stop(_requests.number)


def asked() -> int | None:
    """The signal that asked, if one has."""
    return _requests.number


def heeded() -> int | None:
    """The signal for which Stop was raised, if it was. Whatever is raised later comes of it: a library that is left in
    the middle of something may end with an error of its own."""
    return _requests.number if _requests.raised else None


def _heed(number: int, frame: FrameType | None) -> None:
    if _requests.number is None:
        _requests.number = number
        if not _requests.held:
            _requests.raised = True
            raise Stop(number)
