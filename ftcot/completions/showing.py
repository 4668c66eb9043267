"""What a person sees of `ftcot.completions`: tables and lines, plain text in a pipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftcot.completions.selection import SHOWN, how
from ftcot.completions.stats import Figures, Holding, Set
from ftcot.display import table

if TYPE_CHECKING:
    from rich.console import Console

    from ftcot.completions.importing import Imported

UNKNOWN = "—"

SETS = (
    *("teacher", "task", "set", "how", "completions", "questions", "each", "distinct", "words", "equations"),
    *("agree", "right", "ended"),
)
STORED = ("teacher", "task", "lines", "calls", "tokens in", "out", "paid", "size", "segments", "oldest", "newest")


def show(console: Console, found: Figures) -> None:
    """Both tables, and what they do not say by themselves."""
    if found.sets:
        alike = Counter((one.teacher, one.task, one.how) for one in found.sets)
        rows = [_set(one, alone=alike[one.teacher, one.task, one.how] == 1) for one in found.sets]
        _table(console, [SETS, *rows], key=4)
        console.print()
    _table(console, [STORED, *map(_holding, found.holdings)], key=2)
    for line in _remarks(found):
        console.print(line, soft_wrap=not console.is_terminal, markup=False)


def _table(console: Console, rows: Sequence[Sequence[str]], key: int) -> None:
    right = {place for place, name in enumerate(rows[0]) if place >= key and name not in ("ended", "paid")}
    table(console, rows, right, key)


def tell(imported: Imported, *, dry_run: bool = False) -> None:
    """What became of the rows of a file, or of another store."""
    groups = sorted(imported.examples)
    would = "would be added" if dry_run else "added"
    print(f"{imported.source}: {sum(imported.added.values()):,} {would}, {sum(imported.known.values()):,} were there")
    for group in groups:
        added, known = imported.added.get(group, 0), imported.known.get(group, 0)
        print(
            f"  {group.teacher}, {group.task}, set {group.set[:SHOWN]} ({how([imported.examples[group]])}): "
            f"{added:,} {would}, {known:,} were there"
        )
    if imported.left:
        print(f"  {imported.left:,} draws that the job does not ask for are left out (diversity.degree)")
    if imported.found_by is not None:
        print(f"  found by: python -m ftcot.run {imported.found_by}")
    elif groups:
        print("  found by jobs with the teacher's name, prompts and parameters that they were made with")


def size(n_bytes: float) -> str:
    """1.2 MB."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def _set(one: Set, *, alone: bool) -> tuple[str, ...]:
    said = one.statistics
    shares = ", ".join(f"{name} {_percent(count / said.n)}" for name, count in said.finish_reasons.items())
    recorded = f", recorded{'' if alone else f' in {one.recording}'}" if one.recording else ""
    right = "right only" if one.correct_only else _percent(said.accuracy)
    return (
        *(one.teacher, one.task, one.set[:SHOWN], one.how + recorded),
        *(f"{said.n:,}", f"{said.samples:,}", f"{said.n / said.samples:.3g}", f"{said.effective_degree:.3g}"),
        *(f"{said.words_mean:.0f}", f"{said.equations:.1f}"),
        *(UNKNOWN if one.correct_only else _percent(said.agreement), right, shares),
    )


def _holding(one: Holding) -> tuple[str, ...]:
    tokens = (f"{one.prompt_tokens:,}", f"{one.completion_tokens:,}") if one.calls else (UNKNOWN, UNKNOWN)
    days = (one.oldest[:10], one.newest[:10])
    counts = (f"{one.lines:,}", f"{one.calls:,}" if one.calls else UNKNOWN)
    return (one.teacher, one.task, *counts, *tokens, one.paid, size(one.bytes), f"{one.segments:,}", *days)


def _remarks(found: Figures) -> list[str]:
    lines = [""]
    if found.sets:
        lines.append(
            "each: completions a question. distinct: of these, but for case, white space and punctuation. "
            "agree: how many of a question's answers equal its most frequent one, where it has several answers. "
            "right: of the completions whose answer could be judged."
        )
    if any(one.correct_only for one in found.sets):
        lines.append("right only: of a recording that kept right ones, which tells nothing of how often it is right")
    if any(not one.calls for one in found.holdings):
        lines.append("not recorded: nothing was bought, or whoever recorded it did not say what it cost")
    unjudged = sorted({one.task for one in found.sets if not one.judged and one.statistics.accuracy is None})
    if unjudged:
        lines.append(
            f"not judged: {', '.join(unjudged)} (questions not at hand: set FTCOT_DATA, or for a task of your own add "
            "task=jsonl task.path=FILE task.answer=...)"
        )
    rationales = sum(one.rationales for one in found.holdings)
    verdicts = sum(one.verdicts for one in found.holdings)
    repeated = sum(one.repeated for one in found.holdings)
    if rationales:
        lines.append(
            f"{rationales:,} lines are first calls of two: rationales, kept before their answers were asked for"
        )
    if verdicts:
        lines.append(f"{verdicts:,} lines are what judges said")
    if repeated:
        lines.append(f"{repeated:,} lines repeat another one's key; the one stored first counts")
    return lines


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f} %".replace("100.0", "100")
