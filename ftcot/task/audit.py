"""Leak audit: which test questions overlap training questions, and in what way.

    exact     the same text                                        MultiArith   5 of 180
    numbers   the same text once numbers are masked                MultiArith  77 of 180
    context   the same text before the question itself             Date       111 of 111

    "Yesterday was April 30, 2021. What is the date today in MM/DD/YYYY?\\nWhich choice is true? Answer choices: ..."
        numbers   "Yesterday was April #, #. What is the date today ... Answer choices: (A) #/#/#, ..."
        context   "Yesterday was April 30, 2021."

A question of one sentence has no context. Kinds are counted apart: an exact copy is in all three.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_SENTENCE_END = re.compile(r"(?<=[.?!])(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\bvs\.)\s+")
_CHOICES = re.compile(r"\s*(?:Which choice is true\?\s*)?Answer choices:.*", re.DOTALL | re.IGNORECASE)


def _exact(question: str) -> str:
    return question.strip()


def _numbers(question: str) -> str:
    return re.sub(r"\d+(?:[.,]\d+)*", "#", question.strip())


def _context(question: str) -> str:
    return " ".join(_SENTENCE_END.split(_CHOICES.sub("", question).strip())[:-1])


KINDS: Mapping[str, Callable[[str], str]] = {"exact": _exact, "numbers": _numbers, "context": _context}
"""What each kind of overlap compares; an empty text overlaps nothing."""


@dataclass(frozen=True)
class Overlap:
    """A test question and one training question it overlaps (the first)."""

    test: int
    train: int


def audit(train: Mapping[int, str], test: Mapping[int, str]) -> dict[str, list[Overlap]]:
    """The overlaps of each kind, at most one a test question. `train` and `test` map sample index to question."""
    return {kind: _overlaps(key, train, test) for kind, key in KINDS.items()}


def overlapping(questions: Mapping[int, str], others: Mapping[int, str]) -> set[int]:
    """Indices of the questions that overlap any of the others, in any way."""
    return {overlap.test for found in audit(train=others, test=questions).values() for overlap in found}


def groups(questions: Mapping[int, str]) -> list[list[int]]:
    """The questions in groups such that no two groups overlap, in order of their first member."""
    leader = {index: index for index in questions}

    def lead(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for key in KINDS.values():
        seen: dict[str, int] = {}
        for index, question in questions.items():
            if text := key(question):
                first, second = sorted((lead(seen.setdefault(text, index)), lead(index)))
                leader[second] = first
    members: dict[int, list[int]] = {}
    for index in questions:
        members.setdefault(lead(index), []).append(index)
    return list(members.values())


def _overlaps(key: Callable[[str], str], train: Mapping[int, str], test: Mapping[int, str]) -> list[Overlap]:
    seen: dict[str, int] = {}
    for index, question in train.items():
        seen.setdefault(key(question), index)
    seen.pop("", None)
    keyed = ((index, key(question)) for index, question in test.items())
    return [Overlap(index, seen[text]) for index, text in keyed if text in seen]
