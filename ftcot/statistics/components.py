"""How far a mean over questions and runs may be off: questions and runs (seeds) are crossed, both are chance.

    contrast([right], [1])           the accuracy of a cell of 3 seeds x 180 questions
    contrast([a, b], [-1, 1])        the difference of two cells on the same questions
    contrast(points, [-.5, -.25, .25, .5])    the slope of a curve of four

    Estimate(value=0.105, questions=0.00062, runs=0.00041, df=14.2)
    standard error 3.2 points: 2.5 of it from which questions were asked, 2.0 from how the training went

Every run of a cell answers the same questions, so runs do not make more questions, nor questions more runs:

    questions   the variance between questions (whole clusters) of what the contrast makes of each, less the part that
                is not theirs but noise of single answers, which is counted with the runs
    runs        the variance between the runs of a cell, and at least what single answers alone would give, and at
                least half a question (cluster): three runs that happen to agree do not prove that runs do not vary

Both are estimated with few degrees of freedom (two, of three seeds), so Student's t takes the place of the normal
distribution, with Satterthwaite's degrees. Runs of different cells are taken as independent, also those of one seed:
where they are alike, a difference is surer than said. A few made-up questions keep a variance from being zero where
all answers are equal (Agresti and Coull 1998 of an accuracy, Bonett and Price 2012 of a difference).

Source: the two-way random-effects analysis of variance; Satterthwaite (1946). How it does: docs/statistics.md, from
bench/coverage.py, of which tests/test_statistics_coverage.py is a small part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_A_QUESTION = 0.25
"""Least variance of the accuracy of a run, in squared questions (clusters)."""
LEAST_P = 1e-6
"""What Student's t is trusted with here, far from its middle and with variances that are estimates themselves."""


@dataclass(frozen=True)
class Estimate:
    """A weighted sum of accuracies, and how far it may be off."""

    value: float
    questions: float
    """Variance from the choice of questions, which any other run on these questions shares."""
    runs: float
    """Variance from run to run; zero where each cell has one run only, which cannot tell."""
    df: float
    """Degrees of freedom of the sum of both."""

    @property
    def variance(self) -> float:
        return self.questions + self.runs

    @property
    def critical(self) -> float:
        """How many standard errors a 95 % interval reaches to each side."""
        from scipy.stats import t

        return float(t.isf(0.025, self.df))

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, of a difference, which is from -1 to 1."""
        half = self.critical * math.sqrt(self.variance)
        return max(-1.0, self.value - half), min(1.0, self.value + half)

    @property
    def p(self) -> float:
        """Two-sided, of the value being zero; LEAST_P if it is smaller."""
        from scipy.stats import t

        return max(LEAST_P, min(1.0, 2 * float(t.sf(abs(self.value) / math.sqrt(self.variance), self.df))))


@dataclass(frozen=True)
class Spread:
    """Variance between single runs of a cell, in accuracy."""

    answers: float
    """Of single answers alone: had each question its own chance, the same in every run."""
    total: float
    df: float


def contrast(
    cells: Sequence[NDArray[np.bool_]],
    weights: Sequence[float],
    clusters: NDArray[np.int_] | None = None,
    spread: Spread | None = None,
) -> Estimate:
    """The weighted sum of the accuracies of cells.

    Args:
        cells: (S, n) each, runs x questions; the same n questions in the same order, S may differ.
        weights: of each cell; they sum to 0, or there is one cell.
        clusters: (n,), equal numbers for questions of one template; None: no two are.
        spread: taken for cells of one run, and its degrees of freedom for the whole, as this noise may be most of it;
            None: that of the cells with several, if there are any.
    """
    n = cells[0].shape[1]
    labels = _labels(n, clusters)
    n_clusters = int(labels.max()) + 1
    scores = sum(weight * cell.mean(axis=0) for weight, cell in zip(weights, cells, strict=True))
    own = [_spread(cell, labels, n_clusters) for cell in cells]
    known = spread or _common(own)
    spreads = [found or known for found in own]
    parts = [
        (weight**2 / len(cell), found) for weight, cell, found in zip(weights, cells, spreads, strict=True) if found
    ]
    questions = between_clusters(np.asarray(scores), labels, weights)
    if parts:
        # Answers' noise is between questions, too; it is counted once, with the runs. Without runs to tell it by, it
        # stays with the questions.
        questions = max(0.0, questions - sum(factor * found.answers for factor, found in parts))
    runs = [(factor * found.total, found.df) for factor, found in parts]
    by_run = sum(part for part, _ in runs)
    noise = questions**2 / max(1, n_clusters - 1) + sum(part**2 / df for part, df in runs)
    df = (questions + by_run) ** 2 / noise
    return Estimate(float(np.mean(scores)), questions, by_run, min(df, spread.df) if spread else df)


def between_clusters(scores: NDArray[np.float64], labels: NDArray[np.int_], weights: Sequence[float]) -> float:
    """Variance of the mean score, whole clusters drawn, with a few made-up clusters of the mean size.

    Of one cell they are half a right one and half a wrong one; of a contrast one of the best score that there can be
    and one of the worst.
    """
    n_clusters = int(labels.max()) + 1
    size = len(scores) / n_clusters
    most = sum(weight for weight in weights if weight > 0)
    added, share = (np.array([0.0, most]), 0.5) if len(weights) == 1 else (np.array([-most, most]), 1.0)
    n, count = len(scores) + 2 * share * size, n_clusters + 2 * share
    centre = (scores.sum() + share * size * added.sum()) / n
    totals = np.bincount(labels, weights=scores - centre)
    extra = size * (added - centre)
    return float((totals @ totals + share * extra @ extra) / n**2 * count / (count - 1))


def _spread(cell: NDArray[np.bool_], labels: NDArray[np.int_], n_clusters: int) -> Spread | None:
    """Between the runs of one cell; None of a single run."""
    runs, n = cell.shape
    if runs == 1:
        return None
    by_run = cell.mean(axis=1)
    rest = cell - cell.mean(axis=0) - by_run[:, None] + cell.mean()
    totals = np.array([np.bincount(labels, weights=row, minlength=n_clusters) for row in rest])
    answers = float((totals**2).sum()) / n**2 / (runs - 1) * n_clusters / max(1, n_clusters - 1)
    total = max(float(by_run.var(ddof=1)), answers, HALF_A_QUESTION / n_clusters**2)
    return Spread(answers, total, runs - 1)


def _labels(n: int, clusters: NDArray[np.int_] | None) -> NDArray[np.int_]:
    """The cluster of each question, counted from 0."""
    return np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]


def _common(spreads: Sequence[Spread | None]) -> Spread | None:
    """What cells with several runs have in common; None if there are none."""
    known = [found for found in spreads if found]
    if not known:
        return None
    df = sum(found.df for found in known)
    answers = sum(found.answers * found.df for found in known) / df
    return Spread(answers, sum(found.total * found.df for found in known) / df, df)
