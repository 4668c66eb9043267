"""How much the rationales of a question differ: counted, and what may not change it."""

from __future__ import annotations

import random
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.files import read_jsonl
from ftcot.rationales import normalise
from ftcot.records import Example
from ftcot.variety import Diversity, Tally, diversity, path, shown

CANDY = (  # text-davinci-002 at T = 0.7, multiarith question 0
    "Debby and her sister have 32 + 42 = 74 pieces of candy. After eating 35, they have 74 - 35 = 39 left.",
    "They had 42 + 32 = 74 pieces.\n74 - 35 = 39 are left.",
    "The sister has 42 - 35 = 7 left. With the 32 of Debby that makes 7 + 32 = 39.",
    "They have 32 and 42, which is 74. 35 are eaten, so 39 are left.",
)


def test_diversity_of_one_question() -> None:
    found = diversity((0, text) for text in CANDY[:2])
    assert found.to_json(3) == {
        "n": 2,
        "questions": 1,
        "effective_degree": 2.0,
        "paths": 1.0,  # both add what they have and take away what they ate
        "ngrams": 31.0,  # 21 and 12; they share `74 - 35 =` and `- 35 = 39`
        "distinct_share": 0.939,
        "dissimilarity": 0.879,
        "length_spread": 0.231,  # 24 and 15 words
    }
    assert diversity((0, text) for text in CANDY).paths == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("32 + 42 = 74", "So she has 42 + 32 = 74 pieces!", True),
        ("2 * 3 = 6. 6 - 1 = 5", "6-1=5, as 3*2 = 6", True),
        ("6 - 1 = 5", "1 - 6 = 5", False),
        ("2 * 3 = 6", "2 + 3 = 6", False),
        ("7 times 3 is 21.", "Three rides of 7 tickets: 3, 7, 21", True),
        ("7 times 3 is 21.", "7 times 4 is 28.", False),
        ("First, Ann flips. So it is tails.", "Now Ann flips, and then it is tails", True),
        ("Ann flips: tails.", "Ann keeps: heads.", False),
    ],
)
def test_a_path_is_what_is_calculated_or_told(one: str, other: str, same: bool) -> None:
    assert (path(normalise(one), one) == path(normalise(other), other)) == same


SENTENCES = (
    "1 + 1 = 2",
    "she has 3 apples and 4 pears",
    "so 7 of them",
    "2 * 2 = 4 and no more",
    "Ann flips the coin",
    "x",
)
rationales = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4).map(". ".join)
pairs = st.lists(st.tuples(st.integers(0, 3), rationales), min_size=1, max_size=20)
FIGURES = [field.name for field in fields(Diversity)][2:]


@settings(max_examples=40)
@given(pairs, st.randoms(use_true_random=False))
def test_neither_the_order_nor_what_is_said_twice_counts(said: list[tuple[int, str]], chance: random.Random) -> None:
    found = diversity(said)
    again = said + [(question, text.upper() + " ") for question, text in chance.choices(said, k=5)]
    chance.shuffle(again)
    for name in FIGURES:
        assert getattr(diversity(again), name) == pytest.approx(getattr(found, name)), name


@settings(max_examples=40)
@given(pairs, pairs)
def test_more_rationales_of_the_same_questions_never_make_it_poorer(
    said: list[tuple[int, str]], more: list[tuple[int, str]]
) -> None:
    asked = {question for question, _ in said}
    few, many = diversity(said), diversity(said + [row for row in more if row[0] in asked])
    for name in ("effective_degree", "paths", "ngrams"):
        assert getattr(many, name) >= getattr(few, name), name


@given(st.dictionaries(st.integers(0, 9), rationales, min_size=1))
def test_one_rationale_a_question_is_the_floor(said: dict[int, str]) -> None:
    found = diversity(said.items())
    assert (found.n, found.questions) == (len(said), len(said))
    assert (found.effective_degree, found.paths, found.distinct_share) == (1, 1, 1)
    assert (found.dissimilarity, found.length_spread) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=60)), max_size=12))
def test_figures_of_any_texts_are_within_their_bounds(said: list[tuple[int, str]]) -> None:
    found = diversity(said)
    floor = 1 if said else 0
    assert floor <= found.paths <= found.effective_degree <= max(len(said), floor)
    assert 0 <= found.distinct_share <= 1
    assert -1e-9 <= found.dissimilarity <= 1
    assert found.length_spread >= 0


def test_dissimilarity_is_the_share_of_phrases_that_another_one_lacks() -> None:
    half = ["a b c d e f g", "a b c d e x y"]  # 4 phrases each, 2 of them in both
    assert diversity((0, text) for text in half).dissimilarity == pytest.approx(0.5)
    apart = ["a b c d", "e f g h", "i j k l"]
    assert diversity((0, text) for text in apart).dissimilarity == 1
    assert diversity((0, text) for text in [*apart, "A, b, c, d!"]).dissimilarity == 1


def test_what_a_student_was_shown_is_read_from_its_pairs() -> None:
    pairs = [Example("q ###", " 32 + 42 = 74 --> so 39. --> 39", 5), Example("q", " no END", 6)]
    assert list(shown(pairs, "-->")) == [(5, " 32 + 42 = 74 --> so 39. "), (6, "")]
    assert list(shown(pairs[1:], None)) == [(6, " no END")]


@pytest.mark.data
@pytest.mark.parametrize(
    ("task", "degree", "n", "effective_degree", "paths", "dissimilarity"),
    [
        ("multiarith", 1, 312, 1, 1, 0),
        ("multiarith", 4, 1273, 3.13, 2.20, 0.833),
        ("multiarith", 8, 2574, 6.18, 3.28, 0.841),
        ("coin_flip", 8, 2466, 6.62, 5.22, 0.614),
        ("last_letter_concatenation", 8, 1363, 4.04, 3.47, 0.535),
    ],
)
def test_recorded_rationales_differ_this_much(
    data_dir: Path, task: str, degree: int, n: int, effective_degree: float, paths: float, dissimilarity: float
) -> None:
    rows = read_jsonl(data_dir / "recorded" / "text-davinci-002-t70" / f"{task}.jsonl.gz")
    found = diversity((row["sample_index"], row["rationale"]) for _, row in rows if row["min_diversity"] <= degree)
    assert found.n == n
    assert found.effective_degree == pytest.approx(effective_degree, abs=0.005)
    assert found.paths == pytest.approx(paths, abs=0.005)
    assert found.dissimilarity == pytest.approx(dissimilarity, abs=0.0005)


def test_of_many_rationales_those_of_a_sample_of_the_questions_are_compared() -> None:
    tally = Tally(most=50)
    for question in range(40):
        for text in ("1 + 1 = 2", "2 = 1 + 1", "so it is 2"):
            tally.add(question, text)
    found = tally.diversity()
    assert (found.n, found.questions, found.sampled) == (120, 40, 48)
    assert (found.effective_degree, found.paths) == (3, 3)
    assert found.to_json()["sampled"] == 48
    assert "sampled" not in diversity([(0, "1 + 1 = 2")]).to_json()
