"""Evaluation: what a student says to the questions, and the score of it.

    generate   "Debby and her sister have 32 + 42 = 74 pieces ... --> 39"
    read       paper "39" right, strict "39" right, lenient "39" right
    study      right (or what is wrong with it: ftcot/sample_study.py)
    score      accuracy 0.5333 of 180, 95 % interval [0.4605, 0.6048]

Greedy decoding, on the test split (reported) and on the validation split where there is one (selected on).
Source: METHOD section 5 for reading answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ftcot.answers import SCORERS, AnswerKind
from ftcot.errors import InputError, JobError
from ftcot.prompts import Template
from ftcot.ranks import Ranks
from ftcot.records import EpochScore, Prediction, Sample
from ftcot.sample_study import kind_of, rates
from ftcot.statistics.intervals import wilson

if TYPE_CHECKING:
    from ftcot.student import Generation, Progress, Student


MOST_NEW_TOKENS = 512
LEAST_NEW_TOKENS = 64

LONGER = 1.5
"""What an answer may be by `max_new_tokens=auto`, as a multiple of the longest target the student is taught."""


@dataclass(frozen=True)
class Evaluation:
    """How a student is tested."""

    scorer: str = "paper"
    """Whose verdict the job reports: paper, strict or lenient."""
    max_new_tokens: int | Literal["auto"] = MOST_NEW_TOKENS
    """Of one generation; what is cut off by it counts in the truncation rate. auto: by what the student is taught."""
    batch_tokens: int = 16384
    """Of prompts and answers that are under way together, with the room they are held in; one prompt always is."""
    overlap: bool | Literal["auto"] = "auto"
    """Whether an epoch is tested while the next one is trained (training/room.py); the result is the same."""

    def __post_init__(self) -> None:
        if self.scorer not in SCORERS:
            raise InputError(f"evaluation.scorer={self.scorer!r}: expected one of {', '.join(SCORERS)}")
        if self.max_new_tokens != "auto" and (not isinstance(self.max_new_tokens, int) or self.max_new_tokens < 1):
            raise InputError(f"evaluation.max_new_tokens={self.max_new_tokens}: expected 1 or more, or auto")
        if self.batch_tokens < 1:
            raise InputError(f"evaluation.batch_tokens={self.batch_tokens}: expected 1 or more")
        if not isinstance(self.overlap, bool) and self.overlap != "auto":
            raise InputError(f"evaluation.overlap={self.overlap}: expected auto, true or false")

    def limit(self, longest: int | None = None) -> int:
        """Most new tokens of one generation.

        Args:
            longest: tokens of the longest target that the student is taught; None: it is taught none.
        """
        if self.max_new_tokens != "auto":
            return self.max_new_tokens
        if longest is None:
            return MOST_NEW_TOKENS
        return min(MOST_NEW_TOKENS, max(LEAST_NEW_TOKENS, math.ceil(LONGER * longest)))


def predict(
    student: Student,
    template: Template,
    kind: AnswerKind,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    *,
    epoch: int,
    demonstrations: str = "",
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> list[Prediction]:
    """What the student says to each sample, in their order, one call each (two for a two-stage template).

    Args:
        ranks: share the samples out between them; each knows all predictions in the end.
    """
    prompts = [template.ask(sample.question, demonstrations) for sample in samples]
    first, final = ask(student, template, prompts, evaluation, progress, ranks)
    predictions = []
    for sample, rationale, said in zip(samples, first, final, strict=True):
        readings = {
            name: scorer.read(kind, said.text, template.marker, sample.answer) for name, scorer in SCORERS.items()
        }
        reported = readings[evaluation.scorer]
        prediction = Prediction(
            sample_index=sample.sample_index,
            split=sample.split,
            epoch=epoch,
            text=said.text,
            answer=sample.answer,
            prediction=reported.prediction,
            correct=reported.correct,
            verdicts={name: reading.correct for name, reading in readings.items()},
            contains_answer=kind.contains(said.text, sample.answer),
            formatted=template.marker is None or template.marker in said.text,
            truncated=said.truncated,
            n_tokens=said.n_tokens + (rationale.n_tokens if rationale else 0),
            rationale=rationale.text if rationale else None,
        )
        predictions.append(replace(prediction, study=kind_of(prediction, sample.question, template.marker)))
    return predictions


def ask(
    student: Student,
    template: Template,
    prompts: Sequence[str],
    evaluation: Evaluation,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> tuple[Sequence[Generation | None], list[Generation]]:
    """The student's rationale calls (None each, where the template has one stage) and its final calls."""
    ranks = ranks or Ranks()
    said = generate(student, prompts, template.stop, evaluation, progress, ranks)
    if template.answer_prompt is None:
        return [None] * len(prompts), said
    second = [prompt + rationale.text + template.answer_prompt for prompt, rationale in zip(prompts, said, strict=True)]
    return said, generate(student, second, template.stop, evaluation, progress, ranks)


