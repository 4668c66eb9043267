"""What happens around the steps of an epoch, in one order: steps, checkpoint, test, log, checkpoint's new name.

{"step": 123, "epoch": 3, "loss": 0.4312, "tokens_per_second": 5210.3, "learning_rate": 0.0003, "accuracy": 0.417}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from ftcot import stop
from ftcot.ranks import Ranks
from ftcot.stop import Stop
from ftcot.training import Training
from ftcot.training.checkpoint import Checkpoints, Position
from ftcot.training.progress import Display
from ftcot.training.sharding import whole

if TYPE_CHECKING:
    from ftcot.logger import RunLogger
    from ftcot.training.module import FineTuning

Evaluate = Callable[[int], Mapping[str, float]]
"""Tests the student after an epoch, counted from 1, and returns what to log. A run that ends before all of that is on
the disk tests that epoch again; its steps are not repeated."""


class Epochs(pl.Callback):  # type: ignore[misc]
    """The life of an epoch. One callback, as the order matters: an epoch's checkpoint is written before its test, and
    marked as tested after everything else of that epoch is on the disk."""

    def __init__(
        self,
        training: Training,
        ranks: Ranks,
        identity: str,
        evaluate: Evaluate | None,
        logger: RunLogger,
        display: Display,
        checkpoints: Checkpoints,
        every: float | None,
    ) -> None:
        """A callback.

        Args:
            identity: of the training, for its checkpoints.
            every: seconds between checkpoints within an epoch; None: there are none.
        """
        self.training, self.ranks, self.identity, self.every = training, ranks, identity, every
        self.evaluate, self.logger, self.display, self.checkpoints = evaluate, logger, display, checkpoints
        self.tested = 0
        """The last epoch that an earlier attempt trained and tested."""
        self.supervised_tokens = 0
        self.seconds = 0.0
        """Spent in training steps, over all attempts."""
        self._loss, self._tokens, self._elapsed = 0.0, 0, 0.0  # of the running epoch
        self._durations: list[float] = []
        self._began = self._saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        running = {"loss": self._loss, "tokens": self._tokens, "elapsed": self._elapsed}
        return {"supervised_tokens": self.supervised_tokens, "seconds": self.seconds, "running": running}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.supervised_tokens, self.seconds = state_dict["supervised_tokens"], state_dict["seconds"]
        self._loss, self._tokens, self._elapsed = (state_dict["running"][key] for key in ("loss", "tokens", "elapsed"))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: FineTuning, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity
        # Lightning counts a step as completed after the hook we save in. Going on from such a checkpoint, it would
        # leave out the end of an epoch (its test) where that step was the last.
        for count in ("current", "total"):
            checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"][count]["completed"] += 1

    def is_due(self) -> bool:
        """Whether a checkpoint is, for the time that has passed."""
        return self.every is not None and time.monotonic() - self._saved >= self.every

    def on_train_start(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        stop.listen_again()  # Lightning has put a handler of SIGTERM in front, which talks to other ranks amid a step
        stop.hold()
        if done := trainer.fit_loop.epoch_loop.batch_progress.current.ready:  # within an epoch: it does not start again
            self._begin(trainer, pl_module, done)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        self._loss, self._tokens, self._elapsed = 0.0, 0, 0.0
        self._begin(trainer, pl_module, 0)

    def _begin(self, trainer: pl.Trainer, pl_module: FineTuning, done: int) -> None:
        pl_module.model.train()
        self.display.start_epoch(trainer.current_epoch + 1, trainer.num_training_batches, done)
        self._saved = time.monotonic()
        self._began = self._saved - self._elapsed

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: FineTuning, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = pl_module.last
        self._loss += step.loss
        self._tokens += step.tokens
        self._elapsed = time.monotonic() - self._began
        speed = self._tokens / self._elapsed
        self.display.step(step.loss / step.tokens, speed)
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self.logger.log_step(
                step=trainer.global_step,
                epoch=trainer.current_epoch + 1,
                loss=step.loss / step.tokens,
                tokens_per_second=speed,
                learning_rate=step.learning_rate,
            )
        steps = batch_idx + 1
        if step.save or step.stop is not None or steps == trainer.num_training_batches:
            trainer.save_checkpoint(self.checkpoints.path(Position(trainer.current_epoch, steps)), weights_only=False)
            self._saved = time.monotonic()
            self._began = self._saved - self._elapsed  # writing is no training
        if step.stop is not None:
            raise Stop(step.stop)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        epoch = trainer.current_epoch + 1
        self.seconds += self._elapsed
        self.supervised_tokens += self._tokens
        self.display.stop()
        if epoch > self.tested:
            stop.release()
            self._test(trainer, pl_module, epoch)
            stop.hold()

    def _test(self, trainer: pl.Trainer, pl_module: FineTuning, epoch: int) -> None:
        due = epoch % self.training.evaluate_every == 0 or epoch == self.training.epochs
        metrics: Mapping[str, float] = {}
        if self.evaluate is not None and due:
            with whole(pl_module.model):
                metrics = self.evaluate(epoch)
        loss, speed = self._loss / self._tokens, self._tokens / self._elapsed
        self.logger.log_epoch(
            step=trainer.global_step,
            epoch=epoch,
            loss=loss,
            tokens_per_second=speed,
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
            metrics=metrics,
        )
        if self.ranks.first:
            self.checkpoints.close(epoch)
        self._durations.append(time.monotonic() - self._began)
        left = sum(self._durations) / len(self._durations) * (self.training.epochs - epoch)
        self.display.end_epoch(epoch, loss=loss, tokens_per_second=speed, metrics=metrics, seconds_left=left)

    def on_train_end(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        stop.release()

    def on_exception(self, trainer: pl.Trainer, pl_module: FineTuning, exception: BaseException) -> None:
        stop.release(quietly=True)
        self.display.stop()
