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
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ftcot.equations import find
from ftcot.records import Completion, SampleKey

_SIGNS = str.maketrans({"×": "*", "⋅": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "’": "'", "ʼ": "'"})
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MARKDOWN = re.compile(r"(?m)^\s*(?:[-*•]+\s+)*|(?<![\d)\s])\s*\*\*|\*\*(?!\s*[\d(.-])")
"""Bullets and bold type."""
_MEANING = re.compile(
    r"\d+(?:\.\d+)?|\.\d+"  # a number; its full stop at the end of a sentence is none of it
    r"|[^\W\d_]+(?:'[^\W\d_]+)*"  # a word
    r"|[+=<>^%]"
    r"|/(?=\s*[$(.]?\d)"
    r"|(?<=[\d)%\s])(?:-|\*{1,2})(?=\s*[$(]*[-.]?\d)"  # minus and times; not dashes and hyphens before words
    r"|(?<![\w-])-(?=\$?\.?\d)"
    r"|\((?=[-$.(\s]*\d)|(?<=[\d)%])\s*\)"
)


def normalise(text: str) -> str:
    """The text without what decides nothing: case, white space, punctuation, the ways of writing a sign.

    Two rationales that are equal after this are the same one.
    """
    text = _MARKDOWN.sub(" ", unicodedata.normalize("NFC", text).translate(_SIGNS).casefold())
    found = _MEANING.findall(_THOUSANDS.sub("", text))
    tokens = [token.strip().replace("'", "").replace("$", "") for token in found]
    for index in range(1, len(tokens) - 1):
        if tokens[index] == "x" and tokens[index - 1][-1] in "0123456789)%" and tokens[index + 1][0] in ".0123456789(":
            tokens[index] = "*"
    return " ".join(tokens)


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

    def to_json(self, digits: int = 3) -> dict[str, Any]:
        """The figures, rounded, to be written down."""
        return {key: round(value, digits) if isinstance(value, float) else value for key, value in asdict(self).items()}


def statistics(completions: Iterable[Completion]) -> Statistics:
    """The figures of completions, read once: a stream of a million will do."""
    tally = Tally()
    for completion in completions:
        tally.add(completion)
    return tally.statistics()


class Tally:
    """Statistics in the making, for streams that hold several sets of completions.

    Of each completion the number of its words and a hash of its text are kept, no more.
    """

    def __init__(self) -> None:
        self._words = array("L")
        self._equations = self._judged = self._right = 0
        self._said: dict[SampleKey, set[int]] = {}
        self._predicted: dict[SampleKey, Counter[str]] = {}
        self._reasons: Counter[str] = Counter()

    def add(self, completion: Completion) -> None:
        self._words.append(len(completion.rationale.split()))
        self._equations += len(set(equations(completion.rationale)))
        self._said.setdefault(completion.sample_key, set()).add(hash(normalise(completion.rationale)))
        if completion.prediction is not None:
            self._predicted.setdefault(completion.sample_key, Counter())[completion.prediction] += 1
        if completion.correct is not None and not completion.correct_only:
            self._judged += 1
            self._right += completion.correct
        self._reasons[completion.finish_reason or "unknown"] += 1

    def statistics(self) -> Statistics:
        n = len(self._words)
        ordered = sorted(self._words)
        shares = [max(counts.values()) / counts.total() for counts in self._predicted.values() if counts.total() > 1]
        return Statistics(
            n=n,
            samples=len(self._said),
            words_mean=sum(ordered) / n if n else 0.0,
            words_median=_quantile(ordered, 0.5),
            words_p95=_quantile(ordered, 0.95),
            equations=self._equations / n if n else 0.0,
            effective_degree=sum(map(len, self._said.values())) / len(self._said) if self._said else 0.0,
            agreement=sum(shares) / len(shares) if shares else None,
            finish_reasons=dict(self._reasons.most_common()),
            accuracy=self._right / self._judged if self._judged else None,
        )


def _quantile(ordered: list[int], share: float) -> float:
    """The value below which `share` of them lie, between two where it falls there; 0 of none."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
