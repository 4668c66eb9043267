"""The paper's numbers as rows: every published value with its figure, its source and how it was measured.

    {"figure": "fig:diverse_reasoning_gpt2", "task": "multiarith", "method": "fine_tune_cot_diverse", "student": "gpt2",
     "diversity": "8", "train_size": "420", "accuracy": "12.78", "source": "... read off the plot by pixel ...", ...}
    Published(accuracy=0.1278, protocol="best of 20 epochs on test", n=180, grade="read off a plot", ...)

Source: the CSV files beside this one, facts read from the authors' results notebook; each row names its place there.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

FILES = ("performance", "diverse_reasoning", "dataset_size", "teacher_performance", "student_size")
"""Where cells are looked for, in this order: text of tables comes before what was read off plots."""
EARLY = "early version"
"""How the figures of the paper's first version begin."""
OPEN_STUDENTS = ("gpt2", "t5", "flan_t5")
"""Families trained by the camera-ready code, whose reported number is the best epoch by test accuracy."""
GPT3 = ("ada", "babbage", "curie")

ONCE = "one evaluation"
BEST = "best of 20 epochs on test"
FIRST_VERSION = "early version, 128 tokens"
ALL_COMPLETIONS = "all completions, train and test"

FEW_SHOT_LEFT_OUT = {"date_understanding": 2, "strategy_qa": 3}
"""Test questions that GPT-3's Few-shot-CoT was not asked: they are demonstrations. The other families were."""
HIDDEN = 0.004
"""How far off a value may be whose marker is hidden by another one: like markers that overlap."""

Grade = Literal["exact", "read off a plot", "approximate"]
"""Of evidence: text of a table; a marker's place in an image, snapped to k of n questions; the same, not snapped."""


@dataclass(frozen=True)
class Published:
    """One cell of the paper."""

    accuracy: float
    """A fraction, on the test split."""
    protocol: str
    """`best of 20 epochs on test`, `one evaluation`, `early version, 128 tokens`, `all completions, train and test`."""
    figure: str
    source: str = ""
    """Commit and cell of the authors' notebook, and how it was read there."""
    n: int | None = None
    """Test questions; None where it is no share of them."""
    grade: Grade = "exact"
    error: float = 0.0
    """How far off it may have been read: a fraction."""


def published_of(row: Mapping[str, str]) -> Published:
    """The row's value, how it was measured and how well it is known."""
    source, task, method = row["source"], row["task"], row["method"]
    early, n = row["figure"].startswith(EARLY), tests()[task][1]
    if method == "few_shot_cot" and row["student"] in GPT3:
        n -= FEW_SHOT_LEFT_OUT.get(task, 0)
    if early:
        measured = FIRST_VERSION
    elif method.endswith("(teacher)"):
        measured = ALL_COMPLETIONS
    else:
        picked = method.startswith("fine_tune") and row["student"].startswith(OPEN_STUDENTS)
        measured = BEST if picked else ONCE
    error = _error(source)
    grade: Grade = "approximate" if error else "read off a plot" if "read off the plot" in source else "exact"
    return Published(
        accuracy=float(row["accuracy"]) / 100,
        protocol=measured,
        figure=row["figure"],
        source=source,
        n=n if row["student"] else None,
        grade=grade,
        error=error,
    )


def _error(source: str) -> float:
    """How far off a value may have been read, as a fraction; 0 where it was snapped to k of n questions."""
    if "the only marker it can hide behind" in source:
        return HIDDEN
    found = re.search(r"\+-([\d.]+)", source)
    return float(found[1]) / 100 if found else 0.0


def axis_of(row: Mapping[str, str], axis: str) -> Any:
    """The row's value along an axis of report.model; None where it has none."""
    if axis == "n_parameters":
        size = row["student_params"]
        return round(float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]) if size else None
    if axis in ("diversity", "n_train"):
        number = row["diversity" if axis == "diversity" else "train_size"]
        return int(number) if number else None
    if axis == "method":
        return row["method"].removesuffix("_diverse")
    value = {
        "kind": row["method"],
        "student": student_of(row),
        "family": family_of(student_of(row)),
        "teacher": row["teacher"],
    }
    return value.get(axis, row["task"] if axis == "task" else None) or None


@cache
def rows() -> tuple[dict[str, str], ...]:
    """Of all FILES."""
    return tuple(row for name in FILES for row in _table(name))


@cache
def tests() -> dict[str, tuple[int, int]]:
    """Training and test questions of each of the paper's tasks."""
    return {row["task"]: (int(row["train"]), int(row["test"])) for row in _table("dataset_counts")}


def _table(name: str) -> Iterator[dict[str, str]]:
    text = (files("ftcot") / "paper" / f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def labels_of(figure: str) -> set[str]:
    """Labels in the column `figure`: of `fig:a / fig:b` both, of a horizontal line or a check none."""
    if figure.startswith(EARLY):
        return {EARLY}
    if "horizontal line" in figure or figure.startswith("text check"):
        return set()
    return {label.partition(" ")[0] for label in figure.split(" / ")}


def student_of(row: Mapping[str, str]) -> str:
    """The student by its option's name."""
    return row["student"].replace("_", "-")


def family_of(student: str) -> str:
    """`gpt2`, `t5`, `flan-t5`, `gpt3`; a student that is not the paper's is a family of its own."""
    if student in GPT3:
        return "gpt3"
    return next((name for name in ("flan-t5", "t5", "gpt2") if student.startswith(name)), student)
