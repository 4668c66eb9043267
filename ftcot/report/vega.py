"""Charts of the page: the same as plots.py draws, as Vega-Lite that answers to the mouse and the keyboard.

    spec(chart)     {"$schema": ".../vega-lite/v6...", "concat" or "layer": [...], "params": [...], ...}

A spec names no colour: those of the theme come from `config` (palette.vega_config), so one spec serves the light and
the dark page. A click in the legend, or `view.signal("focus", "gpt2")`, brings one series out. Every mark says in words
what it stands for (aria), and the whole chart has a description. Values are in percent, and written out in the spec.
One panel is as wide as its container; several stand side by side in `columns`, each PANEL_WIDTH wide, and the page may
set both anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftcot.report.labels import percent, text, title
from ftcot.report.looks import Look, describe, draws_teacher, grid, heights, look, span
from ftcot.report.model import Chart, Panel
from ftcot.report.vega_rows import OF_CELL, OF_PAPER, data, finished, heat, paper_row, rows, seeds, tooltip

if TYPE_CHECKING:
    import altair as alt

PANEL_WIDTH, PANEL_HEIGHT = 260, 200
ONE_PANEL_HEIGHT = 300
"""Pixels."""

FOCUS = "focus"
"""The signal that holds the name of the series that is brought out, or null."""
CHOSEN = "chosen"
"""The selection that a click in the legend makes."""


def spec(chart: Chart) -> dict[str, Any]:
    """The chart as Vega-Lite; empty for one that is a table, or has no point."""
    import altair as alt

    shown = [panel for panel in chart.panels if panel.series or panel.paper]
    if chart.figure.kind == "table" or not shown:
        return {}
    seen = look(chart)
    paint = {"curve": _curve, "bars": _bars, "heatmap": _heatmap}[chart.figure.kind]
    size = {"width": "container", "height": ONE_PANEL_HEIGHT}
    if len(shown) > 1:
        size = {"width": PANEL_WIDTH, "height": PANEL_HEIGHT}
    panels = []
    for place, panel in enumerate(shown):
        name = text(chart.figure.panel, panel.name)
        drawn = paint(panel, seen, title(chart.figure.x), name, place == 0).properties(**size)
        panels.append(drawn.properties(title=name) if len(shown) > 1 else drawn)
    whole = panels[0] if len(panels) == 1 else alt.concat(*panels, columns=min(3, grid(len(panels))))
    if chart.figure.kind != "heatmap":
        whole = whole.add_params(alt.param(name=FOCUS, value=None))
    return finished(whole.properties(description=describe(chart)))


def _curve(panel: Panel, seen: Look, x_title: str, name: str, first: bool) -> Any:
    import altair as alt

    low, high = heights(panel, "curve")
    labels = [seen.tick(x) for x in seen.ticks]
    places = [seen.place(x) for x in seen.ticks]
    named = f"{json.dumps(labels)}[indexof({json.dumps(places)}, datum.value)]"
    axis = alt.Axis(grid=False, title=x_title, values=places, labelExpr=named)
    x = alt.X("x:Q", axis=axis, scale=alt.Scale(domain=list(seen.limits), nice=False, zero=False))
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(domain=[low, high], nice=False, zero=False))
    signs = _signs(seen)
    opacity = _opacity()
    cells = rows(panel, seen, lambda name, at: seen.place(at) + seen.shift(name), name)
    ran = alt.Chart(data(cells))
    line = _choosing(ran.mark_line(strokeWidth=2), first).encode(
        x=x, y=y, color=signs["color"], strokeDash=signs["strokeDash"], opacity=opacity
    )
    layers = [*_levels(panel), line.encode(description=alt.value(f"{name}: lines between the points"))]
    layers.append(_intervals(ran, x, signs["color"], opacity))
    if dots_of := seeds(cells):
        dots = alt.Chart(data(dots_of)).mark_point(filled=True, size=8, xOffset=6, aria=False)
        layers.append(dots.encode(x=x, y=y, color=signs["color"], opacity=opacity))
    if bests := [row | {"accuracy": row["picked"]} for row in cells if row["picked"] is not None]:
        crosses = alt.Chart(data(bests)).mark_point(shape="M-1,-1L1,1M-1,1L1,-1", size=30, filled=False, aria=False)
        layers.append(crosses.encode(x=x, y=y, color=signs["color"], opacity=opacity))
    if panel.paper:
        layers += _published(panel, seen, x, y, signs, opacity)
    points = ran.mark_point(filled=True, size=70, opacity=1)
    shape, tips = signs["shape"], tooltip(OF_CELL)
    layers.append(
        points.encode(x=x, y=y, color=signs["color"], shape=shape, opacity=opacity, tooltip=tips, description="words:N")
    )
    return alt.layer(*layers)


def _bars(panel: Panel, seen: Look, x_title: str, name: str, first: bool) -> Any:
    import altair as alt

    ticks = [seen.tick(x) for x in seen.xs]
    x = alt.X("at:N", sort=ticks, title=x_title, axis=alt.Axis(labelAngle=-30 if max(map(len, ticks)) > 9 else 0))
    offset = alt.XOffset("series:N", sort=[seen.word(one) for one in seen.names])
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(domain=list(heights(panel, "bars")), nice=False))
    signs, opacity = _signs(seen), _opacity()
    cells = rows(panel, seen, lambda name, at: 0.0, name)
    ran = alt.Chart(data(cells))
    bars = _choosing(ran.mark_bar(stroke=None), first).encode(
        x=x,
        xOffset=offset,
        y=y,
        color=signs["color"],
        opacity=opacity,
        tooltip=tooltip(OF_CELL),
        description="words:N",
    )
    whiskers = ran.mark_rule(style="ink", aria=False).encode(
        x=x, xOffset=offset, y="low:Q", y2="high:Q", opacity=opacity
    )
    layers = [bars, *_levels(panel, left=True), whiskers]
    if len(seen.names) > 1:  # so that colour is not the only sign
        marks = ran.mark_point(style="hole", filled=True, size=36, yOffset=-7, opacity=1, aria=False)
        layers.append(marks.encode(x=x, xOffset=offset, y=alt.datum(0), shape=signs["shape"], opacity=opacity))
    if dots_of := seeds(cells):
        dots = alt.Chart(data(dots_of)).mark_point(style="ink", filled=True, size=8, xOffset=4, aria=False)
        layers.append(dots.encode(x=x, xOffset=offset, y=y, opacity=opacity))
    if panel.paper:
        theirs = [paper_row(one, seen, 0.0) for one in panel.paper]
        hollow = alt.Chart(data(theirs)).mark_point(style=["ink", "paper"], shape="diamond", size=50)
        layers.append(
            hollow.encode(
                x=x,
                xOffset=offset,
                y=y,
                opacity=opacity,
                tooltip=tooltip(OF_PAPER),
                description="words:N",
            )
        )
    return alt.layer(*layers)


def _heatmap(panel: Panel, seen: Look, x_title: str, name: str, first: bool) -> Any:
    import altair as alt

    low, high = span(panel, with_teacher=False)
    cells = rows(panel, seen, lambda name, at: 0.0, name)
    for row in cells:
        row["share"] = (row["accuracy"] / 100 - low) / (high - low or 1.0)
        row["number"] = f"{row['accuracy']:.1f}"
    x = alt.X("at:N", sort=[seen.tick(x) for x in seen.xs], title=x_title, axis=alt.Axis(labelAngle=0))
    y = alt.Y("series:N", sort=[seen.word(one) for one in seen.names], title=None)
    return heat(cells, x, y, OF_CELL)


def _published(panel: Panel, seen: Look, x: Any, y: Any, signs: Mapping[str, Any], opacity: Any) -> list[Any]:
    """Hollow points, and thin lines between those of a series."""
    import altair as alt

    theirs = [paper_row(one, seen, seen.place(one.x) + seen.shift(one.series)) for one in panel.paper]
    base = alt.Chart(data(theirs))
    line = base.mark_line(strokeWidth=1, strokeDash=[1, 3], aria=False)
    hollow = base.mark_point(style="paper", filled=False, size=60, strokeWidth=1.5)
    return [
        line.encode(x=x, y=y, color=signs["color"], detail="series:N", opacity=opacity),
        hollow.encode(
            x=x,
            y=y,
            stroke=signs["color"],
            shape=signs["shape"],
            opacity=opacity,
            tooltip=tooltip(OF_PAPER),
            description="words:N",
        ),
    ]


def _intervals(ran: alt.Chart, x: Any, color: Any, opacity: Any) -> Any:
    import altair as alt

    rule = ran.mark_rule(strokeWidth=1.5, aria=False).encode(x=x, y="low:Q", y2="high:Q", color=color, opacity=opacity)
    caps = [
        ran.mark_tick(orient="horizontal", size=8, thickness=1.5, aria=False).encode(
            x=x, y=f"{end}:Q", color=color, opacity=opacity
        )
        for end in ("low", "high")
    ]
    return alt.layer(rule, *caps)


def _levels(panel: Panel, *, left: bool = False) -> list[Any]:
    """Lines for a guess and the teacher, with their names: at the right end, or the left one, where bars are low."""
    import altair as alt

    layers: list[Any] = []
    found = [("a guess", panel.random, [1, 3])] if panel.random else []
    if panel.teacher is not None and draws_teacher(panel):
        found.append(("the teacher", panel.teacher, [8, 3, 2, 3]))
    elif panel.teacher is not None:
        above = alt.Chart(data([{"name": f"↑ the teacher, {percent(panel.teacher)}"}]))
        words = above.mark_text(style="note", align="left", baseline="top", dx=4, dy=2, fontSize=10)
        layers.append(words.encode(x=alt.value(0), y=alt.value(0), text="name:N"))
    for name, value, dash in found:
        base = alt.Chart(data([{"accuracy": 100 * value, "name": f"{name}, {percent(value)}"}]))
        layers.append(
            base.mark_rule(style="level", strokeDash=dash).encode(
                y="accuracy:Q", description="name:N", tooltip=alt.Tooltip("name:N", title=" ")
            )
        )
        how: dict[str, Any] = {"align": "left", "dx": 2} if left else {"align": "right", "dx": -2}
        words = base.mark_text(style="note", baseline="bottom", dy=-2, fontSize=10, aria=False, **how)
        layers.append(words.encode(x=alt.value(0 if left else "width"), y="accuracy:Q", text="name:N"))
    return layers


def _signs(seen: Look) -> dict[str, Any]:
    """Colour, shape and dashes of series, with a legend, where there are several series."""
    import altair as alt

    names = [seen.word(name) for name in seen.names]
    styles = [seen.style(name) for name in seen.names]
    legend = (
        alt.Legend(title=None, orient="bottom", symbolSize=80, labelLimit=320, columns=4) if len(names) > 1 else None
    )
    shapes = alt.Scale(domain=names, range=[style.shape for style in styles])
    dashes = [
        {"test": f"datum.series === {json.dumps(name)}", "value": list(style.dash)}
        for name, style in zip(names, styles, strict=True)
        if style.dash
    ]
    return {
        # No range: the theme's.
        "color": alt.Color("series:N", scale=alt.Scale(domain=names), legend=legend),
        "shape": alt.Shape("series:N", scale=shapes, legend=legend),
        # No scale: the symbols of the legend would be dashed too.
        "strokeDash": alt.StrokeDashValue([1, 0], condition=dashes) if dashes else alt.value([1, 0]),
    }


def _choosing(marks: Any, first: bool) -> Any:
    """With the selection that a click in the legend makes; the first mark of the first panel gives the
    legend its interaction."""
    import altair as alt

    return marks.add_params(alt.selection_point(name=CHOSEN, fields=["series"], bind="legend")) if first else marks


def _opacity() -> Any:
    """Whole for the series that is brought out, and for all where none is."""
    import altair as alt

    chosen = {"and": [{"param": CHOSEN}, f"!isValid({FOCUS}) || {FOCUS} === datum.series"]}
    return alt.OpacityValue(0.15, condition={"test": chosen, "value": 1})