def generate(
    student: Student,
    prompts: Sequence[str],
    stop: str | None,
    evaluation: Evaluation,
    progress: Progress | None,
    ranks: Ranks,
) -> list[Generation]:
    """One generation a prompt, on every rank, in the order of the prompts.

    Ranks take prompts in turn, longest first, and meet only once they are through. Which prompts are answered together
    changes logits in their last digits alone; so the number of ranks can change a prediction only where the two
    likeliest tokens are all but equal.

    Raises:
        JobError: not every prompt has been answered by exactly one rank.
    """
    size: dict[str, Any] = {"max_new_tokens": evaluation.limit(), "batch_tokens": evaluation.batch_tokens}
    if ranks.alone:
        return student.generate(prompts, **size, stop=stop, progress=progress)
    mine = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))[ranks.rank :: ranks.world]
    said = student.generate([prompts[i] for i in mine], **size, stop=stop, progress=progress)
    answers = [answer for part in ranks.gather(list(zip(mine, said, strict=True))) for answer in part]
    answers.sort(key=lambda answer: answer[0])
    if [i for i, _ in answers] != list(range(len(prompts))):
        raise JobError(f"evaluation: {ranks.world} ranks gave {len(answers)} answers to {len(prompts)} prompts")
    return [generation for _, generation in answers]


def score(predictions: Iterable[Prediction]) -> tuple[EpochScore, ...]:
    """One score for each epoch and split among the predictions, in their order."""
    groups: dict[tuple[int, str], list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault((prediction.epoch, prediction.split), []).append(prediction)
    return tuple(_epoch_score(group) for group in groups.values())


def _epoch_score(group: Sequence[Prediction]) -> EpochScore:
    n = len(group)
    n_correct = sum(prediction.correct for prediction in group)
    return EpochScore(
        epoch=group[0].epoch,
        split=group[0].split,
        n=n,
        accuracy=n_correct / n,
        interval=wilson(n_correct, n),
        accuracies={name: sum(p.verdicts[name] for p in group) / n for name in group[0].verdicts},
        contains_answer=sum(p.contains_answer for p in group) / n,
        format_rate=sum(p.formatted for p in group) / n,
        truncation_rate=sum(p.truncated for p in group) / n,
        mean_tokens=sum(p.n_tokens for p in group) / n,
        study=rates(studied) if len(studied := [p.study for p in group if p.study is not None]) == n else {},
    )


def best(scores: Sequence[EpochScore], split: str) -> EpochScore | None:
    """The score with the highest accuracy on `split`, the first of equals; None if there is none."""
    return max((s for s in scores if s.split == split), key=lambda s: (s.accuracy, -s.epoch), default=None)


def select(scores: Sequence[EpochScore], epoch: int, split: str = "test") -> EpochScore:
    """The score of one epoch on one split."""
    return next(s for s in scores if s.epoch == epoch and s.split == split)


def summary(score: EpochScore) -> Mapping[str, Any]:
    """What score.json says of a chosen epoch."""
    return {"epoch": score.epoch, "accuracy": score.accuracy, "n": score.n, "interval": score.interval}
