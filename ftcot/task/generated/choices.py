"""The choices of a question: ` Answer choices: (A) lamp, (B) coin, (C) ring.`

Written as in the paper's multiple-choice tasks (METHOD section 2).
"""

from __future__ import annotations

from collections.abc import Iterable

CHOICES = " Answer choices: "
"""Stands between the question and its choices."""

LETTERS = "ABCDEFGH"


def write_choices(choices: Iterable[str]) -> str:
    """What is appended to the question."""
    return CHOICES + ", ".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)) + "."


def read_choices(text: str) -> tuple[str, ...]:
    """The choices, of the text after `CHOICES`."""
    return tuple(choice.partition(") ")[2] for choice in text.removesuffix(".").split(", "))
