"""Every prediction is of one kind, and a reader would say the same of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot import sample_study
from ftcot.files import read_jsonl
from ftcot.records import Completion, Prediction
from ftcot.sample_study import KINDS, RIGHT, is_copy, kind_of, kind_of_completion, kinds, rates, reported
from tests.generated_tasks import build, each_task


def said(text: str, prediction: str | None = "7", *, correct: bool = False, **more: Any) -> Prediction:
    """A prediction of Fine-tune-CoT, as a folder of an earlier version has it."""
    known = {"formatted": "-->" in text, "truncated": False, "n_tokens": 60, "contains_answer": correct}
    return Prediction(17, "test", 3, text, "39", prediction, correct, {"paper": correct}, **known | more)


CANS = (
    "Kaleb was collecting cans for recycling. On Saturday he filled 4 bags up and on Sunday he filled 6 more bags. If "
    "each bag had 4 cans in it, how many cans did he pick up total?"
)
COIN = "A coin is heads up. Ike flips the coin. Tom keeps the coin. Kai flips the coin. Is it heads up?"
PUPPIES = (
    " \nThat means that in 3 days, 3 puppies will be adopted. \nHowever, we are told that 3 puppies are brought in."
)

WROTE: dict[str, tuple[str, Prediction]] = {
    # SmolLM2-135M, fine-tuned on MultiArith with D = 1 and 8
    "a wrong product": (
        "wrong arithmetic",
        said(" Kaleb picked up 4 bags. \nThat means he picked up 4 x 5 = 20 cans. \nThat means 20 + 6 = 8 cans. --> 8"),
    ),
    "the last equation": ("wrong arithmetic", said(" 9x5=45 points. \n9x2=18 points. \nSo 45+18=65 points. --> 65")),
    "the wrong sum": ("right equations, wrong answer", said(" She put 17 into one. \nThat means 65 + 17 = 82. --> 82")),
    "in words": ("wrong answer, no equation", said(" Oliver rode 7 times. \n7 times 3 is 21. \nHe used 21. --> 21")),
    "no marker": ("no answer marker", said(" There are 40 books. \n20 are still on shelves. \n40 - 20 = 20")),
    "nothing behind it": ("no answer marker", said(" 8 - 5 = 3 --> ", None)),
    "cut off": ("truncated", said(" First, we'll create a variable to represent the number of", truncated=True)),
    "over and over": ("repetition", said(PUPPIES * 4, truncated=True)),
    "over and over, then an answer": ("repetition", said(PUPPIES * 4 + " It will take 6 days. --> 6")),
    "lucky": (
        "right answer, wrong equation",
        said(" There were 42 + 7 = 59 apples ordered. \nThat means that 59 - 9 = 40. --> 39", "39", correct=True),
    ),
    "right": ("right", said(" 32 + 42 = 74 pieces. 74 - 35 = 39. --> 39", "39", correct=True)),
    "right without a marker": ("right", said(" 74 - 35 = 39", "39", correct=True, truncated=True)),
    "right in words": ("right", said(" So she has 39. --> 39", "39", correct=True)),
    "answered, then cut off": ("right equations, wrong answer", said(" 4 + 3 = 7. --> 7 --> 7 --> 7", truncated=True)),
    "answered, then in circles": ("wrong answer, no equation", said(" So 7." + " --> 7." * 30)),
    "wrong after the answer": ("right equations, wrong answer", said(" 4 + 3 = 7. --> 7. 4 + 4 = 7")),
    "the question": ("copied question", said(f" {CANS} --> 4")),
    "the question twice": ("copied question", said(f" {CANS} {CANS} --> 4")),
    "the question ten times": ("repetition", said(f" {CANS}" * 10)),
    "the question and a step": ("right equations, wrong answer", said(f" {CANS} 4 + 6 = 10 --> 10")),
    "empty": ("no answer marker", said("", None)),
}


@pytest.mark.parametrize(("kind", "prediction"), WROTE.values(), ids=WROTE)
def test_predictions_of_fine_tune_cot(kind: str, prediction: Prediction) -> None:
    assert kind_of(prediction, CANS, "-->") == kind


@pytest.mark.parametrize(
    ("kind", "text", "prediction", "truncated"),
    [  # zero_shot and fine_tune have no marker: the scorer takes the first number
        ("wrong answer, no equation", " 39 or so", "39", False),
        ("repetition", " 12" + "".join(f"\n{letter}: 12" for letter in "BCDEFGHIJKLMNOP"), "12", True),
        ("truncated", " To find out how many are left, we first have to", None, True),
        ("truncated", " First, 6 windows are to be installed. Then", "6", True),
        ("no answer marker", " I do not know.", None, False),
        ("wrong arithmetic", " 101 - 47 = 48", "101", False),
    ],
)
def test_predictions_without_a_marker(kind: str, text: str, prediction: str | None, truncated: bool) -> None:
    assert kind_of(said(text, prediction, formatted=True, truncated=truncated), CANS, None) == kind


@pytest.mark.parametrize(
    ("kind", "rationale", "text", "prediction"),
    [  # of zero_shot_cot the second text answers, and babbles on
        ("wrong arithmetic", " 3 * 4 = 12. 980 * 3 = 272.", " 193.", "193"),
        ("right equations, wrong answer", " 11 + 37 = 48.", " 48. 1 + 1 = 3", "48"),
        ("repetition", " 11 + 37 = 48." + "\n\nThe answer is 48." * 9, " 48.", "48"),
        ("no answer marker", " 8 + 3 = 11.", " A.", None),
    ],
)
def test_predictions_in_two_stages(kind: str, rationale: str, text: str, prediction: str | None) -> None:
    two = said(text, prediction, rationale=rationale, formatted=True, truncated=prediction is not None)
    assert kind_of(two, CANS, None) == kind


def test_a_second_stage_that_is_cut_off_before_a_number_is_truncated() -> None:
    assert (
        kind_of(said(" that", None, rationale=" 8 + 3 = 11.", formatted=True, truncated=True), CANS, None)
        == "truncated"
    )


def test_without_its_question_nothing_is_a_copy() -> None:
    assert kind_of(WROTE["the question"][1], None, "-->") == "wrong answer, no equation"


def test_what_was_written_down_counts_and_is_found_again_where_it_was_not() -> None:
    old, new = WROTE["the question"][1], replace(WROTE["no marker"][1], study="truncated")
    assert kinds([old, new], {17: CANS}, "-->") == ["copied question", "truncated"]
    assert kinds([old], {}, "-->") == ["wrong answer, no equation"]


def test_the_error_is_the_kind_of_a_wrong_answer() -> None:
    wrong = replace(WROTE["no marker"][1], study="no answer marker")
    assert (wrong.error, replace(wrong, correct=True, study="right").error) == ("no answer marker", None)
    line = {**wrong.to_json(), "error": "wrong answer"}
    del line["study"]
    old = Prediction.from_json(line)  # a line of an earlier version
    assert (old.study, old.error) == (None, None)
    assert "error" not in old.to_json()


@pytest.mark.parametrize(
    "text",
    [  # recorded, right answers: they begin with the question, and go on
        f"{CANS}\n\n40 cans",
        "Kaleb was collecting cans. \nOn Saturday he filled 4 bags up and on Sunday he filled 6 more bags. \n"
        "Each bag had 4 cans in it, so he picked up 40 cans in total.",
        "On Saturday he filled 4 bags up and on Sunday he filled 6 more bags, so he is tidy.",
        "how many cans did he pick up",
        "",
    ],
)
def test_a_rationale_may_say_the_question_over(text: str) -> None:
    assert not is_copy(text, CANS)


def test_a_question_may_be_said_over_in_other_signs_and_cases() -> None:
    assert is_copy(CANS.upper().replace(". ", ";\n\n"), CANS)
    assert is_copy(COIN + " " + COIN, COIN)
    assert not is_copy(COIN, CANS)


@each_task
def test_generated_rationales_are_right_or_their_slips(name: str) -> None:
    from ftcot.task.generated.reasoning import Hand, voice_of_draw

    task: Any = build(name)
    rng = random.Random(0)
    for sample in task.splits().train[:20]:
        for verbosity in (0, 1, 2):
            voice = voice_of_draw(task.voices(verbosity), rng.randrange(9), random.Random(1))
            rationale = task.reason(task.read(sample.question), voice, Hand(0.8, rng))
            right = rationale.conclusion == sample.answer
            one = said(f" {rationale.text} --> {rationale.conclusion}", rationale.conclusion, correct=right)
            content = {"wrong arithmetic", "right equations, wrong answer", "wrong answer, no equation"}
            assert kind_of(one, sample.question, "-->") in (RIGHT if right else content), rationale.text


texts = st.text(max_size=80) | st.text("12+=7 -->.\naBc", max_size=200)


@given(
    text=texts,
    rationale=st.none() | texts,
    question=st.none() | texts,
    marker=st.sampled_from([None, "", "-->", "The answer is"]),
    prediction=st.none() | st.just("7"),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_every_prediction_is_of_exactly_one_kind(
    text: str,
    rationale: str | None,
    question: str | None,
    marker: str | None,
    prediction: str | None,
    flags: tuple[bool, bool, bool],
) -> None:
    correct, formatted, truncated = flags
    one = said(text, prediction, correct=correct, formatted=formatted, truncated=truncated, rationale=rationale)
    kind = kind_of(one, question, marker)
    assert kind in KINDS
    assert (kind in RIGHT) == correct


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 48.\n\n" * 5_000,
        "1 + 1 = 2. " * 9_000,
        "(" * 100_000,
        "=" * 100_000,
        "a" * 100_000,
        "1 + " * 25_000,
    ],
    ids=["sentences", "equations", "parentheses", "equals signs", "letters", "a sum"],
)
def test_a_hundred_thousand_characters_are_a_text_like_any_other(text: str) -> None:
    assert kind_of(said(text, truncated=True), text[:1000], "-->") in KINDS


def test_rates_add_up_and_name_every_kind() -> None:
    found = rates(["right", "right", "truncated", "repetition"])
    assert list(found) == list(KINDS)
    assert {kind: rate for kind, rate in found.items() if rate} == {"right": 0.5, "truncated": 0.25, "repetition": 0.25}
    assert rates([]) == {}


@given(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=50))
def test_rates_are_shares(found: list[str]) -> None:
    assert sum(rates(found).values()) == pytest.approx(1)
    assert rates(found) == rates(reversed(found))


def test_the_rates_of_a_score_are_those_of_the_epoch_that_is_reported() -> None:
    study = {"right": 1.0}
    epochs = [
        {"epoch": 1, "split": "test", "study": {"right": 0.5}},
        {"epoch": 2, "split": "validation", "study": {"right": 0.2}},
        {"epoch": 2, "split": "test", "study": study},
    ]
    assert reported(epochs, 2) == study
    assert reported([{"epoch": 2, "split": "test"}], 2) == {}  # of an earlier version
    assert reported([], None) == {}


def test_metrics_are_named_like_the_kinds() -> None:
    assert [sample_study.key(kind) for kind in KINDS] == [
        *("right", "right_answer_wrong_equation", "wrong_arithmetic", "right_equations_wrong_answer"),
        *("wrong_answer_no_equation", "no_answer_marker", "truncated", "repetition", "copied_question"),
    ]


# -- recorded teachers ----------------------------------------------------------------------------------------------


def test_a_completion_that_was_not_judged_has_no_kind() -> None:
    assert kind_of_completion(Completion("t", 1, 0, 0, None, "1 + 1 = 2"), None) is None


def recorded(path: Path) -> Iterator[tuple[Completion, str]]:
    for _, row in read_jsonl(path):
        names = ("task", "sample_index", "rationale", "answer_text", "prediction", "correct")
        known = {name: row[name] for name in names}
        yield (
            Completion(version=1, draw=0, prompt=None, finish_reason=row.get("finish_reason"), **known),
            row["question"],
        )


GOLDEN = {  # right, and by a wrong equation; wrong: equation, none of the equations, no equation; then the other kinds
    "text-davinci-002/multiarith.jsonl": (471, 1, 7, 24, 96, 0, 0, 1, 0),
    "text-davinci-002/gsm8k.jsonl": (537, 0, 48, 215, 519, 0, 0, 0, 0),
    "text-davinci-002/svamp.jsonl": (617, 4, 21, 145, 211, 0, 0, 2, 0),
    "text-davinci-002/addsub.jsonl": (275, 0, 3, 55, 62, 0, 0, 0, 0),
    "text-davinci-002/coin_flip.jsonl": (457, 0, 0, 0, 43, 0, 0, 0, 0),
    "text-davinci-002/date_understanding.jsonl": (242, 7, 1, 3, 116, 0, 0, 0, 0),
    "text-davinci-002-paper/multiarith.jsonl": (624, 0, 5, 29, 99, 11, 23, 1, 0),
    "text-davinci-002-paper/single_eq.jsonl": (412, 2, 6, 14, 31, 3, 39, 1, 0),
    "openai-gsm8k-solutions/gsm8k.jsonl.gz": (750, 8, 75, 1132, 32, 0, 0, 3, 0),  # with <<5*3=15>> in them
}


@pytest.mark.data
@pytest.mark.parametrize(("name", "counts"), GOLDEN.items(), ids=GOLDEN)
def test_recorded_completions_err_in_these_ways(data_dir: Path, name: str, counts: tuple[int, ...]) -> None:
    found = Counter(kind_of_completion(*row) for row in islice(recorded(data_dir / "recorded" / name), 2000))
    assert tuple(found[kind] for kind in KINDS) == counts
