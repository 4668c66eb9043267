"""Intervals of an accuracy, of one run and of several.

    wilson(96, 180)                          0.5333 [0.4605, 0.6048]     one run
    pooled(right)                            0.5296 [0.4499, 0.6078]     three seeds on the same 180 questions
    pooled(right, clusters=templates)        0.5296 [0.4383, 0.6190]     which come from 74 templates

This module is of the standard library alone at import: every job needs `wilson`.
Source: Wilson (1927); with an effective number of questions and t, Dean and Pagano (2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pooled:
    """The accuracy of a cell."""

    accuracy: float
    """The mean over seeds."""
    low: float
    high: float
    """95 %: what another draw of questions (whole templates) and of seeds may give. Of one seed: of questions only."""
    n: int
    """Test questions."""
    seeds: int
    by_seed: tuple[float, ...]
    shared: float = 0.0
    """Variance of `accuracy` that is the questions': another run on the same questions shares it. Zero: not known."""


def wilson(n_correct: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a proportion; 95 % by default. Unlike p ± z·se it is right at 0 and 1 too."""
    if n == 0:
        return (0.0, 1.0)
    p = n_correct / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Exact at both ends, where rounding would leave 1e-17.
    low = (middle - half) / scale if n_correct else 0.0
    high = (middle + half) / scale if n_correct < n else 1.0
    return (low, high)


def pooled(right: NDArray[np.bool_], clusters: NDArray[np.int_] | None = None) -> Pooled:
    """The mean accuracy of runs, with the interval that holds the mean over all questions and runs of the kind.

    One run, no two questions alike: Wilson's interval, which covers the choice of questions and knows nothing of other
    runs. Else Wilson's for as many independent questions as would make the mean just as unsure (`components`), with
    Student's t, so that two or three seeds are not taken for many. In simulations it covers 92 to 98 % with 3 or 5
    seeds, 91 % and more with 2 (docs/statistics.md).

    Args:
        right: (S, n), one row a seed, the same questions in the same order.
        clusters: (n,), equal numbers for questions of one template; None: no two are.
    """
    from ftcot.statistics.components import contrast

    runs, n = right.shape
    by_seed = tuple(float(accuracy) for accuracy in right.mean(axis=1))
    n_clusters = n if clusters is None else len(set(clusters.tolist()))
    if runs == 1 and n_clusters == n:
        return Pooled(by_seed[0], *wilson(int(right.sum()), n), n, runs, by_seed)
    found = contrast([right], [1.0], clusters)
    # As many independent questions as are just as unsure, all of it with the made-up half right and half wrong ones.
    size = n / n_clusters
    middle = (found.value * n + size / 2) / (n + size)
    alike = middle * (1 - middle) / found.variance * n / (n + size)
    low, high = wilson(found.value * alike, alike, found.critical)
    return Pooled(found.value, low, high, n, runs, by_seed, found.questions if runs > 1 else 0.0)
