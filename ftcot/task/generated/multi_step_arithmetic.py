"""Multi-step arithmetic: a number, and what is done to it.

    Start with 7. Then + 5, - 3, x 2, + 4. What is the result?     22

    7 + 5 = 12. 12 - 3 = 9. 9 x 2 = 18. 18 + 4 = 22. So 22.

Every operation is one sign, so a longer question has no larger result.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ftcot.answers import Number
from ftcot.errors import InputError
from ftcot.task.generated.base import GeneratedTask, not_a_question
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices

SIGNS: Mapping[str, str] = {"add": "+", "subtract": "-", "multiply": "x"}
RESULT: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "x": lambda a, b: a * b,
}


@dataclass(frozen=True)
class Problem:
    """The first number, then signs and numbers."""

    start: int
    steps: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class MultiStepArithmetic(GeneratedTask[Problem]):
    """Keep a number in mind through `n_steps` operations."""

    n_steps: int
    max_number: int
    """Largest number in a question."""
    max_result: int
    """Largest number on the way; the smallest is 0."""
    operations: tuple[str, ...]
    """Some of add, subtract, multiply."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_number("n_steps", 1)
        self.require_number("max_number", 2)
        self.require_number("max_result", self.max_number)
        object.__setattr__(self, "operations", tuple(self.operations))  # YAML has lists
        known = len(self.operations) > 0 and set(self.operations) <= SIGNS.keys()
        self.require(known, "operations", f"some of {', '.join(SIGNS)}")

    @property
    def answer(self) -> Number:
        return Number()

    def draw(self, rng: random.Random, target: int) -> Problem:
        for _ in range(1000):
            start = rng.randint(1, self.max_number)
            steps: list[tuple[str, int]] = []
            now = start
            while len(steps) < self.n_steps and (possible := self._possible(now)):
                sign = rng.choice(sorted(possible))
                number = rng.choice(possible[sign])
                steps.append((sign, number))
                now = RESULT[sign](now, number)
            if len(steps) == self.n_steps:
                return Problem(start, tuple(steps))
        raise InputError(
            f"task.operations={list(self.operations)}: {self.n_steps} steps lead beyond "
            f"task.max_result={self.max_result}; raise it, or add other operations"
        )

    def _possible(self, now: int) -> dict[str, list[int]]:
        """The numbers that keep the result in range, by sign."""
        found = {}
        for sign in (SIGNS[name] for name in self.operations):
            first = 2 if sign == "x" else 1
            numbers = [b for b in range(first, self.max_number + 1) if 0 <= RESULT[sign](now, b) <= self.max_result]
            # Nothing times anything is nothing: no step at all.
            if numbers and not (sign == "x" and now == 0):
                found[sign] = numbers
        return found

    def ask(self, problem: Problem) -> str:
        steps = ", ".join(f"{sign} {number}" for sign, number in problem.steps)
        return f"Start with {problem.start}. Then {steps}. What is the result?"

    def read(self, question: str) -> Problem:
        found = re.fullmatch(r"Start with (\d+)\. Then (.*)\. What is the result\?", question)
        if found is None:
            raise not_a_question(self, question)
        steps = tuple((sign, int(number)) for sign, number in re.findall(r"([-+x]) (\d+)", found[2]))
        problem = Problem(int(found[1]), steps)
        if self.ask(problem) != question:
            raise not_a_question(self, question)
        return problem

    def solve(self, problem: Problem) -> str:
        now = problem.start
        for sign, number in problem.steps:
            now = RESULT[sign](now, number)
        return str(now)

    def voices(self, verbosity: int) -> Voices:
        return VOICES[verbosity]

    def reason(self, problem: Problem, voice: Voice, hand: Hand) -> Rationale:
        now = problem.start
        said = [voice["start"].format(now=now)]
        for sign, number in problem.steps:
            before, right = now, RESULT[sign](now, number)
            wrong = [right + slip for slip in (-2, -1, 1, 2)]
            now = hand.step(right, wrong)
            said.append(voice["step"].format(before=before, sign=sign, word=WORDS[sign], number=number, now=now))
        said.append(voice["end"].format(now=now))
        return Rationale(" ".join(filter(None, said)), str(now), hand.n_slips)


WORDS = {"+": "plus", "-": "minus", "x": "times"}

VOICES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "start": ("", "{now}.", "From {now}:", "Start {now}:"),
        "step": (
            "{sign} {number} = {now}.",
            "{before} {sign} {number} = {now}.",
            "{before} {sign} {number}: {now}.",
            "{sign} {number}: {now}.",
        ),
        "end": ("So {now}.", "Thus {now}.", "End: {now}."),
    },
    {
        "start": ("Start: {now}.", "The first is {now}.", "We begin at {now}.", "Step by step from {now}."),
        "step": (
            "{before} {sign} {number} = {now}.",
            "{before} {sign} {number} is {now}.",
            "{before} {sign} {number} makes {now}.",
            "{sign} {number} on {before} gives {now}.",
        ),
        "end": ("So {now}.", "The result is {now}.", "That leaves {now}."),
    },
    {
        "start": (
            "Let us work it out one step at a time. The first number is {now}.",
            "We begin with {now} and do one thing after the other.",
            "To begin with we have {now}, and the steps follow in order.",
            "The number we start with is {now}, so that is what the first step changes.",
        ),
        "step": (
            "We have {before}, and {before} {sign} {number} = {now}.",
            "Now {before} {word} {number} is {now}, so we have {now}.",
            "The next step is {sign} {number}, and {before} {sign} {number} = {now}.",
            "From {before} we go on with {word} {number}, which gives {now}.",
        ),
        "end": (
            "There is no other step, so the result is {now}.",
            "After the last step we are left with {now}.",
            "These were all the steps, and they end at {now}.",
        ),
    },
)
