"""What is drawn into one panel of a picture: curves, bars, heat maps.

A cell is a filled marker with its 95 % interval, its seeds small points beside it; a published value is a hollow marker
of the same colour and shape; the best epoch on test, the paper's protocol for open students, a thin cross.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftcot.report.labels import shorten, title
from ftcot.report.looks import Look, draws_teacher, heights, picked, span
from ftcot.report.model import Panel, PaperPoint, Point
from ftcot.report.palette import LIGHT, heat, ink

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----")
"""What tells bars apart without colour."""

LONGEST = 22
"""Letters of a name below an axis."""

GUESS: dict[str, Any] = {"color": LIGHT.muted, "linewidth": 0.9, "linestyle": (0, (1, 2))}
TEACHER: dict[str, Any] = {"color": LIGHT.muted, "linewidth": 0.9, "linestyle": (0, (7, 2, 1, 2))}


def curve(axes: Axes, panel: Panel, seen: Look) -> None:
    """Accuracy along x, one line a series."""
    for series in panel.series:
        _line(axes, series.points, seen, series.name)
    for name in dict.fromkeys(one.series for one in panel.paper):
        _published_line(axes, [one for one in panel.paper if one.series == name], seen, name)
    axes.set_ylim(*heights(panel, "curve"))
    _levels(axes, panel)
    axes.grid(axis="y")
    _ticks(axes, seen)


def _line(axes: Axes, points: tuple[Point, ...], seen: Look, name: str) -> None:
    """A series of cells."""
    style, colour = seen.style(name), LIGHT.series[seen.style(name).colour]
    places = [seen.place(point.x) + seen.shift(name) for point in points]
    tall = [100 * point.cell.last.accuracy for point in points]
    axes.plot(places, tall, color=colour, linestyle=_dashes(style.dash), linewidth=1.3, zorder=3)
    _errors(axes, places, points, colour)
    axes.plot(places, tall, color=colour, linestyle="", marker=style.marker, markersize=4, zorder=5)
    for place, point in zip(places, points, strict=True):
        _seeds(axes, place, point, colour)
        if (best := picked(point)) is not None:
            axes.plot([place], [100 * best], color=colour, marker="x", markersize=3.5, markeredgewidth=0.8, zorder=4)


def bars(axes: Axes, panel: Panel, seen: Look) -> None:
    """Accuracy as the height of bars: a group an x, a bar a series."""
    n = len(seen.names)
    wide = 0.8 / n
    for place, name in enumerate(seen.names):
        shift = (place - (n - 1) / 2) * wide
        colour, hatch = LIGHT.series[place % len(LIGHT.series)], HATCHES[place % len(HATCHES)]
        points = [point for series in panel.series if series.name == name for point in series.points]
        places = [seen.slot(point.x) + shift for point in points]
        tall = [100 * point.cell.last.accuracy for point in points]
        axes.bar(places, tall, wide * 0.92, color=colour, edgecolor="white", hatch=hatch, linewidth=0.4, zorder=2)
        _errors(axes, places, tuple(points), LIGHT.text)
        for at, point in zip(places, points, strict=True):
            _seeds(axes, at, point, LIGHT.text)
        published = [one for one in panel.paper if one.series == name]
        axes.plot(
            [seen.slot(one.x) + shift for one in published],
            [100 * one.published.accuracy for one in published],
            **_hollow(LIGHT.text, "D"),
        )
    axes.set_ylim(*heights(panel, "bars"))
    _levels(axes, panel)
    axes.set_xlim(-0.6, len(seen.xs) - 0.4)
    axes.grid(axis="y")
    _names(axes, seen)


def heatmap(axes: Axes, panel: Panel, seen: Look) -> None:
    """Accuracy as a colour and a number: x along, series down. A cell that nobody ran is hatched."""
    found = {
        (seen.slot(point.x), seen.names.index(series.name)): point.cell.last.accuracy
        for series in panel.series
        for point in series.points
    }
    low, high = span(panel, with_teacher=False)
    _boxes(axes, found, (len(seen.xs), len(seen.names)), (low, high), 7 if len(seen.xs) <= 8 else 5.5)
    axes.set_yticks(range(len(seen.names)), [shorten(seen.word(name), LONGEST) for name in seen.names])
    _names(axes, seen)


def shares(axes: Axes, kinds: Sequence[str], labels: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """Shares as colours and numbers: a column a row, kinds down."""
    found = {(x, y): row.get(kind, 0.0) for x, row in enumerate(rows) for y, kind in enumerate(kinds)}
    _boxes(axes, found, (len(rows), len(kinds)), (0.0, max(found.values(), default=1.0)), 7)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_xticks(range(len(labels)), [shorten(label, 2 * LONGEST) for label in labels], rotation=25, ha="right")
    for label in axes.get_xticklabels():
        label.set_rotation_mode("anchor")


def _boxes(
    axes: Axes,
    values: Mapping[tuple[int, int], float],
    size: tuple[int, int],
    ends: tuple[float, float],
    font: float,
) -> None:
    """A box for each (column, row) with its number in percent; hatched where there is none."""
    from matplotlib.patches import Rectangle

    low, high = ends
    for row in range(size[1]):
        for column in range(size[0]):
            found = values.get((column, row))
            colour = LIGHT.surface if found is None else heat(LIGHT, (found - low) / (high - low or 1.0))
            box = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor=LIGHT.background)
            if found is None:
                box.set(hatch="///", edgecolor=LIGHT.grid)
            axes.add_patch(box)
            if found is not None:
                number = f"{100 * found:.1f}"
                axes.text(column, row, number, ha="center", va="center", color=ink(colour), fontsize=font)
    axes.set_xlim(-0.5, size[0] - 0.5)
    axes.set_ylim(size[1] - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def key(seen: Look, name: str, kind: str) -> Artist:
    """The sign of a series in the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    style, place = seen.style(name), seen.names.index(name)
    colour = LIGHT.series[style.colour]
    if kind == "bars":
        return Patch(facecolor=colour, edgecolor="white", hatch=HATCHES[place % len(HATCHES)] * 2, linewidth=0.4)
    if place >= seen.n_run:
        return Line2D([], [], **_hollow(colour, style.marker) | _thin(colour))
    return Line2D([], [], color=colour, linestyle=_dashes(style.dash), linewidth=1.3, marker=style.marker, markersize=4)


