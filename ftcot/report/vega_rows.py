"""What the charts of the page are made of: rows of values with their words, written out in the spec.

{"x": 3.0, "at": "8", "series": "gpt2", "accuracy": 51.7, "low": 46.1, "high": 57.2, "seeds": "50.0 %, 53.4 %", ...,
 "words": "MultiArith, gpt2, 8: 51.7 % [46.1, 57.2]"}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ftcot.report.labels import percent
from ftcot.report.looks import Look, X, picked
from ftcot.report.model import Cell, Panel, PaperPoint
from ftcot.report.palette import HEAT_TURN

if TYPE_CHECKING:
    import altair as alt

Row = dict[str, Any]

OF_CELL = (
    *(("series", "series"), ("at", ""), ("said", "accuracy"), ("seeds", "seeds"), ("n", "test questions")),
    *(("best", "best epoch on test"), ("published", "published"), ("verdict", "beside it"), ("why", "why")),
)

OF_PAPER = (("series", "series"), ("at", ""), ("said", "published"), ("protocol", "protocol"), ("source", "source"))


def rows(panel: Panel, seen: Look, place: Callable[[str, X], float], name: str) -> list[Row]:
    """One for each cell of a panel."""
    return [
        {"x": place(series.name, point.x), "at": seen.tick(point.x)}
        | {"series": seen.word(series.name)}
        | _cell(point.cell)
        | {"picked": None if (best := picked(point)) is None else 100 * best}
        | {"words": f"{name}, {seen.word(series.name)}, {seen.tick(point.x)}: {_said(point.cell)}"}
        for series in panel.series
        for point in series.points
    ]


def _cell(cell: Cell) -> Row:
    last, verdict = cell.last, cell.verdict
    row: Row = {
        "accuracy": 100 * last.accuracy,
        "low": 100 * last.low,
        "high": 100 * last.high,
        "said": _said(cell),
        "seeds": ", ".join(percent(one) for one in last.by_seed) if last.seeds > 1 else "one",
        "n": last.n,
        "by_seed": [100 * one for one in last.by_seed],
        "best": "" if cell.best is None else percent(cell.best.accuracy),
        "published": "not in the paper" if cell.is_new else "",
        "verdict": "",
        "why": "",
    }
    if verdict is not None:
        row["published"] = f"{percent(verdict.published.accuracy)} ({verdict.published.protocol})"
        row["verdict"], row["why"] = verdict.word, verdict.why
    return row


def _said(cell: Cell) -> str:
    return f"{percent(cell.last.accuracy)} [{100 * cell.last.low:.1f}, {100 * cell.last.high:.1f}]"


def seeds(cells: Sequence[Row]) -> list[Row]:
    """One for each seed of cells that have several."""
    return [
        {"x": row["x"], "at": row["at"], "series": row["series"], "accuracy": one}
        for row in cells
        if len(row["by_seed"]) > 1
        for one in row["by_seed"]
    ]


def paper_row(one: PaperPoint, seen: Look, x: float) -> Row:
    """Of a published value, at this place along x."""
    found = one.published
    said = percent(found.accuracy, 2) + ("" if found.grade == "exact" else f" ({found.grade})")
    where = f"{seen.word(one.series)}, {seen.tick(one.x)}"
    return {
        **{"x": x, "at": seen.tick(one.x), "series": seen.word(one.series), "accuracy": 100 * found.accuracy},
        **{"said": said, "protocol": found.protocol, "source": f"{found.figure}: {found.source}"},
        "words": f"published, {where}: {said}, {found.protocol}",
    }


def finished(chart: Any) -> dict[str, Any]:
    """As a dict without altair's own config, which is for light pages, its data beside the marks that use them."""
    import altair as alt

    with alt.data_transformers.enable(consolidate_datasets=False):
        found: dict[str, Any] = chart.to_dict()
    found.pop("config", None)
    # Through JSON: plain values, and what cannot be said in it shows here.
    plain: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return plain


def heat(rows: Sequence[Row], x: alt.X, y: alt.Y, fields: Sequence[tuple[str, str]]) -> Any:
    """Cells with a colour by `share` (0 to 1), a `number`, and `words` for those who cannot see them."""
    import altair as alt

    base = alt.Chart(data(rows)).encode(x=x, y=y)
    fill = alt.Color("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range="heatmap"))
    boxes = base.mark_rect().encode(color=fill, tooltip=tooltip(fields), description="words:N")
    numbers = [
        base.transform_filter(f"datum.share {sign} {HEAT_TURN}")
        .mark_text(style=style, aria=False)
        .encode(text="number:N")
        for sign, style in (("<=", "on_low"), (">", "on_high"))
    ]
    return alt.layer(boxes, *numbers)


def tooltip(fields: Sequence[tuple[str, str]]) -> list[Any]:
    """What is shown beside the mouse: fields of a row, each with its name."""
    import altair as alt

    return [alt.Tooltip(f"{field}:N", title=name or " ") for field, name in fields]


def data(rows: Sequence[Row]) -> alt.InlineData:
    """Rows, written out in the spec."""
    import altair as alt

    return alt.InlineData(values=tuple(rows))  # altair copies lists deeply, at every step
