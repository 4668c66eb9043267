"""Teachers: who writes the rationales.

A teacher turns samples into completions, `diversity.degree` of them each, through the completion store, which keeps
every one for ever. `Replay` reads recordings, `Procedural` writes rationales for the generated tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ftcot.errors import InputError
from ftcot.records import Completion, Sample

if TYPE_CHECKING:
    from ftcot.task import Splits, Task
    from ftcot.teacher.store import CompletionStore

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


@dataclass(frozen=True)
class Diversity:
    """How many rationales a question gets, and how they are drawn.

    Source: METHOD section 1: D = 1 is one greedy rationale (`diversity=greedy`); D rationales are sampled at T = 0.7.
    """

    degree: int
    """The paper's D."""
    temperature: float
    """Of stage 1; stage 2 is greedy."""

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise InputError(f"diversity.degree={self.degree}: expected 1 or more")
        if self.temperature < 0:
            raise InputError(f"diversity.temperature={self.temperature}: expected 0 or more")
        if self.temperature == 0 and self.degree > 1:
            raise InputError(
                f"diversity.degree={self.degree} at temperature 0 would be {self.degree} times the same text"
            )

    def selects(self, completion: Completion) -> bool:
        """Whether the completion belongs to the first `degree` draws of its sample."""
        if completion.draw is not None:
            return completion.draw < self.degree
        return completion.min_diversity is not None and completion.min_diversity <= self.degree


class Teacher(Protocol):
    """Who answers the training questions step by step."""

    @property
    def name(self) -> str: ...

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        """Refuse what cannot be done before anything is spent; run by the launcher, without torch.

        Returns:
            Whether the completions will hold correct ones only (then nothing is known of the teacher's accuracy).
        Raises:
            InputError: a recording is missing or damaged, the degree is above what was recorded, the task does not fit.
        """
        ...

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        """What it reads; their contents are part of the job hash."""
        ...

    def complete(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, progress: Progress
    ) -> list[Completion]:
        """The first `degree` draws of every sample, by sample and draw, each in the store when this returns."""
        ...

    def accuracy(self, task: Task, splits: Splits, completions: Sequence[Completion]) -> float | None:
        """The teacher's own accuracy on the task; None where it is not known (correct completions only)."""
        ...

    def cost(self, completions: Sequence[Completion]) -> float | None:
        """What these completions cost, in US dollars; None where it is not known."""
        ...
