"""Which pairs make a step, and who computes which of them."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.student import Encoded
from ftcot.training import Training
from ftcot.training.batches import cut, n_steps, shares, shuffled, steps
from tests.training_job import settings


def pair(question: int, n_target: int, n_prompt: int = 3) -> Encoded:
    return Encoded((question,) * n_prompt, (9,) * (n_target - 1) + (0,), truncated=False)


drawn_pairs = st.lists(
    st.builds(pair, st.integers(1, 6), st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=60
)
drawn_trainings = st.builds(
    settings,
    batch_size=st.integers(1, 20),
    batch_by=st.sampled_from(["pairs", "tokens"]),
    group_size=st.integers(1, 9),
)


def supervised(step: list[int], pairs: list[Encoded]) -> int:
    return sum(len(pairs[i].target_ids) for i in step)


def cost(part: list[int], pairs: list[Encoded]) -> int:
    """Tokens that go through a model if none are shared."""
    return sum(len(pairs[i].prompt_ids) + len(pairs[i].target_ids) for i in part)


# Order


@pytest.mark.parametrize(
    ("seed", "epoch", "expected"),
    [
        (0, 0, [11, 6, 12, 2, 0, 19, 4, 5, 13, 16, 3, 17, 8, 18, 1, 9, 14, 10, 15, 7]),
        (7, 3, [5, 6, 15, 3, 14, 12, 13, 16, 17, 2, 0, 19, 9, 4, 8, 10, 18, 1, 7, 11]),
    ],
)
def test_groups_of_one_are_the_uniform_order_there_always_was(seed: int, epoch: int, expected: list[int]) -> None:
    """Source: the order before there were groups. Runs of that time can be repeated."""
    pairs = [pair(1 + i % 3, 5) for i in range(20)]
    assert shuffled([one.prompt_ids for one in pairs], 1, seed, epoch) == expected
    training = settings(batch_size=8)
    assert steps(pairs, training, seed, epoch) == [expected[:8], expected[8:16], expected[16:]]


@given(pairs=drawn_pairs, training=drawn_trainings, seed=st.integers(0, 1000), epoch=st.integers(0, 30))
def test_an_epoch_sees_every_pair_once_in_as_many_steps_as_every_other(
    pairs: list[Encoded], training: Training, seed: int, epoch: int
) -> None:
    plan = steps(pairs, training, seed, epoch)
    assert sorted(i for step in plan for i in step) == list(range(len(pairs)))
    assert len(plan) == n_steps(pairs, training) == math.ceil(len(pairs) / training.batch_size)
    assert all(plan)
    assert steps(pairs, training, seed, epoch) == plan
    if training.batch_by == "pairs":
        assert {len(step) for step in plan[:-1]} <= {training.batch_size}


@given(pairs=drawn_pairs, training=drawn_trainings, seed=st.integers(0, 1000))
def test_steps_by_tokens_differ_from_their_mean_by_one_target_at_most(
    pairs: list[Encoded], training: Training, seed: int
) -> None:
    plan = steps(pairs, settings(batch_size=training.batch_size, batch_by="tokens"), seed, 0)
    mean = supervised(list(range(len(pairs))), pairs) / len(plan)
    longest = max(len(one.target_ids) for one in pairs)
    assert all(abs(supervised(step, pairs) - mean) <= longest for step in plan)


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    group_size=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_rationales_of_a_question_follow_each_other_in_few_groups(sizes: list[int], group_size: int, seed: int) -> None:
    questions = [question for question, n in enumerate(sizes) for _ in range(n)]
    order = shuffled(questions, group_size, seed, 0)
    assert sorted(order) == list(range(len(questions)))
    runs = Counter(question for question, _ in groupby(order, key=questions.__getitem__))
    if group_size > 1:
        assert all(runs[question] <= math.ceil(n / group_size) for question, n in enumerate(sizes))


@given(
    n_groups=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    group_size=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_a_group_has_the_size_that_is_asked_for(n_groups: list[int], group_size: int, seed: int) -> None:
    questions = [question for question, n in enumerate(n_groups) for _ in range(n * group_size)]
    order = shuffled(questions, group_size, seed, 0)
    for first in range(0, len(order), group_size):
        assert len({questions[i] for i in order[first : first + group_size]}) == 1


def test_groups_that_do_not_come_out_even_are_of_about_the_same_size() -> None:
    lengths = set()
    for seed in range(30):
        order = shuffled([0] * 9 + [1] * 9, 4, seed, 0)  # in groups of three
        lengths |= {len(list(run)) for _, run in groupby(order, key=lambda i: i // 9)}
    assert lengths == {3, 6, 9}


def test_who_is_in_a_group_with_whom_is_drawn_anew_in_every_epoch() -> None:
    """Of four rationales in groups of two, each is beside each of the others in a third of all epochs."""
    beside: Counter[int] = Counter()
    for epoch in range(600):
        order = shuffled([0] * 4, 2, 0, epoch)
        place = order.index(0)
        beside[order[place ^ 1]] += 1
    assert set(beside) == {1, 2, 3}
    assert all(abs(count - 200) < 4 * math.sqrt(600 * 1 / 3 * 2 / 3) for count in beside.values())


# Shares


@given(
    pairs=drawn_pairs,
    training=drawn_trainings,
    world=st.integers(1, 9),
    budget=st.none() | st.integers(1, 200),
)
def test_ranks_share_a_step_by_tokens_in_as_many_micro_batches(
    pairs: list[Encoded], training: Training, world: int, budget: int | None
) -> None:
    training = settings(batch_size=training.batch_size, group_size=training.group_size, device_batch_tokens=budget)
    for step in steps(pairs, training, 0, 0):
        parts = shares(step, pairs, training, world)
        assert len(parts) == world
        assert sorted(i for part in parts for micro in part for i in micro) == sorted(step)
        assert len({len(part) for part in parts}) == 1
        costs = [sum(cost(micro, pairs) for micro in part) for part in parts]
        largest = max(cost([i], pairs) for i in step)
        assert all(abs(one - cost(step, pairs) / world) <= largest for one in costs)
        assert any(all(part) for part in parts)  # there is no micro batch in which no rank has anything to do
        if budget is None:
            assert len(parts[0]) == 1
        else:
            assert all(cost(micro, pairs) <= budget or len(micro) == 1 for part in parts for micro in part)


@given(n=st.integers(1, 40), world=st.integers(1, 9), size=st.integers(1, 10))
def test_micro_batches_have_as_many_pairs_as_are_asked_for(n: int, world: int, size: int) -> None:
    pairs = [pair(1 + i // 4, 5) for i in range(n)]
    parts = shares(range(n), pairs, settings(batch_size=size * 40, device_batch_size=size), world)
    assert sorted(i for part in parts for micro in part for i in micro) == list(range(n))
    counts = [sum(map(len, part)) for part in parts]
    assert max(counts) - min(counts) <= 1
    assert {len(part) for part in parts} == {math.ceil(max(counts) / size)}
    assert all(len(micro) <= size for part in parts for micro in part)


def test_rationales_of_a_question_stay_together_on_a_rank_and_in_a_micro_batch() -> None:
    pairs = [pair(1 + i // 4, 5) for i in range(16)]
    training = settings(batch_size=16, batch_by="tokens", group_size=4, device_batch_tokens=33)
    (step,) = steps(pairs, training, 0, 0)
    for part in shares(step, pairs, training, 2):
        assert [len({pairs[i].prompt_ids for i in micro}) for micro in part] == [1, 1]


@given(seed=st.integers(0, 10**6), budget=st.integers(30, 120), world=st.integers(1, 3))
def test_micro_batches_of_several_pairs_are_within_the_budget(seed: int, budget: int, world: int) -> None:
    """The fewest of which that is true, so near to it that an even cut is above it time and again."""
    generator = random.Random(seed)
    pairs = [pair(i, generator.randint(1, 30), generator.randint(1, 20)) for i in range(20)]
    parts = shares(range(20), pairs, settings(batch_size=20, device_batch_tokens=budget), world)
    assert all(cost(micro, pairs) <= budget or len(micro) == 1 for part in parts for micro in part)


# Cuts


def test_a_cut_is_that_of_the_docstring() -> None:
    assert cut("abcd", [1, 1, 1, 3], 2) == [["a", "b", "c"], ["d"]]
    assert cut("abcd", [5, 1, 1, 1], 3) == [["a"], ["b"], ["c", "d"]]
    assert cut("abc", [4, 3, 2], 2) == [["a"], ["b", "c"]]  # what lies on the border goes to the side with more of it
    assert cut("ab", [1, 1], 3) == [[], ["a"], ["b"]]
    assert cut("", [], 2) == [[], []]


@given(costs=st.lists(st.integers(1, 50), max_size=40), n=st.integers(1, 12))
def test_a_cut_keeps_the_order_and_is_fair(costs: list[int], n: int) -> None:
    parts = cut(range(len(costs)), costs, n)
    assert len(parts) == n
    assert [item for part in parts for item in part] == list(range(len(costs)))
    assert all(parts) or len(costs) < n
    for part in parts:
        assert abs(sum(costs[i] for i in part) - sum(costs) / n) <= max(costs, default=0)
