"""A job as built parts: from the resolved config (job.yaml) to the objects the pipeline works with.

    {"task": {"_target_": "ftcot.task.paper.PaperTask", "name": "multiarith", ...}, ...}
    Job(task=PaperTask(name="multiarith", ...), ...)

Building is cheap and free of torch: the launcher builds a job to check it, the worker to run it. What needs torch
(`training.optimizer`, `trainer`) stays a mapping until the worker gets to it.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ftcot.curation import Curation
from ftcot.errors import InputError
from ftcot.evaluate import Evaluation
from ftcot.kinds import check_kinds
from ftcot.prompts import Method
from ftcot.status import STAGES, Stage
from ftcot.student import StudentSpec
from ftcot.task import Splits, Task
from ftcot.teacher import Diversity, Teacher
from ftcot.training import Training
from ftcot.training.trainer import check_sharing, check_trainer, n_ranks

PARTS = ("task", "teacher", "diversity", "curation", "method", "student", "training", "evaluation")

Keep = Literal["last", "best", "none"]
"""Which weights a finished job leaves: those after the last epoch, after the best one on validation, or none."""

CHECKED = ("teacher", "curation", "diversity")
"""Parts whose values have to be of the kinds that their classes say."""

TRUSTED = ("ftcot", "torch.optim")
"""Packages a `_target_` may be of, beside pytorch_lightning.Trainer. All of torch would let in torch.hub.load."""


@dataclass(frozen=True)
class Job:
    """One experiment: the parts, built, and what is said about running it."""

    task: Task
    teacher: Teacher
    diversity: Diversity
    curation: Curation
    method: Method
    student: StudentSpec
    training: Training
    evaluation: Evaluation
    trainer: Mapping[str, Any]
    logger: Mapping[str, Any]
    seed: int
    until: Stage
    keep: Keep
    cache: Path
    config: Mapping[str, Any]

    @property
    def needs_teacher(self) -> bool:
        """Fine-tune-CoT does; Few-shot-CoT does where the authors left no prompt for the task."""
        return self.method.name == "fine_tune_cot" or (
            self.method.name == "few_shot_cot" and self.task.demonstrations() is None
        )

    def check_keep(self, splits: Splits) -> None:
        """Refuse to choose an epoch without questions to choose it on.

        Raises:
            InputError: `keep=best`, and there is no validation split.
        """
        if self.keep == "best" and self.method.trains and not splits.validation:
            raise InputError(
                "keep=best: the best epoch is chosen on the validation split, and there is none; "
                "set task.validation_size, or keep=last"
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages up to `until`."""
        return STAGES[: STAGES.index(self.until) + 1]


def build(config: Mapping[str, Any], built: MutableMapping[str, Any] | None = None) -> Job:
    """The parts of a resolved config.

    Args:
        built: parts of earlier jobs, by what the config says of them; taken from there, and added to it.
    Raises:
        InputError: a value is refused, an argument is unknown, a `_target_` is not trusted.
    """
    check_targets(config, config.get("allow", ()))
    if config["until"] not in STAGES:
        raise InputError(f"until={config['until']!r}: expected one of {', '.join(STAGES)}")
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed={seed!r}: expected a whole number, 0 or more")
    check_trainer(config["trainer"])
    built = {} if built is None else built
    keys = {name: f"{name}: {json.dumps(config[name], sort_keys=True, default=str)}" for name in PARTS}
    for name, key in keys.items():
        if key not in built:
            built[key] = _part(name, config[name])
    job = Job(
        **{name: built[key] for name, key in keys.items()},
        trainer=config["trainer"],
        logger=config["logger"],
        seed=seed,
        until=config["until"],
        keep=config.get("keep", "last"),
        cache=Path(config["paths"]["cache"]),
        config=config,
    )
    if job.method.trains:
        check_sharing(job.trainer, job.training, n_ranks(job.trainer))
    return job


def build_task(config: Mapping[str, Any]) -> Task:
    """The task of a resolved config, without its other parts. Packages that the config itself allows are not let in: it
    may be of a run that somebody else made.

    Raises:
        InputError: a value is refused, or its class is not ftcot's.
    """
    check_targets({"task": config["task"]})
    task: Task = _part("task", config["task"])
    return task


def check_targets(config: Mapping[str, Any], allow: Sequence[str] = ()) -> None:
    """Refuse a config that would call something it has no business to call.

    Raises:
        InputError: a `_target_` outside `TRUSTED`, named with its key.
    """
    for key, target in _targets(config, ""):
        # A class or function of the package itself: `ftcot.records.os.getcwd` would reach through one of its modules.
        if target != "pytorch_lightning.Trainer" and not any(_is_of(package, target) for package in (*TRUSTED, *allow)):
            raise InputError(f"{key}={target}: not trusted; allow=[{target.partition('.')[0]}] lets it in")


@cache
def _is_of(package: str, target: str) -> bool:
    """Whether `target` is defined in a module of `package`, going by modules alone until its last name."""
    module, _, name = target.rpartition(".")
    if not (module == package or module.startswith(f"{package}.")) or not name.isidentifier():
        return False
    if package == "torch.optim":
        return module == package  # without importing it
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _targets(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key == "_target_":
                yield here, str(inner)
            else:
                yield from _targets(inner, here)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value):
            yield from _targets(inner, f"{path}[{number}]")


def _part(name: str, config: Mapping[str, Any]) -> Any:
    try:
        if name == "training":  # its optimizer needs torch: stays a mapping, and hydra would wrap it into a DictConfig
            return Training(**{key: value for key, value in config.items() if key != "_target_"})
        if name in CHECKED:
            check_kinds(name, config)
        return instantiate(dict(config), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(f"{name}: {cause or error}".splitlines()[0]) from None
    except TypeError as error:
        raise InputError(f"{name}: {error}") from None
