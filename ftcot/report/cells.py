"""Runs that differ in their seed only, pooled, and set beside the published value.

seeds 0, 1, 2 of fine_tune_cot on multiarith, gpt2-medium, D = 8
    last   17.0 % [12.9, 22.1] of 180      after the last epoch of 20: what ftcot reports
    best   20.4 % [15.6, 26.1] of 180      best of 20 epochs on test, which the paper reports of open students
    verdict of the one that was measured as the paper's was
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ftcot import published
from ftcot.report.model import Cell, Pooled, Questions, Run, Verdict
from ftcot.statistics.intervals import pooled
from ftcot.statistics.verdict import verdict


def build(runs: Sequence[Run], questions: Mapping[tuple[str, str], Questions]) -> tuple[Cell, ...]:
    """The cells of these runs, in the order of their first runs, seeds ascending."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.key, []).append(run)
    return tuple(
        _cell(sorted(group, key=lambda run: run.facts.seed), questions[group[0].task_key]) for group in groups.values()
    )


def right(cell: Cell, *, best: bool = False) -> NDArray[np.bool_]:
    """Verdicts of its runs, (S, n): after the last epoch, or each after its best one on test."""
    return np.stack([run.right[_best_epoch(run) if best else run.score.epoch] for run in cell.runs])


def templates(cell: Cell, questions: Mapping[tuple[str, str], Questions]) -> NDArray[np.int_] | None:
    """(n,) the template of each test question; None where each has its own, or the questions are not at hand."""
    return _templates(cell.runs[0], questions[cell.runs[0].task_key])


def protocol(cell: Cell, *, best: bool = False) -> str:
    """How its runs were measured: `last epoch of 20`, `best of 20 epochs on test`, `one evaluation`."""
    tested, trained = cell.runs[0].epochs, cell.facts.epochs
    if best and trained is not None and len(tested) < trained:
        return f"best of {len(tested)} evaluated epochs of {trained} on test"
    return published.protocol(trained, best=best)


def _cell(runs: Sequence[Run], questions: Questions) -> Cell:
    clusters = _templates(runs[0], questions)
    bare = Cell(runs[0].key, tuple(runs), _pooled(runs, clusters, best=False), None, None, False)
    chosen = _pooled(runs, clusters, best=True) if all(len(run.epochs) > 1 for run in runs) else None
    whole = Cell(bare.key, bare.runs, bare.last, chosen, None, _is_new(bare))
    return Cell(whole.key, whole.runs, whole.last, whole.best, _verdict(whole), whole.is_new)


def _pooled(runs: Sequence[Run], clusters: NDArray[np.int_] | None, *, best: bool) -> Pooled:
    rows = [run.right[_best_epoch(run) if best else run.score.epoch] for run in runs]
    return pooled(np.stack(rows), clusters)


def _best_epoch(run: Run) -> int:
    """The first of the best by test accuracy."""
    return max(run.epochs, key=lambda epoch: (int(run.right[epoch].sum()), -epoch))


def _templates(run: Run, questions: Questions) -> NDArray[np.int_] | None:
    if not questions.clusters:
        return None
    numbers = np.array([questions.clusters[index] for index in run.asked])
    return None if len(set(numbers.tolist())) == len(numbers) else numbers


def _verdict(cell: Cell) -> Verdict | None:
    """Beside the published value: by the protocol that it was measured by, where the runs have it."""
    first = cell.runs[0]
    found = published.cell(first.facts, first.config["task"])
    if found is None:
        return None
    measured = protocol(cell, best=cell.best is not None)
    if cell.best is not None and found.protocol == measured:
        return verdict(cell.best, found, published.comparable(first.facts, measured, found))
    return verdict(cell.last, found, published.comparable(first.facts, protocol(cell), found))


def _is_new(cell: Cell) -> bool:
    facts, task = cell.facts, cell.runs[0].config["task"]
    return str(task["_target_"]).endswith(".PaperTask") and published.is_new(
        task=facts.task,
        method=facts.method,
        student=facts.student,
        degree=facts.diversity,
        greedy=not facts.temperature,
        train_size=facts.n_train,
        teacher=facts.teacher,
        split=facts.split,
    )
