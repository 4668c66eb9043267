"""Curation: which completions of the teacher become training pairs.

    Completion(rationale=" \\n\\nDebby and her ...", answer_text=" 39.")      gold "39"
      judged     prediction "39", correct
      kept       Example(prompt="For Halloween ... left? ###", completion=" Debby and her ... --> 39")

Source: METHOD sections 1 and 5. Differs: nothing by default; `candidate` says which of the two rules the authors
used at one time or another (first: camera-ready code; last: most of the recorded GPT-3 files) is meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ftcot import answers
from ftcot.answers import AnswerKind, Candidate
from ftcot.errors import InputError, JobError
from ftcot.prompts import Template
from ftcot.records import Completion, Example, Sample
from ftcot.teacher import Diversity, Teacher

Filter = Literal["answer", "none", "format", "length"]


@dataclass(frozen=True)
class Curation:
    """Which completions are kept."""

    filter: Filter | Sequence[Filter] = "answer"
    """answer: the answer is right. format: it ended by itself and holds an answer, right or wrong. length: the
    rationale has at least `min_words` and at most `max_words`. none: all. Several: all must agree."""
    candidate: Candidate = "first"
    """Which candidate of the answer text is the teacher's answer."""
    min_words: int | None = None
    max_words: int | None = None
    judge: Teacher | None = None
    """Who judges with `filter=judge`; None: the teacher of the job."""
    judge_prompt: str | None = None

    def __post_init__(self) -> None:
        for name in self.filters:
            if name not in _VERDICTS:
                raise InputError(f"curation.filter={name!r}: expected one of {', '.join(_VERDICTS)}")
        if self.candidate not in ("first", "last"):
            raise InputError(f"curation.candidate={self.candidate!r}: expected first or last")
        bounded = self.min_words is not None or self.max_words is not None
        if bounded != ("length" in self.filters):
            raise InputError(
                "curation.filter=length goes with curation.min_words or curation.max_words, and they with it"
            )
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise InputError(f"curation.min_words={self.min_words} is above curation.max_words={self.max_words}")

    @property
    def filters(self) -> tuple[str, ...]:
        return (self.filter,) if isinstance(self.filter, str) else tuple(self.filter)

    @property
    def needs_wrong_ones(self) -> bool:
        """Whether the result says something only if the teacher's wrong completions are there too."""
        return "answer" not in self.filters


@dataclass(frozen=True)
class Curated:
    """The pairs, and what became of every completion."""

    examples: tuple[Example, ...]
    counts: Mapping[str, Any]
    """completions, kept, dropped (reason -> n), questions; of these questions_without any pair that is kept, and
    questions_unanswered: not one completion (a recording of correct ones does not say whether it was asked)."""


def judge(
    completions: Sequence[Completion], samples: Sequence[Sample], kind: AnswerKind, which: Candidate
) -> list[Completion]:
    """The completions with `prediction` and `correct` set; a recording that kept no answer text keeps its verdict."""
    gold = {sample.key: sample.answer for sample in samples}
    judged = []
    for completion in completions:
        if completion.answer_text is not None:
            reading = answers.candidate(kind, completion.answer_text, gold[completion.sample_key], which)
            completion = replace(completion, prediction=reading.prediction, correct=reading.correct)
        judged.append(completion)
    return judged


def curate(
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    template: Template,
    diversity: Diversity,
    curation: Curation,
) -> Curated:
    """Training pairs from judged completions, by sample and draw.

    Raises:
        JobError: not one survives.
    """
    by_sample: dict[tuple[str, int, int], list[Completion]] = {sample.key: [] for sample in samples}
    for completion in completions:
        if completion.sample_key in by_sample and diversity.selects(completion):
            by_sample[completion.sample_key].append(completion)
    examples = []
    dropped: Counter[str] = Counter()
    for sample in samples:
        for completion in by_sample[sample.key]:
            if reason := rejection(completion, curation):
                dropped[reason] += 1
            else:
                examples.append(template.example(sample, completion.rationale, completion.draw))
    n_completions = sum(map(len, by_sample.values()))
    if not examples:
        reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common()) or "there were none"
        raise JobError(
            f"no training pair is left of {n_completions} completions for {len(samples)} questions ({reasons}): "
            "nothing to train on; try another teacher, a higher diversity or another curation.filter"
        )
    counts = {
        "completions": n_completions,
        "kept": len(examples),
        "dropped": dict(dropped.most_common()),
        "questions": len(samples),
        "questions_without": len(samples) - len({example.sample_index for example in examples}),
        "questions_unanswered": sum(not said for said in by_sample.values()),
    }
    return Curated(tuple(examples), counts)


def vanilla(samples: Sequence[Sample], template: Template) -> Curated:
    """Question and answer of every training sample, no teacher: what `fine_tune` learns from."""
    examples = tuple(template.example(sample) for sample in samples)
    return Curated(examples, {"kept": len(examples), "questions": len(samples), "questions_without": 0})


def rejection(completion: Completion, curation: Curation) -> str | None:
    """Why the completion is not kept, in words; None if it is."""
    for name in curation.filters:
        if reason := _VERDICTS[name](completion, curation):
            return reason
    return None


def _answer(completion: Completion, curation: Curation) -> str | None:
    if completion.correct:
        return None
    return "wrong answer" if completion.prediction is not None else "no answer"


def _format(completion: Completion, curation: Curation) -> str | None:
    if completion.finish_reason not in (None, "stop"):
        return "unfinished"
    return "no answer" if completion.prediction is None else None


def _length(completion: Completion, curation: Curation) -> str | None:
    n_words = len(completion.rationale.split())
    if curation.min_words is not None and n_words < curation.min_words:
        return "too short"
    return "too long" if curation.max_words is not None and n_words > curation.max_words else None


def _none(completion: Completion, curation: Curation) -> str | None:
    return None


_VERDICTS: Mapping[str, Callable[[Completion, Curation], str | None]] = {
    "answer": _answer,
    "none": _none,
    "format": _format,
    "length": _length,
}
