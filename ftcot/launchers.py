"""Hydra's launchers: which one is chosen, whether it is installed, and what it has to be told so that it fits.

    hydra/launcher=joblib hydra.launcher.n_jobs=2   ──>   Launcher("joblib").launch(...)   two jobs side by side

They are Hydra's own plugins and do their own work; only their settings are completed here. What the user says wins.
"""

from __future__ import annotations

import getpass
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

import ftcot
from ftcot.devices import own_cores, visible_gpus
from ftcot.errors import InputError
from ftcot.handoff import FrozenJobs, RunFrozen
from ftcot.jobs import Lease

EXTRAS = {
    ("hydra/launcher", "joblib"): ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    ("hydra/launcher", "submitit_local"): ("submitit", "hydra_plugins.hydra_submitit_launcher"),
    ("hydra/launcher", "submitit_slurm"): ("submitit", "hydra_plugins.hydra_submitit_launcher"),
    ("hydra/launcher", "ray"): ("ray", "hydra_plugins.hydra_ray_launcher"),
    ("hydra/sweeper", "optuna"): ("optuna", "hydra_plugins.hydra_optuna_sweeper"),
}
"""What ftcot has an extra for, by group and option: the extra, and a module that it brings."""

KINDS = {
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher": "basic",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": "joblib",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher": "submitit_local",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher": "submitit_slurm",
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": "ray",
}
"""What a launcher is, by its class: a user's own option file may give it another name."""

HYDRAS = {"submitit_local": ("timeout_min", 60), "submitit_slurm": ("max_num_timeout", 0)}
"""Settings that end a job though it could go on, with Hydra's value for them."""

WEEK = 7 * 24 * 60
"""Minutes. submitit_local would end every job after an hour; a job's own limit is `timeout`."""

REQUEUES = 3
"""How often SLURM may put a job into the queue again whose time was up; it goes on where it was."""


def refuse_missing(overrides: Sequence[str]) -> None:
    """Refuse a launcher or sweeper that is not installed.

    Raises:
        InputError: with what to install.
    """
    for word in overrides:
        group, _, option = word.partition("=")
        extra, module = EXTRAS.get((group.lstrip("+"), option), ("", ""))
        if module and not _installed(module):
            raise InputError(f"{word}: not installed; pip install 'ftcot[{extra}]'")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # none of Hydra's plugins is
        return False


