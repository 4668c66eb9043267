"""Runs the missing jobs of a sweep through one of Hydra's launchers, and looks on until nothing is left to be done.

The launcher works in a thread and blocks there; this process watches the ledger and the leases, shows what happens and
heeds signals. A round gives the launcher every job that nobody runs. Another round follows for jobs that were

    elsewhere      another command ran them, and has now finished them (its result is taken) or died (they are run)
    interrupted    the process that ran them is gone without a word, killed perhaps; each is tried once more
    preempted      SLURM took the machine away, and queued them again as often as it may
    never begun    the launcher gave up before it came to them

So neither a job that two sweeps want nor a launcher whose own process was killed holds up the others.
"""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftcot.brake import Brake, Request, heeding, kill_all
from ftcot.errors import JobError, cause_of
from ftcot.folder import thaw
from ftcot.handoff import ended
from ftcot.jobs import JobIndex
from ftcot.launch import Launch
from ftcot.launchers import Launcher
from ftcot.ledger import ENDED, IDLE, Ledger, Member, now
from ftcot.table import Board

LOOK = 0.25
"""Seconds between two looks at the ledger."""

LOOK_CLOSER = 2.0
"""Seconds between two looks whether those who run the jobs are alive."""

ASK_QUEUE = 15.0
"""Seconds between two questions what SLURM's queue holds, asked while none of the jobs runs."""

PATIENCE = 20.0
"""Seconds for a launcher to notice that nothing is left to be done. submitit needs 15 where a process of its own was
killed, and on a SLURM without accounting it waits for ever."""

GONE = "the process that ran it is gone"

TRIES = 2
"""How often a job may lose the process or the machine that runs it, until the sweep goes on without it."""


