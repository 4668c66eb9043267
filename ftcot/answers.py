"""Kinds of answer: how one is found in a text that a model wrote, and when two are the same.

    Number().candidates("She has 1,200 + 34 = 1,234 left.")   ["1200", "34", "1234"]
    Choice("ABC").candidates("Among A through C, (B)")         ["A", "A", "C", "B"]      (letters inside words count)
    YesNo().candidates("Yes: the coin is up. No?")             ["yes"]                   ("no?" is no word of the rule)

Three scorers read the same text. `paper` is the authors' rule, quirks and all, so that numbers can be compared
with theirs; `strict` wants the marker and nothing but an answer behind it; `lenient` takes the last thing that
reads like an answer and compares by value.

Source: METHOD section 5 (itsnamgyu/reasoning-teacher, camera-ready evaluator); its letter rules are case-sensitive
and match inside words, and MultiArith's and GSM8K's numbers are compared as strings ("5.0" is not "5"). Both stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, Protocol

from ftcot.errors import InputError

TOLERANCE = 1e-6
"""Two numbers this close are the same answer."""

Candidate = Literal["first", "last"]

# A pattern is looked for several times faster where its first character is one of a few, so these begin with a set of
# characters, and say behind it what may stand there. tests/test_answers.py holds them against the plain ones.
_NUMBER = re.compile(r"[-\d](?<!-(?!\d))\d*(?:\.\d+)?", re.ASCII)
"""-?\\d+(?:\\.\\d+)?"""
_WHOLE_NUMBER = re.compile(r"\$?\s*(-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)", re.ASCII)
_READERS_NUMBER = re.compile(r"(?<![\d.])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?", re.ASCII)
_NUMERIC = re.compile(r"[-\d.,]+", re.ASCII)
"""All that a reader's number, and what decides whether it is one, can consist of."""
_LOGGED_NUMBER = re.compile(r"[-\d](?<!-(?!\d))\d*\.?\d*", re.ASCII)
"""-?\\d+\\.?\\d*"""
_YES_OR_NO = re.compile(r"(?:yes|no)(?<!\wyes)(?<!\wno)\b")
"""\\b(?:yes|no)\\b"""
_SEPARATED_YES_OR_NO = re.compile(r"""(?:yes|no)(?<![^"'.\s:,]yes)(?<![^"'.\s:,]no)(?![^"'.\s:,])""")
"""What is a word of its own once quotes, white space and `.:,` are spaces."""


class AnswerKind(Protocol):
    """What every kind of answer can do. `answer` is gold as the task writes it, `prediction` what a rule returned."""

    @property
    def random_accuracy(self) -> float:
        """Accuracy of a guess, a fraction."""
        ...

    def candidates(self, text: str) -> list[str]:
        """Everything in `text` that could be an answer, in order, by the paper's rule."""
        ...

    def same(self, prediction: str, answer: str) -> bool:
        """Whether they are equal by the paper's rule."""
        ...

    def contains(self, text: str, answer: str) -> bool:
        """Whether any candidate of `text` is equal to the answer by the paper's rule."""
        return any(self.same(found, answer) for found in set(self.candidates(text)))

    def whole(self, text: str) -> str | None:
        """The answer, if `text` is one and nothing else."""
        ...

    def last(self, text: str) -> str | None:
        """The last thing in `text` that a reader would take for an answer."""
        ...

    def equivalent(self, prediction: str, answer: str) -> bool:
        """Whether they have the same value."""
        ...

    def check(self, answer: str) -> None:
        """Refuse a gold answer that is not of this kind.

        Raises:
            InputError: it is not.
        """
        ...


