"""Optuna's search through Hydra's sweeper: it proposes, the sweep layer runs, the validation split decides.

    -m hydra/sweeper=optuna task.validation_size=60 'training.optimizer.lr=tag(log,interval(1e-4,1e-2))'
        ──>   lr=0.0031   job 0   0.53 of the validation questions
              lr=0.0007   job 1   0.48 ...                           best: lr=0.0031

Hydra's sweeper asks its launcher to run batches of overrides. Its launcher here (`Trials`) makes them jobs, composed,
checked, frozen and known by their hashes, so a trial that was interrupted goes on, and one that was done is reused.
The study is kept (study.py): the same command goes on with it, up to `hydra.sweeper.n_trials` in all.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from ftcot import display
from ftcot.checks import Checker
from ftcot.complaints import bare_integers
from ftcot.compose import Composer
from ftcot.errors import InputError
from ftcot.estimate import is_dry
from ftcot.files import read_json
from ftcot.folder import thaw
from ftcot.grid import Planned
from ftcot.handoff import FrozenJobs
from ftcot.hashes import FileHashes
from ftcot.launch import Launch
from ftcot.launchers import Launcher, refuse_missing
from ftcot.ledger import DONE, Member
from ftcot.log import screen
from ftcot.rounds import Rounds
from ftcot.sweep import folder_of, settings_of, show, verdict
from ftcot.sweep_folder import Settings, SweepFolder
from ftcot.table import Board

if TYPE_CHECKING:
    from ftcot.study import Study


class HaltError(Exception):
    """No further trial is to be started."""


def search(composer: Composer, overrides: Sequence[str]) -> int:
    """Search; returns the exit code.

    Raises:
        InputError: a job is refused, or there is nothing to choose by; none has been started.
    """
    refuse_missing(overrides)
    if figure := next((word for word in overrides if word.lstrip("+").startswith("figure")), None):
        raise InputError(f"{figure}: a search proposes its own jobs; leave out the figure, or hydra/sweeper=optuna")
    parsed = composer.parse(composer.quote(overrides))
    master = composer.compose([word.input_line or "" for word in parsed if not word.is_sweep_override()])
    launcher = Launcher.of(master, overrides)
    own = [word for word in parsed if not word.is_hydra_override()]
    settings = settings_of(composer, master, launcher, overrides)
    sweeper = _complete(master, launcher, overrides)
    if is_dry(master):
        raise InputError("dry_run=true: which jobs a search runs is known only as it runs; ask about a sweep of some")

    from ftcot.study import Study  # with Optuna, which nothing else needs

    name = sweeper.study_name or _name(own)
    study = Study(Path(settings.cache) / "studies" / f"{name}.json", str(sweeper.direction))
    with study.alone():
        trials = Trials(composer, launcher, settings, folder_of(master, overrides), study, own)
        left = max(0, int(sweeper.n_trials) - len(study.complete))
        trials.title = f"study {name}: {len(study.complete)} trials done already, {left} to run; {study.path}"
        if left:
            sweeper.n_trials = left
            if sweeper.sampler.get("seed") is not None:  # or it would propose the same again
                sweeper.sampler.seed += len(study.complete)
            _sweep(master, trials, [word.input_line or "" for word in own])
            show(trials.board)
        else:
            trials.announce()
        _tell_best(trials, own)
    return verdict(trials.board, trials.rounds.request.number)


def _complete(master: DictConfig, launcher: Launcher, overrides: Sequence[str]) -> DictConfig:
    """The sweeper's settings, with ours where nobody has said anything."""

    def said(key: str) -> bool:
        return any(word.lstrip("+").startswith(f"hydra.sweeper.{key}=") for word in overrides)

    if said("storage"):
        raise InputError("hydra.sweeper.storage: leave it out; a study is kept in paths.cache/studies")
    sweeper: DictConfig = master.hydra.sweeper
    direction = str(sweeper.direction).rpartition(".")[2]
    OmegaConf.set_readonly(master.hydra, False)
    with open_dict(sweeper):
        sweeper.direction = direction if said("direction") else "maximize"  # it is an accuracy
        if not said("max_failure_rate"):
            sweeper.max_failure_rate = 1.0  # a failed trial does not end a study
        if not said("n_jobs"):  # proposed together, without knowing of each other: no more than run together
            sweeper.n_jobs = launcher.side_by_side(int(sweeper.n_trials)) or 2
    if sweeper.direction not in ("maximize", "minimize"):
        raise InputError(f"hydra.sweeper.direction={sweeper.direction}: expected maximize or minimize")
    return sweeper


