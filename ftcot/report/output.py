"""A report in a folder: page, pictures, tables, findings. Written beside it first, then moved in, each file whole.

    SWEEP/report/   index.html   findings.md   figures/mini-diversity.svg|pdf|png   tables/mini-diversity.md|tex|csv

The same report gives the same bytes: no file says when it was written.
"""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ftcot.errors import InputError
from ftcot.report import samples, tables
from ftcot.report.model import Cell, Comparison, Report
from ftcot.report.telling import markdown

FORMATS = ("svg", "pdf", "png")

PAGE = "index.html"

MOST_STUDIED = 24
"""Columns that a picture of the sample study has room for; its table has all."""


def write(
    report: Report, folder: Path, formats: Sequence[str] = FORMATS, detail: int = 10, refresh: int | None = None
) -> Path:
    """Write a report; returns its page.

    What an earlier report left in the folder's figures/ and tables/ and this one does not have is removed.

    Args:
        formats: of pictures, some of FORMATS.
        detail: runs of which the page holds every epoch, not the last and the best one only.
        refresh: seconds after which an open page looks for a newer one; None: never.
    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=folder, prefix=".new."))
    except OSError as error:
        raise InputError(f"--output {folder}: cannot be written to ({error.strerror})") from None
    try:
        _fill(report, stage, formats, detail, refresh)
        _move(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return folder / PAGE


def _fill(report: Report, stage: Path, formats: Sequence[str], detail: int, refresh: int | None) -> None:
    from ftcot.report import page, plots

    for name in ("figures", "tables"):
        (stage / name).mkdir()
    sampled = samples.sample_all(report.cells, report.questions)
    for chart in report.charts:
        name = tables.file_name(chart.figure.name)
        plots.draw(chart, stage / "figures" / name, formats)
        _tables(stage, tables.of_chart(chart), tables.csv_of_chart(chart))
        studied = samples.table(chart, sampled)
        _tables(stage, studied, samples.csv_of(chart, sampled))
        rows = samples.rows_of(chart, sampled)
        if len(rows) <= MOST_STUDIED:
            plots.draw_study(rows, stage / "figures" / studied.name, formats, studied.title)
    _tables(stage, tables.of_runs(report.found.runs), tables.csv_of_runs(report.found.runs))
    _text(stage / "tables" / "comparisons.csv", _comparisons(report.comparisons))
    _text(stage / "findings.md", markdown(report))
    page.write(report, stage / PAGE, detail, refresh)


def _tables(stage: Path, table: tables.Table, values: str) -> None:
    _text(stage / "tables" / f"{table.name}.md", tables.markdown(table))
    _text(stage / "tables" / f"{table.name}.tex", tables.latex(table))
    _text(stage / "tables" / f"{table.name}.csv", values)


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _move(stage: Path, folder: Path) -> None:
    """Put the files where they belong, the page last: who sees it finds all it names."""
    files = sorted(path.relative_to(stage) for path in stage.rglob("*") if path.is_file())
    for name in ("figures", "tables"):
        (folder / name).mkdir(exist_ok=True)
        for old in (folder / name).iterdir():
            if old.relative_to(folder) not in files and old.suffix[1:] in (*FORMATS, "md", "tex", "csv"):
                old.unlink()
    for file in sorted(files, key=lambda file: file.name == PAGE):
        (stage / file).replace(folder / file)


def _comparisons(pairs: Sequence[Comparison]) -> str:
    """All pairs, a line each."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["a", "b", "difference", "low", "high", "only_a", "only_b", "p", "p_holm", "test"])
    for one in pairs:
        numbers = (one.difference, one.low, one.high, one.only_a, one.only_b, one.p, one.p_holm, one.test)
        writer.writerow(map(tables.harmless, [_named(one.a), _named(one.b), *numbers]))
    return file.getvalue()


def _named(cell: Cell) -> str:
    """The hashes of its runs, by which tables/all.csv knows them."""
    return " ".join(run.hash[:8] for run in cell.runs)
