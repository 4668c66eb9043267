"""Pairs into the batches of one optimiser step.

    [Encoded, Encoded, ...]  --epoch 3-->  Part(micros=(Packed(ids=(1, 412), ...), ...), tokens=312), ...

One item of the loader is a rank's part of a whole effective batch, as the micro batches that go through the model one
after another, with the number of tokens that all ranks' parts supervise: what the step's loss is divided by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl

from ftcot.ranks import Ranks
from ftcot.student import Batch, Encoded, Student
from ftcot.training import Training
from ftcot.training.batches import n_steps, shares, steps


@dataclass(frozen=True)
class Part:
    """A rank's part of a step."""

    micros: Sequence[Batch]
    tokens: int
    """Supervised by the whole step, over all ranks."""

    def to(self, device: Any) -> Part:
        """The same on a device. Lightning calls it."""
        return Part([micro.to(device) for micro in self.micros], self.tokens)


class Pairs(pl.LightningDataModule):  # type: ignore[misc]
    """All pairs once an epoch, in steps of about `training.batch_size`."""

    def __init__(self, student: Student, pairs: Sequence[Encoded], training: Training, seed: int, ranks: Ranks) -> None:
        super().__init__()
        self.student, self.pairs, self.training, self.seed, self.ranks = student, pairs, training, seed, ranks

    def train_dataloader(self) -> Pairs:
        """This object: a DataLoader would add worker processes, and nothing here takes time worth hiding."""
        return self

    def __len__(self) -> int:
        return n_steps(self.pairs, self.training)

    def __iter__(self) -> Iterator[Part]:
        plan = steps(self.pairs, self.training, self.seed, self.trainer.current_epoch)
        # Lightning counts the steps of the epoch, those of an earlier attempt too: a run goes on where it stopped.
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        for step in plan[done : self.trainer.num_training_batches]:
            yield self.part(step)

    def part(self, step: Sequence[int]) -> Part:
        """This rank's part of a step."""
        micros = shares(step, self.pairs, self.training, self.ranks.world)[self.ranks.rank]
        batches = [
            # A part that is at its end has a gradient of zero, and takes part in the sum.
            self.student.collate([self.pairs[i] for i in micro or step[:1]], supervised=bool(micro))
            for micro in micros
        ]
        return Part(batches, sum(len(self.pairs[i].target_ids) for i in step))