def _name(words: Sequence[Override]) -> str:
    """Of the study that a command means: the same for the same jobs, however they are launched and how many."""
    text = " ".join(sorted(word.input_line or "" for word in words))
    return f"optuna-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _sweep(master: DictConfig, trials: Trials, words: list[str]) -> None:
    """Have Hydra's sweeper propose trials until there are enough."""
    logging.getLogger("hydra_plugins").addHandler(logging.NullHandler())  # the board says it
    config = copy.deepcopy(master)
    with open_dict(config):
        config.hydra.sweep.dir = str(trials.folder.path)
        config.hydra.launcher = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
        config.hydra.sweeper.study_name = trials.study.name
    context = HydraContext(config_loader=FrozenJobs(), callbacks=Callbacks())
    sweeper: Any = Plugins.instance().instantiate_sweeper(hydra_context=context, task_function=_never, config=config)
    # Hydra takes no launcher from outside its own packages, so ours takes the place of one of these.
    sweeper.sweeper.launcher, sweeper.sweeper.storage = trials, trials.study.storage
    try:
        sweeper.sweep(words)
    except HaltError:
        pass
    except RuntimeError as error:
        # So ends a grid whose last cell failed: Optuna stops a study that the plugin does not run by Optuna's loop.
        if "Study.stop" not in str(error):
            raise
    except ValueError:
        if trials.study.best is not None:  # else: every trial failed, and it wants to show the best one
            raise
    finally:
        if trials.board.jobs:
            trials.study.save()


def _never(config: DictConfig) -> None:
    raise AssertionError("trials are run by the sweep layer")


def _tell_best(trials: Trials, own: Sequence[Override]) -> None:
    if (best := trials.study.best) is None:
        return
    found = [bare_integers(f"{name}={value}") for name, value in best.params.items()]
    fixed = [bare_integers(word.input_line or "") for word in own if not word.is_sweep_override()]
    say = trials.board.console.print
    n = len(trials.study.complete)
    say(f"best of {n} trials: {display.percent(best.value or 0.0)} of the validation questions, {' '.join(found)}")
    say(f"python -m ftcot.run {shlex.join([*fixed, *found])}", soft_wrap=True, highlight=False)


@dataclass
class Trials:
    """What Hydra's sweeper believes to be its launcher."""

    composer: Composer
    launcher: Launcher
    settings: Settings
    folder: SweepFolder
    study: Study
    own: Sequence[Override]
    title: str = ""

    def __post_init__(self) -> None:
        self.checker = Checker(FileHashes(Path(self.settings.cache) / "hashes.json"), self.launcher.is_local)
        self.fixed = {word.get_key_element() for word in self.own if not word.is_sweep_override()}
        self.board = Board(screen(), self.folder.path, [])
        self.first = max(self.folder.ledger.states(), default=-1) + 1  # a named folder may hold earlier trials
        self.rounds = Rounds(
            self.folder.path, self.launcher, self.board, Path(self.settings.cache), self.settings.on_error == "stop"
        )

    def announce(self) -> None:
        """Say what is about to be done, once no more is to be refused."""
        self.board.console.print(self.title, soft_wrap=True, highlight=False)
        self.board.console.file.flush()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run a batch of trials; a trial without a result returns None.

        Raises:
            InputError: a trial is refused.
            HaltError: asked to stop, or on_error=stop and one has failed.
        """
        jobs = [self._plan(self.first + initial_job_idx + number, words) for number, words in enumerate(job_overrides)]
        if not self.board.jobs:
            self.announce()
        self.checker.hashes.save()
        self.study.save()
        with self.folder.alone():
            self.folder.add(jobs, self.settings)
            members = [Member(job.number, job.checked.hash, job.overrides) for job in jobs]
            self.board.add(members)
            states = self.folder.ledger.states()
            self.rounds.run([job for job in members if states[job.number]["state"] not in DONE])
        if self.rounds.brake.holds():
            raise HaltError
        return [self._returned(job) for job in members]

    def _plan(self, number: int, words: Sequence[str]) -> Planned:
        special = tuple(bare_integers(word) for word in words if word.partition("=")[0] not in self.fixed)
        try:
            checked = self.checker.check(self.composer.job(list(words)))
        except InputError as error:
            raise InputError(f"{' '.join(special)}: {error}") from error
        if not checked.splits.validation:
            raise InputError(
                "hydra/sweeper=optuna: task.validation_size is 0, so there is nothing to choose by but the test "
                "questions, which are only ever reported; say task.validation_size=N"
            )
        if checked.config["until"] != "evaluate":
            raise InputError(f"until={checked.config['until']}: a search needs until=evaluate")
        self.launcher.check([checked.config])
        decision = Launch(checked.config, checked.hash, None).peek()
        if decision.action != "reused":
            self.checker.reach(checked, decision.stages)
        return Planned(number, special, checked)

    def _returned(self, job: Member) -> JobReturn:
        accuracy = None
        if self.board.states[job.number]["state"] in DONE:
            folder = self.folder.path / job.name
            accuracy = validation_accuracy(read_json(folder / "score.json"), thaw(folder)["keep"])
        returned = JobReturn(status=JobStatus.COMPLETED)
        returned.return_value = accuracy
        return returned


def validation_accuracy(score: Mapping[str, Any], keep: str) -> float:
    """What a search goes by: accuracy on the validation questions of the epoch whose weights are kept."""
    by_epoch = {epoch["epoch"]: epoch["accuracy"] for epoch in score["epochs"] if epoch["split"] == "validation"}
    return float(max(by_epoch.values()) if keep == "best" else by_epoch[max(by_epoch)])
