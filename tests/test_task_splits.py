"""Rules that divide a task: laws that hold for every size, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.records import Sample
from ftcot.task import Splits
from ftcot.task.audit import audit
from ftcot.task.splits import Division, by_rule, by_template, check_sizes, clean_groups, clean_train, splits

SAMPLES = {index: Sample("sums", 1, index, f"What is {index} + 1?", str(index + 1), "train") for index in range(200)}


def indices(parts: Splits) -> tuple[list[int], list[int], list[int]]:
    return tuple([sample.sample_index for sample in part] for part in (parts.train, parts.validation, parts.test))  # type: ignore[return-value]


def sized(n: int, train_size: int | None, validation_size: int) -> Splits:
    return splits(SAMPLES, by_rule(n, round(0.7 * n)), train_size, validation_size)


@settings(deadline=None)
@given(st.integers(10, 200), st.data())
def test_train_validation_and_test_never_share_a_question(n: int, data: st.DataObject) -> None:
    n_train = round(0.7 * n)
    train_size = data.draw(st.none() | st.integers(1, n_train))
    validation_size = data.draw(st.integers(0, n_train - (train_size or 1)))
    train, validation, test = indices(sized(n, train_size, validation_size))
    assert len({*train, *validation, *test}) == len(train) + len(validation) + len(test)
    assert len(validation) == validation_size
    assert len(train) == (n_train - validation_size if train_size is None else train_size)
    assert len(test) == n - n_train


@settings(deadline=None)
@given(st.integers(1, 140), st.integers(1, 140))
def test_a_smaller_subset_lies_within_a_larger_one(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert set(indices(sized(200, small, 0))[0]) <= set(indices(sized(200, large, 0))[0])


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_a_smaller_validation_set_lies_within_a_larger_one(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert set(indices(sized(200, 80, small))[1]) <= set(indices(sized(200, 80, large))[1])


@settings(deadline=None)
@given(st.integers(0, 100))
def test_validation_does_not_move_a_subset(validation_size: int) -> None:
    assert indices(sized(200, 32, validation_size))[0] == indices(sized(200, 32, 0))[0]


def test_every_part_ascends_and_says_its_split() -> None:
    parts = sized(200, 32, 16)
    for part, name in ((parts.train, "train"), (parts.validation, "validation"), (parts.test, "test")):
        assert [sample.split for sample in part] == [name] * len(part)
        assert [sample.sample_index for sample in part] == sorted(sample.sample_index for sample in part)


def test_without_sizes_the_division_is_kept() -> None:
    division = Division([3, 5, 8], [1, 2], [4])
    assert indices(splits(SAMPLES, division, None, 0)) == ([3, 5, 8], [4], [1, 2])


@pytest.mark.parametrize(
    ("train_size", "validation_size", "message"),
    [
        pytest.param(141, 0, r"task\.train_size=141: sums has 140 training questions; give at most 140", id="train"),
        pytest.param(100, 41, r"task\.validation_size=41: sums has 140 .* 100 of them are to be trained", id="both"),
        pytest.param(None, 140, r"task\.validation_size=140: sums has 140 .* at least 1", id="validation"),
    ],
)
def test_a_size_above_the_split_is_refused(train_size: int | None, validation_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sized(200, train_size, validation_size)


def test_validation_size_beside_a_given_validation_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"task\.validation_size=2: sums has its own 1 validation"):
        splits(SAMPLES, Division([3, 5, 8], [1, 2], [4]), None, 2)


@pytest.mark.parametrize("train_size", [0, -8, 1.5, "8", True])
def test_a_train_size_that_is_no_count_is_refused(train_size: object) -> None:
    with pytest.raises(InputError, match=r"task\.train_size"):
        check_sizes(train_size, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("validation_size", [-1, 0.1, None])
def test_a_validation_size_that_is_no_count_is_refused(validation_size: object) -> None:
    with pytest.raises(InputError, match=r"task\.validation_size"):
        check_sizes(None, validation_size)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60))
def test_no_template_is_on_both_sides(templates: list[str]) -> None:
    division = by_template(dict(enumerate(templates)))
    assert not {templates[index] for index in division.train} & {templates[index] for index in division.test}
    assert sorted([*division.train, *division.test]) == list(range(len(templates)))


CONTEXTS = st.sampled_from(["Ann has 2 cats.", "Ann has 3 cats.", "Bob sold 4 pens.", "Cy is tall."])
QUESTIONS = st.lists(
    st.builds(lambda context, n: f"{context} How many after {n} days?", CONTEXTS, st.integers(0, 9)), max_size=40
)


@settings(deadline=None)
@given(QUESTIONS)
def test_a_clean_split_has_no_overlap(texts: list[str]) -> None:
    questions = dict(enumerate(texts))
    division = clean_groups(questions, round(0.7 * len(texts)))
    train, test = ({index: questions[index] for index in half} for half in (division.train, division.test))
    assert not any(audit(train, test).values())
    assert sorted([*train, *test]) == list(questions)


@settings(deadline=None)
@given(QUESTIONS, st.data())
def test_cleaning_an_official_split_drops_training_questions_only(texts: list[str], data: st.DataObject) -> None:
    questions = dict(enumerate(texts))
    cuts = sorted(data.draw(st.tuples(st.integers(0, len(texts)), st.integers(0, len(texts)))))
    before = Division(range(cuts[0]), range(cuts[1], len(texts)), range(cuts[0], cuts[1]))
    after = clean_train(questions, before)
    halves = [{index: questions[index] for index in half} for half in (after.train, after.validation, after.test)]
    assert list(after.test) == list(before.test)
    assert set(after.train) <= set(before.train)
    assert not any(audit(halves[0] | halves[1], halves[2]).values())
    assert not any(audit(halves[0], halves[1]).values())
