"""What is said of a cell beside the published value, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.published import Published
from ftcot.statistics.intervals import Pooled, pooled, wilson
from ftcot.statistics.verdict import MARGIN, compare, verdict

CELL = Published(0.1778, "best of 20 epochs on test", "tab:performance_gpt2", n=180)


def ours(accuracy: float, n: int = 180, seeds: int = 1, *, shared: float = 0.0) -> Pooled:
    low, high = wilson(round(accuracy * n), n)
    return Pooled(accuracy, low, high, n, seeds, (accuracy,) * seeds, shared)


def test_a_match_says_how_far_and_how_sure() -> None:
    found = verdict(ours(0.18, seeds=3, shared=0.0003), CELL)
    assert found.word == "match"
    assert found.why.startswith("+0.2 points [-")
    assert found.why.endswith(" to 17.78 %, within ±10; 180 questions, 3 seeds; both best of 20 epochs on test")


@pytest.mark.parametrize(("accuracy", "word"), [(0.45, "above"), (0.01, "below")])
def test_what_is_far_off_is_above_or_below(accuracy: float, word: str) -> None:
    found = verdict(ours(accuracy), CELL)
    assert found.word == word
    assert "one seed" in found.why


def test_too_few_questions_cannot_tell() -> None:
    cell = Published(0.5, "one evaluation", "", n=111)
    found = verdict(ours(0.5, 111), cell)
    assert found.word == "can't tell"
    assert "wider than ±10: too few questions or seeds" in found.why


def test_other_protocols_are_not_compared() -> None:
    found = verdict(ours(0.1778), CELL, "published: best of 20 epochs on test; this run: last epoch of 3")
    assert (found.word, found.why) == (
        "can't tell",
        "published: best of 20 epochs on test; this run: last epoch of 3",
    )


@pytest.mark.parametrize(("n", "words"), [(109, "109 questions"), (None, "other questions")])
def test_other_questions_are_not_compared(n: int | None, words: str) -> None:
    found = verdict(ours(0.1778), replace(CELL, n=n))
    assert (found.word, found.why) == ("can't tell", f"published: of {words}; this cell: of 180")


def test_a_value_read_off_a_plot_says_so_and_its_error_counts() -> None:
    read = replace(CELL, grade="approximate", error=0.03)
    assert "(approximate)" in verdict(ours(0.2), read).why
    exact, rough = compare(ours(0.2), CELL), compare(ours(0.2), read)
    assert rough[1] < exact[1]
    assert rough[2] > exact[2]


def test_both_sides_errors_count() -> None:
    _, low, high = compare(ours(0.5), replace(CELL, accuracy=0.5))
    alone = wilson(90, 180)
    assert high - low > 2**0.5 * (alone[1] - alone[0])


def test_seeds_that_differ_widen_and_questions_that_are_shared_narrow() -> None:
    calm = compare(ours(0.5, seeds=3), CELL)
    wild = compare(replace(ours(0.5, seeds=3), by_seed=(0.4, 0.5, 0.6)), CELL)
    shared = compare(ours(0.5, seeds=3, shared=0.001), CELL)
    assert wild[2] - wild[1] > 1.5 * (calm[2] - calm[1])
    assert shared[2] - shared[1] < calm[2] - calm[1]


@given(st.integers(0, 180), st.integers(0, 180), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_words_are_what_the_interval_says(k: int, j: int, seeds: int) -> None:
    rng = np.random.default_rng(k)
    cell = pooled(rng.permuted(np.arange(180) < k) & np.ones((seeds, 180), bool))
    published = replace(CELL, accuracy=j / 180)
    difference, low, high = compare(cell, published)
    assert low < difference < high
    expected = "above" if low > 0 else "below" if high < 0 else "match" if max(-low, high) <= MARGIN else "can't tell"
    assert verdict(cell, published).word == expected
