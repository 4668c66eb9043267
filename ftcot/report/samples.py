"""The sample study beside accuracy: what is wrong with the answers of each cell, and how varied its rationales were.

    D = 1    55.2 %    16 pairs, 1.0 different rationales a question    wrong arithmetic 12 %, truncated 9 %, ...
    D = 8    91.7 %   131 pairs, 7.8 different rationales a question    wrong arithmetic  4 %, truncated 1 %, ...

Rates are those that a run wrote down; of a run that did not they are found out from its predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ftcot.report.labels import text, title
from ftcot.report.model import Cell, Chart, Questions, Run
from ftcot.report.naming import cell_labels
from ftcot.report.run_facts import marker
from ftcot.report.studies import Rates
from ftcot.report.tables import Table, csv_text, file_name, without_empty
from ftcot.sample_study import KINDS, kinds, rates, reported
from ftcot.variety import diversity, shown

MEASURES: Mapping[str, str] = {
    "effective_degree": "different rationales",
    "paths": "ways to the answer",
    "ngrams": "phrases",
}
"""Of the diversity of rationales, those that are shown; CSV has all."""


@dataclass(frozen=True)
class Sampled:
    """Means over the runs of a cell."""

    rates: Mapping[str, float]
    """Share of each of sample_study.KINDS, after the last epoch."""
    pairs: float
    """That the student was trained on."""
    diversity: Mapping[str, float]
    """variety.Diversity of these pairs; empty where nobody taught."""


def of_cell(cell: Cell, questions: Mapping[tuple[str, str], Questions]) -> Sampled:
    """The figures of a cell."""
    found = [_rates(run, questions[run.task_key]) for run in cell.runs]
    taught = [_diversity(run) for run in cell.runs] if cell.facts.teacher is not None else []
    return Sampled(
        {kind: fmean(one.get(kind, 0.0) for one in found) for kind in KINDS},
        fmean(run.score.n_examples for run in cell.runs),
        {name: fmean(one[name] for one in taught) for name in taught[0] if all(name in one for one in taught)}
        if taught
        else {},
    )


def table(chart: Chart, sampled: Mapping[str, Sampled]) -> Table:
    """The figures of a chart's cells, a row each; rates in percent.

    Args:
        sampled: by Cell.key.
    """
    seen = [kind for kind in KINDS if any(sampled[cell.key].rates[kind] for _, _, _, cell in _places(chart))]
    heads = (title(chart.figure.panel or "panel"), title(chart.figure.series or "series"), title(chart.figure.x))
    header = (*heads, "accuracy, %", "pairs", *(f"{words} a question" for words in MEASURES.values()), *seen)
    rows = []
    for panel, series, x, cell in _places(chart):
        one = sampled[cell.key]
        varied = [f"{one.diversity[name]:.1f}" if name in one.diversity else "" for name in MEASURES]
        numbers = [f"{100 * cell.last.accuracy:.1f}", f"{one.pairs:.0f}", *varied]
        numbers += [f"{100 * one.rates[kind]:.1f}" for kind in seen]
        rows.append((text(None, panel), text(None, series), text(chart.figure.x, x), *numbers))
    meanings = " ".join(f"{kind.capitalize()}: {KINDS[kind][0].lower()}{KINDS[kind][1:]}" for kind in seen)
    caption = (
        "Share of the test answers of each kind after the last epoch, in percent, beside what the student was trained "
        f"on. Means over seeds. {meanings}"
    )
    name = f"{file_name(chart.figure.name)}-samples"
    return without_empty(Table(name, f"{chart.figure.title}: what goes wrong", caption, header, tuple(rows), 3))


def csv_of(chart: Chart, sampled: Mapping[str, Sampled]) -> str:
    """The same as fractions."""
    rows: list[dict[str, Any]] = []
    for panel, series, x, cell in _places(chart):
        one = sampled[cell.key]
        place = {"panel": panel, "series": series, chart.figure.x: x}
        rows.append(
            place | {"accuracy": cell.last.accuracy, "pairs": one.pairs} | dict(one.diversity) | dict(one.rates)
        )
    return csv_text(rows)


def rows_of(chart: Chart, sampled: Mapping[str, Sampled]) -> list[Rates]:
    """The rates of a chart's cells for a picture of them, called by what tells them apart."""
    places = _places(chart)
    names = cell_labels([cell for _, _, _, cell in places])
    several = len({panel for panel, _, _, _ in places}) > 1
    rows = []
    for (panel, _, _, cell), name in zip(places, names, strict=True):
        label = f"{text(None, panel)}, {name}" if several else name
        n = cell.last.n * cell.last.seeds
        rows.append(Rates(label, cell.facts.diversity, n, sampled[cell.key].rates))
    return rows


def _places(chart: Chart) -> list[tuple[str, str, str | float, Cell]]:
    """Panel, series, x and cell of all points; what does not depend on x once."""
    found: dict[tuple[str, str, str], tuple[str, str, str | float, Cell]] = {}
    for panel in chart.panels:
        for series in panel.series:
            for point in series.points:
                bare = point.cell.facts.axis(chart.figure.x) is None
                place = (panel.name, series.name, "any" if bare else point.x, point.cell)
                found.setdefault((panel.name, series.name, point.cell.key), place)
    return list(found.values())


def _rates(run: Run, questions: Questions) -> Mapping[str, float]:
    if known := reported(run.score.epochs, run.score.epoch):
        return known
    texts = {index: sample.question for index, sample in questions.test.items()}
    return rates(kinds(run.said(), texts, marker(run)))


def _diversity(run: Run) -> Mapping[str, float]:
    known = ((run.status.get("counts") or {}).get("curation") or {}).get("diversity")
    if isinstance(known, Mapping):
        return known
    return diversity(shown(run.examples, marker(run))).to_json()


def sample_all(cells: Sequence[Cell], questions: Mapping[tuple[str, str], Questions]) -> dict[str, Sampled]:
    """The figures of all cells, by their key."""
    return {cell.key: of_cell(cell, questions) for cell in cells}
