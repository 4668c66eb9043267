"""The result of a run as its files have it, every value looked at that a report counts with.

    score.json          {"accuracy": 0.6, "n": 10, "epoch": 2, ...}                         Score
    predictions.jsonl   {"sample_index": 17, "epoch": 2, "correct": true, ...}              (1, 3, 17, ...), {2: [...]}

Every line of the predictions is parsed; only the verdicts stay in memory.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcot.errors import InputError
from ftcot.files import read_json
from ftcot.records import SCHEMA, Prediction, Score

NEEDED = frozenset(
    field.name
    for field in dataclasses.fields(Prediction)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
)
KNOWN = frozenset(field.name for field in dataclasses.fields(Prediction)) | Prediction.retired | {"schema"}


def read_object(path: Path) -> Mapping[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(found).__name__}")
    schema = found.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(f"{path}: schema {schema!r} is not one this version reads (up to {SCHEMA})")
    return found


COUNTS = ("train", "validation", "test", "parameters", "completions", "teacher_bought")
"""Of status.json: numbers, where they are there."""


def read_status(path: Path) -> Mapping[str, Any]:
    """The status, with every value that a report counts with looked at."""
    row = read_object(path)
    counts = row.get("counts") or {}
    curation = counts.get("curation") or {} if isinstance(counts, dict) else {}
    kept = curation if isinstance(curation, dict) else {}
    figures = kept.get("statistics") or {}
    sound = {
        "counts": isinstance(counts, dict)
        and all(_is_number(counts.get(name, 0)) for name in COUNTS)
        and _is_number_or_none(counts.get("teacher_spent_usd")),
        "counts.curation": isinstance(curation, dict)
        and all(_are_numbers(kept.get(name) or {}) for name in ("dropped", "diversity"))
        and all(_is_number_or_none(kept.get(name)) for name in ("questions_unanswered", "judge_cost_usd"))
        and isinstance(figures, dict)
        and all(_is_number_or_none(figures.get(name)) for name in ("effective_degree", "agreement"))
        and _are_numbers(figures.get("finish_reasons") or {}),
        "versions": isinstance(row.get("versions") or {}, dict)
        and all(isinstance(version, str) for version in (row.get("versions") or {}).values()),
        "stages": isinstance(row.get("stages") or [], list),
        **{
            name: _is_number_or_none(row.get(name))
            for name in ("began", "heartbeat", "teacher_accuracy", "result_version")
        },
    }
    for name, holds in sound.items():
        if not holds:
            raise InputError(f"{path}: {name} is damaged")
    return row


def read_score(path: Path) -> Score:
    """The score, with every value that a report counts with looked at."""
    row = read_object(path)
    try:
        score = Score.from_json(row)
    except InputError as error:
        raise InputError(f"{path}: not a score of this ftcot ({error})") from None
    for name in ("accuracy", "n", "epoch", "n_examples"):
        if not _is_number(row[name]):
            raise InputError(f"{path}: {name} is {row[name]!r}")
    for name in ("task", "method", "student", "scorer"):
        if not isinstance(row[name], str):
            raise InputError(f"{path}: {name} is {row[name]!r}")
    epochs = row.get("epochs", [])
    sound = {
        "interval": _is_interval(row["interval"]),
        **{name: _are_numbers(row[name]) for name in ("seconds", "tokens")},
        **{name: _is_epoch(row[name]) for name in ("best_on_test", "best_on_validation")},
        **{name: _is_number_or_none(row[name]) for name in ("random_accuracy", "teacher_accuracy", "cost_usd")},
        "device_seconds": _is_number_or_none(row.get("device_seconds")),
        "teacher": row["teacher"] is None or isinstance(row["teacher"], str),
        "epochs": isinstance(epochs, list) and all(map(_is_evaluation, epochs)),
    }
    for name, holds in sound.items():
        if not holds:
            raise InputError(f"{path}: {name} is damaged")
    return score


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value)


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_epoch(value: Any) -> bool:
    """Whether it is what score.json says of a chosen epoch."""
    return value is None or (
        isinstance(value, dict)
        and all(_is_number(value.get(name)) for name in ("epoch", "accuracy", "n"))
        and _is_interval(value.get("interval"))
    )


def _is_evaluation(value: Any) -> bool:
    """Whether it is an EpochScore."""
    needed = ("epoch", "n", "accuracy", "contains_answer", "format_rate", "truncation_rate", "mean_tokens")
    return (
        isinstance(value, dict)
        and all(_is_number(value.get(name)) for name in needed)
        and _are_numbers(value.get("accuracies"))
        and _are_numbers(value.get("study", {}))
        and value.get("split") in ("train", "validation", "test")
    )


@dataclass(frozen=True)
class Verdicts:
    """What became of the test questions."""

    asked: tuple[int, ...]
    """Sample indices, ascending."""
    gold: tuple[str, ...]
    """The right answers to these."""
    right: Mapping[int, NDArray[np.bool_]]
    """Which of these were answered rightly after each epoch, (n,) each."""


def read_verdicts(path: Path, score: Score) -> Verdicts:
    """The test questions, and which of them were answered rightly after each epoch.

    Raises:
        InputError: a line is damaged, epochs differ in their questions, or score.json says something else.
    """
    found: dict[int, dict[int, bool]] = {}
    gold: dict[int, str] = {}
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            fits = NEEDED <= row.keys() <= KNOWN and row["schema"] <= SCHEMA
            index, epoch, correct = row["sample_index"], row["epoch"], row["correct"]
            fits = fits and type(index) is int and type(epoch) is int and type(correct) is bool and _is_said(row)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            fits = False
        if not fits:
            raise InputError(f"{path}: line {number} is damaged, or of a newer ftcot")
        if row["split"] != "test":
            continue
        if index in (known := found.setdefault(epoch, {})):
            raise InputError(f"{path}: line {number} answers question {index} again after epoch {epoch}")
        known[index] = correct
        if gold.setdefault(index, sys.intern(row["answer"])) != row["answer"]:
            raise InputError(f"{path}: line {number} has another right answer than a line before")
    asked = tuple(sorted(found.get(score.epoch, {})))
    right = {}
    for epoch, verdicts in sorted(found.items()):
        if verdicts.keys() != set(asked):
            raise InputError(f"{path}: not the same questions after epoch {epoch} as after epoch {score.epoch}")
        right[epoch] = np.array([verdicts[index] for index in asked], dtype=bool)
    if len(asked) != score.n or round(score.accuracy * score.n) != int(right[score.epoch].sum()):
        raise InputError(f"{path}: {len(asked)} answers do not make the accuracy of {score.n} in score.json")
    return Verdicts(asked, tuple(gold[index] for index in asked), right)


def _is_said(row: Mapping[str, Any]) -> bool:
    """Whether the texts of a line are texts, and its verdicts truth values."""
    return (
        type(row["text"]) is type(row["answer"]) is str
        and all(row.get(name) is None or type(row[name]) is str for name in ("prediction", "rationale", "study"))
        and all(type(row[name]) is bool for name in ("contains_answer", "formatted", "truncated"))
        and type(row["verdicts"]) is dict
        and all(type(verdict) is bool for verdict in row["verdicts"].values())
    )
