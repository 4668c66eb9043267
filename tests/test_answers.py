"""Answer rules on what models really wrote, and their laws."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftcot.answers import SCORERS, AnswerKind, Choice, LoggedNumber, Number, Text, YesNo, candidate
from ftcot.errors import InputError
from ftcot.task.file import Phrase

KINDS = [Number(), Number(as_float=True), Choice("ABC"), YesNo(), Text()]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        pytest.param(Number(), " 39.", ["39"], id="number before a full stop"),
        pytest.param(Number(), "1,200 + 34 = 1,234", ["1200", "34", "1234"], id="commas are dropped"),
        pytest.param(Number(), "10-3 is -7.50", ["10", "-3", "-7.50"], id="a minus sign always belongs to the number"),
        pytest.param(Number(as_float=True), "$4.50 and 3", ["4.5", "3.0"], id="floats"),
        pytest.param(Number(), "٣", [], id="only ASCII digits"),
        pytest.param(Choice("ABC"), "Among A through C, (B)", ["A", "A", "C", "B"], id="letters inside words count"),
        pytest.param(Choice("ABCDEF"), "the answer is f", [], id="letters are case-sensitive"),
        pytest.param(YesNo(), "Yes: it is.\nNo, wait", ["yes", "no"], id="words between the separators"),
        pytest.param(YesNo(), "yes! no? not nobody", [], id="other punctuation stays in the word"),
        pytest.param(Text(), ' "n y.a\to"\n', ["nyao"], id="the whole rest is the answer"),
        pytest.param(Text(), " . ", [], id="nothing is no answer"),
    ],
)
def test_candidates_follow_the_authors_rule(kind: AnswerKind, text: str, expected: list[str]) -> None:
    assert kind.candidates(text) == expected


@pytest.mark.parametrize(
    ("kind", "prediction", "answer", "same"),
    [
        pytest.param(Number(), "5.0", "5", False, id="multiarith compares strings"),
        pytest.param(Number(), "2125", "2,125", True, id="gold loses its commas"),
        pytest.param(Number(as_float=True), "5.0", "5", True, id="svamp compares numbers"),
        pytest.param(Number(as_float=True), "5.000002", "5", False, id="to 1e-6"),
        pytest.param(YesNo(), "yes", "Yes", True, id="gold is lower-cased"),
        pytest.param(Text(), "NYAO", "nyao", False, id="case counts"),
    ],
)
def test_equality_follows_the_authors_rule(kind: AnswerKind, prediction: str, answer: str, same: bool) -> None:
    assert kind.same(prediction, answer) is same


TEXTS = [
    # text, marker, prediction and verdict of paper, strict, lenient for gold 39
    ("32 + 42 = 74. 74 - 35 = 39 --> 39", "-->", ("39", True), ("39", True), ("39", True)),
    ("32 + 42 = 74. 74 - 35 = 39", "-->", ("39", True), (None, False), ("39", True)),
    ("--> 39 pieces, not 35", "-->", ("39", True), (None, False), ("35", False)),
    ("--> 12 --> 39", "-->", ("12", False), (None, False), ("39", True)),
    ("The sum is 74, so", "-->", ("74", False), (None, False), ("74", False)),
    ("no number at all", "-->", (None, False), (None, False), (None, False)),
    (" 39.", None, ("39", True), ("39", True), ("39", True)),
    ("39.0", None, ("39.0", False), ("39.0", True), ("39.0", True)),
    ("74 - 35 = 39", None, ("74", False), (None, False), ("39", True)),
]


@pytest.mark.parametrize(("text", "marker", "paper", "strict", "lenient"), TEXTS)
def test_the_three_scorers_read_the_same_text_their_way(
    text: str, marker: str | None, paper: object, strict: object, lenient: object
) -> None:
    assert [SCORERS[name].read(Number(), text, marker, "39") for name in ("paper", "strict", "lenient")] == [
        paper,
        strict,
        lenient,
    ]


@pytest.mark.parametrize(
    ("kind", "text", "prediction"),
    [
        (Choice("ABCDE"), "A dog chose (C), a Good answer", "C"),
        (Choice("ABCDE"), "So the answer is B.", "B"),
        (Choice("ABCDE"), "A dog", None),
        (YesNo(), "No doubt: yes!", "yes"),
        (YesNo(), "nobody knows", None),
        (Text(), "The letters make\nthe word nyao.", "nyao"),
        (Number(), "about $1,234.50 in all.", "1234.50"),
        (Number(), "from 10-12", "12"),
    ],
)
def test_lenient_takes_what_reads_like_an_answer(kind: AnswerKind, text: str, prediction: str | None) -> None:
    assert SCORERS["lenient"].extract(kind, text, None) == prediction


def answers(kind: AnswerKind) -> st.SearchStrategy[str]:
    if isinstance(kind, Number):
        return st.integers(-(10**9), 10**9).map(str)
    if isinstance(kind, Choice):
        return st.sampled_from(kind.letters)
    if isinstance(kind, YesNo):
        return st.sampled_from(["yes", "no", "Yes", "No"])
    return st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)


@given(st.data())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("form", ["some steps --> {}", "some steps --> {}.", "--> {}"])
def test_every_scorer_gives_back_an_answer_we_format(
    kind: AnswerKind, scorer: str, form: str, data: st.DataObject
) -> None:
    answer = data.draw(answers(kind))
    assert SCORERS[scorer].read(kind, form.format(answer), "-->", answer).correct


@given(st.text())
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_breaks_a_scorer(kind: AnswerKind, text: str) -> None:
    answer = {"Number": "1", "Choice": "A", "YesNo": "no", "Text": "x"}[type(kind).__name__]
    for scorer in SCORERS.values():
        for marker in (None, "-->"):
            reading = scorer.read(kind, text, marker, answer)
            assert reading.prediction is not None or not reading.correct


def test_first_and_last_candidate_can_disagree() -> None:
    text = " 12 + 27 = 39"
    assert candidate(Number(), text, "39", "first") == ("12", False)
    assert candidate(Number(), text, "39", "last") == ("39", True)


def test_logged_numbers_lose_a_trailing_full_stop() -> None:
    assert LoggedNumber().candidates("It is 39. Not 4.5.") == ["39", "4.5"]
    assert LoggedNumber().same("39", "39.0")
    assert not LoggedNumber().same("39.0", "39.0")


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(Number(), "many"), (Choice("AB"), "C"), (Choice("AB"), "AB"), (YesNo(), "maybe"), (Text(), " ")],
)
def test_a_gold_answer_of_another_kind_is_refused(kind: AnswerKind, answer: str) -> None:
    with pytest.raises(InputError, match="answer"):
        kind.check(answer)


def test_a_guess_is_as_good_as_the_kind_allows() -> None:
    assert [kind.random_accuracy for kind in KINDS] == [0, 0, 1 / 3, 0.5, 0]


PLAIN: dict[str, Callable[[str], object]] = {
    # The rules as METHOD has them, which the patterns of answers.py say in another way.
    "number": lambda text: re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""), flags=re.ASCII),
    "logged": lambda text: [
        found.removesuffix(".") for found in re.findall(r"-?\d+\.?\d*", re.sub("[,:]", "", text), flags=re.ASCII)
    ],
    "last number": lambda text: next(
        (
            found.replace(",", "")
            for found in reversed(
                re.findall(r"(?<![\d.])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?", text, flags=re.ASCII)
            )
        ),
        None,
    ),
    "letters": lambda text: [character for character in text if character in "ABC"],
    "last letter": lambda text: next(
        reversed(re.findall(r"\(([ABC])\)", text) or re.findall(r"(?<![\w'])([ABC])(?![\w']| [a-z])", text)), None
    ),
    "yes or no": lambda text: [
        word for word in re.sub(r"[\"'\n.\s:,]", " ", text.lower()).split(" ") if word in ("yes", "no")
    ],
    "last yes or no": lambda text: next(reversed(re.findall(r"\b(yes|no)\b", text.lower())), None),
    "text": lambda text: [rest] if (rest := re.sub(r"[\"'\n.\s]", "", text)) else [],
}
FAST: dict[str, Callable[[str], object]] = {
    "number": Number().candidates,
    "logged": LoggedNumber().candidates,
    "last number": Number().last,
    "letters": Choice("ABC").candidates,
    "last letter": Choice("ABC").last,
    "yes or no": YesNo().candidates,
    "last yes or no": YesNo().last,
    "text": Text().candidates,
}
PIECES = [
    "yes",
    "no",
    "Yes",
    "NO",
    "A",
    "B",
    "(C)",
    " ",
    "\n",
    "\t",
    "\u00a0",
    "\x1c",
    ".",
    ",",
    ":",
    "'",
    '"',
    "-",
    "1",
]
PIECES += ["23", "456", "1,234", "0.5", ".5", "5.", "٣", "²", "é", "_", "a", "the", "$", "(", ")", "!", "ſ", "İ"]
written = st.lists(st.sampled_from(PIECES), max_size=24).map("".join) | st.text(max_size=30)


@settings(max_examples=300)
@given(written)
@pytest.mark.parametrize("rule", PLAIN)
def test_the_quick_patterns_find_what_the_plain_rules_find(rule: str, text: str) -> None:
    assert FAST[rule](text) == PLAIN[rule](text)


ANSWERS = ["1,234", "23", "23.0", "0.5", "-1", "01", "9" * 400, "A", "No", "yes", "", "many"]


@settings(max_examples=300)
@given(written | st.text("0123456789.,- \n", max_size=30), st.sampled_from(ANSWERS))
@example("9" * 400, "9" * 400)  # beyond a float: no number is near it, not even itself
@pytest.mark.parametrize("kind", [*KINDS, LoggedNumber(), Phrase()])
def test_a_text_contains_the_answer_if_any_candidate_is_it(kind: AnswerKind, text: str, answer: str) -> None:
    try:
        expected = any(kind.same(found, answer) for found in kind.candidates(text))
    except ValueError:  # no gold answer of this kind
        with pytest.raises(ValueError, match="could not convert"):
            kind.contains(text, answer)
    else:
        assert kind.contains(text, answer) is expected


@given(st.text("^-]AB\\ x"), st.sampled_from(["A-C", "^AB", "A\\B"]))
def test_letters_of_a_choice_are_letters_whatever_they_mean_in_a_pattern(text: str, letters: str) -> None:
    assert Choice(letters).candidates(text) == [character for character in text if character in letters]
