"""What the students said: one book for all runs that were asked the same test questions.

    runs 0 to 8 on generated_coin_flip, 300 questions     1 book, 17 columns: (run 0, epoch 8), (run 1, epoch 8), ...

Every run has the column of its last epoch and, where that is another one, of its best epoch on test; a chosen number of
runs has all of its epochs. A mark (two bytes a question and column) holds: bits 0-3 the kind of answer (1 for the first
of KINDS, 0: not known), 4 right, 5 marker found, 6 cut off, 7 right answer somewhere; 8, 9, 10 right by the scorers
paper, strict, lenient; 15 the question was asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftcot.records import Prediction
from ftcot.report.model import Questions, Report, Run
from ftcot.report.page.books import Book, Entry, Question
from ftcot.report.run_facts import marker
from ftcot.sample_study import KINDS, kinds

SCORERS = ("paper", "strict", "lenient")

KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS, start=1)}


@dataclass(frozen=True)
class TestBook:
    """A book, which runs it is of, and what each column is."""

    task: str
    split: str
    runs: tuple[int, ...]
    """Places in the report."""
    columns: tuple[tuple[int, int], ...]
    """(run, epoch)."""
    book: Book
    missing: str | None
    """Why the questions' texts are not there."""


def test_books(report: Report, detail: int) -> list[TestBook]:
    """The books of a report, in the order of its runs.

    Args:
        detail: how many runs have all of their epochs.
    """
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(report.found.runs):
        groups.setdefault(_asked(run, report.questions[run.task_key]), []).append(place)
    detailed = chosen(report, detail)
    return [_book(report, runs, detailed) for runs in groups.values()]


def chosen(report: Report, detail: int) -> frozenset[int]:
    """The runs that have all of their epochs: a run of each cell, then a second one of each, up to so many."""
    places = {run.folder: place for place, run in enumerate(report.found.runs)}
    longest = max((len(cell.runs) for cell in report.cells), default=0)
    ordered = [cell.runs[seed] for seed in range(longest) for cell in report.cells if seed < len(cell.runs)]
    several = [run for run in ordered if len(run.epochs) > 1]
    return frozenset(places[run.folder] for run in several[:detail])


def epochs(run: Run, *, every: bool) -> tuple[int, ...]:
    """The epochs whose texts are embedded, the last one first."""
    if every:
        return (run.score.epoch, *(epoch for epoch in run.epochs if epoch != run.score.epoch))
    best = (run.score.best_on_test or {}).get("epoch", run.score.epoch)
    return (run.score.epoch,) if best == run.score.epoch or best not in run.epochs else (run.score.epoch, best)


def mark(prediction: Prediction, kind: str) -> int:
    """The two bytes of a prediction."""
    flags = (
        *(prediction.correct, prediction.formatted, prediction.truncated, prediction.contains_answer),
        *(prediction.verdicts.get(name, False) for name in SCORERS),
    )
    return KIND_NUMBERS.get(kind, 0) | sum(flag << place for place, flag in enumerate(flags, start=4)) | 1 << 15


def _book(report: Report, runs: Sequence[int], detailed: frozenset[int]) -> TestBook:
    first = report.found.runs[runs[0]]
    known = report.questions[first.task_key]
    texts = {index: sample.question for index, sample in known.test.items()}
    columns: list[tuple[int, int]] = []
    entries: list[Mapping[int, Entry]] = []
    gold: dict[int, str] = {}
    for place in runs:
        run = report.found.runs[place]
        written = marker(run)
        for epoch in epochs(run, every=place in detailed):
            said = run.said(epoch)
            gold |= {one.sample_index: one.answer for one in said}
            found = kinds(said, texts, written)
            columns.append((place, epoch))
            entries.append(
                {
                    one.sample_index: Entry(one.text, one.prediction, one.rationale, mark(one, kind))
                    for one, kind in zip(said, found, strict=True)
                }
            )
    questions = [
        Question(index, texts.get(index, ""), gold.get(index, ""), known.clusters.get(index)) for index in first.asked
    ]
    book = Book(questions, len(columns))
    for question in questions:
        book.add([column.pop(question.sample_index, None) for column in entries])  # type: ignore[attr-defined]
    return TestBook(first.facts.task, first.facts.split, tuple(runs), tuple(columns), book, known.missing)


def _asked(run: Run, questions: Questions) -> str:
    """Equal for runs that were asked the same questions and are scored alike: what can be compared."""
    texts = [questions.test[index].question for index in run.asked] if questions.test else []
    return hashlib.sha256(repr((run.facts.scorer, run.exam, texts)).encode("utf-8", "surrogatepass")).hexdigest()
