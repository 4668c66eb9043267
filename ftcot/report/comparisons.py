"""Pairs of cells on the same test questions, each tested, all corrected together.

    D = 1 against D = 8 (gpt2, multiarith)    +10.6 points [3.9, 17.2], 31 questions against 12, p = 0.0054, Holm 0.016

A pair differs in one axis of a chart's panel: two points of a line, or two lines at one x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from ftcot.report.cells import right, templates
from ftcot.report.model import Cell, Chart, Comparison, Panel, Questions
from ftcot.statistics.paired import holm, paired

MOST = 300
"""Pairs of a report. Holm's correction weighs each of them, so more of them hide more than they show."""

RULE = (
    f"Compared are two points of a line or two lines at one x. Of more than {MOST} such pairs those of the first point "
    "of each line and its last one come first, then those of its other points with the first, then the rest, and what "
    f"is beyond {MOST} is left out."
)


def build(charts: Sequence[Chart], questions: Mapping[tuple[str, str], Questions]) -> tuple[Comparison, ...]:
    """The comparisons of all charts, each pair once, in their order."""
    ranked: dict[tuple[str, str], tuple[int, Cell, Cell]] = {}
    for chart in charts:
        for panel in chart.panels:
            for importance, a, b in _pairs(panel):
                if a.key != b.key and a.runs[0].exam == b.runs[0].exam and (b.key, a.key) not in ranked:
                    ranked.setdefault((a.key, b.key), (importance, a, b))
    keep = sorted(ranked.values(), key=lambda pair: pair[0])[:MOST]  # sorted() keeps the order of equals
    chosen = {(a.key, b.key) for _, a, b in keep}
    pairs = [(a, b) for key, (_, a, b) in ranked.items() if key in chosen]
    tested = [paired(right(a), right(b), templates(a, questions)) for a, b in pairs]
    corrected = holm([test.p for test in tested])
    return tuple(
        Comparison(a, b, test.difference, test.low, test.high, test.only_a, test.only_b, test.p, p, test.test)
        for (a, b), test, p in zip(pairs, tested, corrected, strict=True)
    )


def _pairs(panel: Panel) -> Iterator[tuple[int, Cell, Cell]]:
    for series in panel.series:
        last = len(series.points) - 1
        for (i, a), (j, b) in combinations(enumerate(series.points), 2):
            yield 0 if (i, j) == (0, last) else 1 if i == 0 else 2, a.cell, b.cell
    for one, other in combinations(panel.series, 2):
        there = {point.x: point.cell for point in other.points}
        for point in one.points:
            if point.x in there:
                yield 2, point.cell, there[point.x]
