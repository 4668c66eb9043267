"""Figures as in the paper: a chart as SVG, PDF or PNG.

    draw(chart, Path("report/figures/diversity"), ["svg", "pdf"])
    [Path("report/figures/diversity.svg"), Path("report/figures/diversity.pdf")]

One column of a paper wide (3.5 in) where a figure has one panel, else two (7 in). The same chart gives the same bytes:
no date, no random ids. Letters are outlines in SVG, for it must look alike where the font is missing, and text in PDF,
whose font is embedded; SVG says what it shows to those who cannot see it. What is in a panel: panels.py.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.files import write_atomic
from ftcot.report.labels import percent, shorten, text, title
from ftcot.report.looks import Look, describe, draws_teacher, grid, look, picked, points, protocols
from ftcot.report.model import Chart
from ftcot.report.palette import FONT, LIGHT

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure as Picture

    from ftcot.report.studies import Rates

STUDY = "What students get right and wrong"

FORMATS = ("svg", "pdf", "png")
"""What `draw` can write."""

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.0
"""Inches."""

RC: Any = {
    "font.family": FONT,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.edgecolor": LIGHT.border,
    "axes.labelcolor": LIGHT.text,
    "axes.titlecolor": LIGHT.text,
    "text.color": LIGHT.text,
    "xtick.color": LIGHT.border,
    "ytick.color": LIGHT.border,
    "xtick.labelcolor": LIGHT.text,
    "ytick.labelcolor": LIGHT.text,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": LIGHT.grid,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a model's name may hold a dollar
    "svg.fonttype": "path",
    "svg.hashsalt": "ftcot",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}

_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "ftcot"},
    "pdf": {"CreationDate": None, "Creator": "ftcot", "Producer": None},
    "png": {"Software": None},
}


def draw(chart: Chart, path: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw a chart.

    Args:
        path: without its suffix; the folder is made where it is missing.
        formats: some of FORMATS.
    Returns:
        The files; none of a chart that is a table, or has no point.
    """
    if chart.figure.kind == "table" or not any(panel.series or panel.paper for panel in chart.panels):
        return []
    from matplotlib import style

    with style.context(["default", RC]):  # whatever a user's own matplotlibrc says
        return _save(_picture(chart), path, formats, chart.figure.title, describe(chart))


def draw_study(rows: Sequence[Rates], path: Path, formats: Sequence[str] = FORMATS, title: str = STUDY) -> list[Path]:
    """Draw the sample study: a column a row of it, down the kinds that occur, the share of each in percent."""
    if not rows:
        return []
    from matplotlib import style
    from matplotlib.figure import Figure as Picture

    from ftcot.report.panels import shares

    kinds = [kind for kind in rows[0].rates if any(row.rates.get(kind) for row in rows)]
    words = [
        f"{row.label}: " + ", ".join(f"{kind} {percent(row.rates.get(kind, 0.0))}" for kind in kinds) for row in rows
    ]
    with style.context(["default", RC]):
        width = ONE_COLUMN if len(rows) < 4 else TWO_COLUMNS
        picture = Picture(figsize=(width, 1.3 + 0.24 * len(kinds)), layout="constrained")
        shares(picture.subplots(), kinds, [row.label for row in rows], [row.rates for row in rows])
        return _save(picture, path, formats, title, "\n".join(words))


def _save(picture: Picture, path: Path, formats: Sequence[str], title: str, words: str) -> list[Path]:
    files = []
    for kind in formats:
        file = path.with_name(f"{path.name}.{kind}")
        write_atomic(file, _rendered(picture, kind, title, words))
        files.append(file)
    return files


def _rendered(picture: Picture, kind: str, title: str, words: str) -> bytes:
    buffer = io.BytesIO()
    about = _METADATA[kind] | ({"Title": title} if kind != "png" else {})
    picture.savefig(buffer, format=kind, metadata=about)
    if kind != "svg":
        return buffer.getvalue()
    head, opening, rest = buffer.getvalue().decode().partition("<svg ")
    attributes, _, body = rest.partition(">")
    said = f"<title>{escape(title)}</title><desc>{escape(words)}</desc>"
    return f'{head}{opening}role="img" {attributes}>{said}{body}'.encode("utf-8", "xmlcharrefreplace")


