"""The sample study of a task's runs: how often each kind of right and wrong answer is given, with examples.

    Fine-tune-CoT, D = 1     900 answers of 3 runs     right 52.1 %, wrong arithmetic 20.3 %, truncated 4.0 %, ...
    Fine-tune-CoT, D = 8     900 answers of 3 runs     right 97.0 %, ...

What a student said after the last epoch counts. Kinds: ftcot/sample_study.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftcot.records import Prediction
from ftcot.report.model import Cell, Questions, Run
from ftcot.report.naming import cell_labels
from ftcot.report.run_facts import marker
from ftcot.sample_study import KINDS, kinds, rates

EXAMPLES = 2
"""Of each kind."""


@dataclass(frozen=True)
class Said:
    """An answer of a student, as an example of its kind."""

    who: str
    seed: int
    sample_index: int
    question: str | None
    """None where the questions are not at hand."""
    text: str
    """A two-stage method's rationale before its answer."""
    answer: str
    """Gold."""
    prediction: str | None


@dataclass(frozen=True)
class Kind:
    """One of KINDS."""

    name: str
    sentence: str
    """What it means."""
    n: int
    """Answers of all runs."""
    examples: tuple[Said, ...]
    """The first ones of different runs; none where there are none."""


@dataclass(frozen=True)
class Rates:
    """A row: runs that differ in their seed only."""

    label: str
    degree: int | None
    """D, where they were taught by a teacher."""
    n: int
    """Answers of all seeds."""
    rates: Mapping[str, float]
    """Share of each of KINDS, in their order."""


@dataclass(frozen=True)
class Study:
    """Of one task."""

    rows: tuple[Rates, ...]
    kinds: tuple[Kind, ...]
    """All of KINDS, in their order."""


def study(cells: Sequence[Cell], questions: Mapping[tuple[str, str], Questions]) -> Study:
    """The study of these cells, in their order.

    Args:
        questions: of the runs, by Run.task_key.
    """
    rows = []
    counts: Counter[str] = Counter()
    examples: dict[str, list[Said]] = {kind: [] for kind in KINDS}
    for cell, label in zip(cells, cell_labels(cells), strict=True):
        found: list[str] = []
        for run in cell.runs:
            known = questions[run.task_key]
            texts = {index: sample.question for index, sample in known.test.items()}
            said = run.said()
            of_run = kinds(said, texts, marker(run))
            found += of_run
            for name in dict.fromkeys(of_run):  # one of each kind a run, so that examples are of several
                if len(examples[name]) < EXAMPLES:
                    examples[name].append(_said(said[of_run.index(name)], label, run, texts))
        counts.update(found)
        rows.append(Rates(label, cell.facts.diversity, len(found), rates(found)))
    listed = [Kind(name, sentence, counts[name], tuple(examples[name])) for name, sentence in KINDS.items()]
    return Study(tuple(rows), tuple(listed))


def _said(one: Prediction, label: str, run: Run, texts: Mapping[int, str]) -> Said:
    return Said(
        who=label,
        seed=run.facts.seed,
        sample_index=one.sample_index,
        question=texts.get(one.sample_index),
        text="\n".join(filter(None, (one.rationale, one.text))),
        answer=one.answer,
        prediction=one.prediction,
    )
