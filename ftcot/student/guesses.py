"""What a text that repeats itself says next, tried before the student has said it.

    new tokens    ... 3 + 4 = 7 . 3 + 4 = 7 . 3 + 4      the last 16 stood there before; behind them came = 7 . ...
    one step      4 | = 7 . 3 + 4 = 7 ...                reads the last token with what is tried
    then          = 7 . 3 + 4 = 7 ...                    as far as the student says the same, all of it is known

Of a student's texts a few go round in circles up to the limit, and are under way long after the others have ended. A
step of one token takes nearly as long as one of many, since all weights are read for it. What is said stays what the
student would say: a token counts only where all before it are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

SAME = 16
"""Tokens at the end of a text that must have stood in it before."""

TRIED = 64
"""Tokens of a step at most, with those that are tried. GPT-2-small on a CPU core took 49 ms for 1, 129 for 16, 160 for
32, 214 for 64."""


def repeated(ids: Sequence[int], n: int) -> list[int]:
    """The n tokens that come next where a text goes on to repeat itself; none where it does not."""
    said = "".join(map(chr, ids))  # a character a token: str finds a place in no time
    place = said.rfind(said[-SAME:], 0, len(said) - 1) if len(said) > SAME else -1
    return list(islice(cycle(ids[place + SAME :]), n)) if place >= 0 else []


def guesses(texts: Sequence[Sequence[int]], room: Sequence[int]) -> list[list[int]]:
    """What to try behind each text in a step that reads one token of each.

    Args:
        room: tokens that may be tried behind each.
    """
    n_left = TRIED - len(texts)
    if n_left < len(texts):
        return [[] for _ in texts]
    tried = [repeated(ids, min(n, n_left)) for ids, n in zip(texts, room, strict=True)]
    share = n_left // max(1, sum(map(bool, tried)))
    return [ids[:share] for ids in tried]
