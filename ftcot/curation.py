"""Curation: which completions of the teacher become training pairs.

    Completion(rationale=" \\n\\nDebby and her ...", answer_text=" 39.")      gold "39"
      judged     prediction "39", correct
      kept       Example(prompt="For Halloween ... left? ###", completion=" Debby and her ... --> 39")

Source: METHOD sections 1 and 5. Differs: nothing by default; `candidate` says which of the two rules the authors
used at one time or another (first: camera-ready code; last: most of the recorded GPT-3 files) is meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from ftcot.rationales import Tally
from ftcot.records import Completion, Example, Sample, SampleKey
from ftcot.sampled import MOST
from ftcot.task import Task
from ftcot.teacher import Diversity, Teacher
from ftcot.variety import Tally as VarietyTally

FilterName = Literal[
    "none", "answer", "format", "length", "duplicate", "equations", "math_verify", "vote", "judge"
]  # fmt: skip

ANSWER_CHECKS = frozenset({"answer", "math_verify"})
"""Filters that keep right completions only, by gold."""

TOGETHER = 1000
"""Completions, or a few more, of whole questions that filters are shown at once."""


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
    completions: Iterable[Completion], samples: Iterable[Sample], kind: AnswerKind, which: Candidate
) -> list[Completion]:
    """The completions with `prediction` and `correct` set; a recording that kept no answer text keeps its verdict, and
    what it calls right has gold's answer, as a filter may ask for one."""
    gold = {sample.key: sample.answer for sample in samples}
    return [judged(completion, kind, gold[completion.sample_key], which) for completion in completions]


def judged(completion: Completion, kind: AnswerKind, answer: str, which: Candidate) -> Completion:
    """One completion, as `judge` has it."""
    if completion.answer_text is not None:
        return completion.judged(*answers.candidate(kind, completion.answer_text, answer, which))
    if completion.correct and completion.prediction is None:
        return completion.judged(answer, completion.correct)
    return completion


def curate(
    samples: Sequence[Sample],
    completions: Iterable[Completion],
    template: Template,
    diversity: Diversity,
    curation: Curation,
    context: Context,
) -> Curated:
    """Training pairs from judged completions, by sample and draw.

    Raises:
        JobError: not one survives.
    """
    curating = Curating({sample.key: sample for sample in samples}, template, diversity, curation, context)
    examples = tuple(curating.examples(curating.arranged(completions)))
    return Curated(examples, curating.counts())


class OutOfOrderError(Exception):
    """Completions do not come in the order of the samples."""


class Curating:
    """Curation of a stream: completions go in, pairs come out, and what became of the completions is counted.

    As `curate` in all it says, but no more than TOGETHER completions and those of one question are held (and what
    sampled.py holds); all of them where a filter wants to see them at once.
    """

    def __init__(
        self,
        samples: Mapping[SampleKey, Sample],
        template: Template,
        diversity: Diversity,
        curation: Curation,
        context: Context,
        described: int = MOST,
    ) -> None:
        """
        Args:
            described: completions that the costly figures are taken from; of more, a sample is.
        """
        self.samples = samples
        self.template, self.diversity, self.curation, self.context = template, diversity, curation, context
        self._at_once = any(FILTERS[name](curation).at_once for name in curation.filters)
        self._said, self._shown = Tally(described), VarietyTally(described)
        self._dropped: Counter[str] = Counter()
        self._kept = self._answered = self._with_pairs = 0
        self._counted: dict[str, Any] = {}

    def examples(self, completions: Iterable[Completion]) -> Iterator[Example]:
        """The pairs, as soon as the filters have spoken.

        Args:
            completions: in the order of the samples, as teachers give them; `arranged` puts others into it.
        Raises:
            OutOfOrderError: one comes whose question has been passed.
            JobError: all have come, and not one is kept.
        """
        for block in self._blocks(completions):
            reasons, counted = reject(block, self.samples, self.curation, self.context)
            self._counted |= counted
            latest: SampleKey | None = None
            for completion, reason in zip(block, reasons, strict=True):
                self._said.add(completion)
                if reason is not None:
                    self._dropped[reason] += 1
                    continue
                key = completion.sample_key
                if key != latest:
                    latest = key
                    sample = self.samples[key]
                    self._with_pairs += 1
                self._kept += 1
                self._shown.add(key, completion.rationale)
                yield self.template.example(sample, completion.rationale, completion.draw)
        if not self._kept:
            raise self._nothing_left()

    def arranged(self, completions: Iterable[Completion]) -> Iterator[Completion]:
        """Those that are selected, in the order of the samples, each question's as they come; all of them are held."""
        by_sample: dict[SampleKey, list[Completion]] = {}
        for completion in completions:
            if completion.sample_key in self.samples and self.diversity.selects(completion):
                by_sample.setdefault(completion.sample_key, []).append(completion)
        return (completion for key in self.samples for completion in by_sample.get(key, ()))

    def counts(self) -> Mapping[str, Any]:
        """What `Curated` says, once all examples have been taken."""
        figures = self._said.statistics()
        return {
            "completions": figures.n,
            "kept": self._kept,
            "dropped": dict(self._dropped.most_common()),
            "questions": len(self.samples),
            "questions_without": len(self.samples) - self._with_pairs,
            "questions_unanswered": len(self.samples) - self._answered,
            "effective_diversity": round(figures.effective_degree, 3),
            "statistics": figures.to_json(),
            "diversity": self._shown.diversity().to_json(),
            **self._counted,
        }

    def _blocks(self, completions: Iterable[Completion]) -> Iterator[list[Completion]]:
        """Those that are selected, whole questions at a time."""
        block: list[Completion] = []
        latest: SampleKey | None = None
        to_come = iter(self.samples)
        for completion in completions:
            key = completion.sample_key
            if not self.diversity.selects(completion) or key not in self.samples:
                continue
            if key != latest:
                if key not in to_come:  # which goes on to where it is
                    raise OutOfOrderError
                latest = key
                self._answered += 1
                if len(block) >= TOGETHER and not self._at_once:
                    yield block
                    block = []
            block.append(completion)
        if block:
            yield block

    def _nothing_left(self) -> JobError:
        n = self._dropped.total()
        why = ", ".join(f"{n} {reason}" for reason, n in self._dropped.most_common()) or "there were none"
        return JobError(
            f"no training pair is left of {n} completions for {len(self.samples)} questions ({why}): "
            "nothing to train on; try another teacher, a higher diversity or another curation.filter"
        )


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
