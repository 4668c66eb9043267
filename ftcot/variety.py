"""How much the rationales of one question differ, beside how many there are: why a larger D helps, or does not.

    MultiArith, D = 8, the 2,574 that are kept     6.2 different ones a question, 3.3 ways to the answer, 193 phrases

`Diversity` says what is counted. Two rationales that differ in case, white space and punctuation only are one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import fsum, sqrt

from ftcot.equations import find
from ftcot.rationales import normalise
from ftcot.records import Example
from ftcot.sampled import MOST, Question, Sampled

PHRASE = 4
"""Words in a row that count as one phrase."""

_FUNCTION_WORDS = (
    "a an the this that these those it its he she they we you i his her their our your him them us who whom whose"
    " which what when where why how there here and or but nor so then if because since while as than though although"
    " thus hence therefore however also of to in on at by for from with into onto out off up down over under after"
    " before between during is are was were be been being am do does did done has have had will would can could shall"
    " should may might must not no yes now still again just only very first second third next finally lastly last step"
    " answer question"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say how a thing is told rather than what."""


@dataclass(frozen=True, slots=True)
class Diversity:
    """How much the rationales of one question differ: means over questions that have any.

    Which of them were drawn first, and how often one was drawn, changes none of it. With one rationale for each
    question every figure but `ngrams` is at its floor, which is said; without any, all are 0.
    """

    n: int
    """Rationales, repeated ones too."""
    questions: int
    """That have any."""
    effective_degree: float
    """Different rationales, at least 1: two are the same if they differ in case, white space and punctuation only. The
    D that was got. It never falls when more are drawn."""
    paths: float
    """Different ways to the answer, at least 1: sets of equations, so what is calculated, in whatever order and words.
    Of rationales without equations, sets of the numbers that come up (`32 and 42 is 74`: most teachers write half of
    their arithmetic so); without numbers, sets of the words that say what is told, not how. So it is comparable between
    degrees, not between tasks. It never falls when more are drawn."""
    ngrams: float
    """Different phrases (4 words in a row), so how much text there is to learn from. It never falls when more are
    drawn."""
    distinct_share: float
    """Of the phrases of all rationales, counted once in each, the share that is left when they are counted once in all;
    at most 1, which it is with one rationale. It says how soon more of them say nothing new."""
    dissimilarity: float
    """Share of the phrases of a rationale that another one of the same question lacks, the mean over questions that
    have two; at least 0. Unlike the others it hardly depends on how many there are: at 1 no two share a phrase."""
    length_spread: float
    """Standard deviation of their lengths in words, as a share of the mean length, the mean over questions that have
    two; at least 0. Short answers and long ones, or always the same."""
    sampled: int | None = None
    """Rationales that the figures were taken from; None: all (ftcot/sampled.py)."""

    def to_json(self, digits: int = 4) -> dict[str, float]:
        """The figures, rounded, to be written down."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.sampled is None:
            del values["sampled"]
        return {name: round(value, digits) if isinstance(value, float) else value for name, value in values.items()}


def diversity(said: Iterable[tuple[Question, str]]) -> Diversity:
    """How much rationales differ that belong to the same question.

    Args:
        said: question and rationale, in any order.
    """
    tally = Tally()
    for question, rationale in said:
        tally.add(question, rationale)
    return tally.diversity()


class Tally:
    """Diversity in the making, for streams. The rationales of a sample of the questions are held (sampled.py)."""

    def __init__(self, most: int = MOST) -> None:
        self._said: Sampled[str] = Sampled(most)

    def add(self, question: Question, rationale: str) -> None:
        if self._said.takes(question):
            self._said.add(question, rationale)

    def diversity(self) -> Diversity:
        if not self._said.n_kept:
            return Diversity(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        different: list[dict[str, str]] = []
        for rationales in self._said:
            different.append({})
            for rationale in rationales:
                different[-1].setdefault(normalise(rationale), rationale)
        rows = [_variety(texts) for texts in different]
        several = [row for row, texts in zip(rows, different, strict=True) if len(texts) > 1]
        means = (*_means(rows)[:4], *(_means(several)[4:] if several else (0.0, 0.0)))
        found = Diversity(self._said.n, self._said.questions, *means)
        return found if self._said.whole else replace(found, sampled=self._said.n_kept)


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def shown(examples: Iterable[Example], marker: str | None) -> Iterator[tuple[int, str]]:
    """Question and rationale of each training pair, for `diversity`: what stands before the answer marker."""
    for example in examples:
        rationale = example.completion.rpartition(marker)[0] if marker else example.completion
        yield example.sample_index, rationale


def path(normalised: str, rationale: str) -> frozenset[str]:
    """What of a rationale makes the way it takes to the answer (`Diversity.paths`).

    Args:
        normalised: the same rationale.
    """
    if found := find(rationale):
        return frozenset(_in_one_order(equation.text) for equation in found)
    words = normalised.split()
    numbers = frozenset(word for word in words if word[0].isdigit())
    return numbers or frozenset(word for word in words if word.isalpha() and word not in FUNCTION_WORDS)


def _in_one_order(equation: str) -> str:
    """An equation with the terms of a sum, or the factors of a product, sorted: 42+32=74 is 32+42=74."""
    sides = []
    for side in equation.split("="):
        sign = next((sign for sign in "+*" if re.fullmatch(rf"[\d.]+(?:\{sign}[\d.]+)+", side)), None)
        sides.append(sign.join(sorted(side.split(sign))) if sign else side)
    return "=".join(sides)


def _variety(texts: Mapping[str, str]) -> tuple[float, ...]:
    """The figures of one question, in the order of the fields of `Diversity`.

    Args:
        texts: its different rationales, by their normal form.
    """
    degree = len(texts)
    words = [text.split() for text in texts]
    phrases = [_phrases(each) for each in words]
    counts = Counter(phrase for each in phrases for phrase in each)
    total = counts.total()
    # Over all pairs of rationales, those that share a phrase: no need to look at the pairs.
    shared = sum(count * (count - 1) for count in counts.values()) / (degree - 1) if degree > 1 else total
    lengths = [len(each) for each in words]
    mean = sum(lengths) / degree
    spread = sqrt(sum((length - mean) ** 2 for length in lengths) / degree) / mean if mean else 0.0
    return (
        degree,
        len({path(normalised, rationale) for normalised, rationale in texts.items()}),
        len(counts),
        len(counts) / total if total else 1.0,
        1 - shared / total if total else 0.0,
        spread,
    )


def _phrases(words: Sequence[str]) -> set[tuple[str, ...]]:
    if len(words) < PHRASE:
        return {tuple(words)} if words else set()
    return set(zip(*(words[shift:] for shift in range(PHRASE)), strict=False))
