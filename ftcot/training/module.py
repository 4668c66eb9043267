"""One optimiser step around any student.

    [micro batch, micro batch]  ->  loss summed over 312 supervised tokens, its gradients divided by 312, AdamW

The loss of a step is the mean over the supervised tokens of its whole effective batch, however that batch was cut into
micro batches or spread over ranks. A mean of means would weigh a short micro batch's tokens more than a long one's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from ftcot import stop
from ftcot.errors import InputError, JobError
from ftcot.malloc import tidy
from ftcot.ranks import Ranks
from ftcot.student import Student
from ftcot.training import Training
from ftcot.training.batches import stream
from ftcot.training.data import Part
from ftcot.training.sharding import shard


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimiser step did, over all ranks, and what is to follow it."""

    loss: float
    """Summed over its supervised tokens."""
    tokens: int
    learning_rate: float
    save: bool
    """It is time for a checkpoint."""
    stop: int | None
    """The signal that asked a rank to stop."""


class FineTuning(pl.LightningModule):  # type: ignore[misc]
    """A student under training. Optimisation is manual: Lightning's own accumulation divides by the number of micro
    batches, which is right only if each holds the same number of supervised tokens."""

    def __init__(
        self, student: Student, training: Training, seed: int, ranks: Ranks, is_due: Callable[[], bool]
    ) -> None:
        """A student to be trained.

        Args:
            is_due: whether a checkpoint is.
        """
        super().__init__()
        self.automatic_optimization = False
        self.student = student
        self.model = student.model
        self.training_settings = training
        self.seed, self.ranks, self.is_due = seed, ranks, is_due
        self.model.train()  # from_pretrained leaves a model in eval mode, without dropout
        self.last: Step

    def configure_model(self) -> None:
        """Spread the student over the ranks where the strategy is to."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.training_settings, [p for p in self.model.parameters() if p.requires_grad])

    def training_step(self, batch: Part, batch_idx: int) -> None:
        optimizer = self.optimizers()
        # So dropout is the same in a run that was stopped before this step, and another on each rank. On a CPU
        # `torch.manual_seed` itself would take 0.2 ms, for GPUs that might come.
        generator = torch.default_generator if self.device.type == "cpu" else torch
        generator.manual_seed(stream(self.seed, "dropout", self.trainer.current_epoch, batch_idx, self.ranks.rank))
        loss = torch.zeros((), device=self.device)
        for number, micro in enumerate(batch.micros, start=1):
            micro_loss = self.student.loss(micro)
            with self._apart() if number < len(batch.micros) else nullcontext():
                # Ranks' gradients are averaged, hence the world size.
                self.manual_backward(micro_loss * (self.ranks.world / batch.tokens))
            loss += micro_loss.detach()
        step = self.last = self._together(loss.item(), batch.tokens)
        if not math.isfinite(step.loss):
            raise JobError(
                f"the loss is {step.loss} in epoch {self.trainer.current_epoch + 1}, step "
                f"{self.trainer.global_step + 1}: a smaller training.optimizer.lr may help, or "
                "training.gradient_clip=1"
            )
        if self.training_settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training_settings.gradient_clip, foreach=True)
        for group in optimizer.param_groups:
            group["lr"] = step.learning_rate
        optimizer.step()
        optimizer.zero_grad()
        tidy()

    def _apart(self) -> AbstractContextManager[None]:
        """Within, gradients stay on their rank: they are summed over the ranks once a step, not once a micro batch."""
        context: AbstractContextManager[None] = (
            nullcontext() if self.ranks.alone else self.trainer.strategy.block_backward_sync()
        )
        return context

    def _together(self, loss: float, tokens: int) -> Step:
        """The step of all ranks from this rank's part of it.

        Args:
            loss: summed over this rank's part.
            tokens: supervised by the whole step.
        """
        asked = stop.asked()
        requests = [float(asked == number) for number in stop.SIGNALS]
        all_loss, due, *requests = self.ranks.sum([loss, self.is_due(), *requests])
        n_steps = self.trainer.max_epochs * self.trainer.num_training_batches
        settings = self.training_settings
        return Step(
            loss=all_loss,
            tokens=tokens,
            learning_rate=settings.optimizer["lr"] * rate_factor(settings, self.trainer.global_step, n_steps),
            save=due > 0,
            stop=next((number for number, n in zip(stop.SIGNALS, requests, strict=True) if n), None),
        )


def rate_factor(training: Training, step: int, n_steps: int) -> float:
    """Share of the learning rate that step number `step` (from 0) of `n_steps` is taken with.

    A pure function of the step, so a resumed run needs no state of a scheduler.
    """
    warmup = round(training.warmup * n_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - warmup)
    if training.schedule == "linear":
        return 1 - progress
    if training.schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


def build_optimizer(training: Training, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that the config names.

    Raises:
        InputError: torch.optim has no such optimizer, or it has no such argument.
    """
    arguments = dict(training.optimizer)
    name = arguments.pop("_target_").removeprefix("torch.optim.")
    kind = getattr(torch.optim, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise InputError(f"training.optimizer._target_: torch.optim has no optimizer {name}")
    try:
        if not arguments.keys() & {"fused", "foreach", "capturable", "differentiable"} and _has_fused(kind):
            arguments["fused"] = True
        return kind(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"training.optimizer: {error}") from None


def _has_fused(kind: type[torch.optim.Optimizer]) -> bool:
    """Whether the optimizer has a kernel that reads and writes every weight once: the same sums, and of a step of
    GPT-2 on two cores 0.1 s in place of 0.4."""
    return "fused" in inspect.signature(kind).parameters
