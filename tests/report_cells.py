"""Cells and charts without folders, for what only looks at records."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ftcot.figures import Figure
from ftcot.records import Score
from ftcot.report.model import Cell, Chart, Facts, Panel, Point, Pooled, Questions, Run, Series

FACTS = Facts(
    task="multiarith",
    split="default",
    method="fine_tune_cot",
    student="gpt2",
    n_parameters=124_000_000,
    teacher="text-davinci-002",
    skill=None,
    diversity=1,
    temperature=0.7,
    n_train=420,
    filter="answer",
    teacher_tokens=128,
    student_tokens=1024,
    learning_rate=3e-4,
    batch_size=8,
    epochs=20,
    scorer="paper",
    seed=0,
)

N = 20
"""Test questions of a made-up cell."""


def make_cell(accuracy: float = 0.5, *, config: dict[str, Any] | None = None, seeds: int = 1, **facts: Any) -> Cell:
    """A cell with these facts, and those of FACTS; `accuracy` of N questions in every seed, always the first ones."""
    own = replace(FACTS, **facts)
    if own.method not in ("fine_tune_cot",):
        own = replace(own, teacher=None, diversity=None, temperature=None, filter=None, teacher_tokens=None)
    key = hashlib.sha256(repr((own, config)).encode()).hexdigest()
    runs = tuple(_run(replace(own, seed=seed), key, accuracy, config or {}) for seed in range(seeds))
    pooled = Pooled(accuracy, accuracy - 0.1, accuracy + 0.1, N, seeds, (accuracy,) * seeds)
    return Cell(key, runs, pooled, None, None, False)


def _run(facts: Facts, key: str, accuracy: float, config: dict[str, Any]) -> Run:
    right = np.arange(N) < round(accuracy * N)
    score = Score(
        task=facts.task,
        method=facts.method,
        student=facts.student,
        teacher=facts.teacher,
        scorer=facts.scorer,
        accuracy=float(right.mean()),
        n=N,
        interval=(0.0, 1.0),
        epoch=facts.epochs or 0,
        best_on_test=None,
        best_on_validation=None,
        random_accuracy=0.0,
        teacher_accuracy=0.8 if facts.teacher else None,
        n_examples=10,
        seconds={},
        tokens={},
        cost_usd=0.0,
    )
    task = {"_target_": "ftcot.task.paper.PaperTask", "name": facts.task, "split": facts.split}
    whole = {"task": task, "method": {"name": facts.method, "template": "token"}, "seed": facts.seed} | config
    known = hashlib.sha256(f"{key}{facts.seed}".encode()).hexdigest()
    return Run(Path(f"/runs/{known[:8]}"), known, key, facts, whole, {}, score, tuple(range(N)), {score.epoch: right})


def make_chart(*panels: Panel, **figure: Any) -> Chart:
    """A chart of these panels."""
    return Chart(Figure(**{"name": "mine", "title": "Mine", **figure}), panels, (), "A caption.")


def make_panel(name: str, **series: list[tuple[str | float, Cell]]) -> Panel:
    """A panel of these series."""
    return Panel(name, tuple(Series(one, tuple(Point(*point) for point in points)) for one, points in series.items()))


def no_questions(*cells: Cell) -> dict[tuple[str, str], Questions]:
    """The questions of cells whose data are not at hand."""
    return {run.task_key: Questions({}, {}, {}, "not at hand") for cell in cells for run in cell.runs}
