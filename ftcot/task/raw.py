"""Readers of the raw formats: one file in, its questions in file order out.

    {"sQuestion": " For Halloween Debby ... have left? ", "lSolutions": [39.0], ...}
    Question("For Halloween Debby ... have left?", "39")

Every rule is METHOD section 2's; together they rebuild the authors' processed lists sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from ftcot.files import read_json, read_jsonl


class Question(NamedTuple):
    """A question with its gold answer, and a human rationale where the source has one."""

    text: str
    answer: str
    rationale: str | None = None


Reader = Callable[[Path], list[Question]]

WHICH_CHOICE = "\nWhich choice is true?"
"""Put between a BIG-bench input and its choices."""


def with_choices(question: str, choices: Sequence[str]) -> str:
    """The question with its choices written into it."""
    listed = ", ".join(f"({letter}) {choice.strip()}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    return f"{question} Answer choices: {listed}."


def single_eq(path: Path) -> list[Question]:
    """The question as it is, the answer as a float: "16.0"."""
    return [Question(row["sQuestion"], str(float(row["lSolutions"][0]))) for row in read_json(path)]


def addsub(path: Path) -> list[Question]:
    """The answer as the file writes it: "43"."""
    return [Question(row["sQuestion"].strip(), str(row["lSolutions"][0])) for row in read_json(path)]


def multiarith(path: Path) -> list[Question]:
    """The answer as an integer: 39.0 is "39"."""
    return [Question(row["sQuestion"].strip(), str(int(row["lSolutions"][0]))) for row in read_json(path)]


def svamp(path: Path) -> list[Question]:
    """Body and question joined by a space; the answer as the file writes it: "51.0"."""
    return [Question(f"{row['Body'].strip()} {row['Question'].strip()}", str(row["Answer"])) for row in read_json(path)]


def gsm8k(path: Path) -> list[Question]:
    """The answer is what follows "#### "; it may hold commas."""
    questions = []
    for row in _lines(path):
        rationale, _, answer = row["answer"].partition("#### ")
        questions.append(Question(row["question"], answer, rationale))
    return questions


def aqua(path: Path) -> list[Question]:
    """Options come as "A)5"; the letter in front is replaced by ours."""
    return [
        Question(
            with_choices(row["question"], [option.partition(")")[2] for option in row["options"]]),
            row["correct"],
            row["rationale"],
        )
        for row in _lines(path)
    ]


def commonsense_qa(path: Path) -> list[Question]:
    """The official file's choices in its order."""
    return [
        Question(
            with_choices(row["question"]["stem"], [choice["text"] for choice in row["question"]["choices"]]),
            row["answerKey"],
        )
        for row in _lines(path)
    ]


def date_understanding(path: Path) -> list[Question]:
    """The raw file puts the right choice first: choices are shuffled by one RandomState(0) for the whole file."""
    from numpy.random import RandomState

    random = RandomState(0)
    questions = []
    for row in read_json(path)["examples"]:
        scores = list(row["target_scores"].items())
        slots = random.permutation(len(scores)).tolist()
        shuffled = [item for _, item in sorted(zip(slots, scores, strict=True))]
        questions.append(_big_bench(row["input"].strip(), shuffled))
    return questions


def tracking_shuffled_objects(path: Path) -> list[Question]:
    """The input is not stripped: a space stays before the line break, as in the authors' files."""
    return [_big_bench(row["input"], row["target_scores"].items()) for row in read_json(path)["examples"]]


def strategy_qa(path: Path) -> list[Question]:
    """The target without its leading "Yes. " or "No. " is a human rationale."""
    questions = []
    for row in read_json(path)["examples"]:
        answer = "Yes" if row["target_scores"]["Yes"] else "No"
        questions.append(Question(row["input"].strip(), answer, row["target"].removeprefix(f"{answer}. ").strip()))
    return questions


def symbolic(path: Path) -> list[Question]:
    """Coin flip and last letters: question and answer as they are."""
    return [Question(row["question"], row["answer"]) for row in read_json(path)["examples"]]


def _big_bench(text: str, scores: Iterable[tuple[str, int]]) -> Question:
    choices, right = zip(*scores, strict=True)
    listed = with_choices(f"{text}{WHICH_CHOICE}", [choice.removesuffix(".") for choice in choices])
    return Question(listed, ascii_uppercase[right.index(1)])


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    return (row for _, row in read_jsonl(path))
