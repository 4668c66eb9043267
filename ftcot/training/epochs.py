"""What happens around the steps of an epoch, in one order: steps, checkpoint, test, log, checkpoint's new name.

    {"step": 123, "epoch": 3, "loss": 0.4312, "tokens_per_second": 5210.3, "learning_rate": 0.0003, "accuracy": 0.417}

A test may go on beside the next epoch's steps (pending.py). The order stays: no other checkpoint is written before the
test is done, logged and its epoch's checkpoint renamed. So whoever goes on later never misses a test. A run that is
stopped while a test is pending drops it, with the steps that were made beside it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from ftcot import stop
from ftcot.ranks import Ranks
from ftcot.stop import Stop
from ftcot.training import Training
from ftcot.training.checkpoint import Checkpoints, Position
from ftcot.training.pending import Evaluate, Pending, Snapshot
from ftcot.training.progress import Display
from ftcot.training.room import Room
from ftcot.training.sharding import whole

if TYPE_CHECKING:
    from ftcot.logger import RunLogger
    from ftcot.training.module import FineTuning

LOOK = 0.1
"""Seconds between two looks whether this process is asked to stop, while it waits for a test."""


@dataclass(frozen=True)
class Trained:
    """An epoch whose steps are done."""

    epoch: int
    """From 1."""
    step: int
    loss: float
    tokens_per_second: float
    learning_rate: float


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
        room: Room,
    ) -> None:
        """A callback.

        Args:
            identity: of the training, for its checkpoints.
            every: seconds between checkpoints within an epoch; None: there are none.
            room: for a test beside training.
        """
        self.training, self.ranks, self.identity, self.every = training, ranks, identity, every
        self.evaluate, self.logger, self.display, self.checkpoints = evaluate, logger, display, checkpoints
        self.room = room
        self.tested = 0
        """The last epoch that an earlier attempt trained and tested."""
        self.supervised_tokens = 0
        self.seconds = 0.0
        """Spent in training steps, over all attempts."""
        self.overlapped = 0.0
        """Seconds of tests that went on beside training steps, over all attempts."""
        self._loss, self._tokens, self._elapsed = 0.0, 0, 0.0  # of the running epoch
        self._durations: list[float] = []
        self._began = self._saved = self._opened = time.monotonic()
        self._steps = 0
        """Made by this process."""
        self._snapshot: Snapshot | None = None
        self._pending: tuple[Pending, Trained] | None = None

    def state_dict(self) -> dict[str, Any]:
        running = {"loss": self._loss, "tokens": self._tokens, "elapsed": self._elapsed}
        spent = {"seconds": self.seconds, "overlapped": self.overlapped}
        return {"supervised_tokens": self.supervised_tokens, **spent, "running": running}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.supervised_tokens, self.seconds = state_dict["supervised_tokens"], state_dict["seconds"]
        self.overlapped = state_dict["overlapped"]
        self._loss, self._tokens, self._elapsed = (state_dict["running"][key] for key in ("loss", "tokens", "elapsed"))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: FineTuning, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"] = self.identity
        # Lightning counts a step as completed after the hook we save in. Going on from such a checkpoint, it would
        # leave out the end of an epoch (its test) where that step was the last.
        for count in ("current", "total"):
            checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"][count]["completed"] += 1

    def is_due(self) -> bool:
        """Whether a checkpoint is, for the time that has passed. While a test is pending it would have to wait."""
        if self.every is None or self._pending is not None:
            return False
        return time.monotonic() - self._saved >= self.every

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
        self._saved = self._opened = time.monotonic()
        self._began = self._saved - self._elapsed

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: FineTuning, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = pl_module.last
        self._steps += 1
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
        due = step.save or step.stop is not None or steps == trainer.num_training_batches
        if self._pending is not None and (due or self._pending[0].is_done):
            self._settle(*self._pending)
            self._began = time.monotonic() - self._elapsed  # waiting is no training
        if due:
            trainer.save_checkpoint(self.checkpoints.path(Position(trainer.current_epoch, steps)), weights_only=False)
            self._saved = time.monotonic()
            self._began = self._saved - self._elapsed  # nor is writing
        if step.stop is not None:
            raise Stop(step.stop)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        epoch = trainer.current_epoch + 1
        self.seconds += self._elapsed
        self.supervised_tokens += self._tokens
        self.display.stop()
        if epoch > self.tested:
            trained = Trained(
                epoch,
                trainer.global_step,
                self._loss / self._tokens,
                self._tokens / self._elapsed,
                trainer.optimizers[0].param_groups[0]["lr"],
            )
            stop.release()
            self._test(pl_module, trained)
            stop.hold()

    def _test(self, pl_module: FineTuning, trained: Trained) -> None:
        """Test the student, or begin with it."""
        epoch, last = trained.epoch, self.training.epochs
        metrics: Mapping[str, float] = {}
        if self.evaluate is not None and (epoch % self.training.evaluate_every == 0 or epoch == last):
            if epoch < last and self.room.is_there(pl_module.model):
                self._snapshot = self._snapshot or Snapshot(pl_module.student)
                self._pending = Pending(self.evaluate, self._snapshot.take(), epoch), trained
            else:
                with whole(pl_module.model), self.room.measuring(pl_module.model, trained=self._steps > 0):
                    metrics = self.evaluate(pl_module.student, epoch)
        self._durations.append(time.monotonic() - self._opened)
        if self._pending is None:
            self._close(trained, metrics)

    def _settle(self, pending: Pending, trained: Trained) -> None:
        """Wait for a test that is pending, and close its epoch.

        Raises:
            Stop: asked to stop, and it is not done.
            BaseException: what the test raised.
        """
        since = time.monotonic()
        while not pending.wait(LOOK):
            if (number := stop.asked()) is not None:
                raise Stop(number)
        self._pending = None
        self.overlapped += max(0.0, pending.seconds - (time.monotonic() - since))
        self._close(trained, pending.result())

    def _close(self, trained: Trained, metrics: Mapping[str, float]) -> None:
        """Log an epoch whose predictions and weights are on the disk, and mark its checkpoint as tested."""
        epoch, loss, speed = trained.epoch, trained.loss, trained.tokens_per_second
        self.logger.log_epoch(
            step=trained.step,
            epoch=epoch,
            loss=loss,
            tokens_per_second=speed,
            learning_rate=trained.learning_rate,
            metrics=metrics,
        )
        if self.ranks.first:
            self.checkpoints.close(epoch)
        left = sum(self._durations) / len(self._durations) * (self.training.epochs - epoch)
        self.display.end_epoch(epoch, loss=loss, tokens_per_second=speed, metrics=metrics, seconds_left=left)

    def drop(self) -> None:
        """Give up a test that is pending: its epoch is tested again by whoever goes on."""
        if self._pending is not None:
            pending, self._pending = self._pending[0], None
            pending.drop()

    def on_train_end(self, trainer: pl.Trainer, pl_module: FineTuning) -> None:
        stop.release()

    def on_exception(self, trainer: pl.Trainer, pl_module: FineTuning, exception: BaseException) -> None:
        stop.release(quietly=True)
        self.display.stop()
        self.drop()
