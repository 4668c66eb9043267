"""Live teachers: what they share, however they reach their model.

    wanted          stored already           bought: asked, kept durably, asked for the answer, kept
    420 x D = 8  =  2,910 completions   +    450 completions, in two calls each

The store is looked up first, so nothing that was ever bought is bought again, by this job or another one, after a
crash or at a higher degree. Each call's reply is durable before the next one is built on it.
"""

from __future__ import annotations

import math
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
from ftcot.teacher.orders import Draw, Rationales, Sayings
from ftcot.teacher.prices import Price, check_prices, price_of
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.purchase import Purchase
from ftcot.teacher.quote import quote, refuse_too_long
from ftcot.teacher.tokens import Counter

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
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"teacher.{key}={value}: expected 0 or more, or null for no limit")
        if self.prices is not None:
            check_prices(self.prices)

    @abstractmethod
    def backend(self) -> Backend:
        """What answers for it; made when there is something to buy."""

    @property
    def price(self) -> Price | None:
        """What its tokens cost; None where nobody says."""
        return price_of(self.model, self.prices, "api")

    @property
    def counter(self) -> Counter:
        """What counts its tokens."""
        return Counter.of(self.tokenizer)

    @property
    def several_draws(self) -> bool:
        """Whether one call may answer several draws of a prompt, which is then paid once."""
        return True

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
        if self.budget_usd is not None and self.price is None:
            raise InputError(
                f"teacher.budget_usd={self.budget_usd}: what {self.model} costs is not known; "
                "set teacher.prices={input: ..., output: ...} (US dollars for a million tokens), or budget_tokens"
            )
        refuse_too_long(self, task, splits.train)
        return False

    def reach(self) -> None:
        """Nothing to reach, unless a kind of teacher says otherwise."""

    def lack(self) -> str | None:
        """What it cannot be asked without and this machine has not, as far as can be told without asking; in words, for
        a dry run. None: nothing."""
        return None

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        return self.prompting.files()

    def commit(self) -> str | None:
        """Of a model of the hub, what its revision stands for now; part of the job hash. None where there is none."""
        return None

    def estimate(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, planned: Planned
    ) -> Estimate:
        return quote(self, task, samples, diversity, store, planned)

    def complete(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, session: Session
    ) -> list[Completion]:
        order = Rationales(self, task, samples, diversity)
        Purchase(order, session).run()
        return order.completions(session.store)

    def say(self, task: Task, prompts: Mapping[Draw, str], session: Session, max_tokens: int) -> dict[Draw, Completion]:
        """One greedy reply to each prompt, bought once like any other: what a judge says of completions.

        Args:
            prompts: by the sample and the draw that each is about.
        Returns:
            Completions whose `rationale` is what was said; it is empty where the prompt was refused, or too long.
        Raises:
            JobError: not all could be had; what could is stored.
            Stop: asked to stop.
        """
        order = Sayings(self, task, prompts, max_tokens)
        Purchase(order, session).run()
        return order.completions(session.store)

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
