"""What a job has yet to do, told before it is run: pairs, characters, questions. Nothing is written, nobody asked.

    fine_tune_cot on multiarith, text-davinci-002, D = 8     2,574 pairs of 545 characters, 20 epochs, 20 x 180 answers

What is on record is counted; what the procedural teacher would say is counted for some questions. What a live teacher
would say is not known: what the store has of it stands for the rest, and where it has nothing, as much as is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftcot.checks import Checked, Checker
from ftcot.curation import FilterName, judge, reject
from ftcot.errors import InputError
from ftcot.filters import Context
from ftcot.job import Job
from ftcot.launch import Decision
from ftcot.logger.metrics import Metrics
from ftcot.prompts import Template
from ftcot.records import Completion, Example, Sample, read_records
from ftcot.teacher import Session
from ftcot.teacher.asks import flatten
from ftcot.teacher.live import Live
from ftcot.teacher.procedural import Procedural
from ftcot.teacher.replay import Replay

LOOKED_AT = 200
"""Training questions whose rationales the procedural teacher writes, to tell how long all of them are."""

CHARACTERS = 4.0
"""In a token, where nothing says how many."""

KNOWN_FILTERS: tuple[FilterName, ...] = ("none", "answer", "format", "length", "duplicate", "equations", "vote")
"""Those that can say in no time what they would keep. What another one would drop is not known: nothing, as it counts
here, but what a wrong answer costs."""


@dataclass(frozen=True)
class Asked:
    """A job that is asked for."""

    label: str
    """What makes it different from the others."""
    checked: Checked
    decision: Decision
    overrides: tuple[str, ...] = ()
    """The same, one by one."""

    @property
    def would_be(self) -> str:
        """What would become of it."""
        if self.decision.action != "continued":
            return self.decision.action
        done = self.decision.stages
        return f"continued after {done[-1]}" if done else "continued"

    def lacks(self, stage: str) -> bool:
        """Whether the stage would be run."""
        return self.decision.action != "reused" and stage not in self.decision.stages


@dataclass(frozen=True)
class Pairs:
    """What a student is trained on."""

    n: float = 0.0
    prompts: float = 0.0
    """Characters, over all pairs."""
    targets: float = 0.0
    shown: tuple[tuple[str, str], ...] = ()
    """Some of them: prompt and completion."""
    kept: float = 1.0
    """Share of the completions that become pairs."""

    @property
    def characters(self) -> float:
        return self.prompts + self.targets


@dataclass(frozen=True)
class Work:
    """What a job has yet to do on its devices; nothing, where it trains and tests no more."""

    pairs: Pairs = Pairs()
    epochs: float = 0.0
    """Yet to be trained."""
    tests: int = 0
    """Evaluations yet to come."""
    questions: int = 0
    """In each of them."""
    calls: int = 1
    """Of the student, for each answer."""
    limit: int = 0
    """New tokens of a call, at most."""
    prompts: tuple[str, ...] = ()
    """Some of those that it is asked with."""

    @property
    def most_new_tokens(self) -> int:
        """Over all tests."""
        return self.tests * self.questions * self.calls * self.limit


SHOWN = 24
"""Pairs and prompts that are kept, to time a student on."""


class Expecting:
    """Tells the work of jobs; what several have in common is counted once."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self._pairs: dict[str, Pairs] = {}
        self._said: dict[str, _Said] = {}

    def work(self, asked: Asked) -> Work:
        """What is left to be done of a job.

        Raises:
            InputError: a recording, the store, or what an earlier attempt left is damaged.
        """
        checked, decision = asked.checked, asked.decision
        job, done = checked.job, decision.stages
        computes = "train" if job.method.trains else "evaluate"
        if decision.action == "reused" or computes not in job.stages or computes in done:
            return Work()
        splits, training = checked.splits, job.training
        questions = [*splits.validation, *splits.test]
        template = job.method.template_for(job.student.family)
        tested = Work(
            tests=1,
            questions=len(questions),
            calls=1 if template.answer_prompt is None else 2,
            limit=job.evaluation.limit(),
            prompts=tuple(template.ask(sample.question) for sample in _some(questions, SHOWN)),
        )
        if not job.method.trains:
            return tested
        behind = _epochs_done(decision) if decision.action == "continued" else 0
        due = [epoch for epoch in range(1, training.epochs + 1) if epoch % training.evaluate_every == 0]
        due = due if training.epochs in due else [*due, training.epochs]
        pairs = self._of_folder(decision) if "curate" in done else self._of(checked, template)
        return replace(
            tested,
            pairs=pairs,
            epochs=(training.epochs - behind) * _share(job, pairs.n),
            tests=sum(epoch > behind for epoch in due),
        )

    def _of_folder(self, decision: Decision) -> Pairs:
        """The pairs that an earlier attempt has made."""
        examples = read_records(decision.home / "examples.jsonl", Example)
        return _measured([(example.prompt, example.completion) for example in examples])

    def _of(self, checked: Checked, template: Template) -> Pairs:
        parts = ["task", *(["teacher", "diversity", "curation"] if checked.job.needs_teacher else [])]
        key = json.dumps([checked.config[part] for part in parts], sort_keys=True, default=str)
        pairs = f"{template!r} {key}"
        if pairs not in self._pairs:
            if key not in self._said:
                self._said[key] = self._count(checked)
            self._pairs[pairs] = self._said[key].pairs(template)
        return self._pairs[pairs]

    def _count(self, checked: Checked) -> _Said:
        """What the student is shown, whatever the template."""
        job, train = checked.job, checked.splits.train
        if not job.needs_teacher:
            return _Said([(sample, "", None) for sample in train])
        teacher = job.teacher
        samples = _some(train, LOOKED_AT) if isinstance(teacher, Procedural) else train
        is_whole = isinstance(teacher, Replay | Procedural)
        if isinstance(teacher, Replay | Procedural):
            said = teacher.look(job.task, samples, job.diversity)
        else:
            said = self._stored(checked)
        if not said:
            return _most(job, train)
        kept = self._kept(checked, said)
        by_key = {sample.key: sample for sample in samples}
        # What is looked at stands for all: of the procedural teacher some questions, of a live one what is stored.
        scale = len(train) / len(samples) if is_whole else len(train) * job.diversity.degree / len(said)
        rows = [(by_key[row.sample_key], row.rationale, row.draw) for row in kept]
        return _Said(rows, scale, len(rows) / len(said))

    def _stored(self, checked: Checked) -> list[Completion]:
        """What the store has of a live teacher for this job."""
        job, train = checked.job, checked.splits.train
        teacher = job.teacher
        if not isinstance(teacher, Live):
            return []  # somebody's own: it cannot be looked into
        turns = teacher.prompting.first(job.task, train)
        prompts = {sample.key: flatten(said) for sample, said in zip(train, turns, strict=True)}
        parameters = teacher.parameters(job.task, job.diversity)
        return list(self.checker.store(checked).get(teacher.name, parameters, prompts, job.diversity.degree).values())

    def _kept(self, checked: Checked, said: Sequence[Completion]) -> list[Completion]:
        """Those that curation would keep, as far as that can be told."""
        job, train = checked.job, checked.splits.train
        judged = judge(said, train, job.task.answer, job.curation.candidate)
        filters = ["answer" if name == "math_verify" else name for name in job.curation.filters]
        known = [name for name in filters if name in KNOWN_FILTERS]
        curation = replace(job.curation, filter=known or "none")
        context = Context(job.task, job.teacher, Session(self.checker.store(checked)))
        reasons, _ = reject(judged, {sample.key: sample for sample in train}, curation, context)
        return [row for row, reason in zip(judged, reasons, strict=True) if reason is None]