@dataclass
class Rounds:
    """The running of the missing jobs of a sweep."""

    folder: Path
    launcher: Launcher
    board: Board
    cache: Path
    stop_on_error: bool
    request: Request = field(default_factory=Request)
    """What was asked of this process meanwhile."""

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)
        self.brake = Brake(self.folder)
        self.index = JobIndex(self.cache / "jobs")
        self._lost: Counter[int] = Counter()
        self._looked = self._asked = 0.0
        self._is_queued = True

    def run(self, jobs: Sequence[Member]) -> None:
        """Run these jobs; returns when each has ended, or the sweep is to stop.

        Raises:
            JobError: the launcher gives up before it has run any.
        """
        self.brake.release()
        self._begin(jobs)
        pending = list(jobs)
        with heeding(self.brake) as self.request, self.board.live():
            while pending and not self.brake.holds():
                free = [job for job in pending if not self._is_elsewhere(job) and not self._take(job)]
                if free:
                    self._round(free)
                else:
                    time.sleep(LOOK)
                self._look()
                self._lost.update(job.number for job in free if self._state(job) == "preempted")
                pending = [job for job in pending if self._is_pending(job)]

    def _begin(self, jobs: Sequence[Member]) -> None:
        """Take in what the ledger says, and correct it where whoever ran a job could not."""
        self.board.know(self.ledger.news())
        for job in jobs:
            row = self.board.states[job.number]
            if row["state"] == "running" and self._runner(job) is None:
                self.ledger.append(row | {"state": "interrupted", "cause": GONE, "ended": now()})
        self.board.know(self.ledger.news())

    def _state(self, job: Member) -> str:
        return str(self.board.states[job.number]["state"])

    def _is_pending(self, job: Member) -> bool:
        return self._state(job) not in ENDED and self._lost[job.number] < TRIES

    def _runner(self, job: Member) -> tuple[str, Path] | None:
        """Who runs the job now, and where."""
        entry = self.index.read(job.hash)
        runner = entry.runner() if entry else None
        return (str(runner), entry.folder) if entry and runner and not runner.leaving else None

    def _is_elsewhere(self, job: Member) -> bool:
        """Whether somebody runs the job: another command, or what is left of a launcher that gave up."""
        if (found := self._runner(job)) is None:
            return False
        if self._state(job) not in ("elsewhere", "running"):
            self.ledger.append(job.row(state="elsewhere", cause=f"the same job is running {found[0]}, in {found[1]}"))
            self._look()
        return True

    def _take(self, job: Member) -> bool:
        """Take the result of a job that another command has finished."""
        if self._state(job) != "elsewhere":
            return False
        target = self.folder / job.name
        launch = Launch(thaw(target), job.hash, target)
        decision = launch.peek()
        if decision.action == "reused":
            self.ledger.append(ended(job, launch.run(decision)))
        return decision.action == "reused"

    def _round(self, jobs: Sequence[Member]) -> None:
        """Have the launcher run these jobs."""
        problem: list[str] = []
        before, submitted = self._rows(jobs), self.launcher.submitted(self.folder)
        self._is_queued = True

        def work() -> None:
            try:
                self.launcher.launch(self.folder, [job.name for job in jobs], stop_on_error=self.stop_on_error)
            except BaseException as error:
                problem.append(cause_of(error).partition(". ")[0][:200])

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        idle_since = math.inf
        while thread.is_alive() and time.monotonic() - idle_since < PATIENCE:
            thread.join(LOOK)
            self._look()
            idle_since = min(idle_since, time.monotonic()) if self._is_idle(jobs, submitted) else math.inf
            if self.request.at_once:
                thread.join(2.0)
                kill_all()  # what was being started meanwhile
                break
        self._look(closer=True)
        if self.brake.holds():
            return
        if all(row is now_known for row, now_known in zip(before, self._rows(jobs), strict=True)):
            # Another round would go the same way, for ever.
            reason = problem[0] if problem else "it is done, but no job has begun"
            raise JobError(f"hydra/launcher={self.launcher.name}: {reason}")
        if problem:
            self.board.warn(f"hydra/launcher={self.launcher.name}: {problem[0]}; going on with what is left")

    def _rows(self, jobs: Sequence[Member]) -> list[dict[str, Any]]:
        """The last line of each job: another object once there is a newer one."""
        return [self.board.states[job.number] for job in jobs]

    def _is_idle(self, jobs: Sequence[Member], submitted_before: set[str]) -> bool:
        """Whether nothing is left to be done, or nothing more begins."""
        states = {self._state(job) for job in jobs}
        if states <= {*ENDED, "interrupted"}:
            return True
        return states <= {*IDLE} and (self.brake.holds() or self._has_left_the_queue(submitted_before))

    def _has_left_the_queue(self, submitted_before: set[str]) -> bool:
        """Whether SLURM knows no more of what was submitted in this round: it was cancelled, or killed."""
        submitted = self.launcher.submitted(self.folder) - submitted_before
        if submitted and time.monotonic() - self._asked > ASK_QUEUE:
            self._asked = time.monotonic()
            with suppress(OSError, subprocess.SubprocessError):
                self._is_queued = bool(submitted & self.launcher.queued())
        return not self._is_queued

    def _look(self, *, closer: bool = False) -> None:
        """See what has happened, and show it."""
        self.board.tell(self.ledger.news())
        if closer or time.monotonic() - self._looked > LOOK_CLOSER:
            self._looked = time.monotonic()
            for number, row in list(self.board.states.items()):
                if row["state"] == "running":
                    self._look_for_runner(self.board.jobs[number])
        if self.request.number is not None and not self.request.told:
            self.request.told = True
            self.board.warn("stopping: running jobs save a checkpoint first; once more ends them at once")
        self.board.refresh()

    def _look_for_runner(self, job: Member) -> None:
        if self._runner(job) is not None:
            return
        self.board.tell(self.ledger.news())  # it may have ended just now: its line comes before the lease goes
        row = self.board.states[job.number]
        if row["state"] == "running":
            self._lost[job.number] += 1
            cause = "killed: asked twice to stop" if self.request.at_once else GONE
            self.ledger.append(row | {"state": "interrupted", "cause": cause, "ended": now()})
            self.board.tell(self.ledger.news())
