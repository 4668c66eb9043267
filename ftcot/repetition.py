"""Whether a text goes round in circles: the same words again and again, one time right after the other.

    "... 48 lives left. The answer is 48. The answer is 48. The answer is 48."      "The answer is 48 ." 3 times
    "A: 10 B: 11 C: 12 D: 13 E: 14 F: 15 G: 16 H: 17 I: 18 ..."                     "A : 0" 23 times
    "5 + 5 + 5 + 5 + 5 + 5 = 30"                                                    none: that is a sum

A student that was trained too little, or asked to go on after it has said all, does this until it is cut off. Sums of
equal numbers, lists of equal things and algebra that writes a line down twice do not count: what has to come how often
was set by looking at all loops in 86,000 recorded rationales (davinci, text-davinci-001 to 003, a fine-tuned 6B model).
A text is read a fixed number of times, however long it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

TOKEN = re.compile(r"[^\W\d_]{1,12}|\d{1,12}|[^\w\s]|_")
"""Words, numbers, signs. Long ones in pieces: `aaaa...` is a loop too."""

GRAM = 4
"""Tokens that have to come again for the distance in between to be looked at."""

DISTANCES = 8
"""How many distances are looked at, the most frequent ones."""

OPERATORS = frozenset("+*/^=×÷")

SENTENCE = 3
"""Words of a unit that says something. Three times in a row nobody says the same thing."""
SENTENCES = 3.0
PASSAGE = 20
"""Tokens of a unit that is too long to come again by chance. A third time need not be whole, if the text is mostly
that; saying a question over twice is no loop yet."""
PASSAGES = 2.5
LINE = 8
"""Tokens of a unit that is no term of a sum, though there may be signs in it."""
LINES = 5.0
TERMS = 16.0
"""How often a short unit has to come, if the text is mostly that."""
COUNTED = 24.0
"""How often a unit in which the numbers change, if the text is mostly that: some count their way to an answer."""
LETTERED = 6.0
"""The same where letters count on (A: 12 B: 12 C: 12 ...) and the text was cut off: there was nothing to count."""
MOSTLY = 0.5
NOTICED = 0.2
"""Share of the text that a loop has to have."""


class Loop(NamedTuple):
    """A stretch of a text that says one thing again and again."""

    unit: tuple[str, ...]
    """The tokens that come again; with numbers and letters that count on, 0 and A stand for them."""
    times: float
    """How often; the last time may be cut short."""
    share: float
    """Of all tokens of the text."""

    @property
    def counts(self) -> bool:
        """Whether it is a loop to a reader too, and not a sum, a list or algebra."""
        if self.share < NOTICED:
            return False
        words = sum(len(token) > 1 and token.isalpha() for token in self.unit)
        if words >= SENTENCE and OPERATORS.isdisjoint(self.unit):
            passage = len(self.unit) >= PASSAGE and self.share >= MOSTLY
            return self.times >= (PASSAGES if passage else SENTENCES)
        if len(self.unit) >= LINE and any(token.isalnum() for token in self.unit):
            return self.times >= LINES
        return self.times >= TERMS and self.share >= MOSTLY

    def counts_on(self, *, cut: bool) -> bool:
        """The same of a unit with 0 and A in it.

        Args:
            cut: the text was cut off.
        """
        return self.times >= (LETTERED if cut and "A" in self.unit else COUNTED) and self.share >= MOSTLY


def find_loop(text: str, *, cut: bool = False) -> Loop | None:
    """A loop in the text, the longest one of those that were found; None if there is none.

    Args:
        cut: the text does not end, it was cut off.
    """
    tokens = TOKEN.findall(text)
    if loops := [loop for loop in _stretches(tokens) if loop.counts]:
        return max(loops, key=lambda loop: loop.share)
    counted = ["0" if token.isdigit() else "A" if len(token) == 1 and token.isupper() else token for token in tokens]
    loops = [loop for loop in _stretches(counted) if loop.counts_on(cut=cut)]
    return max(loops, key=lambda loop: loop.share, default=None)


def _stretches(tokens: Sequence[str]) -> list[Loop]:
    """The longest stretch for each distance at which tokens often come again.

    In a loop of p tokens what is said comes p tokens later once more.
    """
    last: dict[tuple[str, ...], int] = {}
    distances: Counter[int] = Counter()
    for place, gram in enumerate(zip(*(tokens[shift:] for shift in range(GRAM)), strict=False)):
        if gram in last:
            distances[place - last[gram]] += 1
        last[gram] = place
    found = []
    for distance, n in distances.most_common(DISTANCES):
        if 2 * n < distance - GRAM:  # too few for even two times
            continue
        longest = length = end = 0
        for place in range(distance, len(tokens)):
            length = length + 1 if tokens[place] == tokens[place - distance] else 0
            if length > longest:
                longest, end = length, place + 1
        whole = longest + distance
        unit = tuple(tokens[end - whole : end - whole + distance])
        found.append(Loop(unit, whole / distance, whole / len(tokens)))
    return found
