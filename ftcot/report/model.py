"""What a report is made of: runs, cells (runs that differ in their seed only), charts of cells, findings.

Run      fine_tune_cot on multiarith, gpt2, D = 8, seed 0     53.33 % of 180
Cell     the same of seeds 0, 1, 2                            52.78 % [46.1, 59.3], published 51.67 %: match
Chart    panels (multiarith, svamp) of series (gpt2, gpt2-medium) of points (D, cell)
Finding  "More rationales a question make a better student": holds, p = 0.0004
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ftcot.figures import Figure
from ftcot.published import Published
from ftcot.records import Completion, Example, Prediction, Sample, Score, read_records

AXES = (
    *("task", "split", "kind", "method", "student", "n_parameters", "teacher", "skill", "diversity", "n_train"),
    *("filter", "teacher_tokens", "student_tokens", "learning_rate", "batch_size", "epochs", "seed"),
)
"""What figures can have along x, as series and as panels."""


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

    @cached_property
    def predictions(self) -> Sequence[Prediction]:
        """Of all epochs and splits."""
        return read_records(self.folder / "predictions.jsonl", Prediction)

    def said(self, epoch: int | None = None) -> list[Prediction]:
        """Test predictions of an epoch (the last one by default), by sample."""
        epoch = self.score.epoch if epoch is None else epoch
        found = [p for p in self.predictions if p.split == "test" and p.epoch == epoch]
        return sorted(found, key=lambda prediction: prediction.sample_index)

    @cached_property
    def examples(self) -> Sequence[Example]:
        """What the student was trained on; none where nothing was."""
        file = self.folder / "examples.jsonl"
        return read_records(file, Example) if file.exists() else ()

    @cached_property
    def completions(self) -> Sequence[Completion]:
        """What the teacher said; none without a teacher."""
        file = self.folder / "completions.jsonl"
        return read_records(file, Completion) if file.exists() else ()


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
    overrides: tuple[str, ...]
    """Of its command."""
    figures: Mapping[str, tuple[str, ...]]
    """Hashes of the jobs of each figure that it was asked for."""
    states: Mapping[str, int]
    """How many jobs are in which state."""


@dataclass(frozen=True)
class Found:
    """What the folders hold that a report is asked for."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]
    sweeps: tuple[Sweep, ...]


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
class Pooled:
    """The accuracy of a cell."""

    accuracy: float
    """The mean over seeds."""
    low: float
    high: float
    """95 %: what another draw of questions (whole templates) and of seeds may give."""
    n: int
    """Test questions."""
    seeds: int
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """A cell beside the published value."""

    published: Published
    word: Literal["match", "above", "below", "can't tell"]
    why: str
    """One line: the protocols, the difference and its interval."""


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
    """Paired bootstrap over questions (whole templates)."""
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
