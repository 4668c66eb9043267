"""What a report is made of: runs, cells (runs that differ in their seed only), charts of cells, findings.

Run      fine_tune_cot on multiarith, gpt2, D = 8, seed 0     53.33 % of 180
Cell     the same of seeds 0, 1, 2                            52.78 % [46.1, 59.3], published 51.67 %: match
Chart    panels (multiarith, svamp) of series (gpt2, gpt2-medium) of points (D, cell)
Finding  "More rationales a question make a better student": holds, p = 0.0004
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ftcot.figures import AXES as AXES
from ftcot.figures import Figure
from ftcot.published import Published
from ftcot.records import Completion, Example, Prediction, Sample, Score, read_records
from ftcot.statistics.intervals import Pooled as Pooled
from ftcot.statistics.verdict import Verdict as Verdict


def family_of(student: str) -> str:
    """A student's name without its size: `gpt2`, `flan-t5`, `smollm2`."""
    return re.sub(r"-(small|base|medium|large|xl|xxl|\d+(\.\d+)?[mb])$", "", student, flags=re.IGNORECASE)


SIZES = ("train_size", "validation_size")
ELSEWHERE = ("folder", "source")
"""Keys of a task that say where its data are, and change none."""


def test_of(task: Mapping[str, Any]) -> str:
    """Equal for tasks with the same test questions: those that differ in how much of the training set they take, and in
    where the data are, have the same."""
    kept = {name: value for name, value in task.items() if name not in (*SIZES, *ELSEWHERE)}
    return json.dumps(kept, sort_keys=True, default=str)


@dataclass(frozen=True)
class Facts:
    """What a run is, in the words and numbers of a reader. None: it has none, or it is not known."""

    task: str
    split: str
    """`default`, `template`, `clean`."""
    method: str
    student: str
    n_parameters: int | None
    teacher: str | None
    skill: float | None
    """Of the procedural teacher: how often a step of it is right."""
    diversity: int | None
    """D; None where nobody teaches."""
    temperature: float | None
    n_train: int | None
    """Training questions, before any filter."""
    filter: str | None
    """`answer`, `answer+duplicate`; None where nobody teaches."""
    teacher_tokens: int | None
    """Longest rationale."""
    student_tokens: int
    """Longest generation (evaluation.max_new_tokens)."""
    learning_rate: float | None
    batch_size: int | None
    epochs: int | None
    scorer: str
    seed: int

    @property
    def kind(self) -> str:
        """The method as the paper's tables tell them apart: `fine_tune_cot_diverse` is fine_tune_cot with D > 1."""
        return "fine_tune_cot_diverse" if self.method == "fine_tune_cot" and (self.diversity or 1) > 1 else self.method

    @property
    def family(self) -> str:
        """The student's name without its size: `gpt2`, `flan-t5`, `smollm2`."""
        return family_of(self.student)

    def axis(self, name: str) -> str | float | None:
        """The value along one of AXES."""
        value: str | float | None = getattr(self, name)
        return value


@dataclass(frozen=True)
class Run:
    """A finished job, as its folder has it."""

    folder: Path
    hash: str
    key: str
    """Equal for runs that differ in their seed only."""
    facts: Facts
    config: Mapping[str, Any] = field(repr=False)
    status: Mapping[str, Any] = field(repr=False)
    score: Score = field(repr=False)
    asked: tuple[int, ...] = field(repr=False)
    """Sample indices of the test questions, ascending."""
    right: Mapping[int, NDArray[np.bool_]] = field(repr=False, compare=False)
    """Verdicts on these by epoch, as many as were evaluated; (n,) each."""
    gold: tuple[str, ...] = field(default=(), repr=False)
    """The right answers to these."""

    # What follows is read anew each time: 200 runs of it do not fit into memory.

    @property
    def predictions(self) -> Sequence[Prediction]:
        """Of all epochs and splits."""
        return read_records(self.folder / "predictions.jsonl", Prediction)

    def said(self, epoch: int | None = None) -> list[Prediction]:
        """Test predictions of an epoch (the last one by default), by sample."""
        return read_epoch(self.folder / "predictions.jsonl", self.score.epoch if epoch is None else epoch)

    @property
    def examples(self) -> Sequence[Example]:
        """What the student was trained on; none where nothing was."""
        file = self.folder / "examples.jsonl"
        return read_records(file, Example) if file.exists() else ()

    @property
    def completions(self) -> Sequence[Completion]:
        """What the teacher said; none without a teacher."""
        file = self.folder / "completions.jsonl"
        return read_records(file, Completion) if file.exists() else ()

    @property
    def epochs(self) -> tuple[int, ...]:
        """That were evaluated on test, ascending."""
        return tuple(sorted(self.right))

    @cached_property
    def exam(self) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
        """Equal for runs that were asked the same questions, whose answers can be paired."""
        return (test_of(self.config["task"]), self.asked, self.gold)

    @cached_property
    def task_key(self) -> tuple[str, str]:
        """Of its Questions in the report: the task, and a hash of its config."""
        config = json.dumps(self.config.get("task"), sort_keys=True, default=str)
        return (self.facts.task, hashlib.sha256(config.encode()).hexdigest()[:12])


