"""A job with a result, made up, to be logged without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftcot.compose import Composer, conf_dir
from ftcot.job import Job, build
from ftcot.logger import RunLogger, open_logger
from ftcot.records import Prediction, Sample, Score
from ftcot.status import Status

HASH = "5f0cabc1" * 8

COUNTS = {"train": 420, "validation": 0, "test": 4, "examples": 323, "parameters": 124_000_000}

SAMPLES = [Sample("coin_flip", 1, index, f"Question {index}?", "yes", "test") for index in range(10, 50, 10)]

PREDICTIONS = [
    Prediction(
        sample_index=sample.sample_index,
        split="test",
        epoch=2,
        text=f" Heads, then tails. --> {'yes' if number else 'no'} END",
        answer="yes",
        prediction="yes" if number else "no",
        correct=number > 0,
        verdicts={"paper": number > 0},
        contains_answer=True,
        formatted=True,
        truncated=False,
        n_tokens=9,
        study="right" if number else "wrong answer, no equation",
    )
    for number, sample in enumerate(SAMPLES)
]

SCORE = Score(
    task="coin_flip",
    method="fine_tune_cot",
    student="tiny",
    teacher="procedural",
    scorer="paper",
    accuracy=0.75,
    n=4,
    interval=(0.3, 0.95),
    epoch=2,
    best_on_test={"epoch": 1, "accuracy": 0.8},
    best_on_validation=None,
    random_accuracy=0.5,
    teacher_accuracy=None,
    n_examples=323,
    seconds={"train": 7.0, "evaluate": 0.5},
    tokens={"supervised": 9000, "generated": 72, "teacher": 0},
    cost_usd=0.25,
    epochs=(
        {"epoch": 1, "split": "validation", "accuracy": 0.875},
        {"epoch": 1, "split": "test", "accuracy": 0.8},
        {"epoch": 2, "split": "validation", "accuracy": 0.625},
        {"epoch": 2, "split": "test", "accuracy": 0.75, "study": {"right": 0.75, "wrong answer, no equation": 0.25}},
    ),
    devices=2,
    device_seconds=14.0,
    diversity={"n": 323, "effective_degree": 5.9, "paths": 3.3},
)


def job(cache: Path, *overrides: str) -> Job:
    """The job of these overrides, with a cache of its own."""
    return build(Composer(conf_dir()).job([f"paths.cache={cache}", *overrides]))


def status(folder: Path) -> Status:
    """The status of a run folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Status(folder)
    found.update(hash=HASH, counts=COUNTS)
    return found


def log(logger: RunLogger, epochs: range) -> None:
    """Two steps and an evaluation an epoch."""
    for epoch in epochs:
        values: dict[str, Any] = {"tokens_per_second": 1000.0, "learning_rate": 3e-4}
        for step in (2 * epoch - 1, 2 * epoch):
            logger.log_step(step=step, epoch=epoch, loss=1 / step, **values)
        metrics = {"accuracy": epoch / 4, "format_rate": 1.0}
        logger.log_epoch(step=2 * epoch, epoch=epoch, loss=1 / epoch, metrics=metrics, **values)


def record(folder: Path, cache: Path, *overrides: str) -> list[str]:
    """Log the job with its result in `folder`, offline; returns what was said of W&B."""
    said: list[str] = []
    with open_logger(job(cache, *overrides), folder, status(folder), online=True, say=said.append) as logger:
        log(logger, range(1, 3))
        logger.summarize(SCORE, PREDICTIONS, SAMPLES)
    return said