def sign(what: str) -> Artist:
    """The sign of what is no series: published, best, seed, guess, teacher."""
    from matplotlib.lines import Line2D

    looks: dict[str, dict[str, Any]] = {
        "published": _hollow(LIGHT.muted, "D"),
        "best": {"color": LIGHT.muted, "linestyle": "", "marker": "x", "markersize": 3.5, "markeredgewidth": 0.8},
        "seed": {"color": LIGHT.muted, "linestyle": "", "marker": ".", "markersize": 3},
        "guess": GUESS,
        "teacher": TEACHER,
    }
    return Line2D([], [], **looks[what])


def _published_line(axes: Axes, points: list[PaperPoint], seen: Look, name: str) -> None:
    style, colour = seen.style(name), LIGHT.series[seen.style(name).colour]
    ordered = sorted(points, key=lambda one: seen.place(one.x))
    axes.plot(
        [seen.place(one.x) + seen.shift(name) for one in ordered],
        [100 * one.published.accuracy for one in ordered],
        **_hollow(colour, style.marker) | _thin(colour),
    )


def _hollow(colour: str, marker: str) -> dict[str, Any]:
    hollow = {"marker": marker, "markersize": 4.2, "markerfacecolor": LIGHT.background, "markeredgewidth": 0.9}
    return {"color": colour, "linestyle": "", "markeredgecolor": colour, "zorder": 4, **hollow}


def _thin(colour: str) -> dict[str, Any]:
    return {"color": colour, "linestyle": (0, (1, 1.5)), "linewidth": 0.7}


def _dashes(dash: tuple[int, ...]) -> Any:
    return (0, dash) if dash else "-"


def _errors(axes: Axes, places: list[float], points: tuple[Point, ...], colour: str) -> None:
    cells = [point.cell.last for point in points]
    spans = [[100 * (c.accuracy - c.low) for c in cells], [100 * (c.high - c.accuracy) for c in cells]]
    tall = [100 * c.accuracy for c in cells]
    axes.errorbar(places, tall, spans, ls="", ecolor=colour, elinewidth=0.8, capsize=1.8, capthick=0.8, zorder=3.5)


def _seeds(axes: Axes, place: float, point: Point, colour: str) -> None:
    from matplotlib.transforms import ScaledTranslation

    if len(found := point.cell.last.by_seed) > 1:
        beside = axes.transData + ScaledTranslation(4 / 72, 0, axes.get_figure(root=True).dpi_scale_trans)  # type: ignore[union-attr]
        tall = [100 * one for one in found]
        axes.plot([place] * len(found), tall, ".", color=colour, markersize=2.5, zorder=6, transform=beside)


def _levels(axes: Axes, panel: Panel) -> None:
    if panel.random:
        axes.axhline(100 * panel.random, zorder=1.5, **GUESS)
    if draws_teacher(panel):
        assert panel.teacher is not None
        axes.axhline(100 * panel.teacher, zorder=1.5, **TEACHER)
    elif panel.teacher is not None:
        words = f"↑ teacher {100 * panel.teacher:.1f}"
        axes.annotate(words, (0.02, 0.99), xycoords="axes fraction", va="top", fontsize=6.5, color=LIGHT.muted)


def _ticks(axes: Axes, seen: Look) -> None:
    if not seen.numeric:
        axes.set_xlim(-0.4, len(seen.xs) - 0.6)
        _names(axes, seen)
        return
    axes.set_xlim(*seen.limits)
    axes.set_xticks([seen.place(x) for x in seen.ticks], [seen.tick(x) for x in seen.ticks])


def _names(axes: Axes, seen: Look) -> None:
    words = [shorten(seen.tick(x), LONGEST) for x in seen.xs]
    picture, grid = axes.get_figure(root=True), axes.get_subplotspec()
    assert picture is not None
    assert grid is not None
    tilted = names_height(seen, picture.get_figwidth() / grid.get_gridspec().ncols) > 0
    axes.set_xticks(range(len(words)), words, rotation=35 if tilted else 0, ha="right" if tilted else "center")
    for label in axes.get_xticklabels():
        label.set_rotation_mode("anchor")


def names_height(seen: Look, width: float) -> float:
    """Inches that the names below an axis of so many inches need beyond one line: they are tilted where long."""
    if seen.numeric and seen.base is None:
        return 0.0
    longest = max(len(shorten(seen.tick(x), LONGEST)) for x in seen.xs)
    return 0.058 * longest * 0.57 if longest * 0.058 > (width - 0.45) / len(seen.xs) - 0.06 else 0.0


def y_title(kind: str, series: str | None) -> str:
    """What stands beside the axis that goes up."""
    return title(series or "") if kind == "heatmap" else "accuracy (%)"


PAINT: Mapping[str, Callable[[Axes, Panel, Look], None]] = {"curve": curve, "bars": bars, "heatmap": heatmap}
"""By the kind of a figure."""
