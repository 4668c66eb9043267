"""Pairs into the batches of one optimiser step.

    [Encoded, Encoded, ...]  --epoch 3-->  [[{"input_ids": (4, L), ...}, {"input_ids": (4, L'), ...}], ...]

One item of the loader is a whole effective batch, as the micro batches that go through the model one after another:
the step that divides by the number of supervised tokens then always sees all of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from ftcot.student import Encoded, Student
from ftcot.training import Training

Batch = list[dict[str, Tensor]]
"""Micro batches of one optimiser step."""


def stream(seed: int, purpose: str, epoch: int) -> int:
    """A seed for one use in one epoch: the same in a resumed run, whatever was drawn before."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def order(n: int, seed: int, epoch: int) -> list[int]:
    """In which order `n` pairs are seen in an epoch: uniformly shuffled."""
    generator = torch.Generator().manual_seed(stream(seed, "order", epoch))
    result: list[int] = torch.randperm(n, generator=generator).tolist()
    return result


class Pairs(pl.LightningDataModule):  # type: ignore[misc]
    """All pairs once an epoch, in steps of `training.batch_size`; the last step may be smaller."""

    def __init__(self, student: Student, pairs: Sequence[Encoded], training: Training, seed: int) -> None:
        super().__init__()
        self.student, self.pairs, self.seed = student, pairs, seed
        self.batch_size = training.batch_size
        self.micro = training.device_batch_size or training.batch_size

    def train_dataloader(self) -> Pairs:
        """This object: a DataLoader would add worker processes, and nothing here takes time worth hiding."""
        return self

    def __len__(self) -> int:
        return math.ceil(len(self.pairs) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        shuffled = order(len(self.pairs), self.seed, self.trainer.current_epoch)
        for start in range(0, len(shuffled), self.batch_size):
            chosen = [self.pairs[i] for i in shuffled[start : start + self.batch_size]]
            yield [self.student.collate(chosen[i : i + self.micro]) for i in range(0, len(chosen), self.micro)]