@dataclass(frozen=True)
class Number(AnswerKind):
    """An integer or decimal number."""

    as_float: bool = False
    """Compare as numbers (addsub, svamp, single_eq) or as strings (multiarith, gsm8k)."""

    @property
    def random_accuracy(self) -> float:
        return 0.0

    def candidates(self, text: str) -> list[str]:
        found = _NUMBER.findall(text.replace(",", ""))
        return [str(float(number)) for number in found] if self.as_float else found

    def same(self, prediction: str, answer: str) -> bool:
        answer = answer.replace(",", "")
        if self.as_float:
            return abs(float(prediction) - float(answer)) <= TOLERANCE
        return prediction == answer

    def contains(self, text: str, answer: str) -> bool:
        text, answer = text.replace(",", ""), answer.replace(",", "")
        if not self.as_float and answer not in text:
            return False
        # Looking for numbers is what takes long. None goes beyond its line, and a text that contains the answer mostly
        # has it in the last line, written as the answer is.
        for part in (text.rpartition("\n")[2], text):
            found = _NUMBER.findall(part)
            if answer in found:
                return self.same(answer, answer)  # not for 400 digits: infinity is not near itself
        return self.as_float and any(self.same(number, answer) for number in found)

    def whole(self, text: str) -> str | None:
        found = _WHOLE_NUMBER.fullmatch(_trimmed(text))
        return found[1].replace(",", "") if found else None

    def last(self, text: str) -> str | None:
        for part in reversed(_NUMERIC.findall(text)):
            if found := _READERS_NUMBER.findall(part):
                number: str = found[-1]
                return number.replace(",", "")
        return None

    def equivalent(self, prediction: str, answer: str) -> bool:
        return abs(float(prediction) - float(answer.replace(",", ""))) <= TOLERANCE

    def check(self, answer: str) -> None:
        try:
            float(answer.replace(",", ""))
        except ValueError:
            raise InputError(f"answer {answer!r} is not a number") from None


@dataclass(frozen=True)
class Choice(AnswerKind):
    """A letter of a multiple-choice question."""

    letters: str = "ABCDE"

    @property
    def random_accuracy(self) -> float:
        return 1 / len(self.letters)

    def candidates(self, text: str) -> list[str]:
        return _letters(self.letters).any.findall(text)

    def same(self, prediction: str, answer: str) -> bool:
        return prediction == answer

    def whole(self, text: str) -> str | None:
        found = _letters(self.letters).whole.fullmatch(_trimmed(text))
        return found[1] if found else None

    def last(self, text: str) -> str | None:
        letters = _letters(self.letters)
        found: list[str] = letters.bracketed.findall(text) or letters.alone.findall(text)
        return found[-1] if found else None

    def equivalent(self, prediction: str, answer: str) -> bool:
        return prediction == answer

    def check(self, answer: str) -> None:
        if len(answer) != 1 or answer not in self.letters:
            raise InputError(f"answer {answer!r} is not one of the letters {self.letters}")


@dataclass(frozen=True)
class YesNo(AnswerKind):
    """Yes or no."""

    @property
    def random_accuracy(self) -> float:
        return 0.5

    def candidates(self, text: str) -> list[str]:
        return _SEPARATED_YES_OR_NO.findall(text.lower())

    def same(self, prediction: str, answer: str) -> bool:
        return prediction == answer.lower()

    def whole(self, text: str) -> str | None:
        word = _trimmed(text).lower()
        return word if word in ("yes", "no") else None

    def last(self, text: str) -> str | None:
        found: list[str] = _YES_OR_NO.findall(text.lower())
        return found[-1] if found else None

    def equivalent(self, prediction: str, answer: str) -> bool:
        return prediction == answer.lower()

    def check(self, answer: str) -> None:
        if answer.lower() not in ("yes", "no"):
            raise InputError(f"answer {answer!r} is neither yes nor no")


@dataclass(frozen=True)
class Text(AnswerKind):
    """A short string, such as the letters of last_letter_concatenation."""

    @property
    def random_accuracy(self) -> float:
        return 0.0

    def candidates(self, text: str) -> list[str]:
        rest = "".join(text.split()).replace('"', "").replace("'", "").replace(".", "")
        return [rest] if rest else []

    def same(self, prediction: str, answer: str) -> bool:
        return prediction == answer

    def whole(self, text: str) -> str | None:
        return _trimmed(text).strip("\"'") or None

    def last(self, text: str) -> str | None:
        lines = [line for line in text.splitlines() if line.strip()]
        words = lines[-1].split() if lines else []
        return words[-1].strip("\"'.,:;!?()") or None if words else None

    def equivalent(self, prediction: str, answer: str) -> bool:
        return _folded(prediction) == _folded(answer)

    def check(self, answer: str) -> None:
        if not answer.strip():
            raise InputError("answer is empty")


