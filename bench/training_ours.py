"""Our side of bench/training.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from ftcot.compose import Composer, conf_dir, freeze
from ftcot.malloc import keep_freed
from ftcot.ranks import Ranks
from ftcot.student import Encoded
from ftcot.student.decoder import DecoderStudent
from ftcot.student.specs import Limits
from ftcot.training import Training
from ftcot.training.checkpoint import Checkpoints
from ftcot.training.data import Pairs
from ftcot.training.module import FineTuning
from ftcot.training.trainer import build_trainer, known_warnings

if TYPE_CHECKING:
    from bench.training_sides import Clock, Job


def settings(job: Job) -> Training:
    """The option of conf/training that the side is named after, with as many pairs a step as the other sides have."""
    config = freeze(Composer(conf_dir()).compose([f"training={job.name}", "logger=none"]))["training"]
    training = Training(**{key: value for key, value in config.items() if key != "_target_"})
    changes: dict[str, Any] = {"epochs": 1, "batch_size": job.pairs}
    wanted = {"group": "group_size", "tokens": "device_batch_tokens", "micro": "device_batch_size"}
    for word, name in wanted.items():
        if number := job.number(word, 0):
            changes[name] = number
    return replace(training, **changes)


def train(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """Some steps of the first epoch, through Lightning and all."""
    from transformers import AutoTokenizer

    keep_freed()  # as every worker does
    student = DecoderStudent(model, AutoTokenizer.from_pretrained(job.tokenizer), Limits(job.shape))
    pairs = [Encoded(tuple(prompt), tuple(target), False) for prompt, targets in questions for target in targets]
    training = settings(job)

    class Steps(pl.Callback):  # type: ignore[misc]
        """Tells of each optimiser step."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            clock.step(pl_module.last.tokens)

    with known_warnings(), TemporaryDirectory() as place:
        trainer = build_trainer(
            {
                "_target_": "pytorch_lightning.Trainer",
                "precision": "bf16-mixed" if job.precision == "bf16" else "32-true",
                "limit_train_batches": job.warm_up + job.steps,
            },
            epochs=1,
            folder=Path(place),
            callback=Steps(),
            checkpoints=Checkpoints(Path(place)),
            ranks=Ranks(),
        )
        trainer.fit(
            FineTuning(student, training, job.seed, Ranks(), lambda: False),
            datamodule=Pairs(student, pairs, training, job.seed, Ranks()),
        )
