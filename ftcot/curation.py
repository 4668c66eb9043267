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
from ftcot.filters import Context, Filter, Reason
from ftcot.filters.answer import RightAnswer
from ftcot.filters.duplicate import FirstOfItsKind
from ftcot.filters.equations import SoundArithmetic
from ftcot.filters.format import WellFormed
from ftcot.filters.judge import Judge
from ftcot.filters.length import Length
from ftcot.filters.math_verify import MathVerify
from ftcot.filters.none import Everything
from ftcot.filters.vote import Majority
from ftcot.prompts import Template
from ftcot.rationales import statistics
from ftcot.records import Completion, Example, Sample, SampleKey
from ftcot.task import Task
from ftcot.teacher import Diversity, Teacher
from ftcot.variety import diversity as diversity_of

FilterName = Literal[
    "none", "answer", "format", "length", "duplicate", "equations", "math_verify", "vote", "judge"
]  # fmt: skip

ANSWER_CHECKS = frozenset({"answer", "math_verify"})
"""Filters that keep right completions only, by gold."""


@dataclass(frozen=True)
class Curation:
    """Which completions are kept."""

    filter: FilterName | Sequence[FilterName] = "answer"
    """What each of them keeps is said in ftcot/filters/. Several: each sees what those before it have left, so the
    order counts for `vote`, and for what `judge` costs."""
    candidate: Candidate = "first"
    """Which candidate of the answer text is the teacher's answer."""
    min_words: int | None = None
    max_words: int | None = None
    judge: Teacher | None = None
    """Who judges with `filter=judge`; None: the teacher of the job. Not asked without that filter: a sweep over filters
    may name one."""
    judge_prompt: str | None = None
    """What the judge is asked, with {question}, {rationale} and {answer}; None: the prompt of filters/judge.py."""

    def __post_init__(self) -> None:
        if not self.filters:
            raise InputError("curation.filter=[]: name a filter, or none to keep every completion")
        for name in self.filters:
            if not isinstance(name, str) or name not in FILTERS:
                raise InputError(f"curation.filter={name!r}: expected one of {', '.join(FILTERS)}")
        if self.candidate not in ("first", "last"):
            raise InputError(f"curation.candidate={self.candidate!r}: expected first or last")
        if self.judge is not None and not hasattr(self.judge, "complete"):
            raise InputError(f"curation.judge={self.judge}: expected a teacher (+teacher@curation.judge=api), or null")
        bounded = self.min_words is not None or self.max_words is not None
        if bounded != ("length" in self.filters):
            raise InputError(
                "curation.filter=length goes with curation.min_words or curation.max_words, and they with it"
            )
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise InputError(f"curation.min_words={self.min_words} is above curation.max_words={self.max_words}")

    @property
    def filters(self) -> tuple[str, ...]:
        several = isinstance(self.filter, Sequence) and not isinstance(self.filter, str)
        return tuple(self.filter) if several else (self.filter,)  # type: ignore[return-value]

    @property
    def needs_wrong_ones(self) -> bool:
        """Whether the result says something only if the teacher's wrong completions are there too.

        It does not where a filter removes them anyway, unless a vote was taken before among all of them.
        """
        checks = [place for place, name in enumerate(self.filters) if name in ANSWER_CHECKS]
        return not checks or "vote" in self.filters[: checks[0]]

    def check(self, task: Task, teacher: Teacher) -> None:
        """Refuse filters that cannot work for this task and teacher, before anything is spent.

        Raises:
            InputError: a package is missing, the answers are of the wrong kind, the judge cannot be asked.
        """
        for name in self.filters:
            FILTERS[name](self).check(task, teacher)


@dataclass(frozen=True)
class Curated:
    """The pairs, and what became of every completion."""

    examples: tuple[Example, ...]
    counts: Mapping[str, Any]
    """completions, kept, dropped (reason -> n), questions; of these questions_without any pair that is kept, and
    questions_unanswered: not one completion (a recording of correct ones does not say whether it was asked).
    statistics: of all completions, kept or not; effective_diversity: how many rationales of a question differ.
    diversity: how much those that are kept differ (ftcot/variety.py)."""


