"""The data card of a task: what there is to learn from, what leaks into the test, what students get wrong.

    MultiArith     420 training and 180 test questions; 20 say the same as another one
    leaks          5 test questions are in the training set, 77 but for their numbers
    lessons        text-davinci-002, D = 1, T = 0: 323 kept of 420 (87 wrong answer, 10 no answer), 46 words each
    study          Fine-tune-CoT, D = 8: right 51.1 %, wrong arithmetic 20.0 %, ...

Runs on parts of the same training questions (task.train_size) have one card. Texts of models are data: whoever shows
them escapes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftcot.audit import LABELS
from ftcot.errors import InputError
from ftcot.job import build_task
from ftcot.records import Sample
from ftcot.report.lessons import Lesson, Source, lessons, read_source, source_of
from ftcot.report.model import Cell, Found, Questions, Report, test_of
from ftcot.report.questions import of_config
from ftcot.report.studies import Study, study
from ftcot.task.audit import audit

EXAMPLES = 2
"""Overlaps that are shown of each kind."""


@dataclass(frozen=True)
class Leak:
    """Test questions that overlap training questions in one way."""

    kind: str
    """`exact`, `numbers`, `context` (ftcot/task/audit.py)."""
    label: str
    """`same but for numbers`."""
    n: int
    of: int
    """Test questions."""
    examples: tuple[tuple[Sample, Sample], ...]
    """(test, training)."""


@dataclass(frozen=True)
class DataCard:
    """Of one task and split."""

    task: str
    split: str
    train: int
    """Training questions, of the run that has the most."""
    validation: int
    test: int
    random_accuracy: float | None
    templates: int | None
    """Of the test questions, by which intervals are clustered; None where the questions are not at hand."""
    leaks: tuple[Leak, ...]
    """Empty where the questions are not at hand."""
    duplicates: Mapping[str, int] | None
    """`train`, `test`: questions that say the same as an earlier one of their split; `all`: of both."""
    lessons: tuple[Lesson, ...]
    study: Study
    missing: str | None
    """Why there are no questions."""


def cards(report: Report) -> tuple[DataCard, ...]:
    """One for each task and split, in the order of the report's runs; tasks whose runs all ended at curation last."""
    groups: dict[str, list[Source]] = {}
    for source in (*map(source_of, report.found.runs), *pairs_alone(report.found)):
        groups.setdefault(test_of(source.config["task"]), []).append(source)
    found = []
    for group in groups.values():
        largest = max(group, key=lambda source: _size(source.counts))
        run = largest.run
        questions = report.questions[run.task_key] if run is not None else of_config(largest.config)
        own = {source.run.hash for source in group if source.run is not None}
        cells = [cell for cell in report.cells if cell.runs[0].hash in own]
        found.append(build(group, questions, cells, report.questions))
    return tuple(found)


def build(
    sources: Sequence[Source],
    questions: Questions,
    cells: Sequence[Cell] = (),
    by_key: Mapping[tuple[str, str], Questions] | None = None,
) -> DataCard:
    """The card of runs on one task.

    Args:
        questions: of the one with the most training questions.
        cells: those of the runs that are finished.
        by_key: the questions of each run of them, by Run.task_key.
    """
    largest = max(sources, key=lambda source: _size(source.counts))
    task, counts = largest.config["task"], largest.counts
    finished = [source.run for source in sources if source.run is not None]
    known = questions.missing is None
    return DataCard(
        task=str(task["name"]),
        split=str(task["split"]) if "split" in task else "default",
        train=int(counts.get("train", 0)),
        validation=int(counts.get("validation", 0)),
        test=int(counts.get("test", len(questions.test))),
        random_accuracy=finished[0].score.random_accuracy if finished else _guess(largest.config),
        templates=len(set(questions.clusters.values())) if known else None,
        leaks=leaks(questions.train, questions.test) if known else (),
        duplicates=duplicates(questions.train, questions.test) if known else None,
        lessons=lessons(sources, questions),
        study=study(cells, by_key or {}),
        missing=questions.missing,
    )


def leaks(train: Mapping[int, Sample], test: Mapping[int, Sample]) -> tuple[Leak, ...]:
    """How many test questions overlap training questions, by kind."""
    found = audit(*({index: sample.question for index, sample in half.items()} for half in (train, test)))
    return tuple(
        Leak(
            kind,
            LABELS[kind],
            len(overlaps),
            len(test),
            tuple((test[one.test], train[one.train]) for one in overlaps[:EXAMPLES]),
        )
        for kind, overlaps in found.items()
    )


def duplicates(train: Mapping[int, Sample], test: Mapping[int, Sample]) -> dict[str, int]:
    """Questions that say the same as an earlier one."""
    parts = {"train": train.values(), "test": test.values(), "all": (*train.values(), *test.values())}
    return {name: _repeated(sample.question.strip() for sample in samples) for name, samples in parts.items()}


def pairs_alone(found: Found) -> list[Source]:
    """Of the folders that a report leaves out, those that have pairs and were asked for no more (`until=curate`)."""
    sources = []
    for skipped in found.skipped:
        try:
            source = read_source(skipped.path)
        except InputError:  # its reason is in the report
            continue
        if source.status.get("state") == "partial":
            sources.append(source)
    return sources


def _size(counts: Mapping[str, Any]) -> int:
    return int(counts.get("train", 0)) + int(counts.get("validation", 0))


def _guess(config: Mapping[str, Any]) -> float | None:
    try:
        return build_task(config).random_accuracy
    except InputError:  # a task of somebody's own, that is gone
        return None


def _repeated(texts: Iterable[str]) -> int:
    return sum(n - 1 for n in Counter(texts).values())
