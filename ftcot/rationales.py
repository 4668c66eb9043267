"""What can be said of rationales without asking anybody: when two are the same, and how much they say.

    normalise(" \\n\\nShe has $1,200 × 2 = $2,400.")      "she has 1200 * 2 = 2400"
    equations("32 + 42 = 74, and 74 - 35 = 39.")        ("32+42=74", "74-35=39")
    statistics(3,360 completions of 420 questions)      8 drawn and 5.9 different ones a question, 61 words each

The paper's D counts draws; a teacher that repeats itself gives fewer. `effective_degree` counts what differs, after
case, white space and punctuation, which decide nothing, are made equal. Numbers, operators and words stay. In what
ways they differ, variety.py says.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ftcot.equations import find
from ftcot.records import Completion
from ftcot.sampled import MOST, Sampled

_SIGNS = str.maketrans({"×": "*", "⋅": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "’": "'", "ʼ": "'"})
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
_MARKDOWN = re.compile(r"(?m)^\s*(?:[-*•]+\s+)*|(?<![\d)\s])\s*\*\*|\*\*(?!\s*[\d(.-])")
"""Bullets and bold type."""
_BULLETS = ("-", "*", "•")


def _meaning(letter: str) -> re.Pattern[str]:
    """What says something."""
    return re.compile(
        rf"{letter}+(?:'{letter}+)*"
        r"|\d+(?:\.\d+)?|\.\d+"  # a number; its full stop at the end of a sentence is none of it
        r"|[+=<>^%]"
        r"|/(?=\s*[$(.]?\d)"
        r"|(?<=[\d)%\s])(?:-|\*{1,2})(?=\s*[$(]*[-.]?\d)"  # minus and times; not dashes and hyphens before words
        r"|(?<![\w-])-(?=\$?\.?\d)"
        r"|\((?=[-$.(\s]*\d)|(?<=[\d)%])\s*\)"
    )


_MEANING = _meaning(r"[^\W\d_]")
_MEANING_OF_ASCII = _meaning("[a-z]")


def normalise(text: str) -> str:
    """The text without what decides nothing: case, white space, punctuation, the ways of writing a sign.

    Two rationales that are equal after this are the same one.
    """
    plain = text.isascii()
    text = text.lower() if plain else unicodedata.normalize("NFC", text).translate(_SIGNS).casefold()
    text = _MARKDOWN.sub(" ", text) if _has_markdown(text) else f" {text}"
    if "," in text:
        text = _THOUSANDS.sub("", text)
    tokens: list[str] = (_MEANING_OF_ASCII if plain else _MEANING).findall(text)
    if ")" in text:
        tokens = [token.strip() for token in tokens]  # what closes a parenthesis is found with the space before it
    if "'" in text:
        tokens = [token.replace("'", "") for token in tokens]
    if "x" in tokens:
        for index in range(1, len(tokens) - 1):
            before, after = tokens[index - 1], tokens[index + 1]
            if tokens[index] == "x" and before[-1] in "0123456789)%" and after[0] in ".0123456789(":
                tokens[index] = "*"
    return " ".join(tokens)


def _has_markdown(text: str) -> bool:
    """Whether there may be bold type or a bullet at the beginning of a line."""
    if not any(sign in text for sign in _BULLETS):
        return False
    return "**" in text or any(line.lstrip().startswith(_BULLETS) for line in text.split("\n"))


def equations(text: str) -> tuple[str, ...]:
    """The equations between numbers that are written in the text, in order, without white space and units."""
    return tuple(equation.text for equation in find(text))


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a set of completions is like."""

    n: int
    """Completions."""
    samples: int
    """Questions that have any."""
    words_mean: float
    """Of a rationale, parted by white space; the same of the next two."""
    words_median: float
    words_p95: float
    equations: float
    """Distinct equations a rationale, the mean."""
    effective_degree: float
    """Distinct rationales a question, the mean: the D that was got."""
    agreement: float | None
    """Share of a question's predictions that equal its most frequent one, the mean over questions that have more than
    one; None where no question has."""
    finish_reasons: Mapping[str, int]
    """`unknown` where a recording did not keep it."""
    accuracy: float | None
    """Of those that were judged; None where none was, or where recordings kept correct ones only."""
    sampled: int | None = None
    """Completions that words, equations, effective_degree and agreement were taken from; None: all (sampled.py)."""

    def to_json(self, digits: int = 3) -> dict[str, Any]:
        """The figures, rounded, to be written down."""
        values = asdict(self)
        if self.sampled is None:
            del values["sampled"]
        return {key: round(value, digits) if isinstance(value, float) else value for key, value in values.items()}


def statistics(completions: Iterable[Completion]) -> Statistics:
    """The figures of completions, read once: a stream of a million will do."""
    tally = Tally()
    for completion in completions:
        tally.add(completion)
    return tally.statistics()


class _Said(NamedTuple):
    """What is kept of a completion of the sample."""

    words: int
    equations: int
    """Distinct ones."""
    rationale: int
    """A hash of its normal form."""
    prediction: str | None


class Tally:
    """Statistics in the making, for streams that hold several sets of completions.

    Of a sample of the questions, with at most so many completions, a few numbers are kept for each completion; of all
    others, counts.
    """

    def __init__(self, most: int = MOST) -> None:
        self._judged = self._right = 0
        self._reasons: Counter[str] = Counter()
        self._said: Sampled[_Said] = Sampled(most)

    def add(self, completion: Completion) -> None:
        if completion.correct is not None and not completion.correct_only:
            self._judged += 1
            self._right += completion.correct
        self._reasons[completion.finish_reason or "unknown"] += 1
        question = completion.sample_key
        if self._said.takes(question):
            text = completion.rationale
            words, found = len(text.split()), len(set(equations(text)))
            self._said.add(question, _Said(words, found, hash(normalise(text)), completion.prediction))

    def statistics(self) -> Statistics:
        sample = list(self._said)
        words = sorted(said.words for each in sample for said in each)
        n = len(words)
        predicted = [Counter(said.prediction for said in each if said.prediction is not None) for each in sample]
        shares = [max(counts.values()) / counts.total() for counts in predicted if counts.total() > 1]
        distinct = [len({said.rationale for said in each}) for each in sample]
        return Statistics(
            n=self._said.n,
            samples=self._said.questions,
            words_mean=sum(words) / n if n else 0.0,
            words_median=_quantile(words, 0.5),
            words_p95=_quantile(words, 0.95),
            equations=sum(said.equations for each in sample for said in each) / n if n else 0.0,
            effective_degree=sum(distinct) / len(distinct) if distinct else 0.0,
            agreement=sum(shares) / len(shares) if shares else None,
            finish_reasons=dict(self._reasons.most_common()),
            accuracy=self._right / self._judged if self._judged else None,
            sampled=None if self._said.whole else n,
        )


def _quantile(ordered: list[int], share: float) -> float:
    """The value below which `share` of them lie, between two where it falls there; 0 of none."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
