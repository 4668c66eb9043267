"""Filters that compare a question's completions with each other: duplicate and vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.answers import AnswerKind, Number, YesNo
from ftcot.filters import Context, Filter
from ftcot.filters.duplicate import FirstOfItsKind
from ftcot.filters.vote import Majority
from ftcot.records import Completion, Sample


@dataclass(frozen=True)
class Asked:
    """As much of a task as a filter looks at."""

    answer: AnswerKind
    name: str = "t"


def context(answer: AnswerKind) -> Context:
    nobody: Any = None
    task: Any = Asked(answer)
    return Context(task, nobody, nobody)


def said(index: int, draw: int | None, prediction: str | None, rationale: str = "r") -> Completion:
    return Completion("t", 1, index, draw, None, rationale, prediction=prediction)


def reasons(filter: Filter, completions: list[Completion], answer: AnswerKind) -> list[str | None]:
    samples = {c.sample_key: Sample("t", 1, c.sample_index, "q", "a", "train") for c in completions}
    return list(filter.verdicts(completions, samples, context(answer)).reasons)


@pytest.mark.parametrize(
    ("predictions", "answer", "kept"),
    [
        (["39", "39", "74", "39"], Number(), "xx x"),
        (["74", "39", "39", None], Number(), " xx "),
        (["74", "39", "39", "74"], Number(), "x  x"),
        (["5", "7", "5.0"], Number(), "x x"),
        (["yes", "no", "no"], YesNo(), " xx"),
        ([None, None], Number(), "  "),
        (["9" * 400, "9" * 400, "8" * 400], Number(), "xx "),
        (["1"], Number(), "x"),
    ],
    ids=["most", "not the first", "a tie", "by value", "yes or no", "nothing said", "beyond a float", "alone"],
)
def test_the_most_frequent_answer_wins(predictions: list[str | None], answer: AnswerKind, kept: str) -> None:
    completions = [said(0, draw, prediction) for draw, prediction in enumerate(predictions)]
    found = reasons(Majority(), completions, answer)
    assert [reason is None for reason in found] == [mark == "x" for mark in kept]
    for reason, prediction in zip(found, predictions, strict=True):
        assert reason in ((None, "outvoted") if prediction is not None else ("no answer",))


def test_a_tie_goes_to_the_answer_of_the_lowest_draw() -> None:
    assert reasons(Majority(), [said(0, 1, "7"), said(0, 0, "5")], Number()) == ["outvoted", None]


def test_each_question_votes_for_itself() -> None:
    completions = [said(0, 0, "1"), said(1, 0, "2"), said(1, 1, "2"), said(0, 1, "1"), said(0, 2, "2")]
    assert reasons(Majority(), completions, Number()) == [None, None, None, None, "outvoted"]


votes = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["1", "2", "3", None])), max_size=20)


@given(votes)
def test_a_vote_leaves_one_answer_a_question_and_every_question_that_has_one(
    rows: list[tuple[int, str | None]],
) -> None:
    completions = [said(index, draw, prediction) for draw, (index, prediction) in enumerate(rows)]
    found = reasons(Majority(), completions, Number())
    kept = {(c.sample_index, c.prediction) for c, reason in zip(completions, found, strict=True) if reason is None}
    assert len(kept) == len({index for index, _ in kept})
    assert {index for index, _ in kept} == {index for index, prediction in rows if prediction is not None}


def test_the_first_draw_of_equal_rationales_stays() -> None:
    completions = [
        said(0, 3, "1", "She has 32 + 42 = 74."),
        said(0, 1, "1", " \n\nshe has 32+42 = 74"),
        said(0, 2, "1", "She has 32 - 42 = 74."),
        said(1, 0, "1", "She has 32 + 42 = 74."),
    ]
    assert reasons(FirstOfItsKind(), completions, Number()) == ["duplicate", None, None, None]


def test_where_draws_are_not_known_the_first_row_stays() -> None:
    completions = [said(0, None, "1", "Same."), said(0, None, "1", "same")]
    assert reasons(FirstOfItsKind(), completions, Number()) == [None, "duplicate"]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["a", "A!", "b"])), max_size=20))
def test_no_two_that_are_kept_are_the_same(rows: list[tuple[int, str]]) -> None:
    completions = [said(index, draw, "1", text) for draw, (index, text) in enumerate(rows)]
    found = reasons(FirstOfItsKind(), completions, Number())
    kept = [(index, text[0].lower()) for (index, text), reason in zip(rows, found, strict=True) if reason is None]
    assert sorted(kept) == sorted({(index, text[0].lower()) for index, text in rows})
