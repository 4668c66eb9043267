"""Tracking shuffled objects: who holds what after some swaps?

    Gus has a lamp, Ida has a coin, Ned has a ring. Gus and Ned swap. Ida and Gus swap. Ned and Ida swap.
    What does Ida have? Answer choices: (A) ring, (B) lamp, (C) coin.     B

    Gus lamp, Ida coin, Ned ring. Gus and Ned swap: Gus ring, Ida coin, Ned lamp. ... Ida has lamp: (B).

Which choice is right, and whose object it was at first, are drawn before the swaps: swaps are drawn until they fit.
Left to themselves, few swaps would leave most people with what they had.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ftcot.answers import Choice
from ftcot.task.generated.base import GeneratedTask, not_a_question
from ftcot.task.generated.choices import CHOICES, LETTERS, read_choices, write_choices
from ftcot.task.generated.names import NAMES
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices

OBJECTS = ("bell", "book", "coin", "drum", "fork", "harp", "kite", "lamp", "rope", "ring", "sock", "vase")
"""All of one length, all with "a"."""


@dataclass(frozen=True)
class Problem:
    """Who has what at first, who swaps with whom, and who is asked about."""

    names: tuple[str, ...]
    objects: tuple[str, ...]
    """In the order of `names`."""
    swaps: tuple[tuple[str, str], ...]
    asked: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrackingShuffledObjects(GeneratedTask[Problem]):
    """Follow `n_objects` objects through `n_swaps` swaps."""

    n_objects: int
    """People, each with an object; and choices."""
    n_swaps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_number("n_objects", 3, len(LETTERS))
        self.require_number("n_swaps", 1)

    @property
    def answer(self) -> Choice:
        return Choice(LETTERS[: self.n_objects])

    @property
    def n_classes(self) -> int:
        return self.n_objects

    def draw(self, rng: random.Random, target: int) -> Problem:
        names = tuple(rng.sample(NAMES, self.n_objects))
        objects = tuple(rng.sample(OBJECTS, self.n_objects))
        asked, found = rng.choice(names), rng.choice(objects)
        while True:
            swaps = tuple(self._pair(rng, names) for _ in range(self.n_swaps))
            if _holdings(names, objects, swaps)[asked] == found:
                break
        others = [thing for thing in objects if thing != found]
        rng.shuffle(others)
        return Problem(names, objects, swaps, asked, (*others[:target], found, *others[target:]))

    @staticmethod
    def _pair(rng: random.Random, names: tuple[str, ...]) -> tuple[str, str]:
        first, second = rng.sample(names, 2)
        return first, second

    def ask(self, problem: Problem) -> str:
        has = ", ".join(f"{name} has a {thing}" for name, thing in zip(problem.names, problem.objects, strict=True))
        swaps = " ".join(f"{first} and {second} swap." for first, second in problem.swaps)
        return f"{has}. {swaps} What does {problem.asked} have?{write_choices(problem.choices)}"

    def read(self, question: str) -> Problem:
        story, _, choices = question.partition(CHOICES)
        has = re.findall(r"(\w+) has a (\w+)", story)
        asked = re.search(r"What does (\w+) have\?", story)
        problem = Problem(
            tuple(name for name, _ in has),
            tuple(thing for _, thing in has),
            tuple(re.findall(r"(\w+) and (\w+) swap\.", story)),
            asked[1] if asked else "",
            read_choices(choices),
        )
        known = {name for pair in problem.swaps for name in pair} | {problem.asked} <= set(problem.names)
        if not known or self.ask(problem) != question:
            raise not_a_question(self, question)
        return problem

    def solve(self, problem: Problem) -> str:
        held = _holdings(problem.names, problem.objects, problem.swaps)
        return LETTERS[problem.choices.index(held[problem.asked])]

    def voices(self, verbosity: int) -> Voices:
        return VOICES[verbosity]

    def reason(self, problem: Problem, voice: Voice, hand: Hand) -> Rationale:
        names = problem.names if voice["order"] == "forwards" else problem.names[::-1]

        def say(held: Mapping[str, str], whom: Iterable[str]) -> str:
            return ", ".join(voice["has"].format(name=name, thing=held[name]) for name in names if name in whom)

        held = dict(zip(problem.names, problem.objects, strict=True))
        said = [voice["start"].format(state=say(held, names))]
        for first, second in problem.swaps:
            right = _swapped(held, first, second)
            # A slip: nothing changes hands, or one of the two swaps with somebody else.
            strangers = [name for name in problem.names if name not in (first, second)]
            wrong = [held, *(_swapped(held, first, name) for name in strangers)]
            held = hand.step(right, wrong)
            whom = names if voice["state"] == "whole" else (first, second)
            said.append(voice["step"].format(first=first, second=second, state=say(held, whom)))
        conclusion = LETTERS[problem.choices.index(held[problem.asked])]
        said.append(voice["end"].format(name=problem.asked, thing=held[problem.asked], answer=conclusion))
        return Rationale(" ".join(filter(None, said)), conclusion, hand.n_slips)


def _swapped(held: Mapping[str, str], first: str, second: str) -> dict[str, str]:
    return {**held, first: held[second], second: held[first]}


def _holdings(names: tuple[str, ...], objects: tuple[str, ...], swaps: Iterable[tuple[str, str]]) -> dict[str, str]:
    held = dict(zip(names, objects, strict=True))
    for first, second in swaps:
        held = _swapped(held, first, second)
    return held


ORDER = ("forwards", "backwards")
STATE = ("whole", "changed")

VOICES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "has": ("{name} {thing}", "{name}={thing}", "{thing} {name}"),
        "start": ("{state}.", "Start: {state}.", "First {state}."),
        "step": ("{first} {second}: {state}.", "{first} with {second}: {state}.", "{first} & {second}: {state}."),
        "end": ("{name} {thing}: ({answer}).", "So ({answer}).", "{name}: ({answer})."),
        "order": ORDER,
        "state": STATE,
    },
    {
        "has": ("{name} has {thing}", "{name} holds {thing}", "{name} with {thing}"),
        "start": ("{state}.", "At first {state}.", "To begin with, {state}."),
        "step": (
            "{first} and {second} swap: {state}.",
            "{first} and {second} swap, so {state}.",
            "Swap {first} and {second}: now {state}.",
        ),
        "end": (
            "So {name} has {thing}: ({answer}).",
            "{name} ends with {thing}, so ({answer}).",
            "Last, {name} has {thing}, which is ({answer}).",
        ),
        "order": ORDER,
        "state": STATE,
    },
    {
        "has": ("{name} has the {thing}", "{name} holds the {thing}", "the {thing} is with {name}"),
        "start": (
            "Let us see who has what. In the beginning {state}.",
            "We keep a list of everybody. Before the swaps {state}.",
            "This is how it starts: {state}.",
        ),
        "step": (
            "Then {first} and {second} swap what they have, and now {state}.",
            "The next to swap are {first} and {second}, which means that {state}.",
            "{first} gives to {second} and {second} gives to {first}, so {state}.",
        ),
        "end": (
            "There are no more swaps, so {name} has the {thing}, which is choice ({answer}).",
            "In the end {name} is left with the {thing}, and that is choice ({answer}).",
            "The question is about {name}, who now has the {thing}: the answer is ({answer}).",
        ),
        "order": ORDER,
        "state": STATE,
    },
)
