"""Many jobs: expand, compose, check and freeze all of them first, then hand those that are missing to Hydra's launcher.

    -m task=svamp diversity=1,8 seed=0,1   ──>   4 jobs, known by their hashes   ──>   multirun/DATE/TIME-RANDOM/
                                                                                         sweep.yaml  sweep.jsonl
                                                                                         0-5f0c12ab/ 1-77aa01cd/ ...

Nothing starts before every job has passed its checks. Hydra's launcher gets folders, not overrides: what it "composes"
is a frozen job (`FrozenJobs`), so the jobs cannot change while a sweep runs, and a launcher that starts them elsewhere
(joblib, submitit, ray) needs no more than the folder.
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.table import Table

from ftcot import display
from ftcot.checks import Checked, Checker, check_writable
from ftcot.compose import Composer, bare_integers, freeze
from ftcot.errors import FtcotError, InputError
from ftcot.folder import freeze as freeze_folder
from ftcot.folder import new_folder, thaw
from ftcot.jobs import FileHashes
from ftcot.launch import Interrupted, Launch, Outcome, describe
from ftcot.ledger import Ledger
from ftcot.records import read_json, write_atomic


@dataclass(frozen=True)
class Planned:
    """One job of a sweep."""

    number: int
    overrides: tuple[str, ...]
    """Those that differ from job to job."""
    checked: Checked

    @property
    def name(self) -> str:
        """Of its folder in the sweep folder."""
        return f"{self.number}-{self.checked.hash[:8]}"


def sweep(composer: Composer, overrides: Sequence[str]) -> int:
    """Run a sweep; returns the exit code.

    Raises:
        InputError: a job is refused; none has been started.
    """
    master, grid = expand(composer, overrides)
    hashes = FileHashes(Path(str(freeze(master)["paths"]["cache"])) / "hashes.json")
    jobs = plan(composer, grid, Checker(hashes))
    explicit = OmegaConf.select(master, "hydra.sweep.dir", throw_on_missing=False)
    said = any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in overrides)
    folder = Path(str(explicit)).expanduser().absolute() if said else new_folder("multirun")
    check_writable("hydra.sweep.dir", folder)
    for job in jobs:
        Launch(job.checked.config, job.checked.hash, folder / job.name).refuse_folder()

    hashes.save()
    folder.mkdir(parents=True, exist_ok=said)
    console = Console(width=None if sys.stdout.isatty() else 160)
    write_atomic(folder / "sweep.yaml", yaml.safe_dump({"overrides": list(overrides), "cwd": str(Path.cwd())}))
    ledger = Ledger(folder)
    missing = _settle(jobs, folder, ledger)
    jobs_asked_for = f"{len(jobs)} job{'s' * (len(jobs) != 1)}"
    if len(grid) > len(jobs):
        jobs_asked_for += f" (from {len(grid)} combinations)"
    console.print(
        f"sweep of {jobs_asked_for}: {len(jobs) - len(missing)} done already, {len(missing)} to run; {folder}",
        soft_wrap=True,
        highlight=False,
    )
    sys.stdout.flush()
    interrupted: Interrupted | None = None
    if missing:
        try:
            _launch(master, missing, folder)
        except Interrupted as error:
            interrupted = error
    states = ledger.states()
    _show(console, jobs, states, folder)
    if interrupted is not None:
        print(f"stopped; the same command runs what is missing ({folder})", file=sys.stderr)
        return interrupted.exit_code
    failed = [job for job in jobs if states[job.number]["state"] not in ("complete", "partial")]
    if failed:
        print(f"{len(failed)} of {len(jobs)} jobs failed; the same command runs what is missing", file=sys.stderr)
    return 1 if failed else 0


def expand(composer: Composer, overrides: Sequence[str]) -> tuple[DictConfig, list[list[str]]]:
    """The config of the sweep itself, and the overrides of each of its jobs.

    Differs from Hydra's BasicSweeper in one thing: a value may name an integer option wherever it stands.

    Raises:
        InputError: an override is not valid, or sweeps over what cannot be enumerated.
    """
    parsed = composer.parse(composer.quote(overrides))
    master = composer.compose([word.input_line or "" for word in parsed if not word.is_sweep_override()])
    params = OmegaConf.select(master, "hydra.sweeper.params", throw_on_missing=False) or {}
    own = composer.parse(composer.quote([f"{key}={value}" for key, value in params.items()]))
    named = {word.get_key_element() for word in parsed}
    axes: dict[str, list[str]] = {}
    for word in [*(word for word in own if word.get_key_element() not in named), *parsed]:
        if word.is_hydra_override():
            if word.is_sweep_override():
                raise InputError(f"{word.input_line}: Hydra's own settings cannot be swept")
            continue
        axes[word.get_key_element()] = composer.quote(_values(word))  # choice() lost the quotes
    return master, [list(job) for job in itertools.product(*axes.values())]


def _values(word: Override) -> list[str]:
    key = word.get_key_element()
    if not word.is_sweep_override():
        return [word.input_line or ""]
    if not word.is_discrete_sweep():
        raise InputError(f"{word.input_line}: an interval has no list of values; use choice(...) or range(...)")
    values = [f"{key}={value}" for value in word.sweep_string_iterator()]
    if not values:
        raise InputError(f"{word.input_line}: matches nothing")
    return values


def plan(composer: Composer, grid: Sequence[Sequence[str]], checker: Checker) -> list[Planned]:
    """The jobs, checked, each hash once.

    Raises:
        InputError: a job is refused; the line begins with what makes it different.
    """
    common = set.intersection(*(set(job) for job in grid))
    jobs: dict[str, Planned] = {}
    for overrides in grid:
        special = tuple(bare_integers(word) for word in overrides if word not in common)
        try:
            checked = checker.check(freeze(composer.compose(overrides)))
        except InputError as error:
            said = any(str(error).startswith(word) for word in special) or not special
            raise InputError(str(error) if said else f"{' '.join(special)}: {error}") from error
        if checked.hash not in jobs:
            jobs[checked.hash] = Planned(len(jobs), special, checked)
    return list(jobs.values())


def _settle(jobs: Sequence[Planned], folder: Path, ledger: Ledger) -> list[Planned]:
    """Fill the folders of the jobs that are done already, freeze the others; returns the others."""
    missing = []
    for job in jobs:
        target = folder / job.name
        launch = Launch(job.checked.config, job.checked.hash, target)
        decision = launch.peek()
        if decision.action == "reused":
            ledger.append(_event(job.number, job.checked.hash, job.overrides, launch.run(decision)))
            continue
        freeze_folder(target, job.checked.config, job.checked.hash)
        row = {"number": job.number, "hash": job.checked.hash, "overrides": list(job.overrides)}
        ledger.append(row | {"folder": job.name, "state": "frozen", "cause": None})
        missing.append(job)
    return missing


class FrozenJobs(ConfigLoader):
    """What Hydra's launcher believes to be a config loader: it gives frozen jobs, and composes nothing."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A config that says no more than which folder is to be run."""
        values = dict(word.partition("=")[::2] for word in sweep_overrides)
        config = copy.deepcopy(master_config)
        with open_dict(config):
            for key in [key for key in config if key != "hydra"]:
                del config[key]
            config.job = values
            config.hydra.sweep.subdir = values["name"]
            config.hydra.overrides.task = sweep_overrides
        return config

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        raise NotImplementedError("the jobs are frozen")

    get_sources = get_search_path = list_groups = get_group_options = compute_defaults_list = load_configuration  # type: ignore[assignment]


