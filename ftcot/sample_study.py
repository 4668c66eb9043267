"""The paper's sample study, made automatic: what is wrong with each thing that a student says.

    " 32 + 42 = 74 ... 74 - 35 = 39. --> 39"        gold 39    right
    " 32 + 42 = 75 ... 75 - 36 = 39. --> 39"        gold 39    right answer, wrong equation
    " 32 + 42 = 84 ... 84 - 35 = 49. --> 49"        gold 39    wrong arithmetic
    " 42 - 35 = 7. --> 7"                           gold 39    right equations, wrong answer

Every prediction is of exactly one kind. A right answer is right, however it is written. Of a wrong one the first of
these counts that is so: it goes round in circles (which is why it is cut off, too); it says the question over and
nothing else; it is cut off before its answer; its answer is nowhere to be found; an equation of it does not hold; its
equations hold, or it has none. The form is judged before the content: equations count only where there is an answer.

What is judged is what stands before the answer marker: the answer is read there, and what follows it did no harm. Of a
two-stage method it is the rationale. Where a template has no marker, it is all of the text.

Read by eye, of SmolLM2-135M (multiarith), text-davinci-002 (12 tasks) and a 6B model (GSM8K): 52 of 52 wrong equations
are wrong (two for a digit that was cut, not rounded), 30 of 30 right ones hold, 61 of 61 loops go in circles, 56 of 56
were cut off or without an answer. Of 40 texts without equations three have one that is not looked at (`1/2 * 80 m = 40
m2`), eight some with variables; of 25 lucky answers four have dates for equations (`3/5 - 7 days = 2/26`). Of 86,000
recorded rationales eight say their question over and nothing else, and three of these are answers in its words.

Source: the paper's sample study, done by hand there; the kinds are not the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ftcot.equations import find
from ftcot.records import Completion, Prediction
from ftcot.repetition import SENTENCES, find_loop

RIGHT_BY_LUCK = "right answer, wrong equation"

KINDS: Mapping[str, str] = {
    "right": "The answer is right, and so is every equation that is written.",
    RIGHT_BY_LUCK: "The answer is right, but an equation on the way to it does not hold.",
    "wrong arithmetic": "The answer is wrong, and an equation does not hold: it was calculated wrongly.",
    "right equations, wrong answer": "The answer is wrong, though every equation holds: it was not what is asked that "
    "was calculated.",
    "wrong answer, no equation": "The answer is wrong, and there is no equation to check: the reasoning is in words, "
    "or there is none.",
    "no answer marker": "It ends without an answer that can be read: the marker is missing, or no answer follows it.",
    "truncated": "It was cut off before it came to an answer.",
    "repetition": "It says the same thing again and again.",
    "copied question": "It says the question over, and nothing else.",
}
"""Name of each kind and what it means, in the order in which they are shown."""

RIGHT = frozenset({"right", RIGHT_BY_LUCK})
"""Those with the right answer. The others are errors."""

COPIED_RUN = 5
"""Words in a row that also stand in the question in a row, for them to count as copied."""
COPIED_SHARE = 0.9
"""Of the words. Teachers say much of the question over as well, and then go on."""
COPIED_WORDS = 10
"""Of a text: a shorter one may be an answer in a sentence."""

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class _Said(NamedTuple):
    """What of a text is judged."""

    reasoning: str
    right: bool
    answered: bool
    """It says which is its answer."""
    cut: bool
    """It was cut off before that."""


def kind_of(prediction: Prediction, question: str | None, marker: str | None) -> str:
    """Which of KINDS a prediction is.

    Args:
        question: None where it is not at hand; then nothing is found to be a copy of it.
        marker: of the template that it was asked with; None where that has none.
    """
    return _kind(_judged(prediction, marker), question)


def kind_of_completion(completion: Completion, question: str | None) -> str | None:
    """Which of KINDS a teacher's completion is, by the rule for two-stage methods; None where it was not judged."""
    if completion.correct is None:
        return None
    answered = completion.prediction is not None or completion.answer_text is None
    cut = completion.finish_reason == "length"
    return _kind(_Said(completion.rationale, completion.correct, answered, cut), question)


def kinds(predictions: Iterable[Prediction], questions: Mapping[int, str], marker: str | None) -> list[str]:
    """The kind of each prediction: what was written down with it, or, in an older folder, what it would have been.

    Args:
        questions: by sample_index; those that are not at hand may be missing.
    """
    return [
        each.study
        if each.study is not None and each.study in KINDS
        else kind_of(each, questions.get(each.sample_index), marker)
        for each in predictions
    ]


def rates(kinds: Iterable[str]) -> dict[str, float]:
    """The share of each of KINDS, in their order; empty where there is nothing to share out."""
    counts = Counter(kinds)
    n = counts.total()
    return {kind: counts[kind] / n for kind in KINDS} if n else {}


def reported(epochs: Iterable[Mapping[str, Any]], epoch: int | None) -> Mapping[str, float]:
    """The rates of one epoch on test, of the `epochs` of a score.json; empty where an earlier version wrote it."""
    found = (each for each in epochs if each["split"] == "test" and each["epoch"] == epoch)
    study: Mapping[str, float] = next(found, {}).get("study", {})
    return study


def key(kind: str) -> str:
    """The name of a kind as a metric has it: `wrong_arithmetic`."""
    return re.sub(r"\W+", "_", kind)


def _judged(prediction: Prediction, marker: str | None) -> _Said:
    if prediction.rationale is not None:
        answered = prediction.prediction is not None
        return _Said(prediction.rationale, prediction.correct, answered, prediction.truncated and not answered)
    if marker:
        reasoning, _, behind = prediction.text.partition(marker)
        answered = bool(behind.strip())
        return _Said(reasoning, prediction.correct, answered, prediction.truncated and not answered)
    answered = prediction.formatted and prediction.prediction is not None
    return _Said(prediction.text, prediction.correct, answered, prediction.truncated)


def _kind(said: _Said, question: str | None) -> str:
    if said.right:
        return "right" if all(equation.holds for equation in find(said.reasoning)) else RIGHT_BY_LUCK
    loop = find_loop(said.reasoning, cut=said.cut)
    copied = question is not None and is_copy(said.reasoning, question)
    if loop is not None and not (copied and loop.times < SENTENCES):
        return "repetition"
    if copied:
        return "copied question"
    if said.cut:
        return "truncated"
    if not said.answered:
        return "no answer marker"
    equations = find(said.reasoning)
    if not equations:
        return "wrong answer, no equation"
    return "right equations, wrong answer" if all(each.holds for each in equations) else "wrong arithmetic"


def is_copy(text: str, question: str) -> bool:
    """Whether a text says the question over and nothing else: hardly a word is its own, and no number or last word.

    A rationale may well begin with the whole question, and an answer be a word in its place: "Tom has 9 balloons. Sara
    has 8. How many are there? 17" is no copy, nor is "The fruit would stay fresh, so they put it in the refrigerator".
    """
    said, asked = WORD.findall(text.casefold()), WORD.findall(question.casefold())
    if len(said) < COPIED_WORDS:
        return False
    if not {word for word in said if word[0].isdigit()} <= set(asked):
        return False
    runs = set(_runs(asked))
    copied = [False] * len(said)
    for place, run in enumerate(_runs(said)):
        if run in runs:
            copied[place : place + COPIED_RUN] = [True] * COPIED_RUN
    return copied[-1] and sum(copied) >= COPIED_SHARE * len(said)


def _runs(words: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return zip(*(words[shift:] for shift in range(COPIED_RUN)), strict=False)
