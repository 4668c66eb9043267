"""What happens around the steps of an epoch, in one order: seed, steps, test, log, checkpoint.

{"step": 123, "epoch": 3, "loss": 0.4312, "tokens_per_second": 5210.3, "learning_rate": 0.0003, "accuracy": 0.417}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from ftcot.training import Training
from ftcot.training.checkpoint import Checkpoints
from ftcot.training.data import stream
from ftcot.training.progress import Display

if TYPE_CHECKING:
    from ftcot.logger import RunLogger
    from ftcot.training.module import FineTuning

Evaluate = Callable[[int], Mapping[str, float]]
"""Tests the student after an epoch, counted from 1, and returns what to log. An epoch whose checkpoint was not written
before the run died is trained, and tested, again."""


class Epochs(pl.Callback):  # type: ignore[misc]
    """The life of an epoch. One callback, as the order matters: the checkpoint of an epoch is written after everything
    else of that epoch is on the disk, so a run that goes on repeats an epoch whole or not at all."""

    def __init__(
        self,
        training: Training,
        seed: int,
        identity: str,
        evaluate: Evaluate | None,
        logger: RunLogger,
        display: Display,
        checkpoints: Checkpoints,
    ) -> None:
        self.training, self.seed, self.identity = training, seed, identity
        self.evaluate, self.logger, self.display, self.checkpoints = evaluate, logger, display, checkpoints
        self.supervised_tokens = 0
        self.seconds = 0.0
        """Spent in training steps, over all attempts."""
        self._durations: list[float] = []
        self._loss, self._tokens, self._started = 0.0, 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"supervised_tokens": self.supervised_tokens, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.supervised_tokens, self.seconds = state_dict["supervised_tokens"], state_dict["seconds"]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: FineTuning, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        epoch = trainer.current_epoch + 1
        torch.manual_seed(stream(self.seed, "dropout", trainer.current_epoch))
        pl_module.model.train()
        self.display.start_epoch(epoch, trainer.num_training_batches)
        self._loss, self._tokens, self._started = 0.0, 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: FineTuning, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = pl_module.last
        self._loss += step.loss
        self._tokens += step.tokens
        speed = self._tokens / (time.monotonic() - self._started)
        self.display.step(step.loss / step.tokens, speed)
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self.logger.log_step(
                step=trainer.global_step,
                epoch=trainer.current_epoch + 1,
                loss=step.loss / step.tokens,
                tokens_per_second=speed,
                learning_rate=step.learning_rate,
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        epoch = trainer.current_epoch + 1
        trained = time.monotonic() - self._started
        self.seconds += trained
        self.supervised_tokens += self._tokens
        self.display.stop()
        due = epoch % self.training.evaluate_every == 0 or epoch == self.training.epochs
        metrics = self.evaluate(epoch) if self.evaluate is not None and due else {}
        loss, speed = self._loss / self._tokens, self._tokens / trained
        self.logger.log_epoch(
            step=trainer.global_step,
            epoch=epoch,
            loss=loss,
            tokens_per_second=speed,
            learning_rate=pl_module.last.learning_rate,
            metrics=metrics,
        )
        trainer.save_checkpoint(self.checkpoints.path(epoch), weights_only=False)
        self._durations.append(time.monotonic() - self._started)
        left = sum(self._durations) / len(self._durations) * (self.training.epochs - epoch)
        self.display.end_epoch(epoch, loss=loss, tokens_per_second=speed, metrics=metrics, seconds_left=left)

    def on_exception(self, trainer: pl.Trainer, pl_module: FineTuning, exception: BaseException) -> None:
        self.display.stop()
