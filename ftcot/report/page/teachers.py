"""What the teachers said: a book of a task's training questions, with every rationale and why it was not kept.

    teaching 0   procedural, skill 0.95, T = 0.7, D = 8, filter answer; 6 runs        8 columns
    teaching 1   the same with D = 1; 3 runs                                          1 column

Runs with the same completions and the same filter share a teaching. A mark holds: bits 0-7 why it was not kept (0: it
was), 8 right, 9 judged, 15 there is such a rationale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ftcot.curation import FILTERS, Curation, FilterName
from ftcot.filters import Each
from ftcot.filters.duplicate import FirstOfItsKind
from ftcot.records import Completion, Example
from ftcot.report.grouping import said
from ftcot.report.model import Report, Run
from ftcot.report.page.books import Book, Entry, Question

MOST = 1000
"""Training questions whose rationales are embedded; of more, so many at even distances."""

KEPT = ""


@dataclass(frozen=True)
class Lesson:
    """One teaching."""

    label: str
    runs: tuple[int, ...]
    first: int
    """Its first column."""
    width: int
    """Columns: the most rationales that a question has."""


@dataclass(frozen=True)
class TrainBook:
    """A book, and what its columns are."""

    task: str
    lessons: tuple[Lesson, ...]
    reasons: tuple[str, ...]
    """Why rationales were not kept, by the number in the marks; the first one: they were."""
    book: Book
    sampled: str | None
    """Where not all questions are here."""


def train_books(report: Report) -> list[TrainBook]:
    """The books of a report, a task each, in the order of its runs."""
    tasks: dict[str, dict[str, list[int]]] = {}
    for place, run in enumerate(report.found.runs):
        if (file := run.folder / "completions.jsonl").exists():
            known = hashlib.sha256(file.read_bytes() + repr((run.facts.filter, run.task_key)).encode()).hexdigest()
            tasks.setdefault(run.facts.task, {}).setdefault(known, []).append(place)
    return [_book(report, task, list(lessons.values())) for task, lessons in tasks.items()]


def reasons(run: Run, completions: Sequence[Completion], examples: Sequence[Example]) -> list[str]:
    """Why each completion was not kept; an empty one: it was.

    Filters that look at a completion by itself, or for doubles, are asked again; what only another one (a vote, a
    judge) can have dropped is told from the pairs that the student was shown.
    """
    taught = {(example.sample_index, example.draw) for example in examples if example.draw is not None}
    texts: dict[int, list[str]] = {}
    for example in examples:
        if example.draw is None:
            texts.setdefault(example.sample_index, []).append(example.completion)
    found = [KEPT] * len(completions)
    left = list(range(len(completions)))
    names, others = _filters(run), []
    for name in names:
        filter_ = FILTERS[name](_curation(run, name)) if name in FILTERS else None
        if not isinstance(filter_, Each | FirstOfItsKind):
            others.append(name)
            continue
        verdicts = filter_.verdicts([completions[place] for place in left], {}, None)  # type: ignore[arg-type]
        for place, reason in zip(left, verdicts.reasons, strict=True):
            found[place] = reason or KEPT
        left = [place for place in left if not found[place]]
    for place in left:
        one = completions[place]
        text = one.rationale.strip()
        kept = (one.sample_index, one.draw) in taught or any(text in shown for shown in texts.get(one.sample_index, ()))
        if not kept and examples:
            found[place] = f"by {' or '.join(others)}" if others else "not among the pairs"
    return found


def _book(report: Report, task: str, groups: Sequence[Sequence[int]]) -> TrainBook:
    numbers: dict[str, int] = {KEPT: 0}
    listed: dict[tuple[int, str], Question] = {}
    said_to: list[dict[tuple[int, str], list[Entry]]] = []
    for runs in groups:
        run = report.found.runs[runs[0]]
        completions = run.completions
        found = reasons(run, completions, run.examples)
        known = report.questions[run.task_key].train
        entries: dict[tuple[int, str], list[Entry]] = {}
        for one, reason in zip(completions, found, strict=True):
            sample = known.get(one.sample_index)
            text = sample.question if sample else (one.prompt or "")
            key = (one.sample_index, text)
            listed.setdefault(key, Question(one.sample_index, text, sample.answer if sample else ""))
            marks = numbers.setdefault(reason, len(numbers)) | (one.correct is not None) << 9 | bool(one.correct) << 8
            entries.setdefault(key, []).append(Entry(one.rationale.strip(), one.prediction, None, marks | 1 << 15))
        said_to.append(entries)
    keys, sampled = _sample(sorted(listed))
    widths = [max((len(entries.get(key, ())) for key in keys), default=0) for entries in said_to]
    book = Book([listed[key] for key in keys], sum(widths))
    for key in keys:
        row: list[Entry | None] = []
        for entries, width in zip(said_to, widths, strict=True):
            given = entries.get(key, [])
            row += [*given, *([None] * (width - len(given)))]
        book.add(row)
    labels = _labels([report.found.runs[runs[0]] for runs in groups])
    firsts = [sum(widths[:place]) for place in range(len(widths))]
    lessons = zip(labels, map(tuple, groups), firsts, widths, strict=True)
    return TrainBook(task, tuple(Lesson(*one) for one in lessons), tuple(numbers), book, sampled)


def _sample(keys: Sequence[tuple[int, str]]) -> tuple[list[tuple[int, str]], str | None]:
    if len(keys) <= MOST:
        return list(keys), None
    places = sorted({round(k * (len(keys) - 1) / (MOST - 1)) for k in range(MOST)})
    return [keys[place] for place in places], f"{len(places):,} of {len(keys):,} training questions, at even distances"


def _labels(runs: Sequence[Run]) -> list[str]:
    """What tells teachings apart: `procedural, skill 0.95, D = 8, filter answer`."""
    names = ("skill", "diversity", "temperature", "n_train", "filter", "teacher_tokens")
    values = {name: [getattr(run.facts, name) for run in runs] for name in names}
    shown = [name for name in names if name in ("diversity", "filter") or len(set(values[name])) > 1]
    labels = []
    for run in runs:
        parts = [said(name, value) for name in shown if (value := getattr(run.facts, name)) is not None]
        labels.append(", ".join([str(run.facts.teacher or "no name"), *parts]))
    doubled = {label for label in labels if labels.count(label) > 1}
    return [
        f"{label}, run {run.hash[:8]}" if label in doubled else label for label, run in zip(labels, runs, strict=True)
    ]


def _filters(run: Run) -> tuple[str, ...]:
    chosen = (run.config.get("curation") or {}).get("filter", "answer")
    return (chosen,) if isinstance(chosen, str) else tuple(map(str, chosen))


def _curation(run: Run, name: str) -> Curation:
    """What one filter of a run has to know."""
    bounds = run.config["curation"] if name == "length" else {}
    return Curation(cast(FilterName, name), min_words=bounds.get("min_words"), max_words=bounds.get("max_words"))
