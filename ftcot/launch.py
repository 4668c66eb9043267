"""One job's life, seen from outside: which folder it runs in, its lease, its worker, its end.

    (config, hash)  ──>  reused     the index knows a complete run: its small files and a link to its weights
                         continued  a run that was stopped or died: goes on in its own folder
                         new        a fresh folder: job.yaml, status.json, then `python -m ftcot.worker FOLDER`

The decision and the lease are taken under one lock, so of two commands at the same time only one runs the job.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ftcot.errors import FtcotError, InputError
from ftcot.folder import (
    SMALL_FILES,
    WEIGHTS,
    fill,
    freeze,
    is_frozen,
    move_aside,
    new_folder,
    read_status,
    satisfied,
)
from ftcot.jobs import Entry, JobIndex, Lease
from ftcot.process import describe_death, run_worker
from ftcot.status import Status

Action = Literal["reused", "continued", "new"]


class BusyError(InputError):
    """Somebody else runs this very job now."""


class RefusedError(InputError):
    """The worker found wrong input and has said so on the screen; its folder is gone again."""


class Interrupted(KeyboardInterrupt):
    """A person or the system asked to stop while a worker ran. It has ended; nothing more is to be started."""

    def __init__(self, outcome: Outcome, number: int) -> None:
        super().__init__()
        self.outcome = outcome
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
    """The worker has put the cause on the screen; a killed one could not."""

    @property
    def ok(self) -> bool:
        return self.state in ("complete", "partial")


@dataclass(frozen=True)
class Decision:
    """What is to be done about a job, and where."""

    action: Action
    home: Path


class Launch:
    """Runs the job with this hash."""

    def __init__(self, config: Mapping[str, Any], job: str, folder: Path | None) -> None:
        """A launch.

        Args:
            config: resolved; becomes job.yaml.
            job: its hash.
            folder: to be filled whatever happens; None: a new one, where one is needed.
        """
        self.config = dict(config)
        self.job = job
        self.wanted = None if folder is None else folder.absolute()
        self.index = JobIndex(Path(config["paths"]["cache"]) / "jobs")
        self._created = False

    # -- deciding ------------------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Refuse, before anything is written, a folder that holds another job, and a job that somebody runs now.

        Raises:
            InputError: so it is.
        """
        self.refuse_folder()
        entry = self.index.read(self.job)
        if entry is not None:
            self._refuse_busy(entry)

    def refuse_folder(self) -> None:
        """Refuse a folder that holds another job.

        Raises:
            InputError: it does.
        """
        if self.wanted is not None and self.wanted.exists():
            if not self.wanted.is_dir():
                raise InputError(f"{self.wanted}: not a folder")
            other = read_status(self.wanted).get("hash")
            if other not in (None, self.job):
                raise InputError(
                    f"{self.wanted} holds another job ({str(other)[:8]}, this one is {self.job[:8]}): "
                    "name another folder, or remove it"
                )

    def _refuse_busy(self, entry: Entry) -> None:
        runner = entry.runner()
        for _ in range(50):  # a worker whose launcher is gone ends within seconds
            if runner is None or "worker pid" not in runner:
                break
            time.sleep(0.1)
            runner = entry.runner()
        if runner is not None:
            raise BusyError(f"the same job is running {runner}, in {entry.folder}: wait for it, or stop it")

    def peek(self) -> Decision:
        """What would be done now. Changes nothing."""
        return self._decide(self.index.read(self.job))

    def _decide(self, entry: Entry | None) -> Decision:
        places = [place for place in (self.wanted, entry.folder if entry else None) if place is not None]
        if self.config.get("reuse", True):
            found = [(place, read_status(place)) for place in places if self._usable(place)]
            for place, status in found:
                if satisfied(status, self.config["until"]):
                    return Decision("reused", place)
            for place, status in reversed(found):
                if "reused_from" not in status and status.get("state") != "frozen":
                    return Decision("continued", place)
        return Decision("new", self.wanted or _fresh("outputs"))

    def _usable(self, folder: Path) -> bool:
        weights = folder / WEIGHTS
        return read_status(folder).get("hash") == self.job and not (weights.is_symlink() and not weights.exists())

    # -- running -------------------------------------------------------------------------------------------------

    @contextmanager
    def claim(self) -> Iterator[Decision]:
        """Decide, and where the job is to be run, hold its lease and have its folder ready.

        Raises:
            BusyError: somebody else runs it.
        """
        lease = Lease.mine()
        with self.index.lock():
            entry = self.index.read(self.job)
            if entry is not None:
                self._refuse_busy(entry)
            decision = self._decide(entry)
            if decision.action != "reused":
                self._prepare(decision)
                self.index.write(self.job, decision.home, "running", lease)
        if decision.action == "reused":
            yield decision
            return
        try:
            yield decision
        finally:
            with suppress(OSError):  # a full disk: the lease dies with this process
                if read_status(decision.home).get("hash") == self.job:
                    self.index.write(self.job, decision.home, str(read_status(decision.home).get("state")), None)
                else:
                    self.index.forget(self.job)

    def _prepare(self, decision: Decision) -> None:
        home = decision.home
        if decision.action == "new" and read_status(home).get("hash") is not None and not is_frozen(home):
            move_aside(home)
        self._created = not home.exists()
        freeze(home, self.config, self.job)

    def run(self, decision: Decision) -> Outcome:
        """Do what was decided; returns when the worker has ended and the folder is filled.

        Raises:
            InputError: the worker found what no check could; the folder is gone again.
            Interrupted: asked to stop.
        """
        if decision.action == "reused":
            folder = self.wanted or _fresh("outputs")
            if folder != decision.home:
                fill(decision.home, folder)
            # What was asked for is there, even if a later stage failed or was stopped.
            state = "complete" if read_status(folder)["state"] == "complete" else "partial"
            return Outcome("reused", state, decision.home, folder)
        code, number = run_worker(decision.home)
        outcome = self._outcome(decision, code, number)
        if number is not None:
            raise Interrupted(outcome, number)
        return outcome

    def _outcome(self, decision: Decision, code: int, number: int | None) -> Outcome:
        home = decision.home
        status = read_status(home)
        if code == 2 and not status.get("stages"):
            self._discard(home)
            raise RefusedError(str(status.get("cause")))
        cause, said = status.get("cause"), True
        state = str(status.get("state"))
        if code == 0:
            cause = None
        elif state in ("frozen", "running", "None"):  # it could not say it
            state = "stopped" if number is not None else "failed"
            cause, said = describe_death(code), code > 0
            with suppress(OSError, FtcotError):
                Status(home).update(state=state, cause=cause)
        folder = self.wanted or home
        if folder != home:
            fill(home, folder)
        return Outcome(decision.action, state, home, folder, cause, said)

    def _discard(self, home: Path) -> None:
        if self._created:
            shutil.rmtree(home, ignore_errors=True)
            for parent in home.parents[:2]:  # outputs/DATE, if this run made them
                with suppress(OSError):
                    parent.rmdir()
            return
        for name in SMALL_FILES:
            (home / name).unlink(missing_ok=True)
        with suppress(OSError):  # frozen by a sweep; a user's own folder may hold other things
            home.rmdir()


def _fresh(root: str) -> Path:
    while (folder := new_folder(root)).exists():
        pass
    return folder


def describe(outcome: Outcome) -> str:
    """One line on how a job ended, with the cause where the screen does not show it yet, and what to do next."""
    if outcome.state == "stopped":
        return f"stopped; the same command goes on from there ({outcome.home})"
    if not outcome.ok:
        cause = "" if outcome.said else f": {outcome.cause}"
        return f"failed{cause}; see {outcome.home / 'log.txt'}; once that is mended, the same command goes on"
    return f"{outcome.state} ({outcome.folder})"
