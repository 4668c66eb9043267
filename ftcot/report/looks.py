"""What a chart's series look like and where its points stand, the same for the picture and the page.

look(chart)     names ("gpt2", "gpt2-medium", "curie"), of which "curie" is the paper's alone;
                xs (1.0, 2.0, 4.0, 8.0), and 8.0 stands at 3.0: the axis is one of doublings
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ftcot.report.labels import scale, text, title
from ftcot.report.model import Chart, Panel, Point
from ftcot.report.palette import Style, style

X = str | float

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """Of one chart."""

    names: tuple[str, ...]
    """Its series: those of runs, then those that only the paper has."""
    n_run: int
    """How many of them are of runs."""
    xs: tuple[X, ...]
    """In order; all of them numbers, or none."""
    base: int | None
    """Of the multiples that x goes by; None: as it is, or one place a name."""
    axis: str

    @property
    def numeric(self) -> bool:
        return bool(self.xs) and not isinstance(self.xs[0], str)

    def style(self, name: str) -> Style:
        return style(self.names.index(name))

    def place(self, x: X) -> float:
        """Where a value stands along the axis."""
        if isinstance(x, str) or not self.numeric:
            return float(self.slot(x))
        return math.log(x, self.base) if self.base else float(x)

    def slot(self, x: X) -> int:
        """Which of `xs` a value is."""
        return self.xs.index(x if x in self.xs else text(self.axis, x))

    def shift(self, name: str) -> float:
        """How far a line stands beside its places, so that intervals do not hide each other."""
        if name not in self.names[: self.n_run]:
            return 0.0
        places = [self.place(x) for x in self.xs]
        gap = min((b - a for a, b in itertools.pairwise(places)), default=1.0)
        step = min(0.06, 0.36 / self.n_run) * min(gap, (places[-1] - places[0]) / 4 or gap)
        return (self.names.index(name) - (self.n_run - 1) / 2) * step

    @property
    def limits(self) -> tuple[float, float]:
        """Of the axis."""
        places = [self.place(x) for x in self.xs]
        room = 0.08 * (places[-1] - places[0]) or 0.5
        return (places[0] - room, places[-1] + room)

    @property
    def ticks(self) -> list[X]:
        """The values that have room to be written below the axis."""
        if not self.numeric:
            return list(self.xs)
        low, high = self.limits
        shown = [self.xs[0]]
        for x in self.xs[1:]:
            if self.place(x) - self.place(shown[-1]) >= 0.075 * (high - low):
                shown.append(x)
        return shown

    def tick(self, x: X) -> str:
        return text(self.axis, x)

    def word(self, name: str) -> str:
        """A series, as a reader calls it."""
        first, comma, rest = name.partition(", ")
        return text(None, first) + comma + rest


def look(chart: Chart) -> Look:
    """How to show a chart."""
    own = _ordered(one.name for panel in chart.panels for one in panel.series if one.points)
    published = _ordered(one.series for panel in chart.panels for one in panel.paper)
    ran: list[X] = _ordered(p.x for panel in chart.panels for one in panel.series for p in one.points)
    papers: list[X] = _ordered(one.x for panel in chart.panels for one in panel.paper)
    found = papers if set(ran) <= set(papers) else _ordered([*ran, *papers])
    xs: Sequence[X]
    if any(isinstance(x, str) for x in found):
        xs = [x if isinstance(x, str) else text(chart.figure.x, x) for x in found]
    else:
        xs = sorted(found)
    base = scale(chart.figure.x)
    if any(isinstance(x, str) or x <= 0 for x in xs):
        base = None
    return Look(
        names=tuple(_ordered([*own, *published])),
        n_run=len(own),
        xs=tuple(xs),
        base=base,
        axis=chart.figure.x,
    )


def describe(chart: Chart) -> str:
    """What a chart shows, for those who cannot see it: its caption, and every value."""
    seen = look(chart)
    lines = [chart.caption] if chart.caption else []
    for panel in chart.panels:
        for series in panel.series:
            values = [
                f"{seen.tick(p.x)}: {100 * p.cell.last.accuracy:.1f} % "
                f"[{100 * p.cell.last.low:.1f}, {100 * p.cell.last.high:.1f}]"
                for p in series.points
            ]
            where = ", ".join(filter(None, (text(None, panel.name), seen.word(series.name))))
            lines.append(f"{where}; {title(chart.figure.x)} {'; '.join(values)}.")
    return "\n".join(lines)


def grid(n: int) -> int:
    """Columns for n panels."""
    return {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3, 9: 3}.get(n, 4)


def points(chart: Chart) -> list[Point]:
    """Of all panels and series."""
    return [point for panel in chart.panels for one in panel.series for point in one.points]


def picked(point: Point) -> float | None:
    """The accuracy of the best epoch on test, where another epoch than the last is the best one."""
    best = point.cell.best
    return None if best is None or best.accuracy == point.cell.last.accuracy else best.accuracy


def protocols(chart: Chart) -> Mapping[str, tuple[str, ...]]:
    """How published values were measured, and which series these are of."""
    found: dict[str, list[str]] = {}
    for panel in chart.panels:
        for one in panel.paper:
            names = found.setdefault(one.published.protocol, [])
            if one.series not in names:
                names.append(one.series)
    return {protocol: tuple(names) for protocol, names in found.items()}


def signs(chart: Chart) -> str:
    """What the marks of a chart stand for, in words, to be set below it."""
    cells = [point.cell for point in points(chart)]
    if chart.figure.kind == "heatmap":
        return "Numbers: accuracy in percent, after the last epoch. What is empty was not run."
    said = [
        "Filled: these runs, with 95 % intervals." if chart.figure.kind == "curve" else "Lines on bars: 95 % intervals."
    ]
    if any(cell.last.seeds > 1 for cell in cells):
        said.append("Small dots: one seed each.")
    if measured := protocols(chart):
        said.append(f"Hollow: published ({'; '.join(measured)}).")
    if chart.figure.kind == "curve" and any(picked(point) is not None for point in points(chart)):
        said.append("Crosses: the best epoch on test.")
    return " ".join(said)


def span(panel: Panel, *, with_teacher: bool = True) -> tuple[float, float]:
    """The lowest and highest value that a panel shows; (0, 1) of nothing."""
    values = [value for value in (panel.random, panel.teacher if with_teacher else None) if value is not None]
    values += [one.published.accuracy for one in panel.paper]
    for one in panel.series:
        for point in one.points:
            last = point.cell.last
            values += [last.low, last.high, *last.by_seed]
            values += [best for best in (picked(point),) if best is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def draws_teacher(panel: Panel) -> bool:
    """Whether the teacher's line is near enough to what else there is; if not, a word says where it would be."""
    return panel.teacher is not None and panel.teacher <= 1.6 * span(panel, with_teacher=False)[1]


def heights(panel: Panel, kind: str) -> tuple[float, float]:
    """The limits of a panel's accuracies, in percent: from 0, but for curves that are far from it."""
    low, high = span(panel, with_teacher=draws_teacher(panel))
    if kind == "bars":
        return (0.0, 100 * min(1.04, high * 1.08 + 0.01))
    floor = 0.0 if low < 0.4 else int(10 * low - 0.5) / 10
    return (100 * (floor - 0.03 * (high - floor)), 100 * min(1.04, high + 0.06 * (high - floor) + 0.01))


def _ordered(values: Iterable[T]) -> list[T]:
    """Without repetitions, in order of first appearance."""
    return list(dict.fromkeys(values))
