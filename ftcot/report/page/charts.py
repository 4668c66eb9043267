"""A chart as the page has it: the figure, every point of it as a table, and its findings.

Chart(diversity)    spec      Vega-Lite, drawn in the browser
                    table     Coin Flip, Fine-tune-CoT, 8: 92.2 % [84.0, 96.4] of 60, 3 seeds; published values too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ftcot.report import labels
from ftcot.report.looks import look, signs
from ftcot.report.model import Chart, Finding
from ftcot.report.vega import spec


def about_chart(chart: Chart) -> dict[str, Any]:
    """What the page shows of a chart."""
    figure, seen, drawn = chart.figure, look(chart), spec(chart)
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": chart.caption,
        "note": figure.note if figure.note not in chart.caption else "",
        "x": labels.title(figure.x),
        "series": labels.title(figure.series) if figure.series else "",
        "panel": labels.title(figure.panel) if figure.panel else "",
        "lines": [seen.word(name) for name in seen.names],
        "signs": signs(chart) if drawn else "",
        "findings": [about_finding(finding) for finding in chart.findings],
        "spec": drawn or None,
        "table": [*_points(chart)],
    }


def _points(chart: Chart) -> list[dict[str, Any]]:
    """Every point that a chart shows, for those who read tables."""
    axis, rows = chart.figure.x, []
    for panel in chart.panels:
        where = labels.text(None, panel.name)
        for series in panel.series:
            for point in series.points:
                last, best = point.cell.last, point.cell.best
                notes = [f"best epoch on test {labels.percent(best.accuracy, 2)}"] if best else []
                notes += ["new: the paper has no such cell"] * point.cell.is_new
                x = labels.text(axis, point.x)
                rows.append(_point(where, series.name, x, last.accuracy, "; ".join(notes), asdict(last)))
        for paper in panel.paper:
            found = paper.published
            note = ", ".join([found.protocol, found.figure, *([found.grade] if found.grade != "exact" else [])])
            rows.append(_point(where, paper.series, labels.text(axis, paper.x), found.accuracy, note, {"n": found.n}))
        for name, level in (("a guess", panel.random), ("the teacher", panel.teacher)):
            if level is not None:
                rows.append(_point(where, name, "all", level, "", {}))
    return rows


def _point(panel: str, series: str, x: str, accuracy: float, note: str, known: Mapping[str, Any]) -> dict[str, Any]:
    measured = {name: known.get(name) for name in ("low", "high", "n", "seeds")}
    return {"panel": panel, "series": labels.text(None, series), "x": x, "accuracy": accuracy, "note": note} | measured


def about_finding(finding: Finding) -> dict[str, Any]:
    """What the page shows of a finding; its chart is named by its place."""
    return {key: value for key, value in asdict(finding).items() if key != "chart"}
