"""The paper's numbers: which published cell a job corresponds to, and under which protocol it was measured.

    find(task="multiarith", method="fine_tune_cot", student="gpt2-medium", teacher="text-davinci-002", degree=1, ...)
    Published(accuracy=0.0778, protocol="best of 20 epochs on test", figure="tab:performance_gpt2", n=180, ...)

    comparable(facts, "last epoch of 3", cell)
    "published: best of 20 epochs on test; this run: last epoch of 3"

Source: ftcot/paper/*.csv, facts read from the authors' results notebook; each row names its place. Rows of the paper's
first version (GPT-3 only, 128 new tokens) are never found as a cell; `curve` gives them where they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ftcot.paper import (
    BEST,
    EARLY,
    FIRST_VERSION,
    ONCE,
    axis_of,
    family_of,
    labels_of,
    published_of,
    rows,
    student_of,
    tests,
)
from ftcot.paper import Grade as Grade
from ftcot.paper import Published as Published

ENOUGH_TOKENS = 512
"""New tokens from which on a run's limit cannot matter: no training pair of the paper has more (its limit: 1024)."""
TEACHER_TOKENS = 128
"""Longest rationale in every table and figure but that on rationale length."""
LEARNING_RATE, BATCH_SIZE = 3e-4, 8
"""Of the open students in every table and figure but the heat maps."""
TEMPLATE_SPLIT = ("multiarith", "date_understanding")
"""Tasks of table:template_split, whose numbers could not be had."""


