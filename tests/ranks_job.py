"""Small trainings and evaluations as a program for torchrun, one rank or several of them:

python -m torch.distributed.run --standalone --nproc_per_node=2 -m tests.ranks_job FOLDER

Each leaves in FOLDER what a test compares with the same done by one rank.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ftcot import job, pipeline
from ftcot.compose import Composer, conf_dir, freeze
from ftcot.evaluate import Evaluation, ask
from ftcot.logger import RunLogger
from ftcot.prompts import Method
from ftcot.ranks import Ranks
from ftcot.status import Status
from ftcot.student import Generation, Student
from ftcot.training.fit import fit
from tests.training_job import CPU, GROUPS, TEXTS, build, of_questions, settings

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}

DDP = CPU | {"devices": 2, "strategy": "ddp", "log_every_n_steps": 1}

TRAININGS: Mapping[str, Mapping[str, Any]] = {
    # Steps of 8, 8, 8, 8, 8 and 2 pairs.
    "plain": {},
    # Plain SGD: the change of a weight is its gradient, so equal weights are equal gradients.
    "gradients": {"optimizer": SGD, "warmup": 0, "schedule": "constant"},
    "clipped": {"optimizer": SGD, "warmup": 0, "schedule": "constant", "gradient_clip": 0.01},
    # 41 pairs: the last step is of one, of which the first rank gets nothing.
    "micro batches": {"device_batch_size": 2, "n_pairs": 41},
    "small steps": {"batch_size": 3, "device_batch_size": 1, "n_pairs": 10},
    # What training=fast does with four rationales of each question, most of them in one go.
    "groups": {**GROUPS, "of_a_question": 4},
    "groups in micro batches": {**GROUPS, "of_a_question": 4, "device_batch_tokens": 90},
    "encoder-decoder": {"t5": True},
    "encoder-decoder in groups": {"t5": True, "of_a_question": 4, "group_size": 4, "device_batch_tokens": 90},
    "lora": {"lora": {"r": 4, "target_modules": "all-linear"}},
    "in parts": {"strategy": "fsdp", "device_batch_size": 2, "n_pairs": 41, "gradient_clip": 1.0},
}
"""By name: what differs from `settings(epochs=2)`, how many pairs, and of a question, which student."""

LONG = Evaluation(max_new_tokens=12, batch_tokens=600)


@dataclass
class Losses(RunLogger):
    """A logger that keeps the loss of every step."""

    folder: Path
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.folder)

    def log_step(self, **values: Any) -> None:
        self.losses.append(values["loss"])


class Killed(BaseException):
    """As sudden as an exception can be."""


def trained(name: str, folder: Path, ranks: Ranks, *, killed_in: int | None = None) -> None:
    """Run one of TRAININGS; the first rank writes `NAME.pt`: losses and weights.

    Args:
        killed_in: the epoch in whose test it is killed, to be run again.
    """
    changes = dict(TRAININGS[name])
    student, pairs = build(dropout=False)
    if changes.pop("t5", False):
        student, pairs = build(dropout=True)
        for module in student.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            elif isinstance(getattr(module, "dropout", None), float):  # T5's attention keeps it as a number
                module.dropout = 0.0  # type: ignore[assignment]
    pairs = pairs[: changes.pop("n_pairs", len(pairs))]
    pairs = of_questions(pairs, changes.pop("of_a_question", 1))
    strategy = changes.pop("strategy", "ddp")
    logger = Losses(folder / name)

    def evaluate(student: Student, epoch: int) -> Mapping[str, float]:
        if epoch == killed_in:
            raise Killed
        weights.update({key: value.detach().clone() for key, value in student.model.named_parameters()})
        return {}

    weights: dict[str, torch.Tensor] = {}
    fit(
        student,
        pairs,
        settings(epochs=2, **changes),
        DDP | {"strategy": strategy} if not ranks.alone else CPU | {"log_every_n_steps": 1},
        seed=0,
        folder=folder / name,
        evaluate=evaluate,
        logger=logger,
        console=Console(quiet=True),
        ranks=ranks,
    )
    if ranks.first:
        torch.save({"losses": logger.losses, "weights": weights}, folder / f"{name}.pt")


def answers(ranks: Ranks) -> list[list[Generation]]:
    """What a student that is not trained says to prompts of many lengths, asked once and asked twice."""
    student, _ = build(dropout=False)
    prompts = [f"{i} " * (i % 5) + prompt for i, (prompt, _) in enumerate(TEXTS[:11])]
    said = []
    for method in ("zero_shot", "zero_shot_cot"):
        template = Method(method, "natural").template_for(student.family)
        first, final = ask(student, template, prompts, LONG, ranks=ranks)
        said += [[generation for generation in first if generation is not None], final]
    return said


UNTRAINED = [
    *("task=generated/coin_flip", "task.n_flips=2", "task.n_train=16", "task.n_test=10", "method=zero_shot_cot"),
    *("student=tiny-0.2m", "evaluation.max_new_tokens=12", "evaluation.batch_tokens=600"),
]


def asked(folder: Path, ranks: Ranks) -> None:
    """Run a whole job that trains nothing in `folder`."""
    config = freeze(Composer(conf_dir()).compose([f"paths.cache={folder / 'cache'}", "logger=none", *UNTRAINED]))
    status = Status(folder, devices=ranks.world, writes=ranks.first)
    pipeline.run(job.build(config), folder, status, Console(quiet=True), ranks)


def spoken(generations: Sequence[Sequence[Generation]]) -> list[list[list[Any]]]:
    return [[[one.text, one.truncated, one.n_tokens] for one in group] for group in generations]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, ranks = Path(sys.argv[1]), Ranks.here()
    ranks.start(cuda=False)
    for name in TRAININGS:
        trained(name, folder, ranks)
    if ranks.first:
        (folder / "in parts.pt").rename(folder / "whole.pt")
    ranks.wait()
    try:
        trained("in parts", folder / "cut", ranks, killed_in=2)
    except Killed:
        trained("in parts", folder / "cut", ranks)
    (folder / "asked").mkdir(exist_ok=True)
    asked(folder / "asked", ranks)
    found = {
        "answers": ranks.gather(spoken(answers(ranks))),
        "gathered": ranks.gather({"rank": ranks.rank}),
        "shared": ranks.gather(ranks.share(f"said by {ranks.rank}")),
        "sum": ranks.sum([1, 2.0**40 + ranks.rank]),
    }
    if ranks.first:
        (folder / "found.json").write_text(json.dumps(found))
