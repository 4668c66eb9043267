"""What Hydra's launchers are given, and pickle to wherever they run it: a folder of frozen jobs.

    launcher.launch([["name=0-5f0c12ab"], ["name=1-77aa01cd"]])   ──>   RunFrozen(folder)({name: 0-5f0c12ab}), somewhere

A launcher asks its config loader for each job's config and calls a function with it. Ours composes nothing
(`FrozenJobs`): the config says a name. The function (`RunFrozen`) takes the job of that name from the sweep folder,
runs it, and says in the ledger what became of it. It never raises for a job that failed.
"""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, open_dict

from ftcot.brake import Brake
from ftcot.devices import Slot, ranks_here, slot
from ftcot.errors import OUT_OF_MEMORY, cause_of
from ftcot.files import read_json
from ftcot.folder import freeze, is_frozen, read_status, thaw
from ftcot.footprint import footprint
from ftcot.job import build
from ftcot.jobs import Lease
from ftcot.launch import BusyError, Interrupted, Launch, Outcome, RefusedError
from ftcot.ledger import DONE, Ledger, Member, member, now
from ftcot.nodes import here
from ftcot.preemption import saving_first
from ftcot.procfs import is_alive
from ftcot.sample_study import reported

CROWDED = "out of memory beside other jobs on its GPU; it goes on with a GPU of its own"
"""Why a job that shared its GPU is run once more."""


class FrozenJobs(ConfigLoader):
    """What Hydra's launcher believes to be a config loader: it gives frozen jobs, and composes nothing."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A config that says no more than which job is to be run."""
        name = sweep_overrides[0].partition("=")[2]
        config = copy.deepcopy(master_config)
        with open_dict(config):
            config.name = name
            config.hydra.sweep.subdir = name
            config.hydra.overrides.task = sweep_overrides
        return config

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        raise NotImplementedError("the jobs are frozen")

    get_sources = get_search_path = list_groups = get_group_options = compute_defaults_list = load_configuration  # type: ignore[assignment]


class _How(TypedDict):
    """How a launch is to run a worker."""

    quiet: bool
    stop: Callable[[], bool]
    slot: Slot | None


