"""How a rationale of a generated task comes about: a voice says the steps, a hand does them.

    voice   {"start": "The start is heads.", "step": "{name} {deed}: {state}.", "end": "So {answer}."}
    hand    right with probability `skill` at every step
    text    "The start is heads. Gus flips: tails. Ida keeps: tails. So no."

A task lists, for each level of verbosity, the phrases of every part of a rationale. One phrase for each part is a
voice; it is kept to the end, so a rationale is regular within itself while two draws differ.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

Voices = Mapping[str, tuple[str, ...]]
"""The phrases to choose from, for each part of a rationale. The first of each make the plainest voice."""

Voice = Mapping[str, str]
"""One phrase for each part."""

T = TypeVar("T")


@dataclass(frozen=True)
class Rationale:
    """Reasoning and what it concludes, which need not be right."""

    text: str
    conclusion: str
    """In the form of a gold answer."""
    n_slips: int
    """Steps that were done wrong."""


class Hand:
    """Does the steps of one rationale."""

    def __init__(self, skill: float, rng: random.Random) -> None:
        """
        Args:
            skill: Probability that a step is right.
            rng: Two numbers are taken for every step, right or wrong: with the same seed a lower skill makes the
                slips of a higher one, and more.
        """
        self.skill = skill
        self.rng = rng
        self.n_slips = 0

    def step(self, right: T, wrong: Sequence[T]) -> T:
        """The result of one step: `right`, or one of `wrong` (at least one, none equal to `right`)."""
        luck, which = self.rng.random(), self.rng.random()
        if luck < self.skill:
            return right
        self.n_slips += 1
        return wrong[int(which * len(wrong))]


def n_voices(voices: Voices) -> int:
    """How many different voices there are."""
    return math.prod(len(phrases) for phrases in voices.values())


def plainest(voices: Voices) -> Voice:
    """The first phrase of every part."""
    return {part: phrases[0] for part, phrases in voices.items()}


def voice_of_draw(voices: Voices, draw: int, rng: random.Random) -> Voice:
    """One of as many different voices as there are; two draws in a row mostly differ in every part.

    Args:
        draw: From 0; after `n_voices` draws the same voices come again.
        rng: Shuffles the phrases. Give it the same state for every draw.
    """
    shuffled = {part: rng.sample(phrases, len(phrases)) for part, phrases in voices.items()}
    tour = _tour(tuple(len(phrases) for phrases in shuffled.values()))
    digits = tour[draw % len(tour)]
    return {part: phrases[digit] for (part, phrases), digit in zip(shuffled.items(), digits, strict=True)}


@lru_cache
def _tour(sizes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Every combination of digits below `sizes`, once: diagonal after diagonal.

    (2, 2)  ->  (0, 0), (1, 1),  (0, 1), (1, 0)
    """
    tour: dict[tuple[int, ...], None] = {}
    for digits in itertools.product(*map(range, sizes)):
        while digits not in tour:
            tour[digits] = None
            digits = tuple((digit + 1) % size for digit, size in zip(digits, sizes, strict=True))
    return tuple(tour)
