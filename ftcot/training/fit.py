"""Fine-tune a student on pairs: the one entry into training.

    fit(student, [Encoded(prompt_ids=(5, 9), target_ids=(7, 2), truncated=False), ...], training, trainer, ...)
    Fit(epochs=20, steps=820, supervised_tokens=551200, seconds=131.2, resumed_after=(0, 0))

Lightning owns the loop over epochs and steps; this module puts it together, and takes it up again where a run that
was stopped or killed left it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ftcot
from ftcot.errors import InputError, JobError
from ftcot.ranks import Ranks
from ftcot.student import Encoded, Student
from ftcot.training import Training

if TYPE_CHECKING:
    from rich.console import Console

    from ftcot.logger import RunLogger
    from ftcot.training.checkpoint import Position
    from ftcot.training.pending import Evaluate
    from ftcot.training.progress import Display
    from ftcot.training.room import Overlap


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training took."""

    epochs: int
    steps: int
    supervised_tokens: int
    """Over all epochs, those of earlier attempts included."""
    seconds: float
    """In training steps (not in evaluations), earlier attempts included."""
    overlapped: float
    """Seconds of evaluations that went on beside training steps, earlier attempts included."""
    resumed_after: tuple[int, int]
    """Epochs, and steps of the next one, that the run found done; (0, 0) if it began at the beginning."""


def fit(
    student: Student,
    examples: Sequence[Encoded],
    training: Training,
    trainer: Mapping[str, Any],
    *,
    seed: int,
    folder: Path,
    evaluate: Evaluate | None,
    logger: RunLogger,
    console: Console,
    ranks: Ranks | None = None,
    overlap: Overlap = "auto",
) -> Fit:
    """Train `student` in place; it comes back on the CPU, in eval mode.

    Called again on the same folder after a run that was stopped or died, it goes on from the last checkpoint and ends
    with the same weights, bit for bit, as if nothing had happened (same machine, number of threads and of ranks).

    Args:
        trainer: plain arguments of pytorch_lightning.Trainer, with its `_target_`, and `checkpoint_minutes`.
        folder: the run folder; checkpoints go to `checkpoints/` in it.
        evaluate: called after every epoch that is due, with the student as it is then and the epoch counted from 1; on
            every rank.
        ranks: of which this process is one; they share each step, and all call this.
        overlap: whether `evaluate` may be called in a thread, with a copy of the student, while training goes on;
            room.py says what `auto` means.
    Raises:
        Stop: asked to stop; a checkpoint of the last step is written.
        JobError: the loss is not finite; the last checkpoint stays.
        OSError: a checkpoint cannot be written (the disk is full, say); the one before stays.
        InputError: the optimizer, LoRA or the trainer refuses its arguments.
    """
    import torch

    from ftcot.student.kernels import use_liger
    from ftcot.training.batches import stream
    from ftcot.training.checkpoint import Checkpoints, Position
    from ftcot.training.data import Pairs
    from ftcot.training.epochs import Epochs
    from ftcot.training.lora import adapted
    from ftcot.training.module import FineTuning
    from ftcot.training.progress import Display
    from ftcot.training.room import Room
    from ftcot.training.trainer import build_trainer, check_sharing, known_warnings

    if not examples:
        raise JobError("nothing to train on: there is no pair")
    ranks = ranks or Ranks()
    check_sharing(trainer, training, ranks.world)
    minutes = trainer.get("checkpoint_minutes")
    every = None if minutes is None else 60 * minutes
    identity = _identity(examples, training, trainer, seed)
    checkpoints, display = Checkpoints(folder), Display(console, training.epochs)
    room = Room(overlap, ranks)
    epochs = Epochs(training, ranks, identity, evaluate, logger, display, checkpoints, every, room)
    torch.manual_seed(stream(seed, "lora"))
    with known_warnings(), adapted(student, training.lora):
        lightning = build_trainer(
            trainer, epochs=training.epochs, folder=folder, callback=epochs, checkpoints=checkpoints, ranks=ranks
        )
        if training.liger:
            if lightning.strategy.root_device.type != "cuda":
                raise InputError("training.liger: its kernels are for CUDA's GPUs; training.liger=false")
            use_liger(student.model)
        found = ranks.share(checkpoints.find(identity) if ranks.first else None)
        after = Position(0) if found is None else checkpoints.position(found)
        epochs.tested = after.epochs
        _announce(display, checkpoints.unusable, after)
        try:
            logger.rewind(after.epochs)
            lightning.fit(
                FineTuning(student, training, seed, ranks, epochs.is_due),
                datamodule=Pairs(student, examples, training, seed, ranks),
                ckpt_path=found,
                weights_only=True,
            )
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None  # Lightning turns Ctrl-C into an exit
            if lightning.received_sigterm:
                raise SystemExit(128 + signal.SIGTERM) from None  # and a SIGTERM that no one handles into exit code 0
            raise
        finally:
            display.stop()
            epochs.drop()
    student.model.eval()
    return Fit(
        epochs=training.epochs,
        steps=lightning.global_step,
        supervised_tokens=epochs.supervised_tokens,
        seconds=epochs.seconds,
        overlapped=epochs.overlapped,
        resumed_after=(after.epochs, after.steps),
    )


def check_truncation(encoded: Sequence[Encoded], training: Training) -> int:
    """How many pairs were cut to fit.

    Raises:
        JobError: more than `training.truncation_limit` of them.
    """
    n = sum(pair.truncated for pair in encoded)
    if n > training.truncation_limit * len(encoded):
        raise JobError(
            f"{n} of {len(encoded)} pairs ({100 * n / len(encoded):.1f} %) were cut to fit the student, more than "
            f"training.truncation_limit={training.truncation_limit}: raise the student's length limits, drop long "
            "rationales (curation.max_words), or raise the limit"
        )
    return n


def clear(folder: Path) -> None:
    """Remove the checkpoints of a run folder, once its weights are saved."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _announce(display: Display, unusable: Sequence[str], after: Position) -> None:
    """Say which checkpoints are not gone on from, and where training begins."""
    for name in unusable:
        display.say(f"checkpoint {name} is damaged or of another training: not used")
    if after.steps:
        display.say(f"going on in epoch {after.epochs + 1} after step {after.steps}")
    elif after.epochs:
        display.say(f"going on after epoch {after.epochs}")
    elif unusable:
        display.say("starting from the beginning")


def _identity(examples: Sequence[Encoded], training: Training, trainer: Mapping[str, Any], seed: int) -> str:
    """What a checkpoint must have been written for to be gone on from: the same pairs, settings and seed."""
    digest = hashlib.sha256()
    settings = [dataclasses.asdict(training), trainer.get("precision"), trainer.get("limit_train_batches"), seed]
    digest.update(json.dumps([ftcot.RESULT_VERSION, *settings], sort_keys=True, default=str).encode())
    for pair in examples:
        digest.update(repr((pair.prompt_ids, pair.target_ids)).encode())
    return digest.hexdigest()
