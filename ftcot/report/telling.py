"""A report in words: findings.md, and what is said on the screen.

More rationales a question make a better student: holds
  Coin Flip (generated): from 55.2 % (D = 1) to 91.7 % (D = 8), +36.5 points [29.9, 43.1], p < 0.0001 (after Holm ...)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from ftcot import display
from ftcot.report.findings import p_words
from ftcot.report.model import Chart, Finding, Found, Report
from ftcot.report.tables import Table, code, of_chart, plain

WIDEST, LONGEST = 9, 40
"""Columns and rows of a table that is shown on the screen; larger ones are in their files."""

REASONS = 8
"""Of what is left out, that are told on the screen."""


def claims(charts: Sequence[Chart]) -> list[tuple[str, list[Finding]]]:
    """The findings of charts, under what is claimed."""
    found: dict[str, list[Finding]] = {}
    for chart in charts:
        for finding in chart.findings:
            found.setdefault(finding.claim, []).append(finding)
    return list(found.items())


def verdict(findings: Sequence[Finding]) -> str:
    """`holds`; of several `holds in 5 of 6`, and what the others are."""
    counts = Counter(finding.word for finding in findings)
    if len(counts) == 1:
        [word] = counts
        return word if len(findings) == 1 else f"{word} in all {len(findings)}"
    return ", ".join(f"{word} in {n} of {len(findings)}" for word, n in counts.most_common())


def line(finding: Finding) -> str:
    """A finding in one line."""
    where = f"{finding.where}: " if finding.where else ""
    return f"{where}{finding.words}, {p_words(finding.p)} (after Holm {p_words(finding.p_holm)})"


def left_out(found: Found) -> list[tuple[int, str, Path]]:
    """Why folders are left out: how many for each reason, most first, and the first of them."""
    folders: dict[str, list[Path]] = {}
    for one in found.skipped:
        folders.setdefault(one.reason, []).append(one.path)
    return sorted(((len(paths), reason, paths[0]) for reason, paths in folders.items()), key=lambda row: -row[0])


def size(report: Report) -> str:
    """`15 runs, 5 settings; 2 left out`."""
    runs, cells, skipped = len(report.found.runs), len(report.cells), len(report.found.skipped)
    words = f"{runs} run{'s' * (runs != 1)}, {cells} setting{'s' * (cells != 1)}"
    return words + (f"; {skipped} left out" if skipped else "")


def markdown(report: Report) -> str:
    """findings.md."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: Report) -> Iterator[str]:
    yield f"# {plain(report.title)}"
    yield ""
    yield f"{size(report)}. Made by {code(report.command)}."
    for claim, findings in claims(report.charts):
        yield f"\n## {plain(claim)} — {verdict(findings)}\n"
        for finding in findings:
            yield f"- **{finding.word}**: {plain(line(finding))}."
            yield f"  {plain(finding.test)}." + (f" {plain(finding.detail)}." if finding.detail else "")
    if report.comparisons:
        yield "\n## Pairs that differ (Holm's p below 0.05)\n"
        sure = [pair for pair in report.comparisons if pair.p_holm < 0.05]
        yield f"{len(sure)} of {len(report.comparisons)} pairs. tables/comparisons.csv has all of them."
    if report.notes:
        yield "\n## Notes\n"
        yield from (f"- {plain(note)}" for note in report.notes)
    if report.found.skipped:
        yield f"\n## Left out: {len(report.found.skipped)}\n"
        for n, reason, path in left_out(report.found):
            yield f"- {n} × {plain(reason)} ({plain(str(path))}{', ...' * (n > 1)})"


def tell(console: Console, report: Report, page: Path) -> None:
    """Say what was found, and where the page is."""

    def say(words: str = "") -> None:
        console.print(words, soft_wrap=True, highlight=False, markup=False)

    for claim, findings in claims(report.charts):
        say(f"\n{claim.removesuffix('.')}: {verdict(findings)}")
        for finding in findings[:LONGEST]:
            say(f"  {line(finding)}")
        if len(findings) > LONGEST:
            say(f"  and {len(findings) - LONGEST} more in findings.md")
    for chart in report.charts:
        table = of_chart(chart)
        say(f"\n{table.title}")
        if len(table.header) <= WIDEST and len(table.rows) <= LONGEST:
            _table(console, table)
            say(f"  {_measured(chart)}")
        else:
            say(f"  {len(table.rows)} rows of {len(table.header)} columns: tables/{table.name}.md")
    say()
    for note in report.notes:
        say(note)
    reasons = left_out(report.found)
    for n, reason, path in reasons[:REASONS]:
        say(f"left out: {n} × {reason} ({display.place(path)}{', ...' * (n > 1)})")
    if len(reasons) > REASONS:
        say(f"left out for {len(reasons) - REASONS} more reasons: findings.md has them")
    say(size(report))
    say(f"page {display.place(page)}")


def _measured(chart: Chart) -> str:
    """How the values of a chart were measured: its caption without what the figure says of itself."""
    words = chart.caption.removeprefix(chart.figure.caption)
    return " ".join((words.removesuffix(chart.figure.note) if chart.figure.note else words).split())


def _table(console: Console, table: Table) -> None:
    right = range(table.n_keys, len(table.header))
    display.table(console, [table.header, *table.rows], right, table.n_keys, indent="  ")
