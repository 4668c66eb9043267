"""Tables of a report: a figure's values as the paper's main table has them, and all runs. Markdown, LaTeX, CSV.

    MultiArith    gpt2-medium    last epoch of 20                17.0 [12.9, 22.1]      19.4 [15.0, 24.8]
                                 best of 20 epochs on test       20.4 [15.6, 26.1]      22.2 [17.2, 28.2]
                                 published (best of 20 ...)      17.8: match            21.1: match

Rows are panels and series, columns what stands along x; percent. CSV holds fractions, one line a point.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ftcot.published import Published
from ftcot.report.cells import protocol
from ftcot.report.grouping import METHODS
from ftcot.report.labels import text, title
from ftcot.report.model import Chart, Panel, Point, Pooled, Run

_LATEX = {
    **{letter: f"\\{letter}" for letter in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " "},
}
_MARKDOWN = re.compile(r"[\\|`*<]|(?<=\])\(|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    name: str
    """Of its files."""
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_keys: int
    """How many columns, from the left, say what a row is about."""


def of_chart(chart: Chart) -> Table:
    """The values of a chart, in percent."""
    figure = chart.figure
    xs = _columns(chart)
    rows: list[tuple[str, ...]] = []
    for panel in chart.panels:
        for name in _series(panel, figure.series):
            rows += _rows(panel, name, xs)
    heads = [title(figure.panel or "panel"), title(figure.series or "series"), "accuracy, %"]
    columns = tuple(text(figure.x, x) for x in xs)
    caption = f"{chart.caption} Along the top: {title(figure.x)}."
    return without_empty(Table(file_name(figure.name), figure.title, caption, (*heads, *columns), tuple(rows), 3))


def of_runs(runs: Sequence[Run]) -> Table:
    """All runs, in percent."""
    header = ("task", "method", "student", "teacher", "D", "training questions", "seed", "accuracy, %", "interval", "n")
    rows = []
    for run in runs:
        facts, score = run.facts, run.score
        values = (facts.teacher, facts.diversity, facts.n_train)
        rows.append(
            (
                *(facts.task, facts.method, facts.student, *("" if value is None else str(value) for value in values)),
                *(str(facts.seed), f"{100 * score.accuracy:.2f}", _bounds(*score.interval), str(score.n)),
            )
        )
    caption = "Every run, after its last epoch; intervals are Wilson's, 95 %."
    return Table("all", "All runs", caption, header, tuple(rows), 7)


def markdown(table: Table) -> str:
    """As a Markdown file."""
    lines = [[plain(cell) for cell in row] for row in (table.header, *table.rows)]
    rule = ["---"] * table.n_keys + ["---:"] * (len(table.header) - table.n_keys)
    body = "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
    return f"**{plain(table.title)}**\n\n{body}\n\n{plain(table.caption)}\n"


def latex(table: Table) -> str:
    """As a LaTeX table, for booktabs."""
    lines = [_latex_row(row) for row in (table.header, *table.rows)]
    columns = "l" * table.n_keys + "r" * (len(table.header) - table.n_keys)
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_latex(table.title)}. {_latex(table.caption)}}}",
            rf"\label{{tab:{re.sub('[^a-zA-Z0-9-]', '-', table.name)}}}",
            r"\end{table}",
            "",
        ]
    )


def csv_of_chart(chart: Chart) -> str:
    """Every point of a chart, a line each: fractions, and what they were measured by."""
    rows: list[dict[str, Any]] = []
    for panel in chart.panels:
        for name in _series(panel, chart.figure.series):
            points = {point.x: point for series in panel.series if series.name == name for point in series.points}
            theirs = {point.x: point.published for point in panel.paper if point.series == name}
            for x in dict.fromkeys([*points, *theirs]):
                place = {"panel": panel.name, "series": name, chart.figure.x: x}
                rows.append(place | _point(points.get(x), theirs.get(x)))
    return csv_text(rows)


def csv_of_runs(runs: Sequence[Run]) -> str:
    """Every run, a line each."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        score = run.score
        best = score.best_on_test or {}
        last: Mapping[str, Any] = next((one for one in reversed(score.epochs) if one["split"] == "test"), {})
        rows.append(
            {
                **{"hash": run.hash, **asdict(run.facts), "accuracy": score.accuracy},
                **{"low": score.interval[0], "high": score.interval[1], "n": score.n, "epoch": score.epoch},
                **{"best_on_test": best.get("accuracy"), "best_on_test_epoch": best.get("epoch")},
                **{f"accuracy_{name}": value for name, value in last.get("accuracies", {}).items()},
                **{name: last.get(name) for name in ("format_rate", "truncation_rate", "mean_tokens")},
                **{f"rate_{kind}": rate for kind, rate in (last.get("study") or {}).items()},
                **{"teacher_accuracy": score.teacher_accuracy, "n_examples": score.n_examples},
                **{"seconds": sum(score.seconds.values()), "device_seconds": score.device_seconds},
                **{f"tokens_{name}": n for name, n in score.tokens.items()},
                **{"cost_usd": score.cost_usd, "folder": str(run.folder)},
            }
        )
    return csv_text(rows)


def file_name(figure: str) -> str:
    """Of the files of a figure: `mini-diversity`."""
    return re.sub(r"[^\w.-]", "-", figure)


