"""One job's life, seen from outside: which folder it runs in, its lease, its worker, its end.

    (config, hash)  ──>  reused     the index knows a complete run: its small files and a link to its weights
                         continued  a run that was stopped or died: goes on in its own folder
                         new        a fresh folder: job.yaml, status.json, then `python -m ftcot.worker FOLDER`

The decision and the lease are taken under one lock, so of two commands at the same time only one runs the job. One
of several ranks has `ftcot.torchrun` in the place of the worker; all machines but the first follow, and claim nothing.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcot import rendezvous
from ftcot.devices import Slot
from ftcot.durations import seconds
from ftcot.errors import InputError, JobError
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
from ftcot.jobs import Entry, JobIndex, Lease, Runner
from ftcot.nodes import Node, here
from ftcot.outcome import Action, Interrupted, Outcome, RefusedError, conclude, describe, followed, reached
from ftcot.process import GRACE, describe_death, run_worker
from ftcot.status import COMPUTING

LEAVING = GRACE + 2.0
"""Seconds to wait for a worker whose launcher is gone."""

__all__ = ["BusyError", "Decision", "Interrupted", "Launch", "Outcome", "RefusedError", "describe"]


class BusyError(InputError):
    """Somebody else runs this very job now."""


@dataclass(frozen=True)
class Decision:
    """What is to be done about a job, and where."""

    action: Action
    home: Path

    @property
    def stages(self) -> tuple[str, ...]:
        """What an earlier attempt has behind it."""
        return () if self.action == "new" else tuple(read_status(self.home).get("stages", ()))


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
        if entry is not None and (runner := entry.runner()) is not None and not runner.leaving:
            raise _busy(entry, runner)

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
        return Decision("new", self.wanted or new_folder("outputs"))

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
        patience = time.monotonic() + LEAVING
        while (decision := self._claim(lease, patience)) is None:
            time.sleep(0.1)
        if decision.action == "reused":
            yield decision
            return
        try:
            yield decision
        finally:
            with suppress(OSError):  # a full disk: the lease dies with this process
                self._release(lease, decision.home)

    def _claim(self, lease: Lease, patience: float) -> Decision | None:
        """Decide, and take the lease; None: a worker whose launcher is gone has not ended yet."""
        with self.index.lock():
            entry = self.index.read(self.job)
            if entry is not None and (runner := entry.runner()) is not None:
                if runner.leaving and time.monotonic() < patience:
                    return None
                raise _busy(entry, runner)
            decision = self._decide(entry)
            if decision.action != "reused":
                self._prepare(decision)
                self.index.write(self.job, decision.home, "running", lease)
            return decision

    def _release(self, lease: Lease, home: Path) -> None:
        with self.index.lock():
            entry = self.index.read(self.job)
            if entry is not None and entry.lease != lease:
                return  # somebody found this machine dead, and has taken the job over
            status = read_status(home)
            if status.get("hash") == self.job:
                self.index.write(self.job, home, str(status.get("state")), None)
            else:
                self.index.forget(self.job)

    def _prepare(self, decision: Decision) -> None:
        home = decision.home
        if decision.action == "new" and read_status(home).get("hash") is not None and not is_frozen(home):
            move_aside(home)
        self._created = not home.exists()
        freeze(home, self.config, self.job)

    def run(
        self,
        decision: Decision,
        *,
        quiet: bool = False,
        stop: Callable[[], bool] | None = None,
        slot: Slot | None = None,
        forked: bool = False,
    ) -> Outcome:
        """Do what was decided; returns when the worker has ended and the folder is filled.

        Args:
            decision: of `claim`.
            quiet: the worker says nothing on the screen, only in log.txt, and a terminal's Ctrl-C does not reach it.
            stop: asked about four times a second whether to stop the worker cleanly.
            slot: the devices and cores that the job may use.
            forked: the worker may come from this process's nursery.
        Raises:
            InputError: the worker found what no check could; the folder is gone again.
            Interrupted: asked to stop.
        """
        if decision.action == "reused":
            folder = self.wanted or new_folder("outputs")
            if folder != decision.home:
                fill(decision.home, folder)
            return Outcome("reused", reached(folder), decision.home, folder)
        return self._work(decision, quiet, stop, slot, forked)

    def follow(
        self,
        node: Node,
        *,
        quiet: bool = False,
        stop: Callable[[], bool] | None = None,
        slot: Slot | None = None,
    ) -> Outcome:
        """What every machine but the first does: join the job that the first one claims; returns when it has ended.

        Args:
            node: this machine.
            quiet, stop, slot: as for `run`.
        Raises:
            JobError: the first machine does not start the job.
            Interrupted: asked to stop.
        """
        patience, began = time.monotonic() + rendezvous.PATIENCE, False
        while (decision := self.peek()).action != "reused":
            entry = self.index.read(self.job)
            if entry is not None and entry.lease is not None:
                began = True
                if (place := rendezvous.Place.read(entry.folder)) is not None and place.is_open():
                    return self._work(Decision("followed", entry.folder), quiet, stop, slot)
            elif began:
                raise JobError(f"{node}: the first machine ended the job before this one could join it")
            if stop is not None and stop():
                raise Interrupted(Outcome("followed", "stopped", decision.home, decision.home), signal.SIGINT)
            if time.monotonic() > patience:
                raise JobError(
                    f"{node}: the first machine has not started this job ({self.index.root} knows nothing of it): "
                    "start the same command there, with the same paths.cache"
                )
            time.sleep(1.0)
        return Outcome("reused", reached(decision.home), decision.home, decision.home)

    def _work(
        self,
        decision: Decision,
        quiet: bool,
        stop: Callable[[], bool] | None,
        slot: Slot | None,
        forked: bool = False,
    ) -> Outcome:
        several = here(self.config["trainer"]).world > 1
        ended = run_worker(
            decision.home,
            module="ftcot.torchrun" if several else "ftcot.worker",
            quiet=quiet,
            stop=stop,
            slot=slot,
            timeout=seconds(self.config.get("timeout")),
            forked=forked and not several and self.config["until"] in COMPUTING,  # others import little
        )
        if decision.action == "followed":
            outcome = followed(decision.home, ended, said=not quiet)
        elif ended.code == 2 and not (status := read_status(decision.home)).get("stages"):
            self._discard(decision.home)
            raise RefusedError(str(status.get("cause") or describe_death(ended.code, ended.words)))
        else:
            state, cause, said = conclude(decision.home, ended, said=not quiet, timeout=self.config.get("timeout"))
            folder = self.wanted or decision.home
            if folder != decision.home:
                fill(decision.home, folder)
            outcome = Outcome(decision.action, state, decision.home, folder, cause, said)
        number = ended.asked
        if number is None and outcome.state == "stopped" and ended.code > 128:  # asked by others: SLURM, a machine
            number = ended.code - 128
        if number is not None:
            raise Interrupted(outcome, number)
        return outcome

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


def _busy(entry: Entry, runner: Runner) -> BusyError:
    return BusyError(f"the same job is running {runner}, in {entry.folder}: wait for it, or stop it")
