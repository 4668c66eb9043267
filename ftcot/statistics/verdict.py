"""A cell beside the published value: match, above, below, or can't tell.

verdict(pooled, published)   match: +1.7 points [-5.2, 8.6] of 17.78 %, within ±10
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import variance
from typing import Literal

from ftcot.published import Published
from ftcot.statistics.intervals import Pooled, wilson

MARGIN = 0.10
"""Match: no difference is seen, and if there is one, it is smaller than this. The paper's findings are about
differences of this size and more; with the 111 to 300 test questions of most tasks none smaller could be ruled out."""

RUNS = 0.015
"""Standard deviation that runs are taken to have at least, on the same questions: one seed, or three that happen to
agree, do not show that the published run could not have come out otherwise."""
RUNS_DF = 4
"""Degrees of freedom that this is worth, beside those of our own seeds."""

_Z = 1.959963984540054

Word = Literal["match", "above", "below", "can't tell"]


@dataclass(frozen=True)
class Verdict:
    """A cell beside the published value."""

    published: Published
    word: Word
    why: str
    """One line: the protocols, the difference and its interval."""


def verdict(ours: Pooled, published: Published, differs: str | None = None) -> Verdict:
    """Compare a cell with the published value of the same test questions.

    above, below    the 95 % interval of the difference leaves zero out
    match           it holds zero and stays within the margin
    can't tell      it is wider than that; or the two were not measured alike

    Both were asked the same questions, so what is chance is how single answers and whole runs came out, ours and the
    published one, which is a single run without an error. Single answers: the distances from value to Wilson's bounds,
    of one run each, combined as squares (Zou and Donner 2008); of that is taken off what our seeds show to be the
    questions' own variance, which both share, and what averaging over seeds saves, half of all at most; with one seed
    nothing is known of it. Runs: their variance between seeds beyond single answers, and at least RUNS, with Student's
    t. What a value read off a plot may be off by is added.

    Args:
        differs: why the two cannot be compared (`published.comparable`); None: they can.
    """
    if differs is not None:
        return Verdict(published, "can't tell", differs)
    if published.n != ours.n:
        theirs = "other questions" if published.n is None else f"{published.n} questions"
        return Verdict(published, "can't tell", f"published: of {theirs}; this cell: of {ours.n}")
    difference, low, high = compare(ours, published)
    seen = f"{100 * difference:+.1f} points [{100 * low:.1f}, {100 * high:.1f}] to {100 * published.accuracy:.2f} %"
    if published.grade != "exact":
        seen += f" ({published.grade})"
    word: Word
    if low > 0:
        word, why = "above", seen
    elif high < 0:
        word, why = "below", seen
    elif max(-low, high) <= MARGIN:
        word, why = "match", f"{seen}, within ±{100 * MARGIN:g}"
    else:
        word, why = "can't tell", f"{seen}, wider than ±{100 * MARGIN:g}: too few questions or seeds"
    seeds = f"{ours.seeds} seeds" if ours.seeds > 1 else "one seed"
    return Verdict(published, word, f"{why}; {ours.n} questions, {seeds}; both {published.protocol}")


def compare(ours: Pooled, published: Published) -> tuple[float, float, float]:
    """Ours less theirs, and its 95 % interval."""
    from scipy.stats import t

    n, p, theirs = ours.n, ours.accuracy, published.accuracy
    (our_low, our_high), (their_low, their_high) = wilson(p * n, n), wilson(theirs * n, n)
    single = p * (1 - p) / n
    shared = min(ours.shared, single)
    by_seed = variance(ours.by_seed) if ours.seeds > 1 else 0.0
    runs = max(RUNS**2, by_seed - (single - shared)) * (1 + 1 / ours.seeds)
    extra = float(t.isf(0.025, RUNS_DF + ours.seeds - 1)) ** 2 * runs + published.error**2
    saved = _Z**2 * (2 * shared + (single - shared) * (1 - 1 / ours.seeds)) if ours.seeds > 1 else 0.0
    down = (p - our_low) ** 2 + (their_high - theirs) ** 2
    up = (our_high - p) ** 2 + (theirs - their_low) ** 2
    difference = p - theirs
    return (
        difference,
        difference - math.sqrt(down - min(saved, down / 2) + extra),
        difference + math.sqrt(up - min(saved, up / 2) + extra),
    )
