"""Coin flip: does a coin that some people turn over end as it began?

    A coin is heads up. Gus flips the coin. Ida keeps the coin. Ned flips the coin. Is it heads up?     yes

    The start is heads. Gus flips: tails. Ida keeps: tails. Ned flips: heads. So yes.

Both deeds have the same number of letters. With "flips" and "does not flip" a student needs no reasoning: the
question's length tells the number of flips.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ftcot.answers import YesNo
from ftcot.task.generated.base import GeneratedTask, not_a_question
from ftcot.task.generated.names import NAMES
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices

START, END = "A coin is heads up. ", " Is it heads up?"
BACKWARDS = "Backwards,"
"""Begins a rationale that takes the people last to first: flips commute."""
DEEDS = {True: "flips", False: "keeps"}


@dataclass(frozen=True)
class Problem:
    """Who does what, in order."""

    names: tuple[str, ...]
    flips: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class CoinFlip(GeneratedTask[Problem]):
    """Follow a coin through `n_flips` people."""

    n_flips: int
    """People who flip or keep the coin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_number("n_flips", 1, len(NAMES))

    @property
    def answer(self) -> YesNo:
        return YesNo()

    @property
    def n_classes(self) -> int:
        return 2

    def draw(self, rng: random.Random, target: int) -> Problem:
        # Free choices but for the last, which settles the parity: every row of deeds with that answer is as likely.
        flips = [rng.random() < 0.5 for _ in range(self.n_flips - 1)]
        flips.append((sum(flips) + target) % 2 == 1)
        return Problem(tuple(rng.sample(NAMES, self.n_flips)), tuple(flips))

    def ask(self, problem: Problem) -> str:
        deeds = (f"{name} {DEEDS[flip]} the coin." for name, flip in zip(problem.names, problem.flips, strict=True))
        return START + " ".join(deeds) + END

    def read(self, question: str) -> Problem:
        deeds = re.findall(r"(\w+) (flips|keeps) the coin\.", question)
        problem = Problem(tuple(name for name, _ in deeds), tuple(deed == "flips" for _, deed in deeds))
        if self.ask(problem) != question:
            raise not_a_question(self, question)
        return problem

    def solve(self, problem: Problem) -> str:
        return "no" if sum(problem.flips) % 2 else "yes"

    def voices(self, verbosity: int) -> Voices:
        return VOICES[verbosity]

    def reason(self, problem: Problem, voice: Voice, hand: Hand) -> Rationale:
        deeds = list(zip(problem.names, problem.flips, strict=True))
        if voice["start"].startswith(BACKWARDS):
            deeds.reverse()
        heads = True
        said = [voice["start"]]
        for name, flip in deeds:
            heads = hand.step(heads ^ flip, [not heads ^ flip])
            said.append(voice["step"].format(name=name, deed=DEEDS[flip], state="heads" if heads else "tails"))
        conclusion = "yes" if heads else "no"
        said.append(voice["end"].format(state="heads" if heads else "tails", answer=conclusion))
        return Rationale(" ".join(said), conclusion, hand.n_slips)


# Steps have as many tokens as the deeds in the question: "Ida", "keeps", "the", "coin", "." and "Ida", "keeps", ":",
# "heads", ".". A student copies from a fixed distance then, which a tiny one learns within a few hundred batches; with
# longer steps it has to find out first how to look for a name. The starts are of one length for the same reason, and
# the forward ones begin with the same word, so that a greedy student does not go backwards.
VOICES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "start": ("Start: heads.", "Start with heads.", "Start as heads.", f"{BACKWARDS} heads."),
        "step": ("{name} {deed}: {state}.", "{name} {deed} so {state}.", "{name} {deed} = {state}."),
        "end": ("So {answer}.", "Then {answer}.", "Thus {answer}."),
    },
    {
        "start": (
            "The start is heads.",
            "The coin is heads.",
            "The first is heads.",
            "The coin has heads.",
            f"{BACKWARDS} start with heads.",
        ),
        "step": (
            "{name} {deed}: {state}.",
            "{name} {deed} so {state}.",
            "{name} {deed} it {state}.",
            "{name} {deed}, {state}.",
        ),
        "end": ("So {answer}.", "It ends as {state}: {answer}.", "The last is {state}, so {answer}."),
    },
    {
        "start": (
            "Let us follow the coin. It starts with heads up.",
            "Let us begin with the coin as it is, heads up.",
            "Let us go through the people one by one. The coin is heads up at the start.",
            "Let us see. Only a flip changes the coin, which is heads up to begin with.",
            f"{BACKWARDS} as the order of the flips does not matter, we begin with heads up and the last person.",
        ),
        "step": (
            "{name} {deed} the coin, so now it is {state} up.",
            "Next, {name} {deed} the coin and it is {state} up.",
            "When {name} {deed} it, the coin is then {state} up.",
            "{name} {deed} it, and after that the coin shows {state}.",
        ),
        "end": (
            "In the end the coin is {state} up, so the answer is {answer}.",
            "The coin is left {state} up. Is that heads? The answer is {answer}.",
            "Nobody else touches it and it stays {state} up, which means {answer}.",
        ),
    },
)
