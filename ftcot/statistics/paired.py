"""Two cells on the same questions: who is better, by how much, how sure.

mcnemar(12, 31)             0.0054
paired(a, b)                +10.6 points [3.3, 17.2]: 31 questions against 12 of 180, p = 0.0054 (exact McNemar)
holm([0.01, 0.02, 0.04])    [0.03, 0.04, 0.04]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ftcot.statistics.components import Estimate, contrast

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 20_000
"""Of a bootstrap."""
ONE_RUN = "one run each: what another run of the same would give is not counted"


@dataclass(frozen=True)
class Paired:
    """b against a."""

    difference: float
    """Accuracy of b less that of a."""
    low: float
    high: float
    """95 %."""
    only_a: int
    only_b: int
    """(question, seed) pairs that one has right and the other wrong; the seeds in their order, as far as both go."""
    p: float
    """Two-sided."""
    test: str
    """Which, and what it counts as chance."""


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of two runs, of the questions that only one of them has right."""
    from scipy.stats import binomtest

    n = only_a + only_b
    return float(binomtest(only_a, n).pvalue) if n else 1.0


def paired(a: NDArray[np.bool_], b: NDArray[np.bool_], clusters: NDArray[np.int_] | None = None) -> Paired:
    """Compare two cells.

    Two single runs are compared as they are: the p is exact (McNemar; where questions share templates, all signs of
    the templates' differences), the interval a bootstrap over questions (templates). With several runs a cell, the
    claim is about runs of the kind, and both come from Student's t (`components`): a bootstrap that draws from three
    seeds would make their variance a third too small.

    Args:
        a: (S, n), seeds x questions.
        b: (T, n), the same questions in the same order; T need not be S.
        clusters: (n,), equal numbers for questions of one template; None: no two are.
    """
    both = min(len(a), len(b))
    only_a, only_b = int((a[:both] & ~b[:both]).sum()), int((b[:both] & ~a[:both]).sum())
    if len(a) == len(b) == 1:
        scores = b[0].astype(int) - a[0]
        labels = np.arange(len(scores)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
        totals = np.bincount(labels, weights=scores).astype(int)
        low, high = bootstrap(totals, np.bincount(labels))
        if len(totals) == len(scores):
            p, test = mcnemar(only_a, only_b), f"exact McNemar test over {len(scores)} questions"
        else:
            p, test = flips(totals), f"exact sign test over {len(totals)} templates"
        return Paired(float(scores.mean()), low, high, only_a, only_b, p, f"{test}; {ONE_RUN}")
    found = contrast([a, b], [-1.0, 1.0], clusters)
    return Paired(found.value, *found.interval, only_a, only_b, found.p, describe(found, [a, b], clusters))


def flips(totals: NDArray[np.int_]) -> float:
    """Exact two-sided p of whole numbers whose signs are chance: P(|sum| >= that seen) over all signs.

    Args:
        totals: of each template, how many more questions one run has right than the other.
    """
    sizes = np.abs(totals[totals != 0])
    reach = int(sizes.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in sizes:  # what is rolled around is zero
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(totals.sum()))
    return min(1.0, float(chances[far].sum()))


def bootstrap(totals: NDArray[np.int_], sizes: NDArray[np.int_]) -> tuple[float, float]:
    """95 % percentile interval of the mean difference, whole clusters drawn with replacement.

    Two clusters of the mean size are added, one for each side, so that runs that agree everywhere get no interval
    of width zero (Bonett and Price 2012).

    Args:
        totals: (G,), of each cluster, its questions that only b has right less those that only a has.
        sizes: (G,), questions of each cluster.
    """
    if totals.sum() < 0:  # so that the draws are the same, whichever run is called b
        low, high = bootstrap(-totals, sizes)
        return -high, -low
    size = sizes.mean()
    rows = np.stack([np.append(totals, [size, -size]), np.append(sizes, [size, size])], axis=1)
    # Clusters that are alike are drawn as one kind, as often as its share says: the same bootstrap, in less time.
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(rows), counts / len(rows), size=DRAWS) @ kinds
    bounds = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(bounds[0]), float(bounds[1])


def describe(found: Estimate, cells: Sequence[NDArray[np.bool_]], clusters: NDArray[np.int_] | None) -> str:
    """What a t test counts as chance: `t test (df 6.3): chance is 180 questions and 3 runs each`."""
    n = cells[0].shape[1]
    n_clusters = n if clusters is None else len(np.unique(clusters))
    questions = f"{n} questions" + (f" in {n_clusters} templates" if n_clusters < n else "")
    runs = sorted({len(cell) for cell in cells})
    each = f"{runs[0]} run{'s' if runs[0] > 1 else ''}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]} runs"
    return f"t test (df {found.df:.1f}): chance is {questions} and {each} each"


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values of a family, corrected after Holm (1979), in their order."""
    corrected = [0.0] * len(ps)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = least
    return corrected
