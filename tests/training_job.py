"""A small training as a program, so that tests can kill it: `python -m tests.training_job FOLDER SEED EPOCHS`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ftcot.logger import RunLogger
from ftcot.student import Encoded, Student
from ftcot.student.specs import Tiny, TinyT5
from ftcot.training import Training
from ftcot.training.checkpoint import Checkpoints, Position
from ftcot.training.fit import Fit, fit

ADAM = {"_target_": "torch.optim.AdamW", "lr": 3e-3}
CPU = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "devices": 1}

TEXTS = [
    (f"Ann has {i} hats and buys {j} more. ###", f" {i} + {j} = {i + j}. --> {i + j}" + " Yes." * (j % 3))
    for i in range(6)
    for j in range(7)
]
"""42 pairs: five batches of eight and one of two."""


def weights(student: Student) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in student.model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without what the clock says."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [row | {"tokens_per_second": ""} for row in csv.DictReader(file)]


def position(folder: Path) -> Position:
    (path,) = (folder / "checkpoints").iterdir()
    return Checkpoints(folder).position(path)


def build(seed: int = 0, *, dropout: bool = True) -> tuple[Student, list[Encoded]]:
    """A T5, which has dropout, or a Llama type, which has none, and the pairs, of different lengths."""
    spec = (TinyT5 if dropout else Tiny)("tiny", width=32, n_layers=1, n_heads=2)
    student = spec.load([prompt + completion for prompt, completion in TEXTS], seed)
    return student, [student.encode(*text) for text in TEXTS]


def of_questions(pairs: Sequence[Encoded], n: int) -> list[Encoded]:
    """The pairs, of which `n` in turn have the same question."""
    return [replace(pair, prompt_ids=pairs[i - i % n].prompt_ids) for i, pair in enumerate(pairs)]


GROUPS: Mapping[str, Any] = {"batch_by": "tokens", "group_size": 4, "batch_size": 16}
"""What training=fast does with pairs of the same question."""


def settings(**changes: Any) -> Training:
    values: dict[str, Any] = {"epochs": 2, "batch_size": 8, "optimizer": ADAM, "warmup": 0.1, "schedule": "cosine"}
    return Training(**(values | changes))


def train(
    student: Student, pairs: list[Encoded], folder: Path, training: Training, *, seed: int = 0, **more: Any
) -> Fit:
    arguments: dict[str, Any] = {"evaluate": None, "console": Console(file=sys.stdout), "trainer": CPU} | more
    arguments.setdefault("logger", RunLogger(folder))
    return fit(student, pairs, training, arguments.pop("trainer"), seed=seed, folder=folder, **arguments)


def accuracy(student: Student, epoch: int) -> Mapping[str, float]:
    return {"accuracy": epoch / 10}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, seed, epochs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    student, pairs = build(seed)
    pairs = pairs * 6  # an epoch of a second or so, to be killed in
    console = Console(file=sys.stdout, width=200)
    fitted = train(student, pairs, folder, settings(epochs=epochs), seed=seed, evaluate=accuracy, console=console)
    student.save(folder / "student")
    print(fitted, flush=True)
