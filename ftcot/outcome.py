"""How a job ended: from the end of its worker, and what that left in status.json, to what a user is told.

Ended(code=-9) + {"state": "running"}   ──>   Outcome(state="failed", cause="the worker was killed by SIGKILL ...")
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftcot.errors import FtcotError, InputError
from ftcot.folder import read_status, satisfied
from ftcot.process import GRACE, Ended, describe_death
from ftcot.procfs import is_alive
from ftcot.status import STAGES, Status, boot_id

Action = Literal["reused", "continued", "new", "followed"]
"""followed: another machine runs the job, and this one takes part."""

AGAIN = "the same command goes on"


class RefusedError(InputError):
    """The worker found wrong input and has said so; its folder is gone again."""


class Interrupted(KeyboardInterrupt):
    """A person or the system asked to stop while a worker ran. It has ended; nothing more is to be started."""

    def __init__(self, outcome: Outcome, number: int) -> None:
        super().__init__()
        self.outcome = outcome
        self.number = number
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    action: Action
    state: str
    """complete, partial, failed or stopped."""
    home: Path
    """Where it ran."""
    folder: Path
    """Where its result is to be looked for: `home`, or the folder that was filled from it."""
    cause: str | None = None
    said: bool = True
    """The worker has put the cause on the screen; a killed one could not, and a quiet one has none."""

    @property
    def ok(self) -> bool:
        return self.state in ("complete", "partial")


def conclude(home: Path, ended: Ended, *, said: bool, timeout: Any = None) -> tuple[str, str | None, bool]:
    """State and cause of the job whose worker has ended, and whether the screen shows the cause.

    The status is made to tell it, too, where the worker could not.

    Args:
        home: the run folder.
        ended: its worker.
        said: what the worker says is on the screen.
        timeout: as the config has it.
    """
    status = read_status(home)
    if ended.code < 0:
        _outlive(status)
        status = read_status(home)
    state, cause = str(status.get("state")), status.get("cause")
    if ended.code == 0 or state == "complete":  # a library may crash on the way out; the result is there
        return state, None, said
    if ended.late and ended.asked is None:
        state, said = "failed", False
        cause = f"ran longer than timeout={timeout}; {AGAIN} from its last checkpoint"
    elif state == "stopped" and ended.asked is not None:
        pass  # it has said so; a second signal may have killed what was left of it
    elif ended.code < 0 or state in ("frozen", "running", "None"):  # it could not say it
        state = "failed" if ended.asked is None else "stopped"
        cause = describe_death(ended.code, ended.words)
        said = said and ended.code > 0
    if (state, cause) != (status.get("state"), status.get("cause")):
        with suppress(OSError, FtcotError):  # a full disk: the outcome tells it all the same
            Status(home).update(state=state, cause=cause)
            if ended.words:
                with (home / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(f"── the end of its stderr ──\n{ended.words}\n")
    return state, cause, said


def followed(home: Path, ended: Ended, *, said: bool) -> Outcome:
    """How a job ended whose status is another machine's to write."""
    if ended.code == 0:
        return Outcome("followed", reached(home), home, home)
    if ended.asked is not None or ended.code > 128:
        return Outcome("followed", "stopped", home, home)
    return Outcome("followed", "failed", home, home, describe_death(ended.code, ended.words), said and ended.code > 0)


def reached(folder: Path) -> str:
    """What a run that has what was asked for is called, even if a later stage failed or was stopped."""
    return "complete" if satisfied(read_status(folder), STAGES[-1]) else "partial"


def describe(outcome: Outcome) -> str:
    """One line on how a job ended, with the cause where the screen does not show it yet, and what to do next."""
    if outcome.state == "stopped":
        return f"stopped; {AGAIN} from there ({outcome.home})"
    if not outcome.ok:
        cause = "" if outcome.said else f": {outcome.cause}"
        hint = "" if AGAIN in cause else f"; once that is mended, {AGAIN}"
        return f"failed{cause}; see {outcome.home / 'log.txt'}{hint}"
    return f"{outcome.state} ({outcome.folder})"


def _outlive(status: dict[str, Any]) -> None:
    """An agent that was killed leaves ranks that end within seconds; before, nobody else may write to the folder."""
    pid, patience = status.get("pid"), time.monotonic() + GRACE + 2.0
    while isinstance(pid, int) and status.get("boot") == boot_id() and is_alive(pid, None):
        if time.monotonic() > patience:
            return
        time.sleep(0.1)