@dataclass(frozen=True)
class Launcher:
    """One of Hydra's launchers and its settings."""

    master: DictConfig
    """The config of the sweep; only its `hydra` node counts."""
    words: tuple[str, ...]
    """The overrides that chose the launcher and set it."""

    @classmethod
    def of(cls, master: DictConfig, overrides: Sequence[str]) -> Launcher:
        """The launcher that a command line chooses.

        Raises:
            InputError: it cannot be used as it is set.
        """
        own = ("hydra/launcher=", "hydra.launcher.")
        launcher = cls(master, tuple(word for word in overrides if word.lstrip("+").startswith(own)))
        launcher._check()
        return launcher

    @property
    def name(self) -> str:
        """Of its option file."""
        return str(OmegaConf.select(self.master, "hydra.runtime.choices.hydra/launcher"))

    @property
    def kind(self) -> str:
        """`basic`, `joblib`, `submitit_local`, `submitit_slurm`, `ray`, or `other`."""
        return KINDS.get(self.settings._target_, "other")

    @property
    def is_local(self) -> bool:
        """Whether the jobs run on this machine, so that what it has can be checked for them."""
        return self.kind != "submitit_slurm" and not (self.kind == "ray" and self._joins_cluster())

    def _joins_cluster(self) -> bool:
        return bool(self.settings.ray.init.get("address") or os.environ.get("RAY_ADDRESS"))

    @property
    def settings(self) -> DictConfig:
        return self.master.hydra.launcher  # type: ignore[no-any-return]

    def _check(self) -> None:
        tasks = self.settings.get("tasks_per_node", 1)
        if tasks != 1:
            raise InputError(
                f"hydra.launcher.tasks_per_node={tasks}: expected 1; "
                f"the one task of a node starts the ranks itself (trainer.devices={tasks})"
            )
        if self.kind == "submitit_slurm" and shutil.which("srun") is None:
            raise InputError(f"hydra/launcher={self.name}: no srun here; start the sweep on a node of the cluster")
        if self.kind == "joblib" and (type(self.settings.n_jobs) is not int or self.settings.n_jobs == 0):
            raise InputError(
                f"hydra.launcher.n_jobs={self.settings.n_jobs}: expected a number of jobs, or -1 for all cores"
            )

    def check(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Refuse jobs that need another number of machines than the launcher gives them.

        Raises:
            InputError: one does.
        """
        if "nodes" not in self.settings:
            return
        given = int(self.settings.nodes)
        for needed in sorted({int(config["trainer"].get("num_nodes", 1)) for config in configs}):
            if needed != given:
                raise InputError(
                    f"trainer.num_nodes={needed}, but hydra.launcher.nodes={given}: the launcher gives each job "
                    "that many machines; make them equal"
                )

    def side_by_side(self, n_jobs: int) -> int | None:
        """How many of these jobs share a machine; None where SLURM gives each its part."""
        cores = len(own_cores())
        if self.kind == "submitit_slurm":
            return None
        if self.kind == "joblib":
            wanted = int(self.settings.n_jobs)
            at_once = wanted if wanted > 0 else cores + 1 + wanted  # -1: one for each core
        elif self.kind == "ray":
            at_once = int(cores / (OmegaConf.select(self.settings, "ray.remote.num_cpus") or 1))
        else:
            at_once = 1 if self.kind == "basic" else n_jobs  # submitit_local starts all of them
        return max(1, min(at_once, n_jobs))

    def submitted(self, folder: Path) -> set[str]:
        """SLURM's ids of what has been submitted of this sweep; nothing for launchers without a queue."""
        if self.kind != "submitit_slurm" or not (folder / ".submitit").exists():
            return set()
        return {path.name for path in (folder / ".submitit").iterdir() if path.is_dir()}

    def queued(self) -> set[str]:
        """SLURM's ids of what runs or waits.

        Raises:
            OSError, SubprocessError: it cannot be asked.
        """
        asked = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
        return set(subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.split())

    def launch(self, folder: Path, names: Sequence[str], *, stop_on_error: bool) -> None:
        """Have these frozen jobs run; returns when the launcher is done with them.

        Raises:
            Exception: whatever the launcher raises, as when a process of its own was killed.
        """
        at_once = self.side_by_side(len(names))
        task = RunFrozen(
            folder,
            side_by_side=at_once,
            sweep=None if self.kind == "submitit_slurm" else Lease.mine(),
            gpus=visible_gpus() if self.kind == "submitit_local" else None,
            stop_on_error=stop_on_error,
            forked=self.kind in ("basic", "joblib") and at_once is not None and len(names) > at_once,
        )
        if self.kind != "ray":  # which has its own ways with signals
            # The launcher's processes inherit this. A terminal's Ctrl-C goes to them too; it would make joblib kill
            # the workers, which shall save first.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        logging.getLogger("submitit").setLevel(logging.ERROR)  # on a SLURM without accounting it keeps warning of that
        _let_children_import()
        self._instance(folder, task).launch([[f"name={name}"] for name in names], initial_job_idx=0)

    def _instance(self, folder: Path, task: Callable[[Any], Any]) -> Any:
        config = OmegaConf.masked_copy(self.master, ["hydra"])
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
            config.hydra.output_subdir = None
            config.hydra.job.chdir = False
            # Hydra would reset the logging of this process for every job, and write a log nobody reads.
            silent = {"version": 1, "root": None, "disable_existing_loggers": False}
            config.hydra.hydra_logging = config.hydra.job_logging = silent
            self._complete(config.hydra.launcher)
        context = HydraContext(config_loader=FrozenJobs(), callbacks=Callbacks())
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)

    def _complete(self, settings: DictConfig) -> None:
        key, value = HYDRAS.get(self.kind, ("", None))
        if key and settings[key] == value and not self._says(key):
            settings[key] = WEEK if key == "timeout_min" else REQUEUES
        if self.kind == "ray":
            defaults: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
            if self._joins_cluster():
                # The plugin would ask for a size of the object store, which a cluster that runs refuses.
                defaults["object_store_memory"] = None
            else:
                defaults["include_dashboard"] = False
            settings.ray.init = defaults | dict(settings.ray.init)

    def _says(self, key: str) -> bool:
        return any(word.lstrip("+").startswith(f"hydra.launcher.{key}=") for word in self.words)


def _let_children_import() -> None:
    """Let processes that begin anywhere import what this one did: ftcot may lie in the working directory alone."""
    home = str(Path(ftcot.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "")
    if home not in known.split(os.pathsep) and Path(home).name != "site-packages":
        os.environ["PYTHONPATH"] = os.pathsep.join([home, *([known] if known else [])])
