"""Findings: the claim of a chart, tested on each of its lines, in words and numbers.

    "More rationales a question make a better student."   generated_coin_flip   holds
        from 55.2 % (D = 1) to 91.7 % (D = 8): +36.5 points [29.9, 43.1], p < 0.0001, after Holm p < 0.0001
        seed 0: 53.3 to 90.0 %; seed 1: 56.7 to 93.3 %; seed 2: 55.0 to 91.7 %

A claim holds where its effect is above zero and Holm's p, over all findings of the report, below 0.05. It does not hold
where the effect can hardly be more than MARGIN. Else nobody can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ftcot.report.cells import right, templates
from ftcot.report.grouping import also_differ, rank, said
from ftcot.report.labels import text
from ftcot.report.model import Cell, Chart, Finding, Panel, Point, Questions
from ftcot.statistics.paired import holm
from ftcot.statistics.trends import Trend, highest, increasing

ALPHA = 0.05

MARGIN = 0.02
"""An effect that is at most this large, at the upper end of its interval, is none to speak of."""


def look(chart: Chart, questions: Mapping[tuple[str, str], Questions]) -> tuple[Finding, ...]:
    """What the chart says of its figure's claim: a finding a panel and line, or a panel where the claim is of bars."""
    claim = chart.figure.finding
    if claim is None:
        return ()
    found: list[Finding] = []
    for panel in chart.panels:
        if claim.test == "highest":
            found += _highest(chart, panel, questions)
        else:
            for series in panel.series:
                where = ", ".join(text(None, name) for name in (panel.name, series.name) if name)
                found += _increasing(chart, series.points, where, questions)
    return tuple(found)


def corrected(charts: Sequence[Chart]) -> tuple[Chart, ...]:
    """The charts with Holm's correction over all findings, and what it makes of each."""
    ps = iter(holm([finding.p for chart in charts for finding in chart.findings]))
    return tuple(
        replace(chart, findings=tuple(_judged(finding, next(ps)) for finding in chart.findings)) for chart in charts
    )


def p_words(p: float) -> str:
    """`p = 0.0042`, `p < 0.0001`."""
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.2g}" if p < 0.095 else f"p = {p:.2f}"


def points_words(effect: float, low: float, high: float) -> str:
    """`+36.5 points [29.9, 43.1]`."""
    return f"{100 * effect:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]"


def _judged(finding: Finding, p: float) -> Finding:
    word: Literal["holds", "does not hold", "can't tell"] = "can't tell"
    if finding.effect > 0 and p < ALPHA:
        word = "holds"
    elif finding.high < MARGIN:
        word = "does not hold"
    return replace(finding, p_holm=p, word=word)


def _increasing(
    chart: Chart, points: Sequence[Point], where: str, questions: Mapping[tuple[str, str], Questions]
) -> list[Finding]:
    points = on_the_same_questions(points)
    if len({point.cell.key for point in points}) < 2:
        return []
    axis = chart.figure.x
    by_rank = sorted(points, key=lambda point: rank(axis, point.cell))
    rows = [(float(place), right(point.cell)) for place, point in enumerate(by_rank)]
    trend = increasing(rows, templates(by_rank[0].cell, questions))
    first, last = by_rank[0], by_rank[-1]
    words = (
        f"from {_percent(first.cell)} ({_at(axis, first)}) to {_percent(last.cell)} ({_at(axis, last)}), "
        f"{points_words(trend.effect, trend.low, trend.high)}"
    )
    beside = also_differ([point.cell for point in points], axis)
    return [_finding(chart, words, trend, where, _details(beside, _by_seed(first.cell, last.cell)))]


def _highest(chart: Chart, panel: Panel, questions: Mapping[tuple[str, str], Questions]) -> list[Finding]:
    claim = chart.figure.finding
    assert claim is not None
    assert claim.value is not None
    found = []
    for series in panel.series:
        points = on_the_same_questions(series.points)
        groups = {str(point.x): point for point in points}
        if claim.value not in groups or len(groups) < 2:
            continue
        rows = {name: right(point.cell) for name, point in groups.items()}
        trend = highest(rows, claim.value, templates(points[0].cell, questions))
        ours = groups[claim.value]
        others = [point for name, point in groups.items() if name != claim.value]
        second = max(others, key=lambda point: point.cell.last.accuracy)
        words = (
            f"{_percent(ours.cell)} ({_at(chart.figure.x, ours)}), the best of the others "
            f"{_percent(second.cell)} ({_at(chart.figure.x, second)}), "
            f"{points_words(trend.effect, trend.low, trend.high)}"
        )
        where = ", ".join(text(None, name) for name in (panel.name, series.name) if name)
        beside = also_differ([point.cell for point in points], chart.figure.x)
        found.append(_finding(chart, words, trend, where, _details(beside, _by_seed(second.cell, ours.cell))))
    return found


def _details(beside: str, seeds: str) -> str:
    return "; ".join(filter(None, [beside and f"there differ too: {beside}", seeds]))


def _finding(chart: Chart, words: str, trend: Trend, where: str, details: str) -> Finding:
    assert chart.figure.finding is not None
    return Finding(
        claim=chart.figure.finding.claim,
        word="can't tell",
        words=words,
        effect=trend.effect,
        low=trend.low,
        high=trend.high,
        p=trend.p,
        p_holm=trend.p,
        test=trend.test,
        detail="; ".join(filter(None, [trend.detail, details])),
        where=where,
        chart=chart.figure.name,
    )


def on_the_same_questions(points: Sequence[Point]) -> list[Point]:
    """Those that most of the cells were asked."""
    if not points:
        return []
    [(exam, _)] = Counter(point.cell.runs[0].exam for point in points).most_common(1)
    return [point for point in points if point.cell.runs[0].exam == exam]


def _by_seed(first: Cell, last: Cell) -> str:
    """`seed 0: 53.3 to 90.0 %; seed 1: ...`; nothing where a cell has one seed, or they share none."""
    a, b = ({run.facts.seed: run.score.accuracy for run in cell.runs} for cell in (first, last))
    shared = sorted(a.keys() & b.keys())
    if len(shared) < 2:
        return ""
    return "; ".join(f"seed {seed}: {100 * a[seed]:.1f} to {100 * b[seed]:.1f} %" for seed in shared)


def _at(axis: str, point: Point) -> str:
    return text(axis, said(axis, point.x)) if isinstance(point.x, str) else said(axis, point.x)


def _percent(cell: Cell) -> str:
    return f"{100 * cell.last.accuracy:.1f} %"