def _launch(master: DictConfig, jobs: Sequence[Planned], folder: Path) -> None:
    """Give the jobs to Hydra's launcher."""
    with open_dict(master):
        master.hydra.sweep.dir = str(folder)
        master.hydra.output_subdir = None
        master.hydra.job.chdir = False
        # Hydra would reset the logging of this process for every job, and write a log nobody reads.
        silent = {"version": 1, "root": None, "disable_existing_loggers": False}
        master.hydra.hydra_logging = master.hydra.job_logging = silent
    context = HydraContext(config_loader=FrozenJobs(), callbacks=Callbacks())
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=run_frozen, config=master)
    words = [[f"folder={folder}", f"name={job.name}"] for job in jobs]
    launcher.launch(words, initial_job_idx=0)


def run_frozen(config: DictConfig) -> float | None:
    """What Hydra's launcher calls for each job; here or in another process. Never raises for a job that failed.

    Returns:
        The job's accuracy.
    """
    sweep_folder, name = Path(config.job.folder), str(config.job.name)
    ledger, target = Ledger(sweep_folder), sweep_folder / name
    number = int(name.partition("-")[0])
    planned = ledger.states()[number]
    job, overrides = planned["hash"], planned["overrides"]
    launch = Launch(thaw(target), job, target)
    row = {"number": number, "hash": job, "overrides": overrides, "folder": name}
    print(f"── job {number}: {' '.join(overrides)}", flush=True)
    try:
        with launch.claim() as decision:
            ledger.append(row | {"state": "running", "cause": None})
            outcome = launch.run(decision)
    except Interrupted as interrupted:
        ledger.append(_event(number, job, overrides, interrupted.outcome))
        raise
    except (FtcotError, OSError) as error:
        cause = " ".join(str(error).split())
        ledger.append(row | {"state": "failed", "cause": cause})
        print(f"job {number} failed: {cause} ({target})", file=sys.stderr, flush=True)
        return None
    event = _event(number, job, overrides, outcome)
    ledger.append(event)
    if not outcome.ok:
        print(f"job {number} {describe(outcome)}", file=sys.stderr, flush=True)
    accuracy: float | None = event["accuracy"]
    return accuracy


def _event(number: int, job: str, overrides: Sequence[str], outcome: Outcome) -> dict[str, Any]:
    score: Mapping[str, Any] = {}
    if (path := outcome.folder / "score.json").exists():
        score = read_json(path)
    return {
        "number": number,
        "hash": job,
        "overrides": list(overrides),
        "folder": outcome.folder.name,
        "action": outcome.action,
        "state": outcome.state,
        "accuracy": score.get("accuracy"),
        "interval": score.get("interval"),
        "seconds": round(sum(score.get("seconds", {}).values()), 3) if score else None,
        "tokens": score.get("tokens"),
        "cost_usd": score.get("cost_usd"),
        "cause": outcome.cause,
        "reused_from": str(outcome.home) if outcome.home != outcome.folder else None,
    }


def _show(console: Console, jobs: Sequence[Planned], states: Mapping[int, Mapping[str, Any]], folder: Path) -> None:
    table = Table(show_edge=False, box=None if not console.is_terminal else Table().box)
    for title, justify in (("", "right"), ("job", "left"), ("state", "left"), ("accuracy", "right")):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for title in ("95 % interval", "time", "folder"):
        table.add_column(title, justify="left" if title == "folder" else "right", no_wrap=True)
    for job in jobs:
        state = states.get(job.number, {"state": "frozen"})
        known = state.get("accuracy") is not None
        table.add_row(
            str(job.number),
            " ".join(job.overrides),
            str(state["state"]) + (" (reused)" if state.get("action") == "reused" else ""),
            display.percent(state["accuracy"]) if known else "",
            display.interval(state["interval"]) if known else "",
            display.duration(state["seconds"]) if state.get("seconds") else "",
            job.name,
        )
    console.print(table)
    console.print(f"folder {folder}", soft_wrap=True, highlight=False)
