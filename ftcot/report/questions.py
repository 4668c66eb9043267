"""The questions that runs were tested on, read again from their tasks, and which of them are of one template.

    Questions(train={0: Sample(...), ...}, test={1: Sample(...), ...}, clusters={1: 0, 3: 1, 5: 0, ...})
    Questions({}, {}, {}, missing="/data/datasets/multiarith.jsonl is not there")

Predictions hold answers and no questions. Where a task's data are not at hand a report does without texts; nothing is
downloaded. MultiArith repeats its templates with other numbers and names, so a student that gets one of them tends to
get the others: intervals and tests draw whole templates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.job import build_task
from ftcot.records import Sample
from ftcot.report.model import Questions, Run
from ftcot.task import Task
from ftcot.task.audit import KINDS
from ftcot.task.generated.base import GeneratedTask
from ftcot.task.paper import BENCHMARKS, PaperTask


def read_questions(runs: Sequence[Run]) -> dict[tuple[str, str], Questions]:
    """The questions of every task that these runs have, by Run.task_key."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.task_key, []).append(run)
    return {key: _questions(group) for key, group in groups.items()}


def _questions(runs: Sequence[Run]) -> Questions:
    found = of_config(runs[0].config)
    known = {index: sample.answer for index, sample in found.test.items()}
    fitting = [all(known.get(index) == gold for index, gold in zip(*one, strict=True)) for one in _exams(runs)]
    if found.missing is not None or all(fitting):
        return found
    whose = "the runs were" if not any(fitting) else "all of the runs were"  # a file has changed in between
    return Questions({}, {}, {}, missing=f"its questions are not those that {whose} tested on")


def _exams(runs: Sequence[Run]) -> set[tuple[tuple[int, ...], tuple[str, ...]]]:
    return {(run.asked, run.gold) for run in runs}


def of_config(config: Mapping[str, Any]) -> Questions:
    """The questions of a job, read again from its task; empty where its data are not at hand."""
    try:
        task = at_hand(build_task(config))
        parts = task.splits()
    except InputError as error:
        return Questions({}, {}, {}, missing=" ".join(str(error).split()))
    test = {sample.sample_index: sample for sample in parts.test}
    train = {sample.sample_index: sample for sample in (*parts.train, *parts.validation)}
    return Questions(train, test, clusters(task, test))


def at_hand(task: Task) -> Task:
    """The task, or the same over the data folder of this machine.

    Raises:
        InputError: a file of it is not there.
    """
    missing = [path for path in task.files() if not path.exists()]
    here = os.environ.get("FTCOT_DATA")
    if missing and here and isinstance(task, PaperTask):
        task = replace(task, folder=Path(here))
        missing = [path for path in task.files() if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]} is not there")
    return task


def clusters(task: Task, test: Mapping[int, Sample]) -> dict[int, int]:
    """A number for each test question, the same for those of one template.

    Templates are the paper's own where it has them (METHOD, appendix E.3); else questions that differ in numbers only.
    A generated task draws every question anew, numbers and form alike, and a test has all its forms: these are no
    sample of forms, so its questions stand each for itself.
    """
    if isinstance(task, GeneratedTask):
        return {index: place for place, index in enumerate(test)}
    template: Any = BENCHMARKS[task.name].template if isinstance(task, PaperTask) else None
    key = template or KINDS["numbers"]
    numbers: dict[str, int] = {}
    return {index: numbers.setdefault(key(sample.question), len(numbers)) for index, sample in test.items()}
