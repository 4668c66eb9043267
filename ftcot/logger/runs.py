"""The logger of one run: metrics.csv, and a W&B run beside it where there is one."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ftcot.logger.metrics import Metrics
from ftcot.logger.settings import Wandb, build
from ftcot.records import Prediction, Sample, Score

if TYPE_CHECKING:
    from ftcot.job import Job
    from ftcot.logger.tracker import Say, WandbRun
    from ftcot.status import Status


class RunLogger:
    """The figures of one run. Close it with `finish`."""

    def __init__(self, folder: Path, tracker: WandbRun | None = None) -> None:
        self._metrics = Metrics(folder)
        self._tracker = tracker

    def log_step(self, *, step: int, epoch: int, loss: float, tokens_per_second: float, learning_rate: float) -> None:
        """One optimiser step, for W&B's curves; metrics.csv keeps epochs."""
        values = {"loss": loss, "tokens_per_second": tokens_per_second, "learning_rate": learning_rate}
        self._track("train", {"step": step, "epoch": epoch} | values)

    def log_epoch(
        self,
        *,
        step: int,
        epoch: int,
        loss: float,
        tokens_per_second: float,
        learning_rate: float,
        metrics: Mapping[str, float],
    ) -> None:
        """One epoch, on the disk for good when this returns.

        Args:
            step: optimiser steps so far.
            loss: mean over the epoch's supervised tokens.
            metrics: of the evaluation; empty where none was due.
        """
        values = {"loss": loss, "tokens_per_second": tokens_per_second, "learning_rate": learning_rate}
        self._metrics.add({"step": step, "epoch": epoch} | values | dict(metrics))
        self._track("epoch", {"epoch": epoch, "loss": loss})
        if metrics:
            self._track("evaluation", {"epoch": epoch} | dict(metrics))

    def rewind(self, epoch: int) -> None:
        """Forget the rows after `epoch`: a run that goes on from there writes them again."""
        self._metrics.rewind(epoch)

    def summarize(self, score: Score, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """The result, where W&B shows one number a run.

        Args:
            predictions: of the last epoch, on test; some of them become a table.
            samples: those that were asked.
        """
        if self._tracker is not None:
            self._tracker.summarize(score, predictions, samples)

    def finish(self, exit_code: int) -> None:
        """Close the run. A job that failed or was stopped must say so, or W&B shows it as finished."""
        if self._tracker is not None:
            tracker, self._tracker = self._tracker, None
            tracker.finish(exit_code)

    def _track(self, phase: str, values: Mapping[str, float]) -> None:
        if self._tracker is not None:
            self._tracker.log(phase, values)


class Silent(RunLogger):
    """The logger of a rank above 0, which takes everything and writes nothing: rank 0 says it all."""

    def __init__(self) -> None:
        self._tracker = None

    def log_epoch(self, **values: object) -> None:
        """Nothing."""

    def rewind(self, epoch: int) -> None:
        """Nothing."""


@contextmanager
def open_logger(job: Job, folder: Path, status: Status, *, online: bool, say: Say = print) -> Iterator[RunLogger]:
    """The logger of a job, finished with exit code 0; 1 when what is inside fails, 128 + signal when it is stopped.

    Args:
        online: False keeps to metrics.csv: nothing that is left to do has figures for a tracker.
        say: gets a line on where the figures go, and on what W&B could not be told.
    """
    settings = build(job.logger)
    tracker = None
    if online and isinstance(settings, Wandb):
        from ftcot.logger.tracker import open_run

        tracker = open_run(settings, job, folder, status, say)
    logger = RunLogger(folder, tracker)
    exit_code = 0
    try:
        yield logger
    except Exception:
        exit_code = 1
        raise
    except BaseException as stop:  # the worker's Stop says which signal asked for it
        exit_code = 128 + int(getattr(stop, "number", signal.SIGTERM))
        raise
    finally:
        logger.finish(exit_code)
