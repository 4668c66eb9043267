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
from ftcot.task.paper import BENCHMARKS, PaperTask


def read_questions(runs: Sequence[Run]) -> dict[tuple[str, str], Questions]:
    """The questions of every task that these runs have, by Run.task_key."""
    first: dict[tuple[str, str], Run] = {}
    for run in runs:
        first.setdefault(run.task_key, run)
    return {key: _questions(run) for key, run in first.items()}


def _questions(run: Run) -> Questions:
    try:
        task = at_hand(build_task(run.config))
        parts = task.splits()
    except InputError as error:
        return Questions({}, {}, {}, missing=" ".join(str(error).split()))
    test = {sample.sample_index: sample for sample in parts.test}
    answers = {said.sample_index: said.answer for said in run.said()}
    if {index: test[index].answer for index in answers if index in test} != answers:
        return Questions({}, {}, {}, missing="its questions are not those that the runs were tested on")
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
    """
    template: Any = BENCHMARKS[task.name].template if isinstance(task, PaperTask) else None
    key = template or KINDS["numbers"]
    numbers: dict[str, int] = {}
    return {index: numbers.setdefault(key(sample.question), len(numbers)) for index, sample in test.items()}
