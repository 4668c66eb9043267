"""Intervals cover, and tests err, about as often as they say: small simulations (the large ones: bench/coverage.py)."""

from __future__ import annotations

import numpy as np
import pytest

from bench.coverage import Kind, curve, questions
from ftcot.published import Published
from ftcot.statistics.intervals import pooled
from ftcot.statistics.paired import paired
from ftcot.statistics.trends import increasing
from ftcot.statistics.verdict import verdict

DRAWS = 200
"""Of each case. A share of 95 % then comes out between 91 and 99 % nearly always; the seeds are fixed."""


@pytest.mark.parametrize(
    ("accuracy", "n", "of_template", "runs", "noise"),
    [
        (0.5, 111, 1, 1, 0.0),
        (0.5, 300, 1, 2, 0.02),
        (0.5, 180, 1, 3, 0.02),
        (0.9, 180, 2, 3, 0.02),
        (0.5, 180, 9, 1, 0.0),
        (0.1, 300, 1, 5, 0.03),
    ],
)
def test_the_interval_of_a_cell_covers_the_accuracy_of_its_kind(
    accuracy: float, n: int, of_template: int, runs: int, noise: float
) -> None:
    rng, kind, covered = np.random.default_rng(n + runs), Kind(accuracy, noise), 0
    for _ in range(DRAWS):
        easy, templates = questions(rng, n, of_template)
        found = pooled(kind.draw(rng, runs, easy), templates)
        covered += found.low <= accuracy <= found.high
    assert covered >= 0.91 * DRAWS


def test_an_interval_that_took_runs_for_questions_would_not_cover() -> None:
    rng, kind, covered = np.random.default_rng(0), Kind(0.5, 0.04), 0
    for _ in range(DRAWS):
        easy, _ = questions(rng, 300)
        found = pooled(kind.draw(rng, 3, easy).reshape(1, -1))
        covered += found.low <= 0.5 <= found.high
    assert covered < 0.8 * DRAWS


@pytest.mark.parametrize(("noise", "runs"), [(0.0, 3), (0.03, 3), (0.03, 1), (0.06, 5)])
def test_flat_curves_are_seldom_called_rising_or_falling(noise: float, runs: int) -> None:
    rng, kinds = np.random.default_rng(runs), [Kind(0.5, noise)] * 4
    called = sum(increasing(curve(rng, kinds, 200, runs)).p < 0.05 for _ in range(DRAWS))
    assert called <= 0.08 * DRAWS


def test_rises_of_the_miniature_figures_size_are_found() -> None:
    rng = np.random.default_rng(0)
    kinds = [Kind(accuracy, 0.03) for accuracy in (0.3, 0.45, 0.6, 0.7)]
    found = [increasing(curve(rng, kinds, 200, 3)) for _ in range(100)]
    assert sum(trend.p < 0.01 for trend in found) >= 95


@pytest.mark.parametrize(("runs", "noise"), [(1, 0.0), (3, 0.02)])
def test_the_interval_of_a_difference_covers_it(runs: int, noise: float) -> None:
    rng, kinds, covered = np.random.default_rng(runs), (Kind(0.9, noise), Kind(0.95, noise)), 0
    for _ in range(DRAWS):
        easy, _ = questions(rng, 180)
        found = paired(*(kind.draw(rng, runs, easy) for kind in kinds))
        covered += found.low <= 0.05 <= found.high
    assert covered >= 0.91 * DRAWS


@pytest.mark.parametrize("runs", [1, 3])
def test_runs_of_the_published_ones_kind_are_seldom_called_above_or_below(runs: int) -> None:
    rng, kind, words = np.random.default_rng(runs), Kind(0.15, 0.015), []
    for _ in range(DRAWS):
        easy, _ = questions(rng, 300)
        value = Published(float(kind.draw(rng, 1, easy).mean()), "one evaluation", "", n=300)
        words.append(verdict(pooled(kind.draw(rng, runs, easy)), value).word)
    assert words.count("above") + words.count("below") <= 0.08 * DRAWS
    assert words.count("match") >= 0.3 * DRAWS
