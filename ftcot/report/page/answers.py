"""What a chart's lines answer: does more of it help, by how much, how sure, at what cost, on which questions?

Diverse reasoning, MultiArith, gpt2      D = 1 ──> D = 8
    11.7 % ──> 20.0 %   +8.3 points   p = 0.0012 (Holm)   pairs 312 ──> 2,574 (8.3 times), device time 4 ──> 31 min
    24 questions gained, 9 lost       the paper, gpt2: 12.2 ──> 17.8 % (+5.6 points)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ftcot.report.cells import right
from ftcot.report.cost import of_cell
from ftcot.report.findings import on_the_same_questions
from ftcot.report.grouping import rank, said
from ftcot.report.labels import percent, text, title
from ftcot.report.model import Cell, Chart, Finding, Panel, Point, Report, Series

QUESTIONS: Mapping[str, str] = {
    "diversity": "Does diversity help here?",
    "n_train": "Do more training questions help here?",
    "skill": "Does a better teacher help here?",
    "teacher": "Does a better teacher help here?",
    "n_parameters": "Does a larger student learn more here?",
    "student": "Does a larger student learn more here?",
    "kind": "Does teaching to reason help here?",
    "method": "Does teaching to reason help here?",
}
"""By what stands along x."""


def answers(report: Report, places: Mapping[str, int]) -> list[dict[str, Any]]:
    """An answer a chart, as the page shows it; none for a chart whose lines have one point.

    Args:
        places: of cells, by key.
    """
    found = []
    for place, chart in enumerate(report.charts):
        rows = [
            row
            for panel in chart.panels
            for series in panel.series
            if (row := _row(chart, panel, series, places)) is not None
        ]
        if rows:
            axis = chart.figure.x
            claim = chart.figure.finding
            if claim is not None and claim.test == "highest" and claim.value is not None:
                question = f"Is {text(axis, claim.value)} the best here?"
            else:
                question = QUESTIONS.get(axis, f"What does the {title(axis)} change here?")
            about = {"title": chart.figure.title, "axis": title(axis), "chart": place}
            found.append({"question": question, **about, "rows": rows})
    return found


def _row(chart: Chart, panel: Panel, series: Series, places: Mapping[str, int]) -> dict[str, Any] | None:
    ends = _ends(chart, series)
    if ends is None:
        return None
    a, b = ends
    where = ", ".join(text(None, name) for name in (panel.name, series.name) if name)
    finding = next((one for one in chart.findings if one.where == where), None)
    verdicts = right(b.cell).mean(axis=0) - right(a.cell).mean(axis=0)
    axis = chart.figure.x
    return {
        "where": where or "all",
        "a": _end(axis, a, places),
        "b": _end(axis, b, places),
        "difference": b.cell.last.accuracy - a.cell.last.accuracy,
        "finding": finding and asdict(finding),
        "cost": _cost(a.cell, b.cell),
        "gained": int((verdicts > 0).sum()),
        "lost": int((verdicts < 0).sum()),
        "n": len(verdicts),
        "paper": _paper(chart, panel, series, (a, b), finding),
    }


def _ends(chart: Chart, series: Series) -> tuple[Point, Point] | None:
    """The first and last point of a line; of a claim that one is the highest, the best of the others and that one."""
    points = sorted(on_the_same_questions(series.points), key=lambda point: rank(chart.figure.x, point.cell))
    claim = chart.figure.finding
    if claim is not None and claim.test == "highest":
        best = [point for point in points if str(point.x) == claim.value]
        others = [point for point in points if str(point.x) != claim.value]
        if not best or not others:
            return None
        a, b = max(others, key=lambda point: point.cell.last.accuracy), best[0]
    elif len(points) > 1:
        a, b = points[0], points[-1]
    else:
        return None
    return (a, b) if a.cell.key != b.cell.key else None


def _end(axis: str, point: Point, places: Mapping[str, int]) -> dict[str, Any]:
    last = point.cell.last
    x = text(axis, said(axis, point.x)) if isinstance(point.x, str) else said(axis, point.x)
    return {
        "cell": places[point.cell.key],
        "x": x,
        "accuracy": last.accuracy,
        "low": last.low,
        "high": last.high,
    }


def _cost(a: Cell, b: Cell) -> list[str]:
    """What a run of each cost, where the two differ or the runs say anything at all."""
    first, second = of_cell(a), of_cell(b)
    lines = []
    for label, x, y in (
        ("training pairs", first.pairs, second.pairs),
        ("device seconds a run", first.device_seconds, second.device_seconds),
        ("the teacher’s tokens", first.teacher_tokens, second.teacher_tokens),
    ):
        if x is not None and y is not None and (x or y):
            times = f" ({y / x:.1f} times)" if x and y else ""
            lines.append(f"{label} {x:,.0f} → {y:,.0f}{times}")
    if first.usd is not None and second.usd is not None and (first.usd or second.usd):
        lines.append(f"money ${first.usd:.2f} → ${second.usd:.2f}")
    return lines or ["not written down"]


def _paper(chart: Chart, panel: Panel, series: Series, ends: tuple[Point, Point], finding: Finding | None) -> str:
    """What the panel's published points say, of the same line and between the same places where they have them; else
    what became of the claim."""
    axis, names = chart.figure.x, list(dict.fromkeys(point.series for point in panel.paper))
    parted = chart.figure.series
    own = said(parted, ends[0].cell.facts.axis(parted)) if parted else ""
    shown = [name for name in (series.name, own) if name in names][:1] or names[:3]
    lines = []
    for name in shown:
        points = [point for point in panel.paper if point.series == name]
        both = [next((point for point in points if point.x == end.x), None) for end in ends]
        x, y = both if None not in both else (points[0], points[-1])
        assert x is not None
        assert y is not None
        if x is not y:
            change = 100 * (y.published.accuracy - x.published.accuracy)
            between = " → ".join(f"{percent(one.published.accuracy)} ({_short(axis, one.x)})" for one in (x, y))
            lines.append(f"{text(None, name) or 'published'}: {between}, {change:+.1f} points ({y.published.protocol})")
    if lines:
        return "; ".join(lines)
    if finding is None:
        return "no published value for these settings"
    words = {"holds": "the same direction", "does not hold": "not the same", "can't tell": "can’t tell"}
    return f"“{finding.claim}” Here: {words[finding.word]}. No published value for these settings."


def _short(axis: str, x: str | float) -> str:
    return text(axis, x) if isinstance(x, str) else said(axis, x)
