"""Pairs into the batches of one optimiser step.

    [Encoded, Encoded, ...]  --epoch 3-->  [[{"input_ids": (4, L), ...}, {"input_ids": (4, L'), ...}], ...]

One item of the loader is a rank's part of a whole effective batch, as the micro batches that go through the model one
after another: the step that divides by the number of supervised tokens then always sees all of them. Which pairs make
a step depends on seed and epoch alone, not on how many ranks share it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from ftcot.ranks import Ranks
from ftcot.student import Encoded, Student
from ftcot.student.batch import IGNORED
from ftcot.training import Training

Batch = list[dict[str, Tensor]]
"""A rank's micro batches of one optimiser step."""

T = TypeVar("T")


def stream(seed: int, purpose: str, *place: int) -> int:
    """A seed for one use at one place (epoch, step, rank): the same in a resumed run, whatever was drawn before."""
    digest = hashlib.sha256("/".join(map(str, (seed, purpose, *place))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def order(n: int, seed: int, epoch: int) -> list[int]:
    """In which order `n` pairs are seen in an epoch: uniformly shuffled."""
    generator = torch.Generator().manual_seed(stream(seed, "order", epoch))
    result: list[int] = torch.randperm(n, generator=generator).tolist()
    return result


def shares(step: Sequence[T], rank: int, world: int, size: int | None) -> list[Sequence[T]]:
    """A rank's part of a step, as the micro batches that go through its model one after another.

    Every rank has as many of them, so that all meet where gradients are summed; where a rank's part is at its end,
    they are empty.

    Args:
        size: items of a micro batch; None: a rank's whole part.
    """
    mine = step[rank::world]
    largest = math.ceil(len(step) / world)
    size = size or largest
    return [mine[start : start + size] for start in range(0, largest, size)]


class Pairs(pl.LightningDataModule):  # type: ignore[misc]
    """All pairs once an epoch, in steps of `training.batch_size`; the last step may be smaller."""

    def __init__(self, student: Student, pairs: Sequence[Encoded], training: Training, seed: int, ranks: Ranks) -> None:
        super().__init__()
        self.student, self.pairs, self.seed, self.ranks = student, pairs, seed, ranks
        self.batch_size, self.micro = training.batch_size, training.device_batch_size

    def train_dataloader(self) -> Pairs:
        """This object: a DataLoader would add worker processes, and nothing here takes time worth hiding."""
        return self

    def __len__(self) -> int:
        return math.ceil(len(self.pairs) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        shuffled = order(len(self.pairs), self.seed, self.trainer.current_epoch)
        # Lightning counts the steps of the epoch, those of an earlier attempt too: a run goes on where it stopped.
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        for step in range(done, self.trainer.num_training_batches):
            chosen = [self.pairs[i] for i in shuffled[step * self.batch_size :][: self.batch_size]]
            micros = shares(chosen, self.ranks.rank, self.ranks.world, self.micro)
            yield [self.student.collate(micro) if micro else self._silent(chosen[0]) for micro in micros]

    def _silent(self, pair: Encoded) -> dict[str, Tensor]:
        """A micro batch of which nothing is supervised: its gradient is zero, and takes part in the sum."""
        batch = self.student.collate([pair])
        batch["labels"].fill_(IGNORED)
        return batch