def judge(
    completions: Sequence[Completion], samples: Sequence[Sample], kind: AnswerKind, which: Candidate
) -> list[Completion]:
    """The completions with `prediction` and `correct` set; a recording that kept no answer text keeps its verdict, and
    what it calls right has gold's answer, as a filter may ask for one."""
    gold = {sample.key: sample.answer for sample in samples}
    judged = []
    for completion in completions:
        if completion.answer_text is not None:
            reading = answers.candidate(kind, completion.answer_text, gold[completion.sample_key], which)
            completion = replace(completion, prediction=reading.prediction, correct=reading.correct)
        elif completion.correct and completion.prediction is None:
            completion = replace(completion, prediction=gold[completion.sample_key])
        judged.append(completion)
    return judged


def curate(
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    template: Template,
    diversity: Diversity,
    curation: Curation,
    context: Context,
) -> Curated:
    """Training pairs from judged completions, by sample and draw.

    Raises:
        JobError: not one survives.
    """
    by_sample: dict[SampleKey, list[Completion]] = {sample.key: [] for sample in samples}
    for completion in completions:
        if completion.sample_key in by_sample and diversity.selects(completion):
            by_sample[completion.sample_key].append(completion)
    selected = [completion for sample in samples for completion in by_sample[sample.key]]
    known = {sample.key: sample for sample in samples}
    reasons, counted = reject(selected, known, curation, context)
    dropped = Counter(reason for reason in reasons if reason)
    kept = [completion for completion, reason in zip(selected, reasons, strict=True) if reason is None]
    examples = [template.example(known[each.sample_key], each.rationale, each.draw) for each in kept]
    if not examples:
        why = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common()) or "there were none"
        raise JobError(
            f"no training pair is left of {len(selected)} completions for {len(samples)} questions ({why}): "
            "nothing to train on; try another teacher, a higher diversity or another curation.filter"
        )
    figures = statistics(selected)
    counts = {
        "completions": len(selected),
        "kept": len(examples),
        "dropped": dict(dropped.most_common()),
        "questions": len(samples),
        "questions_without": len(samples) - len({example.sample_index for example in examples}),
        "questions_unanswered": sum(not said for said in by_sample.values()),
        "effective_diversity": round(figures.effective_degree, 3),
        "statistics": figures.to_json(),
        "diversity": diversity_of((each.sample_key, each.rationale) for each in kept).to_json(),
    }
    return Curated(tuple(examples), counts | counted)


def reject(
    completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], curation: Curation, context: Context
) -> tuple[list[Reason], dict[str, Any]]:
    """Why each completion is not kept (None: it is), and what else the filters counted.

    Each filter is shown what those listed before it have left.
    """
    reasons: list[Reason] = [None] * len(completions)
    counts: dict[str, Any] = {}
    left = list(range(len(completions)))
    for name in curation.filters:
        if not left:
            break
        said = FILTERS[name](curation).verdicts([completions[place] for place in left], samples, context)
        for place, reason in zip(left, said.reasons, strict=True):
            reasons[place] = reason
        counts |= said.counts
        left = [place for place in left if reasons[place] is None]
    return reasons, counts


def vanilla(samples: Sequence[Sample], template: Template) -> Curated:
    """Question and answer of every training sample, no teacher: what `fine_tune` learns from."""
    examples = tuple(template.example(sample) for sample in samples)
    return Curated(examples, {"kept": len(examples), "questions": len(samples), "questions_without": 0})


FILTERS: Mapping[str, Callable[[Curation], Filter]] = {
    "none": lambda curation: Everything(),
    "answer": lambda curation: RightAnswer(),
    "format": lambda curation: WellFormed(),
    "length": lambda curation: Length(curation.min_words, curation.max_words),
    "duplicate": lambda curation: FirstOfItsKind(),
    "equations": lambda curation: SoundArithmetic(),
    "math_verify": lambda curation: MathVerify(),
    "vote": lambda curation: Majority(),
    "judge": lambda curation: Judge(curation.judge, curation.judge_prompt),
}
