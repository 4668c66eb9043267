"""The paper's numbers: which published cell a job corresponds to, and under which protocol it was measured.

    find(task="multiarith", method="fine_tune_cot", student="gpt2-medium", teacher="text-davinci-002", degree=1, ...)
    Published(accuracy=0.0778, protocol="best of 20 epochs on test", figure="tab:performance_gpt2")

Source: ftcot/paper/*.csv, facts read from the authors' results notebook; each row names its place.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

OPEN_STUDENTS = ("gpt2", "t5", "flan_t5")
"""Families trained by the camera-ready code, whose reported number is the best epoch by test accuracy."""


@dataclass(frozen=True)
class Published:
    """One cell of the paper."""

    accuracy: float
    """A fraction, on the test split."""
    protocol: str
    figure: str


def find(
    *, task: str, method: str, student: str, teacher: str | None, degree: int | None, greedy: bool, train_size: int
) -> Published | None:
    """The cell this job would be in, or None where the paper has none.

    Args:
        degree: D; None for methods without a teacher.
        greedy: one rationale at T = 0 (the tables' Fine-tune-CoT) rather than D at T = 0.7.
        train_size: training questions before any filter.
    """
    name = student.replace("-", "_")
    if method == "fine_tune_cot" and not greedy:
        method = "fine_tune_cot_diverse"
    for file in ("performance", "diverse_reasoning"):
        for row in _rows(file):
            if row["accuracy"] == "" or row["figure"].startswith("early version"):
                continue
            if (row["task"], row["method"], row["student"]) != (task, method, name):
                continue
            if row["teacher"] and row["teacher"] != teacher:
                continue
            if row["diversity"] and int(row["diversity"]) != degree:
                continue
            if row["train_size"] and int(row["train_size"]) != train_size:
                continue
            picked = method.startswith("fine_tune") and name.startswith(OPEN_STUDENTS)
            protocol = "best of 20 epochs on test" if picked else "one evaluation"
            return Published(float(row["accuracy"]) / 100, protocol, row["figure"])
    return None


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    text = (files("ftcot") / "paper" / f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))
