"""The procedural teacher: rationales for the generated tasks, written by the program that knows the steps.

    A coin is heads up. Gus flips the coin. Ida keeps the coin. Is it heads up?

    draw 0   " The start is heads. Gus flips: tails. Ida keeps: tails. So no."                         " no."
    draw 1   " Backwards, start with heads. Ida keeps so heads. Gus flips so tails. So no."            " no."
    draw 2   " The coin is heads. Gus flips, heads. Ida keeps, tails. It ends as tails: no."           " no."

Draw 2, of a teacher with `skill` below 1, reasons wrongly and is right all the same, which no filter by answer can
tell. Every draw depends on its own number only, so the first 4 of 8 draws are the 4 draws of D = 4.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.answers import candidate
from ftcot.errors import InputError
from ftcot.prompts import STEP_BY_STEP
from ftcot.records import Completion, Sample
from ftcot.task.generated import GeneratedTask, Hand
from ftcot.task.generated.reasoning import plainest, voice_of_draw
from ftcot.teacher import Diversity, Estimate, Planned, Session

if TYPE_CHECKING:
    from ftcot.task import Splits, Task
    from ftcot.teacher.store import CompletionStore

WRITER = 1
"""Part of what a stored completion is known by; raised when the same settings write other texts."""

CHUNK = 1000
"""Completions in one write to the store."""

PAUSE = 0.1
"""Seconds between two looks for what another job is writing."""


@dataclass(frozen=True)
class Procedural:
    """Answers generated questions, and errs as often as it is told to."""

    name: str
    skill: float
    """Probability that a step is right."""
    verbosity: int
    """0 terse, 1 normal, 2 wordy."""
    seed: int
    """Of the phrasing and of the slips."""

    def __post_init__(self) -> None:
        if not 0 <= self.skill <= 1:
            raise InputError(f"teacher.skill={self.skill}: expected a probability, 0 to 1")
        if self.verbosity not in (0, 1, 2):
            raise InputError(f"teacher.verbosity={self.verbosity}: expected 0 (terse), 1 (normal) or 2 (wordy)")

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        _generated(task)
        return False

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        return ()

    def complete(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, session: Session
    ) -> list[Completion]:
        """The first `degree` draws of every sample.

        At temperature 0 that is one rationale in the task's plainest voice; above it, any temperature gives the same.
        """
        generated = _generated(task)
        store, progress = session.store, session.progress
        parameters = self._parameters(diversity) | {"writer": WRITER}
        prompts = {sample.key: STEP_BY_STEP.format(question=sample.question) for sample in samples}

        stored = store.get(self.name, parameters, prompts, diversity.degree)
        wanted = [(sample, draw) for sample in samples for draw in range(diversity.degree)]
        progress(len(stored), len(wanted))
        missing = [(sample, draw) for sample, draw in wanted if (sample.key, draw) not in stored]
        # Jobs side by side often want the same ones: each shall be written, and be read by later jobs, once.
        with store.leases(self.name, generated.name, parameters) as leases:
            while missing:
                for chunk in _chunks(missing, CHUNK):
                    taken = leases.take([(sample.key, draw) for sample, draw in chunk])
                    # Looked up now that nobody else can be writing them: who did may just have stored them.
                    asked = {sample.key: prompts[sample.key] for sample, _ in chunk}
                    if not store.has(self.name, parameters, asked, diversity.degree) <= stored.keys():
                        stored |= store.get(self.name, parameters, asked, diversity.degree)
                    mine = set(taken) - stored.keys()
                    draws = [(sample, draw) for sample, draw in chunk if (sample.key, draw) in mine]
                    written = [self._write(generated, sample, draw, diversity) for sample, draw in draws]
                    store.put(self.name, parameters, written)
                    leases.release(taken)
                    stored |= {(sample.key, draw): row for (sample, draw), row in zip(draws, written, strict=True)}
                    progress(len(stored), len(wanted))
                missing = [(sample, draw) for sample, draw in missing if (sample.key, draw) not in stored]
                if missing:
                    time.sleep(PAUSE)
        return [stored[sample.key, draw] for sample, draw in wanted]

    def look(self, task: Task, samples: Sequence[Sample], diversity: Diversity) -> list[Completion]:
        """What `complete` will give for these samples, by sample and draw; nothing is stored."""
        generated = _generated(task)
        return [
            self._write(generated, sample, draw, diversity) for sample in samples for draw in range(diversity.degree)
        ]

    def reach(self) -> None:
        """There is nothing to reach."""

    def estimate(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, planned: Planned
    ) -> Estimate:
        """It writes what is missing itself, for nothing."""
        return Estimate(wanted=len(samples) * diversity.degree)

    def accuracy(self, task: Task, splits: Splits, completions: Sequence[Completion]) -> float | None:
        gold = {sample.key: sample.answer for sample in (*splits.train, *splits.validation, *splits.test)}
        correct = [
            candidate(task.answer, row.answer_text or "", gold[row.sample_key], task.filter_candidate).correct
            for row in completions
        ]
        return sum(correct) / len(correct) if correct else None

    def cost(self, completions: Sequence[Completion]) -> float | None:
        return 0.0

    def _parameters(self, diversity: Diversity) -> dict[str, Any]:
        return {
            "skill": self.skill,
            "verbosity": self.verbosity,
            "seed": self.seed,
            "temperature": diversity.temperature,
        }

    def _write(self, task: GeneratedTask[Any], sample: Sample, draw: int, diversity: Diversity) -> Completion:
        voices = task.voices(self.verbosity)
        # Skill is no part of the seeds: a less skilled teacher says the same with more slips in it.
        seed = f"{self.seed}/{task.name}/{self.verbosity}/{sample.question}"
        greedy = diversity.temperature == 0
        voice = plainest(voices) if greedy else voice_of_draw(voices, draw, random.Random(f"{seed}/voices"))
        hand = Hand(self.skill, random.Random(f"{seed}/{draw}"))
        rationale = task.reason(task.read(sample.question), voice, hand)
        return Completion(
            task=sample.task,
            version=sample.version,
            sample_index=sample.sample_index,
            draw=draw,
            prompt=STEP_BY_STEP.format(question=sample.question),
            rationale=f" {rationale.text}",
            answer_prompt=task.answer_prompt,
            answer_text=f" {rationale.conclusion}.",
            finish_reason="stop",
            teacher={"name": self.name} | self._parameters(diversity),
        )


def _chunks(draws: Sequence[tuple[Sample, int]], size: int) -> Iterator[Sequence[tuple[Sample, int]]]:
    for start in range(0, len(draws), size):
        yield draws[start : start + size]


def _generated(task: Task) -> GeneratedTask[Any]:
    if not isinstance(task, GeneratedTask):
        raise InputError(
            f"teacher=procedural writes rationales for task=generated/... only, not for {task.name}; "
            "use teacher=replay, or a generated task"
        )
    return task
