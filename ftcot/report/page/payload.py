"""A report as what the page reads: small JSON that is there at once, and packed parts that are inflated when needed.

Report(200 runs)   payload   titles, findings, cells, runs, charts                     300 KB, in the page as it is
                   parts     book-0-page-0 ... (texts), book-0-marks, configs, vega    packed, a <script> element each
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from ftcot.report import cost, data_card, labels, provenance
from ftcot.report.data_card import DataCard
from ftcot.report.grouping import ordered
from ftcot.report.model import AXES, Cell, Comparison, Report, Run, Verdict
from ftcot.report.naming import cell_labels
from ftcot.report.page.answers import answers
from ftcot.report.page.books import Book
from ftcot.report.page.charts import about_chart, about_finding
from ftcot.report.page.packing import packed_json
from ftcot.report.page.students import SCORERS, TestBook, test_books
from ftcot.report.page.teachers import TrainBook, train_books
from ftcot.report.palette import DARK, LIGHT, vega_config
from ftcot.report.samples import MEASURES, Sampled, sample_all
from ftcot.sample_study import KINDS

SHORT: Mapping[str, str] = {
    **{"diversity": "D", "n_parameters": "Parameters", "n_train": "Training questions", "skill": "Teacher’s skill"},
    **{"teacher_tokens": "Rationale limit", "student_tokens": "Generation limit"},
}
"""Headings of columns."""


def build(report: Report, detail: int, refresh: int | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The payload, and the packed parts by the ids of their elements.

    Args:
        detail: how many runs have the texts of all their epochs.
        refresh: seconds after which the page loads itself again; None: it does not.
    """
    parts: dict[str, str] = {}
    tests, trains = test_books(report, detail), train_books(report)
    groups = _group_names(report, tests)
    books = [_test_about(one, group, groups[group]) for group, one in enumerate(tests)]
    books += [_train_about(one) for one in trains]
    bound: list[Book] = [*(one.book for one in tests), *(one.book for one in trains)]
    for number, (about, book) in enumerate(zip(books, bound, strict=True)):
        known, packed_parts = book.pack()
        about |= known | {"name": f"book-{number}"}
        parts |= {f"book-{number}-{name}": part for name, part in packed_parts.items()}
    parts["configs"] = packed_json(provenance.clean([_plain(run.config) for run in report.found.runs]))
    parts["made"] = packed_json(_plain(provenance.build(report)))
    parts["cost"] = packed_json(_plain(cost.build(report)))
    parts["cards"] = packed_json([_card(card) for card in data_card.cards(report)])
    places = {cell.key: place for place, cell in enumerate(report.cells)}
    names = cell_labels(report.cells)
    sampled = sample_all(report.cells, report.questions)
    group_of = {run: group for group, one in enumerate(tests) for run in one.runs}
    payload = {
        "title": report.title,
        "notes": list(report.notes),
        "refresh": refresh,
        "kinds": [{"label": kind, "sentence": sentence} for kind, sentence in KINDS.items()],
        "measures": dict(MEASURES),
        "scorers": list(SCORERS),
        "axes": _axes(report),
        "cells": [_cell(cell, name, report, sampled[cell.key]) for cell, name in zip(report.cells, names, strict=True)],
        "runs": [
            _run(run, place, names[places[run.key]], places[run.key], group_of[place], tests)
            for place, run in enumerate(report.found.runs)
        ],
        "groups": [{"label": name} for name in groups],
        "books": books,
        "findings": [
            about_finding(finding) | {"chart": place}
            for place, chart in enumerate(report.charts)
            for finding in chart.findings
        ],
        "charts": [about_chart(chart) for chart in report.charts],
        "looks": {"light": vega_config(LIGHT), "dark": vega_config(DARK)},
        "answers": answers(report, places),
        "comparisons": [_comparison(one, places) for one in report.comparisons],
        "skipped": [{"path": str(one.path), "reason": one.reason} for one in report.found.skipped],
        "states": [dict(sweep.states) for sweep in report.found.sweeps],
    }
    return provenance.clean(_plain(payload)), parts


def _group_names(report: Report, tests: Sequence[TestBook]) -> list[str]:
    """The task of each book, and what else tells it from the others of the task."""
    found = []
    for one in tests:
        first = report.found.runs[one.runs[0]].facts
        rest = [other for other in tests if other.task == one.task]
        name = labels.text("task", one.task)
        name += f", {one.split} split" * (len({other.split for other in rest}) > 1)
        scorers = {report.found.runs[other.runs[0]].facts.scorer for other in rest}
        found.append(name + f", {first.scorer} scorer" * (len(scorers) > 1))
    return [
        f"{name} ({len(one.book.questions)} questions, {place})" if found.count(name) > 1 else name
        for place, (name, one) in enumerate(zip(found, tests, strict=True), start=1)
    ]


def _test_about(one: TestBook, group: int, name: str) -> dict[str, Any]:
    return {
        "kind": "test",
        "group": group,
        "task": one.task,
        "label": f"{name}: test questions",
        "columns": [list(column) for column in one.columns],
        "missing": one.missing and f"The questions’ texts are not at hand: {one.missing}",
        "sampled": None,
    }


