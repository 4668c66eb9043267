"""What is the same stays the same, what differs stays different, and the figures are right."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.rationales import Tally, equations, normalise, statistics
from ftcot.records import Completion


def completion(index: int, draw: int, rationale: str, **more: object) -> Completion:
    return Completion("t", 1, index, draw, None, rationale, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" \n\nShe has $1,200 × 2 = $2,400.", "she has 1200 * 2 = 2400"),
        ("She has 32 + 42 = 74.", "She has 32+42=74"),
        ("So, 5 x 3 = 15 apples!", "so 5*3=15 apples"),
        ("**Total:** 5 * **3**", "Total: 5 * 3"),
        ("- 5 apples\n- 3 pears", "5 apples, 3 pears"),
        ("Debby’s candy", "Debby's candy"),
        ("He sold 1/2 of them.", "he sold 1 / 2 of them"),
        ("Yes — the coin is up", "yes: the coin is up"),
        ("Fred ÷ nobody", "fred / nobody"),
    ],
)
def test_what_decides_nothing_makes_no_difference(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 3", "2 - 3"),
        ("13 books - 12 movies", "13 books 12 movies"),
        ("(2 + 3) * 4", "2 + 3 * 4"),
        ("3.5", "35"),
        ("1,200", "1, 200"),
        ("5²", "52"),
        ("20%", "20"),
        ("-5", "5"),
        ("he ate", "she ate"),
    ],
)
def test_numbers_operators_and_words_do(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text("ab1 2.\n+-*(),!'", max_size=40))
def test_case_and_white_space_never_count(text: str) -> None:
    assert normalise(text) == normalise(text.upper())
    assert normalise("\n " + text + " \n") == normalise(text)
    assert normalise(text.replace(" ", "  ")) == normalise(text)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=5))
def test_every_number_is_kept(numbers: list[int]) -> None:
    text = ", and then ".join(map(str, numbers))
    assert [int(word) for word in normalise(text).split() if word.isdigit()] == numbers


def test_equations_come_in_order_without_units() -> None:
    text = "Debby had 32 + 42 = 74 pieces. She ate 35, so 74 pieces - 35 pieces = 39 pieces are left."
    assert equations(text) == ("32+42=74", "74-35=39")


SAID = [
    completion(0, 0, "She has 1 + 1 = 2.", prediction="2", correct=True, finish_reason="stop"),
    completion(0, 1, "she has 1+1=2", prediction="2", correct=True, finish_reason="stop"),
    completion(0, 2, "1 + 1 = 2 and 2 + 2 = 4", prediction="4", correct=False, finish_reason="length"),
    completion(0, 3, "Nothing", prediction=None, correct=False),
    completion(1, 0, "word " * 100, prediction="7", correct=True),
]


def test_statistics_of_a_few_completions() -> None:
    found = statistics(iter(SAID)).to_json()  # 7, 3, 11, 1 and 100 words
    assert found == {
        "n": 5,
        "samples": 2,
        "words_mean": 24.4,
        "words_median": 7.0,
        "words_p95": 82.2,
        "equations": 0.8,
        "effective_degree": 2.0,
        "agreement": 0.667,
        "finish_reasons": {"unknown": 2, "stop": 2, "length": 1},
        "accuracy": 0.6,
    }
    assert statistics(SAID).effective_degree == 2.0


def test_nothing_is_nothing() -> None:
    found = statistics([])
    assert (found.n, found.words_mean, found.effective_degree, found.agreement, found.accuracy) == (0, 0, 0, None, None)
    assert statistics([]).effective_degree == 0


def test_a_recording_of_right_ones_says_nothing_of_accuracy() -> None:
    kept = completion(0, 0, "right", prediction="1", correct=True, correct_only=True)
    assert statistics([kept]).accuracy is None


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "A.", "b", "b c"])), min_size=1, max_size=30))
def test_the_effective_degree_is_between_one_and_the_draws(rows: list[tuple[int, str]]) -> None:
    said = [completion(index, draw, text) for draw, (index, text) in enumerate(rows)]
    most = max(sum(index == other for other, _ in rows) for index, _ in rows)
    assert 1 <= statistics(said).effective_degree <= min(3, most)


SIGNS = str.maketrans({"×": "*", "⋅": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "’": "'", "ʼ": "'"})
MARKDOWN = re.compile(r"(?m)^\s*(?:[-*•]+\s+)*|(?<![\d)\s])\s*\*\*|\*\*(?!\s*[\d(.-])")
MEANING = re.compile(
    r"\d+(?:\.\d+)?|\.\d+|[^\W\d_]+(?:'[^\W\d_]+)*|[+=<>^%]|/(?=\s*[$(.]?\d)"
    r"|(?<=[\d)%\s])(?:-|\*{1,2})(?=\s*[$(]*[-.]?\d)|(?<![\w-])-(?=\$?\.?\d)"
    r"|\((?=[-$.(\s]*\d)|(?<=[\d)%])\s*\)"
)


def plainly(text: str) -> str:
    """`normalise` without its short cuts."""
    text = MARKDOWN.sub(" ", unicodedata.normalize("NFC", text).translate(SIGNS).casefold())
    found = MEANING.findall(re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text))
    tokens = [token.strip().replace("'", "").replace("$", "") for token in found]
    for index in range(1, len(tokens) - 1):
        if tokens[index] == "x" and tokens[index - 1][-1] in "0123456789)%" and tokens[index + 1][0] in ".0123456789(":
            tokens[index] = "*"
    return " ".join(tokens)


PIECES = ["-", "*", "**", "•", "\n", " ", "\t", "1", "23", "1,234", "12,3456", ".5", "3.", "x", "X", "(", ")", "$", "%"]
PIECES += ["/", "=", "a", "Total", "don't", "'", "’", "×", "–", "é", "e\u0301", "ß", "İ", "_", "²", "٣", ":", "\x1c"]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join) | st.text(max_size=30))
def test_no_short_cut_makes_another_normal_form(text: str) -> None:
    assert normalise(text) == plainly(text)


def test_of_many_completions_a_sample_of_the_questions_is_looked_at() -> None:
    tally = Tally(most=100)
    for index in range(100):
        for draw in range(4):
            tally.add(completion(index, draw, f"1 + 1 = 2 {'a' * draw}", prediction=str(draw), correct=draw == 0))
    found = tally.statistics()
    assert (found.n, found.samples, found.accuracy, found.sampled) == (400, 100, 0.25, 100)
    assert (found.effective_degree, found.equations, found.agreement) == (4, 1, 0.25)
    assert found.finish_reasons == {"unknown": 400}
