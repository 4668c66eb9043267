"""`stats`: what the store holds, by teacher, task and set of parameters.

    teacher           task        set       how             completions  questions  each  distinct  words  ...  right
    text-davinci-002  multiarith  04b7a1c9  T = 0, ...              792        600   1.3      1.31     47  ...  78.8 %

One pass over the store; of each completion a few numbers are kept, never its text. Answers are judged by the task's
own rule where its questions are at hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from ftcot.completions.digests import Digests, digest
from ftcot.completions.questions import Questions, at_hand
from ftcot.completions.rows import is_incomplete, is_verdict
from ftcot.completions.selection import Selection, how, set_of
from ftcot.errors import InputError
from ftcot.rationales import Statistics, Tally
from ftcot.records import Completion
from ftcot.teacher import Progress, no_progress

if TYPE_CHECKING:
    from ftcot.teacher.store import CompletionStore
    from ftcot.teacher.store_lines import StoredRow


@dataclass(frozen=True)
class Set:
    """Completions of one teacher and task that were asked for alike."""

    teacher: str
    task: str
    set: str
    """Its hash (selection.py)."""
    how: str
    recording: str | None
    """The file it was read from."""
    statistics: Statistics
    correct_only: bool
    """Of a recording that kept correct ones only: accuracy and agreement say nothing then."""
    judged: bool
    """Whether the task's questions were at hand."""


@dataclass
class Holding:
    """All lines of one teacher and task: what they cost, and where they are."""

    teacher: str
    task: str
    lines: int = 0
    rationales: int = 0
    """First calls of two, whose whole completions have lines of their own."""
    verdicts: int = 0
    """What judges said."""
    repeated: int = 0
    """Lines with the key of another line."""
    calls: int = 0
    """Lines of which it is known what they cost, at least in tokens."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls whose price is not known."""
    oldest: str = ""
    newest: str = ""
    bytes: int = 0
    segments: int = 0

    @property
    def paid(self) -> str:
        """What they cost, in words."""
        if not self.calls:
            return "not recorded"
        unknown = f"{self.unpriced:,} calls of unknown price"
        if self.unpriced == self.calls:
            return unknown
        return f"${self.usd:,.2f}" + (f" + {unknown}" if self.unpriced else "")


@dataclass(frozen=True)
class Figures:
    """What `stats` says."""

    sets: Sequence[Set]
    holdings: Sequence[Holding]


@dataclass
class _Group:
    tally: Tally = field(default_factory=Tally)
    first: Completion | None = None
    correct_only: bool = False


def figures(selection: Selection, words: Sequence[str] = (), report: Progress = no_progress) -> Figures:
    """The figures of what is selected.

    Args:
        words: of a job, for a task of one's own.
    Raises:
        InputError: the store is damaged, or has nothing of it.
    """
    selection.check()

    @cache
    def questions(task: str) -> Questions | None:
        return at_hand(task, words)

    groups: dict[tuple[str, str, str], _Group] = defaultdict(_Group)
    holdings: dict[tuple[str, str], Holding] = {}
    seen = Digests()
    total = selection.n_lines()
    for done, row in enumerate(selection.rows(), start=1):
        teacher, task = row.key.teacher, row.completion.task
        holding = holdings.setdefault((teacher, task), Holding(teacher, task))
        new = seen.add(digest(*row.key))
        _count(holding, row, repeated=not new)
        if new and not is_incomplete(row.completion) and not is_verdict(row.completion):
            group = groups[teacher, task, set_of(row)]
            group.first = group.first or row.completion
            group.correct_only |= row.completion.correct_only
            known = questions(task)
            group.tally.add(row.completion if known is None else known.judge(row.completion))
        if done % 1000 == 0:
            report(done, total)
    if not holdings:
        raise InputError(f"--set {selection.set}: no such set; `stats` without it shows those that there are")
    for holding in holdings.values():
        _weigh(holding, selection.store)
    sets = [
        Set(
            *name,
            how([group.first]),
            group.first.teacher.get("recording"),
            group.tally.statistics(),
            group.correct_only,
            questions(name[1]) is not None,
        )
        for name, group in sorted(groups.items())
        if group.first is not None
    ]
    return Figures(sets, [holdings[name] for name in sorted(holdings)])


def _count(holding: Holding, row: StoredRow, *, repeated: bool) -> None:
    holding.lines += 1
    holding.repeated += repeated
    holding.rationales += is_incomplete(row.completion)
    holding.verdicts += is_verdict(row.completion)
    holding.oldest = min(holding.oldest or row.stored, row.stored)
    holding.newest = max(holding.newest, row.stored)
    if row.paid is not None:
        holding.calls += 1
        holding.prompt_tokens += row.paid.prompt
        holding.completion_tokens += row.paid.completion
        holding.usd += row.paid.usd or 0.0
        holding.unpriced += row.paid.usd is None


def _weigh(holding: Holding, store: CompletionStore) -> None:
    sizes = [segment.stat().st_size for segment in store.folder(holding.teacher, holding.task).glob("*.jsonl")]
    holding.bytes, holding.segments = sum(sizes), len(sizes)


def to_json(found: Figures) -> dict[str, Any]:
    """The figures for another program."""
    sets = [
        {name: value for name, value in vars(one).items() if name != "statistics"} | one.statistics.to_json()
        for one in found.sets
    ]
    return {"sets": sets, "stored": [vars(holding) | {"paid": holding.paid} for holding in found.holdings]}
