"""Intervals and tests against scipy and statsmodels, and the laws they keep whatever the data are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ftcot.statistics.components import LEAST_P, contrast
from ftcot.statistics.intervals import pooled, wilson
from ftcot.statistics.paired import bootstrap, flips, holm, mcnemar, paired
from ftcot.statistics.trends import highest, increasing

Right = NDArray[np.bool_]

laws = settings(max_examples=40, deadline=None)


@st.composite
def cells(draw: Callable[..., Any], n_cells: int = 1, runs: tuple[int, int] = (1, 4)) -> list[Right]:
    """(S, n) each on the same questions, of any accuracies, 0 and 1 too."""
    n = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    easy = rng.standard_normal(n) * draw(st.sampled_from([0.0, 1.0, 3.0]))
    found = []
    for _ in range(n_cells):
        middle = draw(st.sampled_from([-50.0, -2.0, 0.0, 1.0, 50.0]))
        noise = rng.standard_normal((draw(st.integers(*runs)), n))
        found.append(noise < easy + middle)
    return found


def rows(*accuracies: float, n: int = 200, seed: int = 0) -> Right:
    """One run an accuracy, on questions of which all find the same ones easier."""
    rng = np.random.default_rng(seed)
    easy = rng.random(n)
    return np.stack([0.5 * easy + 0.5 * rng.random(n) < np.quantile(easy, p) for p in accuracies])


# Against the libraries.


@given(st.integers(0, 500), st.integers(1, 500))
@laws
def test_wilsons_interval_is_that_of_statsmodels(k: int, n: int) -> None:
    k = min(k, n)
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
@laws
def test_mcnemars_p_is_that_of_statsmodels_and_of_all_signs(only_a: int, only_b: int) -> None:
    expected = statsmodels_mcnemar([[5, only_a], [only_b, 9]], exact=True).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert flips(np.array([-1] * only_a + [1] * only_b + [0] * 3)) == pytest.approx(expected, rel=1e-9)


def test_signs_of_templates_are_counted_exactly() -> None:
    totals = np.array([3, 2, -1, 4, 1, -2, 2])
    test = stats.permutation_test((totals,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert flips(totals) == pytest.approx(test.pvalue)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@laws
def test_holms_correction_is_that_of_statsmodels(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_the_bootstrap_is_that_of_scipy_where_the_added_questions_weigh_little() -> None:
    rng = np.random.default_rng(3)
    scores = rng.choice([-1, 0, 1], p=[0.1, 0.6, 0.3], size=1319)
    found = stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=20_000, rng=rng).confidence_interval
    assert bootstrap(scores, np.ones(1319, int)) == pytest.approx(tuple(found), abs=0.002)


def test_the_variance_of_questions_is_that_of_regression_with_clustered_errors() -> None:
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(1)
    clusters = np.sort(rng.integers(0, 150, 600))
    right = (rng.standard_normal(150)[clusters] + rng.standard_normal((1, 600))) > 0
    expected = OLS(right[0].astype(float), np.ones(600)).fit(cov_type="cluster", cov_kwds={"groups": clusters}).bse[0]
    assert contrast([right], [1.0], clusters).variance ** 0.5 == pytest.approx(expected, rel=0.03)


def test_components_are_those_of_a_two_way_analysis_of_variance() -> None:
    # Questions and runs that differ plainly, so that nothing is held up by a lower bound.
    rng = np.random.default_rng(2)
    right = rng.standard_normal((6, 1)) + 2 * rng.standard_normal(800) + rng.standard_normal((6, 800)) > 0
    by_run, by_question, mean = right.mean(axis=1), right.mean(axis=0), right.mean()
    of_runs = 800 * ((by_run - mean) ** 2).sum() / 5
    of_questions = 6 * ((by_question - mean) ** 2).sum() / 799
    rest = ((right - by_run[:, None] - by_question + mean) ** 2).sum() / (5 * 799)
    found = contrast([right], [1.0])
    assert found.questions == pytest.approx((of_questions - rest) / 4800, rel=0.02)
    assert found.runs == pytest.approx(of_runs / 4800)


# Laws of the interval of a cell.


def test_one_run_without_templates_has_wilsons_interval() -> None:
    right = rows(0.6)
    found = pooled(right)
    assert (found.low, found.high) == wilson(int(right.sum()), 200)
    assert pooled(right, np.arange(200)) == found


@given(cells())
@laws
def test_an_interval_holds_its_accuracy_and_has_a_width_even_at_0_and_100_percent(drawn: list[Right]) -> None:
    [right] = drawn
    found = pooled(right)
    assert 0 <= found.low <= found.accuracy <= found.high <= 1
    assert found.high - found.low > 0.5 / right.shape[1]
    assert (found.n, found.seeds, found.by_seed) == (right.shape[1], len(right), tuple(right.mean(axis=1)))


@given(cells())
@laws
def test_right_and_wrong_mirror_each_other(drawn: list[Right]) -> None:
    [right] = drawn
    found, mirrored = pooled(right), pooled(~right)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@given(cells(n_cells=2), st.integers(0, 2**32))
@laws
def test_the_order_of_questions_and_of_seeds_says_nothing(drawn: list[Right], seed: int) -> None:
    rng, (a, b) = np.random.default_rng(seed), drawn
    clusters = rng.integers(0, 5, a.shape[1])
    questions = rng.permutation(a.shape[1])
    names = rng.permutation(50)  # of the templates: only which are equal counts
    shuffled = rng.permutation(a)[:, questions], rng.permutation(b)[:, questions]
    one, other = pooled(a, clusters), pooled(shuffled[0], names[clusters[questions]])
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    before, after = paired(a, b, clusters), paired(*shuffled, names[clusters[questions]])
    assert (before.low, before.high, before.p) == pytest.approx((after.low, after.high, after.p))


@given(cells(n_cells=3, runs=(2, 4)), st.integers(2, 4))
@laws
def test_questions_asked_several_times_as_one_template_make_nothing_surer(drawn: list[Right], times: int) -> None:
    clusters = np.repeat(np.arange(drawn[0].shape[1]), times)
    repeated = [np.repeat(cell, times, axis=1) for cell in drawn]
    one, other = pooled(drawn[0]), pooled(repeated[0], clusters)
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    once, often = increasing(list(enumerate(drawn))), increasing(list(enumerate(repeated)), clusters)
    assert (once.low, once.high, once.p) == pytest.approx((often.low, often.high, often.p))


def test_repeated_questions_of_one_run_make_it_hardly_surer_than_they_are() -> None:
    right = rows(0.6)
    one, other = pooled(right), pooled(np.repeat(right, 3, axis=1), np.repeat(np.arange(200), 3))
    assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=0.002)
    assert pooled(np.repeat(right, 3, axis=1)).low > one.low + 0.02


def test_templates_widen_an_interval_where_their_questions_go_together() -> None:
    easy = np.repeat(rows(0.5, n=40)[0], 5)
    right = np.stack([easy, easy, easy])
    alike, apart = pooled(right, np.arange(200) // 5), pooled(right)
    assert alike.high - alike.low > 1.8 * (apart.high - apart.low)


def test_seeds_that_agree_make_an_interval_no_narrower_than_one_of_them() -> None:
    right = rows(0.7)
    alone, three = pooled(right), pooled(np.repeat(right, 3, axis=0))
    assert three.low <= alone.low
    assert alone.high <= three.high
    assert three.high - three.low < 1.1 * (alone.high - alone.low)


def test_two_seeds_that_differ_say_less_than_five_that_differ_as_much() -> None:
    two, five = pooled(rows(0.5, 0.6)), pooled(rows(0.5, 0.6, 0.5, 0.6, 0.55))
    assert two.high - two.low > 2 * (five.high - five.low)


@pytest.mark.parametrize("right", [np.ones((3, 180), bool), np.zeros((3, 180), bool), rows(0.4), rows(0.4, 0.5)])
def test_one_template_says_next_to_nothing_of_others(right: Right) -> None:
    found = pooled(right, np.zeros(right.shape[1], int))
    assert found.high - found.low > 0.9


# Laws of comparisons.


@given(cells(n_cells=2))
@laws
def test_comparing_the_other_way_round_turns_the_sign(drawn: list[Right]) -> None:
    a, b = drawn
    one, other = paired(a, b), paired(b, a)
    assert one.difference == -other.difference
    if one.difference:
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.p, one.only_a, one.only_b) == pytest.approx((other.p, other.only_b, other.only_a))


@given(cells(n_cells=2))
@laws
def test_p_and_intervals_are_possible_ones(drawn: list[Right]) -> None:
    found = paired(*drawn)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high
    assert 0 < found.p <= 1


@given(cells())
@laws
def test_a_cell_does_not_differ_from_itself(drawn: list[Right]) -> None:
    found = paired(drawn[0], drawn[0])
    assert (found.difference, found.p) == (0, 1)
    assert found.low < 0 < found.high


def test_two_runs_are_compared_on_the_questions_they_differ_on() -> None:
    a, b = np.zeros((1, 180), bool), np.zeros((1, 180), bool)
    a[0, :70], b[0, 12:101] = True, True
    found = paired(a, b)
    assert (found.only_a, found.only_b) == (12, 31)
    assert found.difference == pytest.approx(19 / 180)
    assert (found.low, found.high) == pytest.approx((0.033, 0.176), abs=0.004)
    assert found.p == pytest.approx(0.0054, abs=5e-5)
    assert found.test.startswith("exact McNemar test over 180 questions; one run each")


def test_a_difference_in_one_template_only_is_none() -> None:
    a, b = rows(0.5), rows(0.5)
    b[0, :30] = ~a[0, :30]
    a[0, :30], b[0, :30] = False, True
    assert paired(a, b).p < 1e-8
    assert paired(a, b, np.maximum(np.arange(200) - 29, 0)).p == 1


def test_noise_of_seeds_makes_a_difference_unsure() -> None:
    calm = paired(rows(0.5, 0.5, 0.5), rows(0.6, 0.6, 0.6, seed=1))
    wild = paired(rows(0.3, 0.5, 0.7), rows(0.4, 0.6, 0.8, seed=1))
    assert calm.difference == pytest.approx(wild.difference, abs=0.05)
    assert calm.p < 0.05 < wild.p
    assert "3 runs each" in calm.test


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
@laws
def test_holm_keeps_the_order_and_makes_nothing_smaller(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, corrected, strict=True))
    assert [q for _, q in sorted(zip(ps, corrected, strict=True))] == sorted(corrected)
    assert holm([*ps, 1.0])[: len(ps)] >= corrected


# Trends.


@given(cells(n_cells=4))
@laws
def test_a_curve_read_backwards_falls_as_much_as_it_rises(drawn: list[Right]) -> None:
    forwards = increasing(list(enumerate(drawn)))
    backwards = increasing([(-x, cell) for x, cell in enumerate(drawn)])
    assert backwards.effect == pytest.approx(-forwards.effect)
    assert backwards.p == pytest.approx(forwards.p)
    assert forwards.low <= forwards.effect <= forwards.high


@given(cells(n_cells=4))
@laws
def test_points_are_taken_in_the_order_of_x_and_only_that(drawn: list[Right]) -> None:
    one = increasing([(x, cell) for x, cell in zip((1, 2, 4, 8), drawn, strict=True)])
    assert increasing([(x, drawn[i]) for i, x in ((2, 3.0), (0, 0.5), (3, 1000.0), (1, 0.6))]) == one


@given(st.integers(1, 4), st.integers(2, 5))
@laws
def test_a_curve_on_which_nothing_varies_is_flat(runs: int, n_points: int) -> None:
    found = increasing([(x, np.ones((runs, 100), bool)) for x in range(n_points)])
    assert (found.effect, found.detail) == (0, "")
    assert found.p == pytest.approx(1)
    assert found.low < 0 < found.high


def test_no_p_of_a_t_test_is_smaller_than_it_is_trusted() -> None:
    found = increasing([(x, np.full((3, 200), x > 1)) for x in range(4)])
    assert (found.effect, found.p, found.high) == (1, LEAST_P, 1)
    assert 0.9 < found.low < 1


def test_a_strong_rise_of_three_seeds_is_sure_and_says_where_it_falls() -> None:
    accuracies = (0.3, 0.55, 0.52, 0.85)
    points = [(2.0**x, rows(p, p + 0.02, p - 0.02, seed=x)) for x, p in enumerate(accuracies)]
    found = increasing(points)
    assert found.p < 1e-4
    assert found.low > 0.4
    assert found.detail.startswith("falls from ")
    assert found.test.startswith("slope over 4 points, t test (df ")


def test_a_rise_of_single_runs_is_as_sure_as_they_are_on_a_line() -> None:
    straight = increasing([(x, rows(p)) for x, p in enumerate((0.2, 0.4, 0.6, 0.8))])
    bent = increasing([(x, rows(p)) for x, p in enumerate((0.2, 0.7, 0.3, 0.8))])
    assert straight.p < 0.05 < bent.p
    assert "off a line" in straight.test


def test_two_single_runs_are_a_mcnemar_test() -> None:
    a, b = rows(0.4), rows(0.6, seed=1)
    found, pair = increasing([(1, a), (8, b)]), paired(a, b)
    assert (found.effect, found.low, found.high, found.p) == (pair.difference, pair.low, pair.high, pair.p)


def test_the_highest_must_be_above_each_of_the_others() -> None:
    groups = {"zero_shot": rows(0.05), "fine_tune": rows(0.5, 0.52, 0.5), "fine_tune_cot": rows(0.8, 0.82, 0.79)}
    found = highest(groups, "fine_tune_cot")
    closest = paired(groups["fine_tune"], groups["fine_tune_cot"])
    assert (found.effect, found.low, found.high) == (closest.difference, closest.low, closest.high)
    assert found.p >= closest.p
    assert found.p < 0.01
    assert "over zero_shot" in found.detail


def test_one_that_is_not_the_highest_is_measured_against_the_one_ahead() -> None:
    groups = {"a": rows(0.5, 0.5, 0.5), "b": rows(0.9, 0.9, 0.9), "c": rows(0.1, 0.1, 0.1)}
    found = highest(groups, "a")
    assert found.effect == pytest.approx(-0.4, abs=0.05)
    assert found.p == min(1.0, 2 * paired(groups["b"], groups["a"]).p)


def test_one_that_is_ahead_of_all_but_one_equal_is_not_the_highest() -> None:
    groups = {"a": rows(0.8, 0.8, 0.8), "b": rows(0.8, 0.81, 0.79, seed=4), "c": rows(0.1, 0.1, 0.1)}
    assert highest(groups, "a").p > 0.1


def test_a_curve_whose_ends_rise_while_its_slope_falls_shows_nothing() -> None:
    n = 300
    cells = [np.tile(np.arange(n) < round(share * n), (3, 1)) for share in (0.10, 0.95, 0.50, 0.05, 0.15)]
    found = increasing(list(enumerate(cells)))
    assert found.effect == pytest.approx(0.05)
    assert found.p == 1.0
    assert "slope and ends disagree" in found.test
    assert increasing(list(enumerate([cells[0], cells[2], cells[1]]))).p < 0.001
