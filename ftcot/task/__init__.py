"""Tasks: where questions and gold answers come from, and how they are split.

`Task` is what every later stage needs of one; `PaperTask`, `FileTask` and the generated tasks are its three kinds.
Building a task reads nothing; `splits()` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ftcot.answers import AnswerKind, Candidate
from ftcot.records import Sample


@dataclass(frozen=True)
class Splits:
    """The samples of a job. No sample is in two of them."""

    train: tuple[Sample, ...]
    """In split order (ascending sample_index), after `train_size`."""
    validation: tuple[Sample, ...]
    """Carved from the training questions; empty in the paper's protocol."""
    test: tuple[Sample, ...]


@dataclass(frozen=True)
class Demonstrations:
    """A Few-shot-CoT prompt of the authors."""

    text: str
    sample_indices: tuple[int, ...]
    """Samples of the task whose questions are in it."""


class Task(Protocol):
    """A benchmark: its samples, splits and answer rule."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int:
        """Raised when a task's samples change."""
        ...

    @property
    def answer(self) -> AnswerKind: ...
    @property
    def random_accuracy(self) -> float | None: ...
    @property
    def answer_prompt(self) -> str:
        """Stage-2 text that asks for the answer, after the rationale."""
        ...

    @property
    def filter_candidate(self) -> Candidate:
        """Which candidate of the stage-2 text the recorded training files were filtered by."""
        ...

    def splits(self) -> Splits:
        """The samples.

        Raises:
            InputError: a file is missing or damaged, or a size does not fit.
        """
        ...

    def files(self) -> tuple[Path, ...]:
        """What `splits()` reads; their contents are part of the job hash."""
        ...

    def demonstrations(self) -> Demonstrations | None:
        """The authors' Few-shot-CoT prompt, where the data folder has one for this task."""
        ...
