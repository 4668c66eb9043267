"""The result of a run as its files have it, every value looked at that a report counts with.

    score.json          {"accuracy": 0.6, "n": 10, "epoch": 2, ...}                         Score
    predictions.jsonl   {"sample_index": 17, "epoch": 2, "correct": true, ...}              (1, 3, 17, ...), {2: [...]}

Every line of the predictions is parsed; only the verdicts stay in memory.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftcot.errors import InputError
from ftcot.records import SCHEMA, Prediction, Score, read_json

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
    bounds, epochs = row["interval"], row.get("epochs", [])
    sound = {
        "interval": isinstance(bounds, list) and len(bounds) == 2 and all(map(_is_number, bounds)),
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
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


def _is_epoch(value: Any) -> bool:
    """Whether it is what score.json says of a chosen epoch."""
    return value is None or (isinstance(value, dict) and {"epoch", "accuracy", "n", "interval"} <= value.keys())


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


def read_verdicts(path: Path, score: Score) -> tuple[tuple[int, ...], dict[int, NDArray[np.bool_]]]:
    """The test questions, and which of them were answered rightly after each epoch.

    Raises:
        InputError: a line is damaged, epochs differ in their questions, or score.json says something else.
    """
    found: dict[int, dict[int, bool]] = {}
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
            fits = fits and type(index) is int and type(epoch) is int and type(correct) is bool
        except (ValueError, AttributeError, KeyError, TypeError):
            fits = False
        if not fits:
            raise InputError(f"{path}: line {number} is damaged, or of a newer ftcot")
        if row["split"] == "test":
            found.setdefault(epoch, {})[index] = correct
    asked = tuple(sorted(found.get(score.epoch, {})))
    right = {}
    for epoch, verdicts in sorted(found.items()):
        if verdicts.keys() != set(asked):
            raise InputError(f"{path}: not the same questions after epoch {epoch} as after epoch {score.epoch}")
        right[epoch] = np.array([verdicts[index] for index in asked], dtype=bool)
    if len(asked) != score.n or round(score.accuracy * score.n) != int(right[score.epoch].sum()):
        raise InputError(f"{path}: {len(asked)} answers do not make the accuracy of {score.n} in score.json")
    return asked, right