@dataclass(frozen=True)
class RunFrozen:
    """What Hydra's launcher calls for each job; here or in another process, on this machine or another one."""

    folder: Path
    """Of the sweep."""
    side_by_side: int | None
    """Jobs that share this machine; None: whoever starts the job has given it its part (SLURM)."""
    sweep: Lease | None
    """The process the jobs are to end with; None: they go on without it (SLURM)."""
    gpus: tuple[str, ...] | None
    """Those that the jobs share out, where the launcher hides them (submitit_local); None: those a job sees."""
    stop_on_error: bool
    forked: bool = False
    """Several jobs follow each other in a process: their workers may come from a nursery."""

    def __call__(self, config: DictConfig) -> float | None:
        """Run the job; returns its accuracy."""
        brake = Brake(self.folder)
        row = Ledger(self.folder).states()[int(str(config.name).partition("-")[0])]
        if row["state"] in DONE:
            return None
        with saving_first() as preempted:
            event = self._run(member(row), row.get("attempt", 0) + 1, preempted)
        if self._is_orphan():
            os._exit(1)  # nobody waits for this process, and joblib would keep it for minutes
        if event is None:
            return None
        if event["state"] == "failed" and self.stop_on_error:
            brake.pull("hold")
        accuracy: float | None = event.get("accuracy")
        return accuracy

    def _run(
        self, job: Member, attempt: int, preempted: Callable[[], bool], *, alone: bool = False
    ) -> dict[str, Any] | None:
        """Run one job to its end, or take part in it; returns what the ledger was told, None where that was nothing.

        Args:
            alone: with no other job on its GPU, whatever `devices.jobs_per_gpu` says.
        """
        target, brake = self.folder / job.name, Brake(self.folder)
        known = {"attempt": attempt, "started": now()}
        leads = True

        def leave() -> bool:
            return self._is_orphan() or preempted()

        try:
            config = thaw(target)
            if not is_frozen(target):  # this sweep has begun with it: what was done then counts, whatever `reuse` says
                config["reuse"] = True
            launch, node = Launch(config, job.hash, target), here(config["trainer"])
            leads = node.first
            with self._slot(config, lambda: leave() or brake.holds(), alone=alone) as mine:
                how: _How = {"quiet": True, "stop": lambda: leave() or brake.stops(), "slot": mine}
                if leave() or brake.holds():
                    return None
                if not leads:
                    with suppress(Interrupted):
                        launch.follow(node, **how)
                    return None
                event = self._lead(job, launch, how, known, preempted)
            return self._run(job, attempt + 1, preempted, alone=True) if event.get("cause") == CROWDED else event
        except BusyError as error:
            event = job.row(state="elsewhere", cause=str(error).partition(": wait")[0])
        except RefusedError as error:
            freeze(target, config, job.hash)  # the worker took the folder away; what is wrong may be mended
            event = job.row(state="failed", ended=now(), **known) | {"cause": str(error)}
        except Exception as error:
            if not leads:
                raise
            with suppress(OSError), (target / "log.txt").open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
            event = job.row(state="failed", ended=now(), **known) | {"cause": cause_of(error)}
        Ledger(self.folder).append(event)
        return event

    def _lead(
        self, job: Member, launch: Launch, how: _How, known: Mapping[str, Any], preempted: Callable[[], bool]
    ) -> dict[str, Any]:
        ledger = Ledger(self.folder)
        with launch.claim() as decision:
            if decision.action != "reused":
                home = None if decision.home == self.folder / job.name else str(decision.home)
                ledger.append(job.row(state="running", home=home, **known))
            try:
                outcome = launch.run(decision, **how, forked=self.forked)
            except Interrupted as interrupted:
                outcome = interrupted.outcome
            event = ended(job, outcome, **known)
            if Brake(self.folder).stops() and str(outcome.cause).startswith("the worker was killed"):
                event |= {"state": "stopped", "cause": "killed: asked twice to stop"}
            if preempted() and outcome.state == "stopped":
                event |= {
                    "state": "preempted",
                    "cause": "its time on this machine is over; it goes on when it gets more",
                }
            if how["slot"] is not None and how["slot"].shared and str(outcome.cause).startswith(OUT_OF_MEMORY):
                event |= {"state": "preempted", "cause": CROWDED}
            ledger.append(event)  # before the lease is given back: who finds it free is to find this line too
        return event

    @contextmanager
    def _slot(self, config: Mapping[str, Any], stop: Callable[[], bool], *, alone: bool) -> Iterator[Slot | None]:
        if self.side_by_side is None:
            yield None
            return
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        trainer = config["trainer"]
        with slot(
            config["devices"] | ({"jobs_per_gpu": 1} if alone else {}),
            side_by_side=self.side_by_side,
            needed=ranks_here(trainer),
            accelerator=str(trainer.get("accelerator", "auto")),
            footprint=lambda: footprint(build(config)),
            stop=stop,
        ) as mine:
            yield mine

    def _is_orphan(self) -> bool:
        sweep = self.sweep
        return sweep is not None and sweep.here and not is_alive(sweep.pid, sweep.started)


def ended(job: Member, outcome: Outcome, **known: Any) -> dict[str, Any]:
    """The line of the ledger that tells how a job ended, and what it cost."""
    path = outcome.folder / "score.json"
    score: Mapping[str, Any] = read_json(path) if outcome.ok and path.exists() else {}
    spent = score or read_status(outcome.folder)
    elsewhere = str(outcome.home) if outcome.home != outcome.folder else None
    return job.row(
        action=outcome.action,
        state=outcome.state,
        **known,
        ended=now(),
        accuracy=score.get("accuracy"),
        interval=score.get("interval"),
        seconds=round(sum(spent.get("seconds", {}).values()), 3),
        device_seconds=spent.get("device_seconds"),
        tokens=score.get("tokens"),
        study=reported(score.get("epochs", ()), score.get("epoch")) or None,
        diversity=score.get("diversity"),
        cost_usd=score.get("cost_usd"),
        cause=outcome.cause,
        home=elsewhere,
        reused_from=elsewhere if outcome.action == "reused" else None,
    )
