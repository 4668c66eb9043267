"""Claims of the paper's figures as tests: accuracies rise along x, or one of them is the highest.

increasing([(1, d1), (2, d2), (4, d4), (8, d8)])     +45.2 points [39.1, 51.3], p = 0.00002
highest({"zero_shot": z, "fine_tune": f, "fine_tune_cot": c}, "fine_tune_cot")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ftcot.statistics.components import Spread, contrast
from ftcot.statistics.paired import describe, paired

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Trend:
    """What the data say of a claim. It holds if effect > 0 and p is small: p is two-sided."""

    effect: float
    """Last less first accuracy; or the claimed one less the best of the others. A fraction."""
    low: float
    high: float
    """95 %."""
    p: float
    """Two-sided."""
    test: str
    """Which, and what it counts as chance."""
    detail: str = ""
    """What the test alone would hide: where a curve falls, how each of the others compares."""


def increasing(points: Sequence[tuple[float, NDArray[np.bool_]]], clusters: NDArray[np.int_] | None = None) -> Trend:
    """Whether accuracy rises along x.

    A t test of the slope over the ranks of x (D = 1, 2, 4, 8 are one step apart each). Chance is which questions were
    asked, the same at every point, and how each run went: every point has its own runs, and what they vary by is
    estimated from those of one point. Nothing is resampled, so that no p is out of reach because three seeds can be
    shuffled in a few ways only; `components.LEAST_P` is the smallest that is given. Of flat curves, 3 % are called
    otherwise at 5 % in simulations, up to 9 % where runs differ far more at one end (docs/statistics.md).

    With one run a point, runs are taken to vary as much as the points are off a straight line, which makes a curve
    that is not one unsure; two single runs are compared by McNemar's test.

    Args:
        points: x and (S, n) seeds x questions each, two points or more; only the order of x counts. All have the same
            questions; S may differ.
        clusters: (n,), equal numbers for questions of one template; None: no two are.
    """
    cells = [cell for _, cell in sorted(points, key=lambda point: point[0])]
    single = all(len(cell) == 1 for cell in cells)
    if single and len(cells) == 2:
        found = paired(cells[0], cells[1], clusters)
        return Trend(found.difference, found.low, found.high, found.p, found.test, _falls(cells))
    spread = _off_line(cells, clusters) if single else None
    ranks = np.arange(len(cells)) - (len(cells) - 1) / 2
    slope = contrast(cells, list(ranks / ranks[ranks > 0].sum()), clusters, spread)
    effect = contrast([cells[0], cells[-1]], [-1.0, 1.0], clusters, spread)
    test = f"slope over {len(cells)} points, {describe(slope, cells, clusters)}"
    if single:
        test += ", whose noise is taken from how far the points are off a line"
    p = slope.p
    if slope.value * effect.value < 0:  # it rises on the whole and ends lower, or the other way: neither is shown
        p, test = 1.0, f"{test}; slope and ends disagree"
    return Trend(effect.value, *effect.interval, p, test, _falls(cells))


def highest(groups: Mapping[str, NDArray[np.bool_]], value: str, clusters: NDArray[np.int_] | None = None) -> Trend:
    """Whether one of the groups has a higher accuracy than every other.

    It is compared with each of the others. The claim needs all of these differences, so its p is the largest one and
    needs no correction (an intersection-union test). Where another group is ahead, the claim is wrong if any is: the p
    is that of the one furthest ahead, times how many others there are.

    Args:
        groups: (S, n) seeds x questions each, two groups or more, all with the same questions.
        value: the group that is claimed to be the highest.
        clusters: (n,), equal numbers for questions of one template; None: no two are.
    """
    others = {name: paired(cell, groups[value], clusters) for name, cell in groups.items() if name != value}
    best = min(others, key=lambda name: others[name].difference)
    closest = others[best]
    ahead = closest.difference > 0
    p = max(found.p for found in others.values()) if ahead else min(1.0, closest.p * len(others))
    detail = "; ".join(f"{100 * found.difference:+.1f} points over {name}" for name, found in others.items())
    test = f"against each of {len(others)}, the largest p; {closest.test}"
    return Trend(closest.difference, closest.low, closest.high, p, test, detail)


def _off_line(cells: Sequence[NDArray[np.bool_]], clusters: NDArray[np.int_] | None) -> Spread:
    """Variance of single runs, from a straight line through the accuracies of three cells or more."""
    accuracies = np.array([cell.mean() for cell in cells])
    ranks = np.arange(len(cells))
    rest = accuracies - np.polyval(np.polyfit(ranks, accuracies, 1), ranks)
    df = len(cells) - 2
    n_clusters = cells[0].shape[1] if clusters is None else len(np.unique(clusters))
    return Spread(answers=0.0, total=max(float(rest @ rest) / df, 1 / n_clusters**2), df=df)


def _falls(cells: Sequence[NDArray[np.bool_]]) -> str:
    """`falls from 88.4 to 86.3 % on the way`; empty for a curve that never does."""
    steps = [(100 * a.mean(), 100 * b.mean()) for a, b in pairwise(cells)]
    falls = [f"from {before:.1f} to {after:.1f} %" for before, after in steps if after < before]
    return f"falls {', '.join(falls)} on the way" if falls else ""
