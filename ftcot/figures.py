"""Figures: what `-m figure=NAME` runs, and how a report draws it. One YAML file each, in conf/figure/.

    title: Diverse reasoning
    caption: Accuracy by D, the rationales a question that are drawn at T = 0.7.
    kind: curve
    x: diversity
    series: student
    panel: task
    paper: [fig:diverse_reasoning, fig:diverse_reasoning_gpt2]
    grids:
      - {method: fine_tune_cot, task: [multiarith, svamp], diversity: [1, 2, 4, 8, 16], student: [gpt2, gpt2-medium]}

A file with `figures: [mini/methods, mini/diversity]` in place of `grids` stands for several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["curve", "bars", "table", "heatmap"]

Test = Literal["increasing", "highest"]
"""What a finding claims of the accuracies along x: they rise, or one of them is the highest."""


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, as a test can look at it."""

    claim: str
    """In words: `More rationales a question make a better student.`"""
    test: Test
    value: str | None = None
    """With `highest`: of x."""


@dataclass(frozen=True)
class Figure:
    """One figure or table."""

    name: str
    """`diversity`, `mini/teacher`."""
    title: str
    caption: str = ""
    kind: Kind = "curve"
    x: str = "diversity"
    """What stands along x: an axis of a run's facts (ftcot/report/model.py)."""
    series: str | None = None
    """The axis that tells lines apart."""
    panel: str | None = "task"
    """The axis that tells panels apart."""
    paper: tuple[str, ...] = ()
    """Labels of the paper's figures and tables that it redoes (ftcot/paper/*.csv, column `figure`)."""
    finding: Claim | None = None
    note: str = ""
    """What a reader has to know: where it differs from the paper, what cannot be had."""
    grids: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Overrides, each with its value or a list of values."""
