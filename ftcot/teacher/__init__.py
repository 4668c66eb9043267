"""Teachers: who writes the rationales.

A teacher turns samples into completions, `diversity.degree` of them each, through the completion store, which keeps
every one for ever. `Replay` reads recordings, `Procedural` writes rationales for the generated tasks; the live ones
(live.py) ask a model: `Api` and `Batch` a server, `HuggingFace` and `VLLM` one in this process.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ftcot.errors import InputError
from ftcot.records import Completion, Sample, SampleKey

if TYPE_CHECKING:
    from ftcot.task import Splits, Task
    from ftcot.teacher.store import CompletionStore


class Progress(Protocol):
    """Told how far the work is."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def no_progress(done: int, total: int, note: str = "") -> None:
    """For work that nobody watches."""


@dataclass
class Bill:
    """What a teacher has bought for a job so far."""

    completions: int = 0
    """Those that are whole."""
    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls whose price is not known."""


@dataclass(frozen=True)
class Session:
    """What a job lends its teacher."""

    store: CompletionStore
    progress: Progress = no_progress
    say: Callable[[str], None] = lambda line: None
    """For the few lines that are worth keeping: a budget reached, asks left unanswered."""
    since: float = 0.0
    """Seconds since 1970: what the teacher cost from then on, whichever job bought it, counts against its budgets. The
    beginning of the sweep or the run, so that neither a sweep's many jobs nor a restart spend a budget twice."""
    bill: Bill = field(default_factory=Bill)
    """The teacher adds to it what it buys."""


@dataclass(frozen=True)
class Estimate:
    """What a job would have to buy, before anything is sent."""

    wanted: int = 0
    """Completions."""
    stored: int = 0
    """Of these, what the store has (or an earlier job of the sweep will have bought)."""
    calls: int = 0
    prompt_tokens: int = 0
    """Expected."""
    max_prompt_tokens: int = 0
    completion_tokens: int = 0
    """Expected, from what the store holds of this teacher; without that, as many as are allowed."""
    max_completion_tokens: int = 0
    usd: float | None = 0.0
    """None where the price is not known."""
    max_usd: float | None = 0.0
    counted: str = ""
    """How tokens were counted: `with the model's tokenizer`, or `estimated from characters`."""


Planned = MutableMapping[tuple[str, str, SampleKey, str], int]
"""Draws that earlier jobs of a sweep will have bought: by teacher, parameters' hash, sample and prompt's hash."""


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
        """Refuse what cannot be done before anything is spent; run by the launcher, without torch and without network.

        Returns:
            Whether the completions will hold correct ones only (then nothing is known of the teacher's accuracy).
        Raises:
            InputError: a recording is missing or damaged, the degree is above what was recorded, the task does not fit.
        """
        ...

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        """What it reads; their contents are part of the job hash."""
        ...

    def reach(self) -> None:
        """Refuse a server that is not there, a key it does not take, a model it does not have; nothing is bought.

        Run by the launcher where the job will run on this machine, and only if something is to be bought.

        Raises:
            InputError: in one line.
        """
        ...

    def estimate(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, planned: Planned
    ) -> Estimate:
        """What `complete` would have to buy; sends and writes nothing, and adds it to `planned`."""
        ...

    def complete(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, session: Session
    ) -> list[Completion]:
        """The first `degree` draws of every sample, by sample and draw, each in the store when this returns."""
        ...

    def accuracy(self, task: Task, splits: Splits, completions: Sequence[Completion]) -> float | None:
        """The teacher's own accuracy on the task; None where it is not known (correct completions only)."""
        ...

    def cost(self, completions: Sequence[Completion]) -> float | None:
        """What these completions cost, in US dollars; None where it is not known."""
        ...
