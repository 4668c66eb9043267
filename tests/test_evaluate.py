"""Scores: counted right, with honest intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.answers import Number
from ftcot.errors import InputError
from ftcot.evaluate import Evaluation, best, predict, score, select
from ftcot.prompts import Method
from ftcot.records import Prediction, Sample
from ftcot.statistics.intervals import wilson
from ftcot.student import Generation

SAMPLES = [Sample("t", 1, index, f"Question {index}?", str(index), "test") for index in range(3)]


@dataclass
class Parrot:
    """A student that says what it is told to, and remembers what it was asked."""

    says: list[str]
    asked: list[str] = field(default_factory=list)

    def generate(self, prompts: Sequence[str], **_: Any) -> list[Generation]:
        self.asked += prompts
        return [Generation(text, "..." in text, 5) for text, _ in zip(self.says, prompts, strict=True)]


@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [  # textbook values of Wilson's interval
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (96, 180, 0.4605, 0.6048),
    ],
)
def test_wilson_interval(n_correct: int, n: int, low: float, high: float) -> None:
    assert wilson(n_correct, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_accuracy_and_stays_a_fraction(n: int, data: st.DataObject) -> None:
    n_correct = data.draw(st.integers(0, n))
    low, high = wilson(n_correct, n)
    assert 0 <= low <= n_correct / n + 1e-12
    assert n_correct / n - 1e-12 <= high <= 1


def test_predictions_carry_every_scorers_verdict() -> None:
    student = Parrot([" 5 - 5 = 0 --> 0", " so 1", " 7 --> 7 and ..."])
    template = Method("fine_tune_cot", "token").template_for("decoder")
    said = predict(student, template, Number(), SAMPLES, Evaluation(), epoch=2)  # type: ignore[arg-type]
    assert student.asked == ["Question 0? ###", "Question 1? ###", "Question 2? ###"]
    assert [p.correct for p in said] == [True, True, False]
    assert [p.study for p in said] == ["right", "right", "wrong answer, no equation"]
    assert [dict(p.verdicts) for p in said] == [
        {"paper": True, "strict": True, "lenient": True},
        {"paper": True, "strict": False, "lenient": True},
        {"paper": False, "strict": False, "lenient": False},
    ]
    (result,) = score(said)
    assert (result.epoch, result.split, result.n) == (2, "test", 3)
    assert (result.accuracy, result.format_rate, result.truncation_rate) == (2 / 3, 2 / 3, 1 / 3)
    assert result.accuracies == {"paper": 2 / 3, "strict": 1 / 3, "lenient": 2 / 3}
    assert result.interval == wilson(2, 3)
    assert {kind: rate for kind, rate in result.study.items() if rate} == {
        "right": 2 / 3,
        "wrong answer, no equation": 1 / 3,
    }


def test_rates_of_kinds_are_those_of_an_epoch_that_was_studied_whole() -> None:
    old = prediction(1, "test", False)
    new = replace(prediction(2, "test", False), study="truncated")
    assert [score.study.get("truncated") for score in score([old, new])] == [None, 1.0]
    assert score([old, replace(old, study="truncated")])[0].study == {}


def test_the_reported_scorer_decides_what_is_correct() -> None:
    template = Method("fine_tune_cot", "token").template_for("decoder")
    said = predict(Parrot([" so 0"] * 3), template, Number(), SAMPLES, Evaluation(scorer="strict"), epoch=1)  # type: ignore[arg-type]
    assert [p.correct for p in said] == [False, False, False]


def test_a_two_stage_method_asks_with_its_own_rationale() -> None:
    student = Parrot([" 1 and 2"] * 3)
    template = Method("zero_shot_cot", "natural").template_for("decoder")
    said = predict(student, template, Number(), SAMPLES, Evaluation(), epoch=0)  # type: ignore[arg-type]
    first = "Q: Question 0?\nA: Let's think step by step."
    assert student.asked[0] == first
    assert student.asked[3] == first + " 1 and 2\nTherefore, the answer is"
    assert [(p.rationale, p.n_tokens, p.prediction) for p in said] == [(" 1 and 2", 10, "1")] * 3


def prediction(epoch: int, split: str, correct: bool) -> Prediction:
    return Prediction(0, split, epoch, "", "1", "1", correct, {"paper": correct}, correct, True, False, 1)  # type: ignore[arg-type]


def test_the_best_epoch_is_the_first_of_equals() -> None:
    scores = score([prediction(epoch, "test", epoch in (2, 3)) for epoch in (1, 2, 3, 4)])
    chosen = best(scores, "test")
    assert chosen is not None
    assert chosen.epoch == 2
    assert best(scores, "validation") is None


def test_selecting_on_validation_reports_the_test_score_of_that_epoch() -> None:
    said = [prediction(1, "test", True), prediction(1, "validation", False)]
    said += [prediction(2, "test", False), prediction(2, "validation", True)]
    scores = score(said)
    chosen = best(scores, "validation")
    assert chosen is not None
    assert select(scores, chosen.epoch).accuracy == 0


def test_splits_of_one_epoch_are_scored_apart() -> None:
    said = [prediction(1, "test", True), replace(prediction(1, "validation", False), sample_index=1)]
    assert [(s.split, s.accuracy) for s in score(said)] == [("test", 1.0), ("validation", 0.0)]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"scorer": "papper"}, "scorer"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": "all"}, "max_new_tokens"),
        ({"batch_tokens": 0}, "batch_tokens"),
    ],
)
def test_an_impossible_evaluation_is_refused(arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError, match=f"evaluation.{key}="):
        Evaluation(**arguments)


@pytest.mark.parametrize(
    ("asked", "longest", "limit"),
    [
        pytest.param(40, 131, 40, id="as it is asked for"),
        pytest.param("auto", 131, 197, id="one and a half times the longest target"),
        pytest.param("auto", 12, 64, id="short targets leave room to go wrong"),
        pytest.param("auto", 400, 512, id="no more than the default"),
        pytest.param("auto", None, 512, id="a student that is taught nothing"),
    ],
)
def test_answers_are_limited_by_what_the_student_is_taught(asked: Any, longest: int | None, limit: int) -> None:
    assert Evaluation(max_new_tokens=asked).limit(longest) == limit
