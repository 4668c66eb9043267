"""What W&B is told of a job and its result, as plain values; the dashboard reads the same names.

tags      fine_tune_cot's: multiarith, gpt2, text-davinci-002, D=8
config    job.yaml, and under `job` what figures are drawn over: {"diversity": 8, "n_train": 420, ...}
summary   {"score/accuracy": 0.4167, "score/study_wrong_arithmetic": 0.2056, "score/n": 180, ...}
result    a table of one row, for charts with error bars
predictions   a table of a fixed sample of the test questions
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftcot.records import Prediction, Sample, Score
from ftcot.redact import without_secrets
from ftcot.sample_study import key, reported

if TYPE_CHECKING:
    from ftcot.job import Job

JOB = "job"
"""The config key of `facts`. Not a group of the Hydra tree: under a sweep agent W&B puts the name of the chosen option
in place of a group's config (`config.task` is then "multiarith")."""

RESULT, PREDICTIONS = "result", "predictions"
"""The keys of the two tables."""

RESULT_COLUMNS = (
    *("task", "method", "student", "teacher", "diversity", "n_train", "n_parameters", "seed"),
    *("accuracy", "low", "high", "n", "epoch"),
)
PREDICTION_COLUMNS = ("sample_index", "question", "text", "prediction", "answer", "verdict", "error")

MAX_TAG = 64
"""Letters of a tag that W&B takes."""


def name(job: Job, job_hash: str) -> str:
    """Of the run: `fine_tune_cot multiarith gpt2 D=8 5f0c12ab`."""
    return " ".join([job.method.name, job.task.name, job.student.name, *_degree(job), job_hash[:8]])


def tags(job: Job, own: Sequence[str]) -> tuple[str, ...]:
    """The user's, and what a project is most often filtered by."""
    teacher = [job.teacher.name] if job.needs_teacher else []
    found = [*own, job.task.name, job.student.name, *teacher, *_degree(job)]
    return tuple(dict.fromkeys(tag[:MAX_TAG] for tag in found))


def _degree(job: Job) -> list[str]:
    return [f"D={job.diversity.degree}"] if job.needs_teacher else []


def config(job: Job, counts: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved config with `facts` beside it, without any secret of the environment."""
    hidden: dict[str, Any] = without_secrets(job.config)
    return hidden | {JOB: facts(job, counts)}


def facts(job: Job, counts: Mapping[str, Any]) -> dict[str, Any]:
    """What figures are drawn over. Names, not options; numbers, not text; the same for every kind of run.

    Args:
        counts: of status.json, which grow as the job goes on; what is not known yet is left out.
    """
    known = {
        "task": job.task.name,
        "method": job.method.name,
        "student": job.student.name,
        "teacher": job.teacher.name if job.needs_teacher else "none",
        "diversity": job.diversity.degree if job.needs_teacher else None,
        "temperature": job.diversity.temperature if job.needs_teacher else None,
        "n_train": counts.get("train"),
        "n_validation": counts.get("validation"),
        "n_test": counts.get("test"),
        "n_examples": counts.get("examples"),
        "n_parameters": counts.get("parameters"),
        "scorer": job.evaluation.scorer,
        "seed": job.seed,
    }
    return {key: value for key, value in known.items() if value is not None}


def summary(score: Score, keep: str) -> dict[str, float]:
    """One number a key, as W&B's tables of runs show them; what is not known is left out.

    Args:
        keep: of the job. A search goes by the validation score of the epoch whose weights are kept.
    """
    low, high = score.interval
    validation = [epoch["accuracy"] for epoch in score.epochs if epoch["split"] == "validation"]
    values = {
        "accuracy": score.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "n": score.n,
        "epoch": score.epoch,
        "validation_accuracy": (max(validation) if keep == "best" else validation[-1]) if validation else None,
        "best_on_validation": (score.best_on_validation or {}).get("accuracy"),
        "best_on_test": (score.best_on_test or {}).get("accuracy"),
        "random_accuracy": score.random_accuracy,
        "teacher_accuracy": score.teacher_accuracy,
        "n_examples": score.n_examples,
        "seconds": sum(score.seconds.values()),
        "device_seconds": score.device_seconds,
        "devices": score.devices,
        "cost_usd": score.cost_usd,
    }
    values |= {f"tokens_{kind}": n for kind, n in score.tokens.items()}
    values |= {f"study_{key(kind)}": rate for kind, rate in reported(score.epochs, score.epoch).items()}
    values |= {f"diversity_{name}": value for name, value in (score.diversity or {}).items()}
    return {f"score/{key}": value for key, value in values.items() if value is not None}


def result_row(score: Score, known: Mapping[str, Any]) -> tuple[Any, ...]:
    """The row of the table `result`: `facts` and the headline with its interval."""
    low, high = score.interval
    values = dict(known) | {"accuracy": score.accuracy, "low": low, "high": high, "n": score.n, "epoch": score.epoch}
    return tuple(values.get(column) for column in RESULT_COLUMNS)


def prediction_rows(predictions: Sequence[Prediction], samples: Sequence[Sample], limit: int) -> list[tuple[Any, ...]]:
    """At most `limit` rows of the table `predictions`, in the order of the test split.

    The same questions for every job with the same test split, so that two students can be read side by side.
    """
    chosen = sorted(predictions, key=lambda prediction: prediction.sample_index)
    if len(chosen) > limit:
        kept = sorted(random.Random(0).sample(range(len(chosen)), limit))
        chosen = [chosen[place] for place in kept]
    questions = {sample.sample_index: sample.question for sample in samples}
    return [
        (
            prediction.sample_index,
            questions.get(prediction.sample_index, ""),
            "\n".join(text for text in (prediction.rationale, prediction.text) if text),
            prediction.prediction,
            prediction.answer,
            "correct" if prediction.correct else "wrong",
            prediction.error,
        )
        for prediction in chosen
    ]
