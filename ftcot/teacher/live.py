"""Live teachers: what they share, however they reach their model.

    wanted          stored already           bought: asked, kept durably, asked for the answer, kept
    420 x D = 8  =  2,910 completions   +    450 completions, in two calls each

The store is looked up first, so nothing that was ever bought is bought again, by this job or another one, after a
crash or at a higher degree. Each call's reply is durable before the next one is built on it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.answers import candidate
from ftcot.errors import InputError
from ftcot.records import Completion, Sample
from ftcot.teacher import Diversity, Estimate, Planned, Session
from ftcot.teacher.asks import Backend, Decoding, Part
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.purchase import Purchase

if TYPE_CHECKING:
    from ftcot.task import Splits, Task
    from ftcot.teacher.store import CompletionStore


@dataclass(frozen=True, kw_only=True)
class Live:
    """A model that is asked."""

    model: str
    """As its server, its folder or the hub knows it."""
    name: str = ""
    """What its completions are stored under; empty: the model's name."""
    prompting: Prompting = field(default_factory=Prompting)
    top_p: float = 1.0
    seed: int | None = 0
    """Of the draws, where the model takes seeds; None: none is sent."""
    budget_usd: float | None = None
    """Stop cleanly before more than this is spent; everything bought is kept."""
    budget_tokens: int | None = None
    prices: Mapping[str, float] | None = None
    """US dollars for a million tokens, `{input: 2.5, output: 10}`; None: those of prices.yaml, where the model is."""
    tokenizer: str | Path | None = None
    """A tokenizer.json, or a folder with one, that counts its tokens; None: they are estimated."""
    context: int | None = None
    """Tokens of prompt and completion that the model takes; None: not known."""

    def __post_init__(self) -> None:
        if not self.model:
            raise InputError("teacher.model: which model shall answer? (teacher.model=NAME)")
        if not self.name:
            object.__setattr__(self, "name", self.model)
        if not 0 < self.top_p <= 1:
            raise InputError(f"teacher.top_p={self.top_p}: expected more than 0, up to 1")
        for key in ("budget_usd", "budget_tokens"):
            value = getattr(self, key)
            if value is not None and value < 0:
                raise InputError(f"teacher.{key}={value}: expected 0 or more, or null for no limit")

    @abstractmethod
    def backend(self) -> Backend:
        """What answers for it; made when there is something to buy."""

    @property
    def chat(self) -> bool:
        """Whether the model is given turns, rather than one text to continue."""
        return False

    def parameters(self, task: Task, diversity: Diversity, part: Part | None = None) -> dict[str, Any]:
        """What decides its words besides the prompt; part of a completion's key.

        Args:
            part: "rationale": of the first call alone, whose reply is stored before the second one; None: of the whole.
        """
        first = {
            "model": self.model,
            "chat": self.chat,
            "temperature": diversity.temperature,
            "top_p": self.top_p,
            "max_tokens": self.prompting.max_tokens,
            "stop": list(self.prompting.stops),
            "seed": self.seed,
            "thinking": list(self.prompting.thinking),
        } | self.more_parameters()
        return first | ({"part": part} if part else self.prompting.describe(task))

    def more_parameters(self) -> dict[str, Any]:
        """What else decides its words: fields of a kind of teacher of its own."""
        return {}

    def decoding(self, diversity: Diversity, part: Part) -> Decoding:
        """How the model is to choose its words; the second call is greedy, as in the paper."""
        if part == "answer":
            return Decoding(0.0, self.prompting.answer_max_tokens)
        return Decoding(diversity.temperature, self.prompting.max_tokens, self.top_p, self.prompting.stops)

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        self.prompting.check(task)
        return False

    def reach(self) -> None:
        """Nothing to reach, unless a kind of teacher says otherwise."""

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        return self.prompting.files()

    def estimate(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, planned: Planned
    ) -> Estimate:
        raise NotImplementedError

    def complete(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, session: Session
    ) -> list[Completion]:
        purchase = Purchase(self, task, samples, diversity, session)
        purchase.run()
        return purchase.completions()

    def accuracy(self, task: Task, splits: Splits, completions: Sequence[Completion]) -> float | None:
        """Over these completions; one that was refused or has no answer counts as wrong."""
        gold = {sample.key: sample.answer for sample in (*splits.train, *splits.validation, *splits.test)}
        correct = [
            row.answer_text is not None
            and candidate(task.answer, row.answer_text, gold[row.sample_key], task.filter_candidate).correct
            for row in completions
        ]
        return sum(correct) / len(correct) if correct else None

    def cost(self, completions: Sequence[Completion]) -> float | None:
        """What they cost when they were bought, perhaps by another job."""
        costs = [row.cost_usd for row in completions]
        return None if None in costs else sum(cost for cost in costs if cost is not None)
