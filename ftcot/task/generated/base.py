"""What the generated tasks share: drawing questions from a seed, and splitting them.

    question  "A coin is heads up. Gus flips the coin. Ida keeps the coin. Ned flips the coin. Is it heads up?"
      read    Problem(names=("Gus", "Ida", "Ned"), flips=(True, False, True))
      solve   "yes"
      reason  "The start is heads. Gus flips: tails. Ida keeps: tails. Ned flips: heads. So yes."

Whether a question may be a training or a test question is decided by a hash of its text. So the splits are disjoint
whatever their sizes and seeds, a larger `n_train` changes no test question, and a question of one seed's test split
is in no other seed's training split. Within a split question i is the same however many are drawn.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from ftcot.answers import AnswerKind, Candidate
from ftcot.errors import InputError
from ftcot.records import Sample
from ftcot.task import Demonstrations, Splits
from ftcot.task.generated.choices import CHOICES
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices
from ftcot.task.splits import Division, check_sizes, splits

P = TypeVar("P")
"""A task's problem: what a question says, as data."""

Side = Literal["train", "test"]

PATIENCE = 2000
"""Draws without a new question before a task says that there are no more; and 20 more for each question it has."""


@dataclass(frozen=True, kw_only=True)
class GeneratedTask(ABC, Generic[P]):
    """A task that makes its own questions."""

    name: str
    version: int
    n_train: int
    """Training questions, before `validation_size` and `train_size`."""
    n_test: int
    validation_size: int = 0
    """Questions taken from the training questions: the last of a permutation whose first are `train_size`'s."""
    train_size: int | None = None
    """Training questions that are used; None: all that are not for validation."""
    seed: int = 0
    """Of the questions. Not the run's seed: runs with different seeds share their questions."""
    answer_prompt: str = "\nTherefore, the answer is"
    filter_candidate: Candidate = "first"

    def __post_init__(self) -> None:
        self.require_number("n_train", 1)
        self.require_number("n_test", 1)
        self.require_number("version", 1)
        self.require_number("seed", 0)
        check_sizes(self.train_size, self.validation_size)

    def require(self, holds: bool, key: str, expected: str) -> None:
        """Refuse the value of a field unless `holds`."""
        if not holds:
            raise InputError(f"task.{key}={getattr(self, key)}: expected {expected}")

    def require_number(self, key: str, least: int, most: int | None = None) -> None:
        """Refuse the value of a field unless it is a whole number in this range."""
        value = getattr(self, key)
        expected = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
        self.require(type(value) is int and least <= value and (most is None or value <= most), key, expected)

    # What each task brings.

    @property
    @abstractmethod
    def answer(self) -> AnswerKind: ...

    @property
    def n_classes(self) -> int:
        """How many answers there are to choose from, which all come equally often; 1 where answers are free."""
        return 1

    @abstractmethod
    def draw(self, rng: random.Random, target: int) -> P:
        """A problem whose answer is number `target` of the classes."""

    @abstractmethod
    def ask(self, problem: P) -> str:
        """The question: one text for one problem."""

    @abstractmethod
    def read(self, question: str) -> P:
        """The problem that a question states.

        Raises:
            InputError: it is not a question of this task.
        """

    @abstractmethod
    def solve(self, problem: P) -> str:
        """The answer."""

    @abstractmethod
    def voices(self, verbosity: int) -> Voices:
        """The phrases for 0 terse, 1 normal, 2 wordy."""

    @abstractmethod
    def reason(self, problem: P, voice: Voice, hand: Hand) -> Rationale:
        """The way to an answer, in `voice`, each step done by `hand`."""

    # What they share.

    @property
    def random_accuracy(self) -> float:
        return self.answer.random_accuracy

    def splits(self) -> Splits:
        train, test = list(self.samples("train", self.n_train)), list(self.samples("test", self.n_test))
        division = Division([sample.sample_index for sample in train], [sample.sample_index for sample in test])
        samples = {sample.sample_index: sample for sample in (*train, *test)}
        return splits(samples, division, self.train_size, self.validation_size)

    def files(self) -> tuple[Path, ...]:
        return ()

    def demonstrations(self) -> Demonstrations | None:
        return None

    def samples(self, side: Side, n: int) -> Iterator[Sample]:
        """The first `n` samples of a side. Training questions have even indices, test questions odd ones.

        Raises:
            InputError: there are not so many different questions.
        """
        seen: set[str] = set()
        for i in range(n):
            question, answer = self._new(side, i, seen, n)
            yield Sample(self.name, self.version, 2 * i + (side == "test"), question, answer, side)

    def _new(self, side: Side, i: int, seen: set[str], n: int) -> tuple[str, str]:
        # Classes come in shuffled rounds, so that any number of questions is balanced.
        round_, place = divmod(i, self.n_classes)
        target = self._rng(side, "round", round_).sample(range(self.n_classes), self.n_classes)[place]
        rng = self._rng(side, "question", i)
        for _ in range(PATIENCE + 20 * len(seen)):
            problem = self.draw(rng, target)
            question = self.ask(problem)
            # The same story with other choices is the same question.
            story = question.partition(CHOICES)[0]
            if story not in seen and _side(story) == side:
                seen.add(story)
                return question, self.solve(problem)
        raise InputError(
            f"task.n_{side}={n}: there are only {i} different questions for the {side} split with "
            f"{self._difficulty()}; ask for fewer, or make them harder"
        )

    def _rng(self, *what: object) -> random.Random:
        return random.Random("/".join(map(str, (self.name, self.seed, *what))))

    def _difficulty(self) -> str:
        shared = {f.name for f in dataclasses.fields(GeneratedTask)}
        own = [f.name for f in dataclasses.fields(self) if f.name not in shared]
        return ", ".join(f"task.{name}={getattr(self, name)}" for name in own)


def not_a_question(task: GeneratedTask[Any], question: str) -> InputError:
    """The error for a text that `read` does not understand."""
    return InputError(f"task {task.name}: this is not one of its questions: {question[:80]!r}")


def _side(story: str) -> Side:
    return "train" if hashlib.sha256(story.encode()).digest()[0] % 2 else "test"
