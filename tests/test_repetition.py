"""Texts that go round in circles are told from sums, lists, algebra and steps that count; all within a fixed effort."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot import repetition
from ftcot.repetition import find_loop
from tests.generated_tasks import build, each_task

PUPPIES = (
    " \nThat means that in 3 days, 3 puppies will be adopted. \nHowever, we are told that 3 puppies are brought in."
)
LOOPS = {
    # SmolLM2-135M, MultiArith
    "an answer": " she would have 11 + 8 = 20 songs." + "\n\nA: The answer is 20." * 4,
    "a story": " She had 24 left over." + " \nShe took some home. \nShe had 4 left over. \nShe sold them." * 5,
    "a passage, two and a half times": " There are 3 puppies a day."
    + PUPPIES * 2
    + f"{PUPPIES[:57]} In total, 6 days.",
    "an equation": " that means 15 * $5 = $75." + " So, 15 kids eat 15 * $5 = $75." * 5,
    "numbers that count": " 1. " + " ".join(f"{number}." for number in range(1, 34)),
    "dots": " The" + "." * 39,
    # text-davinci-002, recorded
    "names": "\n\nNatalie Gilbert Brian Sanchez" * 12,
    "the question": "\n\nTom has 9 yellow balloons.\nSara has 8 yellow balloons." * 8,
    "one statement": "There are 458 more girls. " + "That means there are 458 more girls than there are boys. " * 9,
    "algebra": "$5 + ? × 19 - 15 - 7 = 6\n\n" * 9,
    # the 6B model, GSM8K
    "digits": "The length of each piece is 4 feet / 12 inches/foot = <<4/12=0.3333333333333333>>0." + "3" * 400,
    # nobody
    "letters": "a" * 1000,
    "another script": "答案是四十八。" * 40,
}

LEARNS = "Ryan spends 4 hours on learning English and 5 hours on learning Chinese."
LEFT = "8 puppies are adopted each day. \nThat leaves {} puppies at the shelter."
NO_LOOPS = {
    # recorded
    "a sum": "She has 9 coins each day. 9 + 9 + 9 + 9 + 9 + 9 + 9 + 9 + 9 = 81 coins.",
    "a sum of things": "3 dollars + 3 dollars + 3 dollars + 3 dollars + 3 dollars + 3 dollars + 3 dollars = 21 dollars",
    "a product": "1/2 * 1/2 * 1/2 * 1/2 * 1/2 * 1/2 * 1/2 = 1/128",
    "a line of algebra twice": "2x + 8 = 22\n2x + 8 = 22\n2x = 14\nx = 7",
    "days": "\n".join(f"On day {day}, {LEARNS}" for day in range(1, 8)),
    "steps that count down": " \n".join(LEFT.format(left) for left in (64, 56, 48, 40, 32, 24, 16, 8)),
    "dates": " \n".join(f"The day after 01/{day:02}/2020 is 01/{day + 1:02}/2020." for day in range(2, 10)),
    "the question said over": "Baker made 54 cakes. \nHe sold some. \nIf he still has 13 left, \nthen he sold 41.",
    "a table": "| price | number |\n|-------|--------|\n| 4 | 7 |\n|-------|--------|\nSo he pays 28 dollars in all.",
    "coins": "Heads. Ann flips: tails. Bob keeps: tails. Cy flips: heads. Di keeps: heads. Ed keeps: heads. So yes.",
    # nobody
    "nothing": "",
    "white space": " \n\t" * 500,
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_loops_are_found(text: str) -> None:
    assert find_loop(text) is not None


@pytest.mark.parametrize("text", NO_LOOPS.values(), ids=NO_LOOPS)
@pytest.mark.parametrize("cut", [False, True])
def test_what_comes_again_for_a_reason_is_none(text: str, cut: bool) -> None:
    assert find_loop(text, cut=cut) is None


def test_letters_that_count_on_are_a_loop_where_the_text_was_cut_off() -> None:
    sums = (" 11 + 18 = 29", "B: 29 + 11 = 30", "C: 30 + 11 = 41", "D: 41 + 11 = 152", "E: 152 + 11 = 263")
    text = "\n\n".join([*sums, "F: 263 + 11 = 374", "G: 374 + 11 = 485", "H: 485 +"])
    assert find_loop(text, cut=True) is not None
    assert find_loop(text) is None


def test_a_loop_says_what_how_often_and_how_much_of_the_text() -> None:
    loop = find_loop("Once. " + "The answer is 48. " * 9 + "The answer")
    assert loop is not None
    assert loop.unit == (".", "The", "answer", "is", "48")
    assert loop.times == pytest.approx(9.6)
    assert loop.share == pytest.approx(48 / 49)


@each_task
def test_generated_rationales_are_none(name: str) -> None:
    from ftcot.task.generated.reasoning import Hand, voice_of_draw

    task: Any = build(name)
    rng = random.Random(0)
    for sample in task.splits().train[:20]:
        for verbosity in (0, 1, 2):
            voice = voice_of_draw(task.voices(verbosity), rng.randrange(9), random.Random(1))
            text = task.reason(task.read(sample.question), voice, Hand(0.8, rng)).text
            assert find_loop(text, cut=True) is None, text


units = st.lists(st.text("abcdefgh", min_size=2, max_size=6), min_size=5, max_size=30)


@given(units, st.integers(4, 12), st.text("xyz 12", max_size=40))
def test_any_words_said_four_times_are_a_loop(unit: list[str], times: int, before: str) -> None:
    assert find_loop(before + " " + " ".join(unit * times)) is not None


@given(st.text(max_size=300), st.booleans())
def test_no_text_is_too_much_for_it(text: str, cut: bool) -> None:
    loop = find_loop(text, cut=cut)
    assert loop is None or (loop.times >= 2 and 0 < loop.share <= 1)


class Counting(list[str]):
    """A list that counts how many of its items are looked at."""

    looked_at = 0

    def __getitem__(self, place: Any) -> Any:
        self.looked_at += len(range(*place.indices(len(self)))) if isinstance(place, slice) else 1
        return super().__getitem__(place)


@pytest.mark.parametrize("kind", ["a loop", "random words", "Fibonacci words", "one word"])
def test_a_text_is_read_a_fixed_number_of_times(kind: str) -> None:
    for size in (100, 10_000):
        tokens = Counting(made(kind, size))
        repetition._stretches(tokens)
        assert tokens.looked_at <= (repetition.GRAM + 2 * repetition.DISTANCES + repetition.DISTANCES) * size


def made(kind: str, size: int) -> list[str]:
    rng = random.Random(0)
    if kind == "a loop":
        return (["the", "coin", "is", "still", "heads", "up", "."] * size)[:size]
    if kind == "random words":
        return rng.choices(["the", "coin", "is", "up"], k=size)
    if kind == "one word":
        return ["up"] * size
    shorter, longer = ["a"], ["a", "b"]
    while len(longer) < size:
        shorter, longer = longer, longer + shorter
    return longer[:size]