def read_epoch(path: Path, epoch: int) -> list[Prediction]:
    """The test predictions of one epoch, by sample."""
    # A line of another epoch does not hold this, so it need not be parsed: texts in it have their quotes escaped.
    mark = re.compile(rb'"epoch":\s*%d\s*[,}]' % epoch)
    lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    found = [Prediction.from_json(json.loads(line)) for line in lines if mark.search(line)]
    chosen = (one for one in found if one.split == "test" and one.epoch == epoch)
    return sorted(chosen, key=lambda prediction: prediction.sample_index)


@dataclass(frozen=True)
class Skipped:
    """What a report leaves out."""

    path: Path
    reason: str
    """`score.json is damaged: line 3 ...`, `not finished (running, epoch 3)`."""


@dataclass(frozen=True)
class Sweep:
    """A sweep folder."""

    folder: Path
    commands: tuple[tuple[str, ...], ...]
    """The words of the commands that together ask for its jobs: overrides, and what stands before them."""
    figures: Mapping[str, tuple[str, ...]]
    """Hashes of the jobs of each figure that it was asked for."""
    jobs: tuple[str, ...]
    """Hashes of all."""
    states: Mapping[str, int]
    """How many jobs are in which state."""
    own_figures: Mapping[str, Any] = field(default_factory=dict)
    """What the user's own files said of those of the figures that are not ftcot's."""


@dataclass(frozen=True)
class Found:
    """What the folders hold that a report is asked for."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]
    sweeps: tuple[Sweep, ...]
    result_version: int = 0
    """Of all runs: results of others would not be comparable."""


@dataclass(frozen=True)
class Questions:
    """The questions of one task and split, read again from the task; empty where its data are not at hand."""

    train: Mapping[int, Sample]
    test: Mapping[int, Sample]
    clusters: Mapping[int, int]
    """Of test questions: those of one template (the same but for numbers and names) have the same number."""
    missing: str | None = None
    """Why they are not there."""


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seed only."""

    key: str
    runs: tuple[Run, ...]
    last: Pooled
    """After the last epoch."""
    best: Pooled | None
    """By the paper's protocol for open students, the best epoch on test; it flatters."""
    verdict: Verdict | None
    is_new: bool
    """The paper has no such cell, though it has the task (or figure): marked new."""

    @property
    def facts(self) -> Facts:
        """Of the first run; the seed says nothing."""
        return self.runs[0].facts


@dataclass(frozen=True)
class Point:
    x: str | float
    cell: Cell


@dataclass(frozen=True)
class PaperPoint:
    """A published value, where a chart shows it."""

    x: str | float
    series: str
    published: Published


@dataclass(frozen=True)
class Series:
    name: str
    points: tuple[Point, ...]
    """In the order of x."""


@dataclass(frozen=True)
class Panel:
    name: str
    series: tuple[Series, ...]
    paper: tuple[PaperPoint, ...] = ()
    random: float | None = None
    """A guess."""
    teacher: float | None = None
    """Its own accuracy, where all of the panel have the same one."""


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, looked at in these runs."""

    claim: str
    word: Literal["holds", "does not hold", "can't tell"]
    words: str
    """What was seen, in numbers: `from 52.1 % (D = 1) to 97.3 % (D = 8), +45.2 points [40.9, 49.6]`."""
    effect: float
    low: float
    high: float
    p: float
    p_holm: float
    """Corrected for the other findings of the report."""
    test: str
    """Name of the test, and what was resampled."""
    detail: str = ""
    """Seed by seed, or panel by panel."""
    where: str = ""
    """Panel and series of the chart: `multiarith, gpt2`."""
    chart: str = ""
    """Name of the figure."""


@dataclass(frozen=True)
class Chart:
    """A figure, filled in."""

    figure: Figure
    panels: tuple[Panel, ...]
    findings: tuple[Finding, ...]
    """One a panel and series that can be tested."""
    caption: str
    """The figure's, and which protocol, seeds, sizes and intervals it shows."""


@dataclass(frozen=True)
class Comparison:
    """Two cells on the same test questions."""

    a: Cell
    b: Cell
    difference: float
    """b - a."""
    low: float
    high: float
    """95 %."""
    only_a: int
    only_b: int
    """(question, seed) pairs that one has right and the other wrong."""
    p: float
    p_holm: float
    test: str


@dataclass(frozen=True)
class Report:
    """All of it."""

    title: str
    found: Found
    cells: tuple[Cell, ...]
    charts: tuple[Chart, ...]
    comparisons: tuple[Comparison, ...]
    questions: Mapping[tuple[str, str], Questions]
    """By task and a hash of its config."""
    command: str
    """That makes this report again."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of all of it: which pairs are compared, whose data are not at hand."""