def _picture(chart: Chart) -> Picture:
    from matplotlib.figure import Figure as Picture

    from ftcot.report.panels import PAINT, names_height, y_title

    seen, kind = look(chart), chart.figure.kind
    shown = [panel for panel in chart.panels if panel.series or panel.paper]
    columns = grid(len(shown))
    rows = -(-len(shown) // columns)
    crowded = kind != "curve" and len(seen.xs) * (len(seen.names) if kind == "bars" else 1) > 10
    width = TWO_COLUMNS if columns > 1 or crowded else ONE_COLUMN
    entries = [] if kind == "heatmap" else _entries(chart, seen)
    height = {1: 2.0, 2: 1.85, 3: 1.6, 4: 1.3}[columns] if kind != "heatmap" else 0.5 + 0.3 * max(2, len(seen.names))
    tilted = names_height(seen, width / columns)
    picture = Picture(figsize=(width, rows * height + tilted + 0.25), layout="constrained")
    axes = picture.subplots(rows, columns, squeeze=False)
    for place, (axis, panel) in enumerate(zip(axes.flat, shown, strict=False)):
        PAINT[kind](axis, panel, seen)
        if len(shown) > 1:
            axis.set_title(shorten(text(chart.figure.panel, panel.name), int(width / columns / 0.075)))
        if place + columns >= len(shown):
            axis.set_xlabel(title(chart.figure.x))
        elif tilted:
            axis.tick_params(labelbottom=False)
        if place % columns == 0:
            axis.set_ylabel(y_title(kind, chart.figure.series))
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    if entries:
        _legend(picture, entries)
    return picture


def _legend(picture: Picture, entries: Sequence[tuple[Artist, str]]) -> None:
    """Below the panels, in as many columns as there is room for; the picture grows by its height."""
    handles, words = [handle for handle, _ in entries], [word for _, word in entries]
    how: dict[str, Any] = {"frameon": False, "handlelength": 2.6, "columnspacing": 1.2, "labelspacing": 0.35}
    width, height = picture.get_size_inches()
    for columns in range(min(5, len(entries)), 0, -1):
        legend = picture.legend(handles, words, loc="outside lower center", ncols=columns, borderpad=0.2, **how)
        size = legend.get_window_extent()
        if size.width <= picture.dpi * (width - 0.05) or columns == 1:
            picture.set_size_inches(width, height + size.height / picture.dpi)
            return
        legend.remove()


def _entries(chart: Chart, seen: Look) -> list[tuple[Artist, str]]:
    """The legend: each series and each other sign that is in the picture, with its words."""
    from ftcot.report.panels import key, sign

    entries = []
    if len(seen.names) > 1:
        entries += [
            (key(seen, name, chart.figure.kind), seen.word(name) + ("" if place < seen.n_run else " (published only)"))
            for place, name in enumerate(seen.names)
        ]
    measured = protocols(chart)
    for protocol, names in measured.items():
        of = "" if len(measured) == 1 else f": {', '.join(map(seen.word, names))}"
        entries.append((sign("published"), f"published, {protocol}{of}"))
    found = points(chart)
    if chart.figure.kind == "curve" and any(picked(point) is not None for point in found):
        entries.append((sign("best"), "best epoch on test"))
    if any(point.cell.last.seeds > 1 for point in found):
        entries.append((sign("seed"), "one seed"))
    if any(panel.random for panel in chart.panels):
        entries.append((sign("guess"), "a guess"))
    if any(map(draws_teacher, chart.panels)):
        entries.append((sign("teacher"), "the teacher"))
    return [(handle, shorten(word, 70)) for handle, word in entries]
