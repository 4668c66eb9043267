"""A sample of questions is whole, bounded, and the same in whatever order they come."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ftcot.sampled import Question, Sampled

questions = st.integers(0, 5000) | st.tuples(st.sampled_from(["a", "é"]), st.integers(1, 2), st.integers(0, 5000))
said = st.lists(st.tuples(questions, st.integers(1, 4)), max_size=40, unique_by=lambda pair: pair[0])


def taken(rows: list[Question], most: int) -> Sampled[int]:
    sampled: Sampled[int] = Sampled(most)
    for place, question in enumerate(rows):
        if sampled.takes(question):
            sampled.add(question, place)
    return sampled


def spread(pairs: list[tuple[Question, int]]) -> list[Question]:
    return [question for question, times in pairs for _ in range(times)]


@given(said, st.integers(0, 30))
def test_no_more_is_kept_than_allowed_and_everything_is_counted(pairs: list[tuple[Question, int]], most: int) -> None:
    rows = spread(pairs)
    sampled = taken(rows, most)
    assert sampled.n == len(rows)
    assert sampled.questions == len(pairs)
    assert sampled.n_kept == sum(map(len, sampled)) <= most
    assert sampled.whole is (sampled.n_kept == len(rows))
    if len(rows) <= most:
        assert sampled.whole


@given(said, st.integers(4, 30), st.randoms(use_true_random=False))
def test_the_same_questions_are_kept_whole_in_whatever_order(
    pairs: list[tuple[Question, int]], most: int, chance: random.Random
) -> None:
    rows = spread(pairs)
    mixed = chance.sample(rows, len(rows))

    def kept(order: list[Question]) -> dict[Question, int]:
        return {order[places[0]]: len(places) for places in taken(order, most)}

    assert kept(rows) == kept(mixed)
    assert all(dict(pairs)[question] == times for question, times in kept(rows).items())


def test_one_question_that_is_too_much_is_kept_in_part() -> None:
    assert [len(each) for each in taken([7] * 50, 10)] == [10]


def test_the_sample_is_spread_over_the_questions() -> None:
    kept = [places[0] for places in taken(list(range(100_000)), 1000)]
    assert len(kept) == 1000
    tenths = [sum(place // 10_000 == tenth for place in kept) for tenth in range(10)]
    assert min(tenths) > 50
    assert max(tenths) < 150
