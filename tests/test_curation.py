"""Curation keeps what it promises, and counts the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.answers import Number
from ftcot.curation import Curation, curate, judge, vanilla
from ftcot.errors import InputError, JobError
from ftcot.prompts import Method
from ftcot.records import Completion, Sample
from ftcot.teacher import Diversity

TEMPLATE = Method("fine_tune_cot", "token").template_for("decoder")
SAMPLES = [Sample("t", 1, index, f"Question {index}?", str(index), "train") for index in range(5)]


def completion(index: int, draw: int | None, said: str, **more: object) -> Completion:
    return Completion("t", 1, index, draw, None, f"Steps of {index}, {draw}.", answer_text=said, **more)  # type: ignore[arg-type]


completions = st.lists(
    st.builds(completion, st.integers(0, 4), st.integers(0, 9), st.sampled_from(["0", "1", "2", "3", "4", "none"])),
    max_size=40,
    unique_by=lambda c: (c.sample_index, c.draw),
)


@given(completions, st.integers(1, 10))
def test_only_right_ones_and_at_most_d_a_sample_are_kept(said: list[Completion], degree: int) -> None:
    judged = judge(said, SAMPLES, Number(), "first")
    right = [c for c in judged if c.correct and c.draw is not None and c.draw < degree]
    if not right:
        with pytest.raises(JobError):
            curate(SAMPLES, judged, TEMPLATE, Diversity(degree, 0.7), Curation())
        return
    curated = curate(SAMPLES, judged, TEMPLATE, Diversity(degree, 0.7), Curation())
    assert {(e.sample_index, e.draw) for e in curated.examples} == {(c.sample_index, c.draw) for c in right}
    for example in curated.examples:
        assert example.completion.endswith(f"--> {example.sample_index}")
    counts = curated.counts
    assert counts["kept"] + sum(counts["dropped"].values()) == counts["completions"]
    assert counts["questions_without"] == 5 - len({e.sample_index for e in curated.examples})


@given(completions, st.integers(1, 5), st.integers(0, 5))
def test_a_lower_degree_is_a_subset_of_a_higher(said: list[Completion], low: int, more: int) -> None:
    said = [*said, completion(0, 0, "0")] if not any((c.sample_index, c.draw) == (0, 0) for c in said) else said
    kept = [
        set(curate(SAMPLES, said, TEMPLATE, Diversity(degree, 0.7), Curation(filter="none")).examples)
        for degree in (low, low + more)
        if any(c.draw is not None and c.draw < low for c in said)
    ]
    assert not kept or kept[0] <= kept[1]


def test_pairs_come_by_sample_and_keep_the_order_of_draws() -> None:
    said = [completion(2, 0, "2"), completion(0, 0, "0"), completion(2, 1, "2")]
    curated = curate(SAMPLES, judge(said, SAMPLES, Number(), "first"), TEMPLATE, Diversity(2, 0.7), Curation())
    assert [(e.sample_index, e.draw) for e in curated.examples] == [(0, 0), (2, 0), (2, 1)]


def test_unknown_draws_are_chosen_by_the_smallest_degree_that_holds_them() -> None:
    said = [replace(completion(1, None, "1"), min_diversity=d, rationale=str(d)) for d in (1, 2, 8)]
    judged = judge(said, SAMPLES, Number(), "first")
    kept = [curate(SAMPLES, judged, TEMPLATE, Diversity(d, 0.7), Curation()).counts["kept"] for d in (1, 2, 4, 8)]
    assert kept == [1, 2, 2, 3]


def test_a_recorded_verdict_stands_where_the_answer_text_was_not_kept() -> None:
    recorded = Completion("t", 1, 3, None, None, "r", prediction="3", correct=True, min_diversity=1, correct_only=True)
    assert judge([recorded], SAMPLES, Number(), "first") == [recorded]


@pytest.mark.parametrize(
    ("which", "verdict"), [("first", ("12", False)), ("last", ("4", True))], ids=["camera-ready", "recorded files"]
)
def test_the_candidate_rule_decides(which: str, verdict: tuple[str, bool]) -> None:
    (judged,) = judge([completion(4, 0, " 12 / 3 = 4")], SAMPLES, Number(), which)  # type: ignore[arg-type]
    assert (judged.prediction, judged.correct) == verdict


@pytest.mark.parametrize(
    ("curation", "kept", "dropped"),
    [
        (Curation(), {0}, {"wrong answer": 2, "no answer": 1}),
        (Curation(filter="none"), {0, 1, 2, 3}, {}),
        (Curation(filter="format"), {0, 1}, {"unfinished": 1, "no answer": 1}),
        (Curation(filter="length", min_words=2, max_words=3), {0, 1}, {"too long": 1, "too short": 1}),
        (Curation(filter=["answer", "length"], max_words=1), set(), {}),
    ],
    ids=lambda value: str(value) if isinstance(value, Curation) else "",
)
def test_each_filter_drops_what_it_names(curation: Curation, kept: set[int], dropped: dict[str, int]) -> None:
    said = [
        replace(completion(0, 0, "0", finish_reason="stop"), rationale="two words"),
        replace(completion(1, 0, "2", finish_reason="stop"), rationale="two words"),
        replace(completion(2, 0, "3", finish_reason="length"), rationale="word " * 9),
        replace(completion(3, 0, "?", finish_reason="stop"), rationale="one"),
    ]
    judged = judge(said, SAMPLES, Number(), "first")
    if not kept:
        with pytest.raises(JobError, match=r"no training pair is left of 4 .*2 wrong answer"):
            curate(SAMPLES, judged, TEMPLATE, Diversity(1, 0), curation)
        return
    curated = curate(SAMPLES, judged, TEMPLATE, Diversity(1, 0), curation)
    assert {e.sample_index for e in curated.examples} == kept
    assert curated.counts["dropped"] == dropped


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"filter": "anwser"}, "curation.filter='anwser': expected one of"),
        ({"candidate": "middle"}, "curation.candidate='middle'"),
        ({"max_words": 10}, "curation.filter=length goes with"),
        ({"filter": "length"}, "curation.filter=length goes with"),
        ({"filter": "length", "min_words": 9, "max_words": 3}, "is above"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Curation(**arguments)  # type: ignore[arg-type]


def test_vanilla_pairs_are_question_and_answer() -> None:
    curated = vanilla(SAMPLES, Method("fine_tune", "token").template_for("decoder"))
    assert [(e.prompt, e.completion) for e in curated.examples][1] == ("Question 1? ###", " 1")
    assert curated.counts == {"kept": 5, "questions": 5, "questions_without": 0}


@pytest.mark.parametrize(("degree", "temperature"), [(0, 0.7), (2, 0), (1, -1)])
def test_an_impossible_diversity_is_refused(degree: int, temperature: float) -> None:
    with pytest.raises(InputError, match=r"diversity\."):
        Diversity(degree, temperature)