@dataclass(frozen=True)
class _Said:
    """What pairs are made of: question, rationale and draw."""

    rows: Sequence[tuple[Sample, str, int | None]]
    scale: float = 1.0
    """How many each of them stands for."""
    kept: float = 1.0

    def pairs(self, template: Template) -> Pairs:
        examples = [template.example(*row) for row in self.rows]
        return _measured([(example.prompt, example.completion) for example in examples], self.scale, self.kept)


def _most(job: Job, train: Sequence[Sample]) -> _Said:
    """Every completion as long as it may be, and right."""
    tokens = job.teacher.prompting.max_tokens if isinstance(job.teacher, Live) else 0
    rationale = ("word " * tokens)[: round(tokens * CHARACTERS)]
    return _Said([(sample, rationale, None) for sample in train], job.diversity.degree)


def _measured(texts: Sequence[tuple[str, str]], scale: float = 1.0, kept: float = 1.0) -> Pairs:
    prompts, targets = sum(len(prompt) for prompt, _ in texts), sum(len(target) for _, target in texts)
    return Pairs(len(texts) * scale, prompts * scale, targets * scale, tuple(_some(texts, SHOWN)), kept)


def _some(items: Sequence[Any], n: int) -> list[Any]:
    """`n` of them at most, from everywhere."""
    step = max(1.0, len(items) / n)
    return [items[int(place * step)] for place in range(min(n, len(items)))]


def _epochs_done(decision: Decision) -> int:
    """Epochs that an earlier attempt has trained and tested."""
    try:
        return max((int(row["epoch"]) for row in Metrics(decision.home).rows()), default=0)
    except (InputError, OSError, KeyError):
        return 0  # the run itself will say what is wrong with it; here it counts as not begun


def _share(job: Job, n_pairs: float) -> float:
    """Of an epoch that is trained, where the trainer makes epochs shorter."""
    limit = job.trainer.get("limit_train_batches", 1.0)
    if isinstance(limit, float):
        return min(1.0, limit)
    return min(1.0, float(limit) * job.training.batch_size / n_pairs) if n_pairs else 1.0