def interval(pooled: Pooled) -> str:
    """`52.8 [46.1, 59.3]`, in percent."""
    return f"{100 * pooled.accuracy:.1f} {_bounds(pooled.low, pooled.high)}"


def _columns(chart: Chart) -> list[str | float]:
    """What stands along x, in the order of the lines: numbers by size."""
    found: dict[str | float, None] = {}
    for panel in chart.panels:
        longest = sorted(panel.series, key=lambda series: -len(series.points))
        found |= dict.fromkeys(point.x for series in longest for point in series.points)
        found |= dict.fromkeys(point.x for point in panel.paper)
    if all(not isinstance(x, str) for x in found):
        return sorted(found)
    papers = dict.fromkeys(point.x for panel in chart.panels for point in panel.paper)
    return list(papers if papers.keys() >= found.keys() else found)  # in the paper's order, where it has all


def _series(panel: Panel, axis: str | None) -> list[str]:
    """Names of the lines: methods in the order of the paper's tables, of others the runs' own first."""
    names = dict.fromkeys([*(series.name for series in panel.series), *(point.series for point in panel.paper)])
    if axis in ("method", "kind"):
        return sorted(names, key=lambda name: METHODS.index(name) if name in METHODS else len(METHODS))
    return list(names)


def _rows(panel: Panel, name: str, xs: Sequence[str | float]) -> Iterator[tuple[str, ...]]:
    points = {point.x: point for series in panel.series if series.name == name for point in series.points}
    theirs = {point.x: point.published for point in panel.paper if point.series == name}
    keys = (text(None, panel.name), text(None, name))
    for measured in dict.fromkeys(protocol(point.cell) for point in points.values()):
        mine = {x: point for x, point in points.items() if protocol(point.cell) == measured}
        yield *keys, measured, *(_last(mine[x]) if x in mine else "" for x in xs)
    chosen = {x: point.cell for x, point in points.items() if point.cell.best is not None}
    for measured in dict.fromkeys(protocol(cell, best=True) for cell in chosen.values()):
        bests = {x: cell.best for x, cell in chosen.items() if protocol(cell, best=True) == measured}
        yield *keys, measured, *(interval(best) if (best := bests.get(x)) else "" for x in xs)
    cells = {x: _published(points.get(x), theirs.get(x)) for x in xs}
    for measured in dict.fromkeys(value.protocol for value, _ in cells.values() if value is not None):
        words = (
            f"{100 * v.accuracy:.1f}{w}" if v is not None and v.protocol == measured else "" for v, w in cells.values()
        )
        yield *keys, f"published ({measured})", *words


def _last(point: Point) -> str:
    return interval(point.cell.last) + (" new" if point.cell.is_new else "")


def _published(point: Point | None, theirs: Published | None) -> tuple[Published | None, str]:
    """The published value of a place, and the verdict on the cell that is there."""
    if point is not None and point.cell.verdict is not None:
        return point.cell.verdict.published, f": {point.cell.verdict.word}"
    return theirs, ""


def _point(point: Point | None, theirs: Published | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if point is not None:
        cell = point.cell
        values |= {"protocol": protocol(cell), **_pooled(cell.last, ""), "new": cell.is_new}
        if cell.best is not None:
            values |= {"best_protocol": protocol(cell, best=True), **_pooled(cell.best, "best_")}
        if cell.verdict is not None:
            values |= {"verdict": cell.verdict.word, "why": cell.verdict.why}
    value, _ = _published(point, theirs)
    if value is not None:
        values |= {"published": value.accuracy, "published_protocol": value.protocol, "published_figure": value.figure}
        values |= {"published_grade": value.grade, "published_source": value.source}
    return values


def _pooled(value: Pooled, prefix: str) -> Mapping[str, Any]:
    found = {"accuracy": value.accuracy, "low": value.low, "high": value.high, "n": value.n, "seeds": value.seeds}
    return {f"{prefix}{key}": one for key, one in found.items()} | {
        f"{prefix}by_seed": " ".join(f"{one:.6g}" for one in value.by_seed)
    }


def without_empty(table: Table) -> Table:
    """The table without key columns that say nothing."""
    keep = [place for place in range(len(table.header)) if place >= 2 or any(row[place] for row in table.rows)]
    rows = tuple(tuple(row[place] for place in keep) for row in table.rows)
    header = tuple(table.header[place] for place in keep)
    return Table(table.name, table.title, table.caption, header, rows, table.n_keys - (len(table.header) - len(keep)))


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; a column stands where it first comes up."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def harmless(value: Any) -> Any:
    """A value that a spreadsheet does not take for a formula: a text that begins like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _bounds(low: float, high: float) -> str:
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def plain(words: str) -> str:
    """Text that Markdown leaves as it is."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", " ".join(words.split()))


def code(words: str) -> str:
    """Text as a Markdown code span, whatever backticks are in it."""
    words = " ".join(words.split())
    fence = "`" * (1 + max((len(ticks) for ticks in re.findall("`+", words)), default=0))
    return f"{fence}{words}{fence}" if len(fence) == 1 else f"{fence} {words} {fence}"


def _latex_row(row: Sequence[str]) -> str:
    line = " & ".join(map(_latex, row)) + r" \\"
    return "{}" + line if line[0] in "[*" else line  # else an option of the row's end before it


def _latex(words: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in words)
