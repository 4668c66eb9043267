"""Filters: each says of every completion it is shown why it is not kept, or that it is.

    [Completion("... = 39 ..."), Completion("... = 41 ...")]   ->   answer   ->   [None, "wrong answer"]

A filter sees what those before it have left, all completions of a question at once, so it may compare them with each
other. One that works on many in parallel, or asks a model about each, sees all of the job (`at_once`); the others see
some questions after the others, so that no more completions are held than that.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ftcot.records import Completion, Sample, SampleKey
from ftcot.task import Task
from ftcot.teacher import Session, Teacher

Reason = str | None
"""Why a completion is not kept, in two or three words; None: it is."""


@dataclass(frozen=True)
class Context:
    """What a filter may need to know of the job."""

    task: Task
    teacher: Teacher
    session: Session
    """Where a judge's verdicts are kept, and what shows how far the work is."""


@dataclass(frozen=True)
class Verdicts:
    """What a filter says."""

    reasons: Sequence[Reason]
    """One for each completion it was shown, in order."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth counting."""


class Filter:
    """What every filter can do."""

    at_once: ClassVar[bool] = False
    """Whether it wants to see all completions of the job at once."""

    def check(self, task: Task, teacher: Teacher) -> None:
        """Refuse a job that it has nothing to say about, before anything is spent.

        Raises:
            InputError: a package is missing, the task's answers are of the wrong kind, the judge cannot be asked.
        """

    @abstractmethod
    def verdicts(
        self, completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], context: Context
    ) -> Verdicts:
        """What it says of these completions, by sample and draw, of which `samples` holds the questions.

        Raises:
            JobError: it cannot go on.
        """


class Each(Filter):
    """A filter that looks at one completion at a time."""

    @abstractmethod
    def reason(self, completion: Completion) -> Reason:
        """Why the completion is not kept; None if it is."""

    def verdicts(
        self, completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], context: Context
    ) -> Verdicts:
        return Verdicts([self.reason(completion) for completion in completions])
