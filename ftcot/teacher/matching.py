"""Whose rationale it is: recorded rows matched to the samples of a task.

Rows that name their sample are held against it, so that nobody trains on another version's questions:

    recorded  "... today in MM/DD/YYYY? Answer Choices: (A) 04/29/2021 (B) 05/01/2021 ..."       answer B
    sample 0  "... today in MM/DD/YYYY?\\nWhich choice is true? Answer choices: (A) 06/12/2021, ..." answer F

is refused: the choices stand in another order, so the letters in the rationale are wrong here. Punctuation, case and
white space may differ. Rows of the authors' fine-tuning files name no sample; they are found by question and gold
answer, and where a question occurs twice (MultiArith repeats 20) by their place in the file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ftcot.errors import InputError
from ftcot.records import Sample

if TYPE_CHECKING:
    from ftcot.task import Splits, Task

SUFFIX = "whichchoiceistrue"
"""Letters of what two tasks add to a question; not every recording of them has it."""

SUBSET = ("split", "train_size", "validation_size")
"""Fields of a task by which a job takes only some of its samples; at their defaults it has all."""


class Row(NamedTuple):
    """One line of a fine-tuning file."""

    where: str
    """File and line."""
    question: str
    rationale: str
    answer: str


@dataclass(frozen=True)
class Known:
    """The samples a recording may speak of."""

    task: Task
    samples: Mapping[int, Sample]
    whole: bool
    """Whether these are all samples of the task; if not, rows of others are left out rather than refused."""
    train: frozenset[int]

    @classmethod
    def of(cls, task: Task, splits: Splits) -> Known:
        """The task's samples, those that its splits leave out among them (`train_size`, a clean split)."""
        defaults = _subset_defaults(task)
        samples = {sample.sample_index: sample for sample in _all(splits)}
        if any(getattr(task, name) != default for name, default in defaults.items()):
            samples = {sample.sample_index: sample for sample in _all(_with(task, defaults).splits())} | samples
        return cls(task, samples, bool(defaults), frozenset(sample.sample_index for sample in splits.train))

    def find(self, where: str, index: object, question: str | None, answer: str | None) -> Sample | None:
        """The sample a row names; None if it is one that the splits leave out.

        Args:
            question: as recorded, None if it is not.
            answer: gold as recorded, None if it is not.
        Raises:
            InputError: there is no such sample, or it has another question or answer.
        """
        name = self.task.name
        if not isinstance(index, int) or isinstance(index, bool):
            raise InputError(f"{where}: sample_index is {index!r}, expected a whole number")
        sample = self.samples.get(index)
        if sample is None:
            if self.whole:
                raise InputError(f"{where}: {name} has no sample_index {index}")
            return None
        if question is not None and not same_question(question, sample.question):
            raise InputError(
                f"{where}: sample_index {index} has another question here than in {name}, so its rationale does not "
                f"fit (choices in another order have other letters): {_short(question)} here, "
                f"{_short(sample.question)} there"
            )
        if answer is not None and not self._same_answer(answer, sample.answer):
            raise InputError(f"{where}: gold answer {answer!r} of sample_index {index} is {sample.answer!r} in {name}")
        return sample

    def assign(self, rows: Sequence[Row]) -> list[Sample | None]:
        """The sample of each row of a fine-tuning file; None for one that the splits leave out.

        The files are in the order of the samples. Of a question that occurs twice, a row is of the one that lies
        between its neighbours; if that leaves two, of the one in the training split, then of the first.

        Raises:
            InputError: a row's question is not one of the task's, or has another answer there.
        """
        by_question: dict[str, list[Sample]] = defaultdict(list)
        for _, sample in sorted(self.samples.items()):
            by_question[letters(sample.question)].append(sample)
        candidates = [self._candidates(row, by_question.get(letters(row.question), [])) for row in rows]
        assigned: list[Sample | None] = []
        last = -1
        for found, next_sure in zip(candidates, _next_sure(candidates), strict=True):
            between = [sample for sample in found if last <= sample.sample_index <= next_sure]
            in_train = [sample for sample in between or found if sample.sample_index in self.train]
            chosen = next(iter(in_train or between or found), None)
            last = chosen.sample_index if chosen else last
            assigned.append(chosen)
        return assigned

    def _candidates(self, row: Row, same: list[Sample]) -> list[Sample]:
        found = [sample for sample in same if self._same_answer(row.answer, sample.answer)]
        if not found and (same or self.whole):
            name = self.task.name
            if same:
                raise InputError(f"{row.where}: its answer {row.answer!r} is {same[0].answer!r} in {name}")
            raise InputError(f"{row.where}: {name} has no such question: {_short(row.question)}")
        return found

    def _same_answer(self, recorded: str, answer: str) -> bool:
        if recorded.strip() == answer.strip():
            return True
        try:
            return self.task.answer.equivalent(recorded.strip(), answer.strip())
        except ValueError:
            return False


def same_question(recorded: str, question: str) -> bool:
    """Whether two questions read the same but for punctuation, case and white space."""
    return recorded == question or letters(recorded) == letters(question)


def letters(question: str) -> str:
    """What of a question has to agree: its letters and digits."""
    return "".join(character for character in question.casefold() if character.isalnum()).replace(SUFFIX, "")


def _subset_defaults(task: Any) -> dict[str, Any]:
    return {f.name: f.default for f in fields(task) if f.name in SUBSET} if is_dataclass(task) else {}


def _with(task: Any, values: Mapping[str, Any]) -> Task:
    changed: Task = replace(task, **values)
    return changed


def _all(splits: Splits) -> Iterable[Sample]:
    return chain(splits.train, splits.validation, splits.test)


def _next_sure(candidates: Sequence[Sequence[Sample]]) -> list[float]:
    """At each row, the sample_index of the first row from there on that can be of one sample only."""
    following = [math.inf]
    for found in reversed(candidates):
        following.append(found[0].sample_index if len(found) == 1 else following[-1])
    return following[:0:-1]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 100 else f"{text[:45]} … {text[-50:]}")