class Facts(Protocol):
    """What is needed of a run (report.model.Facts has it)."""

    # fmt: off
    @property
    def task(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def student(self) -> str: ...
    @property
    def teacher(self) -> str | None: ...
    @property
    def diversity(self) -> int | None: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def n_train(self) -> int | None: ...
    @property
    def filter(self) -> str | None: ...
    @property
    def teacher_tokens(self) -> int | None: ...
    @property
    def student_tokens(self) -> int: ...
    @property
    def learning_rate(self) -> float | None: ...
    @property
    def batch_size(self) -> int | None: ...
    @property
    def scorer(self) -> str: ...
    # fmt: on


def find(
    *, task: str, method: str, student: str, teacher: str | None, degree: int | None, greedy: bool, train_size: int
) -> Published | None:
    """The cell this job would be in, or None where the paper has none.

    Args:
        degree: D; None for methods without a teacher.
        greedy: one rationale at T = 0 (the tables' Fine-tune-CoT) rather than D at T = 0.7.
        train_size: training questions before any filter.
    """
    kind = _kind(method, greedy)
    for row in rows():
        if row["accuracy"] == "" or row["figure"].startswith(EARLY):
            continue
        if (row["task"], row["method"], student_of(row)) != (task, kind, student):
            continue
        if row["teacher"] in ("", teacher) and _is(row, "diversity", degree) and _is(row, "train_size", train_size):
            return published_of(row)
    return None


def cell(facts: Facts, task: Mapping[str, Any]) -> Published | None:
    """The cell of a finished run.

    Args:
        task: its config: the paper's own questions and split only, as a user's file may have any name.
    """
    if not str(task["_target_"]).endswith(".PaperTask") or facts.split != "default":
        return None
    if facts.filter not in (None, "answer") or facts.teacher_tokens not in (None, TEACHER_TOKENS):
        return None
    return find(
        task=facts.task,
        method=facts.method,
        student=facts.student,
        teacher=facts.teacher,
        degree=facts.diversity,
        greedy=not facts.temperature,
        train_size=facts.n_train or 0,
    )


def protocol(epochs: int | None, *, best: bool = False) -> str:
    """How a run was measured, in the words of `Published.protocol`.

    Args:
        epochs: that it was trained for; None where it was not trained.
        best: its best epoch on test of all epochs is meant, not the last one.
    """
    if epochs is None:
        return ONCE
    return f"best of {epochs} epochs on test" if best else f"last epoch of {epochs}"


def comparable(facts: Facts, measured: str, published: Published) -> str | None:
    """Why a run cannot be compared with a published value, in one line; None: it can.

    Args:
        measured: how the run was (`protocol`).
    """
    theirs, ours = [], []
    if published.protocol != measured:
        theirs.append(published.protocol)
        ours.append(measured)
    if facts.scorer != "paper":
        theirs.append("the paper's scorer")
        ours.append(f"the {facts.scorer} one")
    if facts.student_tokens < ENOUGH_TOKENS:
        theirs.append("up to 128 new tokens" if published.protocol == FIRST_VERSION else "up to 1024 new tokens")
        ours.append(f"up to {facts.student_tokens}")
    recipe = (facts.learning_rate, facts.batch_size)
    if published.protocol == BEST and None not in recipe and recipe != (LEARNING_RATE, BATCH_SIZE):
        theirs.append(f"learning rate {LEARNING_RATE:g}, batch {BATCH_SIZE}")
        ours.append(f"{facts.learning_rate:g}, {facts.batch_size}")
    return f"published: {', '.join(theirs)}; this run: {', '.join(ours)}" if theirs else None


def is_new(
    *,
    task: str,
    method: str,
    student: str,
    degree: int | None,
    greedy: bool,
    train_size: int | None,
    teacher: str | None = None,
    split: str = "default",
) -> bool:
    """Whether the paper, which has this task, never ran such a cell: with no student of the family.

    A student or teacher that is not the paper's does not make a cell new; what else it is does. Tasks that are not the
    paper's are never new.

    Args:
        task: name of a task of the paper, or of another.
        train_size: training questions before any filter; None for all.
    """
    if task not in tests():
        return False
    if split != "default":
        return split != "template" or task not in TEMPLATE_SPLIT
    kind, everything = _kind(method, greedy), tests()[task][0]
    family = family_of(student)
    families, teachers = {family_of(student_of(row)) for row in rows()}, {row["teacher"] for row in rows()}
    for row in rows():
        if (row["task"], row["method"]) != (task, kind):
            continue
        if family in families and family_of(student_of(row)) != family:
            continue
        if teacher in teachers and row["teacher"] not in ("", teacher):
            continue
        if _is(row, "diversity", degree) and _is(row, "train_size", train_size or everything):
            return False
    return True


def curve(
    labels: Sequence[str], task: str, x: str, series: str | None = None, only: Mapping[str, Any] | None = None
) -> list[tuple[Any, str, Published]]:
    """Points of the paper's figures and tables, whether or not a run corresponds to them: (x, series, value).

    Left out are lines without points (baselines that a figure draws for all x) and places at which several values
    stand, which an axis more would tell apart.

    Args:
        labels: LaTeX labels (`fig:diverse_reasoning_gpt2`), or `early version` for the paper's first one.
        x: what stands along x: `diversity`, `n_train`, `teacher`, `student`, `family`, `n_parameters`, `method` or
            `kind` (a teacher's own accuracy is of the kind `zero_shot_cot (teacher)`).
        series: likewise, what tells lines apart; None: one line without a name.
        only: values of other axes, `{"kind": "fine_tune_cot"}`.
    """
    found: dict[tuple[Any, str], list[Mapping[str, str]]] = {}
    for row in rows():
        if row["task"] != task or row["accuracy"] == "" or not labels_of(row["figure"]) & set(labels):
            continue
        at, name = axis_of(row, x), "" if series is None else axis_of(row, series)
        if at is None or name is None or any(axis_of(row, axis) != value for axis, value in (only or {}).items()):
            continue
        found.setdefault((at, str(name)), []).append(row)
    what = ("method", "teacher", "student", "diversity", "train_size")
    one = [(place, row) for place, (row, *more) in found.items() if all(row[c] == o[c] for o in more for c in what)]
    return [(*place, published_of(row)) for place, row in one]


def teacher_accuracy(task: str, teacher: str = "text-davinci-002") -> Published | None:
    """What a teacher's own answers to a task were worth, by Zero-shot-CoT; None where the paper does not say."""
    for row in rows():
        if (row["task"], row["method"], row["teacher"]) == (task, "zero_shot_cot (teacher)", teacher):
            return published_of(row)
    return None


def _kind(method: str, greedy: bool) -> str:
    """The method as the paper's rows name it."""
    return "fine_tune_cot_diverse" if method == "fine_tune_cot" and not greedy else method


def _is(row: Mapping[str, str], column: str, value: int | None) -> bool:
    """Whether a row is of this value; where it names none, it is of any."""
    return row[column] in ("", str(value))
