"""One optimiser step around any student.

    [micro batch, micro batch]  ->  loss summed over 312 supervised tokens, gradients divided by 312, AdamW

The loss of a step is the mean over the supervised tokens of its whole effective batch, however that batch was cut into
micro batches or spread over ranks. A mean of means would weigh a short micro batch's tokens more than a long one's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from ftcot.errors import InputError, JobError
from ftcot.student import Student
from ftcot.training import Training
from ftcot.training.data import Batch


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimiser step did."""

    loss: float
    """Summed over its supervised tokens."""
    tokens: int
    learning_rate: float


class FineTuning(pl.LightningModule):  # type: ignore[misc]
    """A student under training. Optimisation is manual: Lightning's own accumulation divides by the number of micro
    batches, which is right only if each holds the same number of supervised tokens."""

    def __init__(self, student: Student, training: Training) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.student = student
        self.model = student.model
        self.training_settings = training
        self.model.train()  # from_pretrained leaves a model in eval mode, without dropout
        self.last: Step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.training_settings, [p for p in self.model.parameters() if p.requires_grad])

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer = self.optimizers()
        loss = torch.zeros((), device=self.device)
        tokens = torch.zeros((), dtype=torch.long, device=self.device)
        for micro in batch:
            micro_loss, micro_tokens = self.student.loss(micro)
            self.manual_backward(micro_loss)
            loss += micro_loss.detach()
            tokens += micro_tokens
        # One process: both come back as they are. Several: every rank learns the sums over all of them.
        loss, tokens = (self.trainer.strategy.reduce(value, reduce_op="sum") for value in (loss, tokens))
        if not torch.isfinite(loss):
            raise JobError(
                f"the loss is {loss.item()} in epoch {self.trainer.current_epoch + 1}, step "
                f"{self.trainer.global_step + 1}: a smaller training.optimizer.lr may help, or "
                "training.gradient_clip=1"
            )
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        # Ranks' gradients arrive averaged, hence the world size.
        torch._foreach_mul_(gradients, self.trainer.world_size / tokens.item())
        settings = self.training_settings
        if settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.gradient_clip, foreach=True)
        n_steps = self.trainer.max_epochs * self.trainer.num_training_batches
        rate = settings.optimizer["lr"] * rate_factor(settings, self.trainer.global_step, n_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        self.last = Step(loss.item(), int(tokens.item()), rate)


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
        return kind(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"training.optimizer: {error}") from None
