"""Buying what is missing: from wanted draws to durable completions, never twice.

    missing ──> leased ──> Ask(rationale) ──> backend ──> Reply ──> stored ──> Ask(answer) ──> ... ──> stored, released

One purchase serves one job. Draws that another job is buying at the moment are left to it and waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ftcot import stop
from ftcot.errors import JobError
from ftcot.records import Completion, Sample, SampleKey
from ftcot.teacher import Diversity, Session
from ftcot.teacher.asks import REFUSED, TOO_LONG, Ask, Reply, flatten

if TYPE_CHECKING:
    from ftcot.task import Task
    from ftcot.teacher.live import Live

Draw = tuple[SampleKey, int]


class Purchase:
    """The first `degree` draws of some samples, bought where the store does not have them. A backend's Control."""

    def __init__(
        self, teacher: Live, task: Task, samples: Sequence[Sample], diversity: Diversity, session: Session
    ) -> None:
        self.teacher, self.task, self.samples = teacher, task, samples
        self.diversity, self.session = diversity, session
        turns = teacher.prompting.first(task, samples)
        self._turns = {sample.key: said for sample, said in zip(samples, turns, strict=True)}
        self._prompts = {key: flatten(said) for key, said in self._turns.items()}
        self._parameters = teacher.parameters(task, diversity)
        self._first_parameters = teacher.parameters(task, diversity, "rationale")
        self._lock = threading.Lock()
        self._rationales: dict[Draw, Completion] = {}
        self._done: set[Draw] = set()
        self._abandoned: dict[Draw, str] = {}
        self._note = ""

    def run(self) -> None:
        """Buy what is missing.

        Raises:
            JobError: not everything could be had; what could is stored.
            Stop: asked to stop.
        """
        store, name, degree = self.session.store, self.teacher.name, self.diversity.degree
        self._done = set(store.get(name, self._parameters, self._prompts, degree))
        self._report()
        if len(self._done) == len(self.samples) * degree:
            return
        if self.teacher.prompting.two_calls:
            self._rationales = dict(store.get(name, self._first_parameters, self._prompts, degree))
        self.teacher.backend().run(self._asks(), self._deliver, self)
        if self._abandoned:
            cause = next(iter(self._abandoned.values()))
            raise JobError(
                f"{len(self._abandoned)} of {len(self.samples) * degree} completions could not be had "
                f"(one of the causes: {cause}); the others are kept, and the same command asks for these again"
            )

    def completions(self) -> list[Completion]:
        """All that are wanted, by sample and draw."""
        degree = self.diversity.degree
        stored = self.session.store.get(self.teacher.name, self._parameters, self._prompts, degree)
        return [
            replace(stored[sample.key, draw], raw=None)
            for sample in self.samples
            for draw in range(degree)
            if (sample.key, draw) in stored
        ]

    def stopping(self) -> bool:
        return stop.asked() is not None

    def abandon(self, ask: Ask, cause: str) -> None:
        with self._lock:
            self._abandoned |= {(ask.sample, draw): cause for draw in ask.draws}

    def note(self, words: str) -> None:
        self._note = words

    def _asks(self) -> Iterator[Ask]:
        for sample in self.samples:
            key = sample.key
            missing = [draw for draw in range(self.diversity.degree) if (key, draw) not in self._done]
            for draw in [draw for draw in missing if (key, draw) in self._rationales]:
                missing.remove(draw)
                yield self._second(key, draw, self._rationales[key, draw].rationale)
            if missing:
                decoding = self.teacher.decoding(self.diversity, "rationale")
                yield Ask(key, tuple(missing), self._turns[key], decoding)

    def _second(self, key: SampleKey, draw: int, rationale: str) -> Ask:
        prompting = self.teacher.prompting
        turns = prompting.second(self._turns[key], rationale, prompting.answer_text(self.task))
        return Ask(key, (draw,), turns, self.teacher.decoding(self.diversity, "answer"), "answer")

    def _deliver(self, replies: Sequence[Reply]) -> list[Ask]:
        """Store replies durably; the asks for the answers to rationales among them."""
        rationales, whole, following = [], [], []
        for reply in replies:
            draw = (reply.ask.sample, reply.draw)
            completion = self._completion(reply)
            failed = reply.finish_reason in (REFUSED, TOO_LONG)
            if reply.ask.part == "rationale" and self.teacher.prompting.two_calls and not failed:
                rationales.append(completion)
                self._rationales[draw] = completion
                following.append(self._second(reply.ask.sample, reply.draw, completion.rationale))
            else:
                whole.append(completion)
                self._done.add(draw)
        store, name = self.session.store, self.teacher.name
        if rationales:
            store.put(name, self._first_parameters, rationales)
        if whole:
            store.put(name, self._parameters, whole)
        self._report()
        return following

    def _completion(self, reply: Reply) -> Completion:
        raise NotImplementedError

    def _report(self) -> None:
        self.session.progress(len(self._done), len(self.samples) * self.diversity.degree, self._note)
