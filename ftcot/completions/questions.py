"""The questions and gold answers of a task, where what was stored has to be judged by them.

Completion(sample_index=0, answer_text=" 39.")   ──>   prediction "39", correct
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftcot.answers import candidate
from ftcot.errors import InputError
from ftcot.records import Completion, Sample, SampleKey
from ftcot.teacher.matching import Known

if TYPE_CHECKING:
    from ftcot.job import Job
    from ftcot.task import Task

GENERATED = "generated_"
"""How the names of generated tasks begin; `generated/` is where their options are."""


@dataclass(frozen=True)
class Questions:
    """All samples of a task, whatever split they are in."""

    task: Task
    samples: Mapping[SampleKey, Sample]
    train: frozenset[SampleKey]
    """Those of the training split."""

    @classmethod
    def of(cls, task: Task) -> Questions:
        """The questions of a task.

        Raises:
            InputError: a file is missing or damaged.
        """
        splits = task.splits()
        samples = Known.of(task, splits).samples.values()
        return cls(task, {sample.key: sample for sample in samples}, frozenset(sample.key for sample in splits.train))

    def sample(self, completion: Completion) -> Sample | None:
        """The question it answers; None where that is not one of these, or was another one when it was asked."""
        sample = self.samples.get(completion.sample_key)
        if sample is None or (completion.prompt is not None and sample.question.strip() not in completion.prompt):
            return None
        return sample

    def judge(self, completion: Completion) -> Completion:
        """With `prediction` and `correct`, as a job has them; as it is where there is nothing to judge it by."""
        sample = self.sample(completion)
        if sample is None or completion.answer_text is None:
            return completion
        reading = candidate(self.task.answer, completion.answer_text, sample.answer, self.task.filter_candidate)
        return replace(completion, prediction=reading.prediction, correct=reading.correct)


def compose(words: Sequence[str]) -> Job:
    """The job that these words describe, as `ftcot.run` takes them.

    Raises:
        InputError: Hydra refuses a word, or a value is wrong.
    """
    from ftcot.compose import Composer, conf_dir, freeze
    from ftcot.job import build

    return build(freeze(Composer(conf_dir()).compose(words)))


def option(task: str) -> str:
    """The config option of a stored task's name: `generated/coin_flip` of `generated_coin_flip`."""
    return f"generated/{task.removeprefix(GENERATED)}" if task.startswith(GENERATED) else task


def at_hand(task: str, words: Sequence[str]) -> Questions | None:
    """The questions of a stored task, if that costs no download; None if not.

    Args:
        words: of a job, for a task of one's own (`task=jsonl task.path=FILE`); those of another task are left aside.
    """
    if words:
        composed = compose(words).task
        if composed.name == task:
            return Questions.of(composed)
    try:
        composed = compose([f"task={option(task)}"]).task
    except InputError:
        return None  # a task of somebody's own
    if composed.name != task or not all(path.exists() for path in composed.files()):
        return None
    return Questions.of(composed)