def _train_about(one: TrainBook) -> dict[str, Any]:
    return {
        "kind": "train",
        "group": None,
        "task": one.task,
        "label": f"{labels.text('task', one.task)}: training questions, with the teacher’s rationales",
        "lessons": [asdict(lesson) for lesson in one.lessons],
        "reasons": list(one.reasons),
        "missing": None,
        "sampled": one.sampled,
    }


def _axes(report: Report) -> list[dict[str, Any]]:
    """What tells runs apart, with the values that there are, in a reader's order."""
    found = []
    for axis in AXES:
        if axis in ("kind", "family"):
            continue  # the method and D say it, and the student's name
        groups: dict[Any, list[Cell]] = {}
        for cell in report.cells:
            for run in cell.runs:
                groups.setdefault(run.facts.axis(axis), []).append(cell)
        values = sorted(groups) if axis == "seed" else ordered(axis, groups)
        label = SHORT.get(axis, labels.title(axis).capitalize())
        names = ["–" if value is None else labels.text(axis, value) for value in values]
        found.append({"name": axis, "label": label, "values": values, "names": names, "varies": len(values) > 1})
    return found


def _cell(cell: Cell, name: str, report: Report, sampled: Sampled) -> dict[str, Any]:
    places = {run.folder: place for place, run in enumerate(report.found.runs)}
    return {
        "label": name,
        "task": labels.text("task", cell.facts.task),
        "runs": [places[run.folder] for run in cell.runs],
        "facts": {axis: cell.facts.axis(axis) for axis in AXES if axis != "seed"},
        "last": asdict(cell.last),
        "best": cell.best and asdict(cell.best),
        "verdict": cell.verdict and _verdict(cell.verdict),
        "new": cell.is_new,
        "pairs": sampled.pairs,
        "study": [sampled.rates[kind] for kind in KINDS],
        "diversity": dict(sampled.diversity),
    }


def _run(run: Run, place: int, name: str, cell: int, group: int, tests: Sequence[TestBook]) -> dict[str, Any]:
    score = run.score
    tested = (dict(one) for one in score.epochs if one["split"] == "test" and one["epoch"] == score.epoch)
    last: dict[str, Any] = next(tested, {"accuracies": {}})  # earlier versions listed no epochs
    return {
        "label": name,
        "cell": cell,
        "group": group,
        "last_column": tests[group].columns.index((place, score.epoch)),
        "facts": {axis: run.facts.axis(axis) for axis in AXES},
        "accuracy": score.accuracy,
        "low": score.interval[0],
        "high": score.interval[1],
        "n": score.n,
        "epoch": score.epoch,
        "best": score.best_on_test and {key: score.best_on_test[key] for key in ("epoch", "accuracy")},
        "best_validation": score.best_on_validation
        and {key: score.best_on_validation[key] for key in ("epoch", "accuracy")},
        "random": score.random_accuracy,
        "teacher_accuracy": score.teacher_accuracy,
        "examples": score.n_examples,
        "seconds": dict(score.seconds),
        "device_seconds": score.device_seconds,
        "tokens": dict(score.tokens),
        "cost_usd": score.cost_usd,
        "accuracies": last["accuracies"],
        "contains": last.get("contains_answer"),
        "format_rate": last.get("format_rate"),
        "truncation_rate": last.get("truncation_rate"),
        "mean_tokens": last.get("mean_tokens"),
        "epochs": [[one["epoch"], one["accuracy"]] for one in score.epochs if one["split"] == "test"],
        "study": _study(place, tests),
        "hash": run.hash,
        "folder": str(run.folder),
        "number": _number(run.folder),
    }


def _study(place: int, tests: Sequence[TestBook]) -> dict[int, float]:
    """The share of each kind of answer after the last epoch, by its place among KINDS."""
    one = next(one for one in tests if place in one.runs)
    column = next(number for number, (run, _) in enumerate(one.columns) if run == place)
    marks = one.book.column(column)
    kinds = marks[marks > 0] & 15
    return {kind - 1: float((kinds == kind).mean()) for kind in sorted(set(kinds.tolist())) if kind}


def _comparison(one: Comparison, places: Mapping[str, int]) -> dict[str, Any]:
    names = ("difference", "low", "high", "only_a", "only_b", "p", "p_holm", "test")
    return {name: getattr(one, name) for name in names} | {"a": places[one.a.key], "b": places[one.b.key]}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    found = verdict.published
    return {
        **{"word": verdict.word, "why": verdict.why, "accuracy": found.accuracy, "protocol": found.protocol},
        **{"figure": found.figure, "source": found.source, "grade": found.grade},
    }


def _card(card: DataCard) -> dict[str, Any]:
    title = labels.text("task", card.task) + (f", {card.split} split" if card.split != "default" else "")
    found: dict[str, Any] = _plain(card)
    return found | {"title": title}


def _number(folder: Path) -> int | None:
    number = folder.name.partition("-")[0]
    return int(number) if number.isdigit() else None


def _plain(value: Any) -> Any:
    """Dataclasses, paths and mappings as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {one: getattr(value, one) for one in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no word for it
    return value if isinstance(value, str | int | None) else str(value)