@dataclass(frozen=True)
class LoggedNumber(Number):
    """Numbers as Kojima et al.'s Zero-shot-CoT logs read them: for replaying those logs under their own rule.

    Colons are removed as commas are ("3:46" is 346); a trailing full stop belongs to the match and is cut off
    afterwards; equality is that of strings, with gold's `.0` removed but its commas kept, so that four GSM8K
    questions ("2,125") can only be wrong. Source: METHOD section 3; checked against the 24 recorded logs.
    """

    def candidates(self, text: str) -> list[str]:
        found = _LOGGED_NUMBER.findall(text.replace(",", "").replace(":", ""))
        return [number.removesuffix(".") for number in found]

    def same(self, prediction: str, answer: str) -> bool:
        return prediction == answer.removesuffix(".0")

    def contains(self, text: str, answer: str) -> bool:
        return answer.removesuffix(".0") in self.candidates(text)


class Reading(NamedTuple):
    """What a scorer made of a text."""

    prediction: str | None
    correct: bool


@dataclass(frozen=True)
class Scorer:
    """A way to read an answer out of a text, and to compare it with gold."""

    extract: Callable[[AnswerKind, str, str | None], str | None]
    """(kind, text, marker): the answer, or None."""
    equal: Callable[[AnswerKind, str, str], bool]
    """(kind, prediction, gold)."""

    def read(self, kind: AnswerKind, text: str, marker: str | None, answer: str) -> Reading:
        """The prediction in `text` and whether it is gold. No prediction is wrong."""
        prediction = self.extract(kind, text, marker)
        return Reading(prediction, prediction is not None and self.equal(kind, prediction, answer))


def paper(kind: AnswerKind, text: str, marker: str | None) -> str | None:
    """The authors' rule.

    No marker in the template: the first candidate. Marker found: the first candidate after its first occurrence.
    Marker missing from the text: the last candidate of the whole text.
    """
    if marker is None or marker in text:
        behind = text if marker is None else text.partition(marker)[2]
        return next(iter(kind.candidates(behind)), None)
    return next(reversed(kind.candidates(text)), None)


def strict(kind: AnswerKind, text: str, marker: str | None) -> str | None:
    """What stands behind the marker (all of the text, where the template has none), if it is an answer and no more."""
    if marker is not None and marker not in text:
        return None
    return kind.whole(text.partition(marker)[2] if marker else text)


def lenient(kind: AnswerKind, text: str, marker: str | None) -> str | None:
    """The last answer-like thing after the last marker, or in the whole text."""
    found = kind.last(text.rpartition(marker)[2] if marker else text)
    return kind.last(text) if found is None else found


SCORERS: Mapping[str, Scorer] = {
    "paper": Scorer(paper, lambda kind, prediction, answer: kind.same(prediction, answer)),
    "strict": Scorer(strict, lambda kind, prediction, answer: kind.equivalent(prediction, answer)),
    "lenient": Scorer(lenient, lambda kind, prediction, answer: kind.equivalent(prediction, answer)),
}


def candidate(kind: AnswerKind, text: str, answer: str, which: Candidate) -> Reading:
    """The first or last candidate of `text` by the paper's rule, and whether it equals gold."""
    found = kind.candidates(text)
    if not found:
        return Reading(None, False)
    prediction = found[0] if which == "first" else found[-1]
    return Reading(prediction, kind.same(prediction, answer))


class _Letters(NamedTuple):
    """The patterns of a choice."""

    any: re.Pattern[str]
    whole: re.Pattern[str]
    bracketed: re.Pattern[str]
    alone: re.Pattern[str]


@cache
def _letters(letters: str) -> _Letters:
    one = f"[{re.escape(letters)}]"
    return _Letters(
        any=re.compile(one),
        whole=re.compile(rf"\(?({one})\)?"),
        bracketed=re.compile(rf"\(({one})\)"),
        alone=re.compile(rf"{one}(?<![\w'].)(?![\w']| [a-z])"),
    )


def _trimmed(text: str) -> str:
    return text.strip().removesuffix(".").rstrip()


def _folded(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
