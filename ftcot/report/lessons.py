"""What a student was taught from, as the data card shows it: drawn, kept, dropped and why, how varied, how long.

    text-davinci-002, D = 8, T = 0.7, filter answer     2,574 kept of 2,574 (a recording of right ones), 5.9 differ
    text-davinci-002, D = 1, T = 0, filter answer       323 kept of 420: 87 wrong answer, 10 no answer; the teacher is
                                                        right in 78.79 %, published 78.79 %

Runs that were taught from the same completions by the same filter share one Lesson. A run that ended after curation
(`until=curate`) has everything but a score, and counts here.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ftcot import published
from ftcot.errors import InputError
from ftcot.folder import thaw
from ftcot.published import Published
from ftcot.rationales import statistics
from ftcot.records import Completion, Example, read_records
from ftcot.report.grouping import said
from ftcot.report.model import Questions, Run
from ftcot.report.run_files import read_status
from ftcot.sample_study import kind_of_completion, rates

BINS = 20
"""Of a histogram, about."""
STUDIED = 1000
"""Completions of a lesson that the sample study looks at; of more, so many at even distances."""


@dataclass(frozen=True)
class Source:
    """A run folder that has pairs, with a score or without."""

    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    status: Mapping[str, Any] = field(repr=False)
    run: Run | None = None
    """Where it is finished."""

    @property
    def counts(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.status.get("counts") or {}
        return found


@dataclass(frozen=True)
class Lengths:
    """Words of rationales."""

    n: int
    mean: float
    quantiles: Mapping[int, int]
    """Percent -> words: 0 (the shortest), 5, 25, 50, 75, 95, 100."""
    bins: tuple[tuple[int, int, int], ...]
    """(from, below, rationales), without gaps."""


@dataclass(frozen=True)
class Lesson:
    """Completions of a teacher, and what was kept of them."""

    label: str
    teacher: str
    degree: int
    temperature: float
    filter: str
    runs: int
    """That were taught from it."""
    questions: int
    completions: int
    kept: int
    dropped: Mapping[str, int]
    """Reason -> completions, the most frequent first."""
    questions_without: int
    """Training questions without a pair."""
    questions_unanswered: int | None
    """Of these without any completion; None where the run did not count them."""
    published_pairs: int | None
    """In the authors' own file for the same teacher, questions, D and T."""
    effective_degree: float | None
    """Distinct rationales a question, of all that were drawn."""
    diversity: Mapping[str, float]
    """Of those that were kept (ftcot/variety.py, `Diversity`); empty in folders of earlier versions."""
    agreement: float | None
    """Share of a question's answers that equal its most frequent one; None with one a question."""
    lengths: Lengths
    cut: int | None
    """Completions that were cut off; None where nobody kept why they ended."""
    correct_only: bool
    """A recording that kept right ones only: it says nothing of the teacher's accuracy."""
    teacher_accuracy: float | None
    teacher_published: Published | None
    """The paper's accuracy of the same teacher."""
    teacher_why: str
    """Why the two cannot be compared, or how many points lie between them; empty where one is not known."""
    study: Mapping[str, float]
    """Share of each kind of right and wrong rationale; empty where they were not judged, or only right ones kept."""
    notes: tuple[str, ...]
    """What does not fit together."""


def source_of(run: Run) -> Source:
    return Source(run.folder, run.config, run.status, run)


def read_source(folder: Path) -> Source:
    """A folder that was curated, finished or not.

    Raises:
        InputError: it was not, or job.yaml or status.json is damaged.
    """
    status = read_status(folder / "status.json")
    if "curate" not in (status.get("stages") or ()):
        raise InputError(f"{folder}: no pairs yet")
    return Source(folder, thaw(folder), status)


def lessons(sources: Sequence[Source], questions: Questions) -> tuple[Lesson, ...]:
    """One for each set of completions and filter, by teacher, temperature, questions, D and filter."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        if (file := source.folder / "completions.jsonl").exists():
            about = repr((_filter(source), source.counts.get("train"))).encode()
            groups.setdefault(hashlib.sha256(file.read_bytes() + about).hexdigest(), []).append(source)
    found = [_lesson(group, questions) for group in groups.values()]
    return tuple(sorted(found, key=lambda one: (one.teacher, one.temperature, one.questions, one.degree, one.filter)))


def lengths(rationales: Sequence[str]) -> Lengths:
    """How long rationales are, in words parted by white space."""
    words = sorted(len(one.split()) for one in rationales)
    if not words:
        return Lengths(0, 0.0, {}, ())
    width = max(1, -(-(words[-1] + 1) // BINS))
    counts = Counter(n // width for n in words)
    bins = tuple((place * width, (place + 1) * width, counts[place]) for place in range(words[-1] // width + 1))
    quantiles = {share: words[round(share / 100 * (len(words) - 1))] for share in (0, 5, 25, 50, 75, 95, 100)}
    return Lengths(len(words), sum(words) / len(words), quantiles, bins)


def _lesson(group: Sequence[Source], questions: Questions) -> Lesson:
    first = group[0]
    completions = read_records(first.folder / "completions.jsonl", Completion)
    file = first.folder / "examples.jsonl"
    examples = read_records(file, Example) if file.exists() else []
    counted: Mapping[str, Any] = first.counts.get("curation") or {}
    teacher = str(completions[0].teacher.get("name") or first.config["teacher"]["name"]) if completions else "?"
    degree, temperature = int(first.config["diversity"]["degree"]), float(first.config["diversity"]["temperature"])
    figures = counted.get("statistics") or statistics(completions).to_json()
    train = int(first.counts.get("train") or len({one.sample_index for one in completions}))
    correct_only = any(one.correct_only for one in completions)
    accuracy = first.status.get("teacher_accuracy")
    paper, why = _teacher(first.config["task"], teacher, accuracy)
    reasons = figures.get("finish_reasons") or {}
    return Lesson(
        label=_label(first, teacher, degree, temperature, train),
        teacher=teacher,
        degree=degree,
        temperature=temperature,
        filter=_filter(first),
        runs=len(group),
        questions=train,
        completions=len(completions),
        kept=len(examples),
        dropped=dict(counted.get("dropped") or {}),
        questions_without=train - len({one.sample_index for one in examples}),
        questions_unanswered=counted.get("questions_unanswered"),
        published_pairs=_published_pairs(first.config, teacher, train),
        effective_degree=figures.get("effective_degree"),
        diversity=counted.get("diversity") or {},
        agreement=None if correct_only else figures.get("agreement"),
        lengths=lengths([one.rationale for one in completions]),
        cut=None if set(reasons) <= {"unknown"} else int(reasons.get("length", 0)),
        correct_only=correct_only,
        teacher_accuracy=accuracy,
        teacher_published=paper,
        teacher_why=why,
        study={} if correct_only else _study(completions, questions),
        notes=tuple(_notes(first, completions, examples, counted)),
    )


def _label(source: Source, teacher: str, degree: int, temperature: float, train: int) -> str:
    """`procedural, teacher's skill 0.95, D = 8, T = 0.7, 400 training questions, filter answer`."""
    skill = source.config["teacher"].get("skill")
    words = [teacher] + ([said("skill", skill)] if skill is not None else [])
    words += [said("diversity", degree), said("temperature", temperature), said("n_train", train)]
    return ", ".join([*words, said("filter", _filter(source))])


def _filter(source: Source) -> str:
    found = source.config["curation"]["filter"]
    return found if isinstance(found, str) else "+".join(map(str, found))


def _teacher(task: Mapping[str, Any], teacher: str, accuracy: float | None) -> tuple[Published | None, str]:
    """What the paper says of this teacher, and how that compares."""
    if not str(task["_target_"]).endswith(".PaperTask"):
        return None, ""
    paper = published.teacher_accuracy(task["name"], teacher)
    if paper is None:
        return None, ""
    if accuracy is None:
        return paper, "the recording kept right completions only"
    apart = round(100 * (accuracy - paper.accuracy), 2)
    words = f"{apart:+.2f} points" if apart else "the same to two decimals"
    return paper, f"{words}; both over {paper.protocol}"


def _published_pairs(config: Mapping[str, Any], teacher: str, train: int) -> int | None:
    """Pairs in the authors' fine-tuning file that this would be; None where they have none, or filter otherwise."""
    task = config["task"]
    if not str(task["_target_"]).endswith(".PaperTask") or task["split"] != "default" or task["validation_size"]:
        return None
    if config["curation"]["filter"] != "answer":
        return None
    degree, temperature = config["diversity"]["degree"], config["diversity"]["temperature"]
    own = "" if teacher == "text-davinci-002" else f"{teacher}_"
    shot = f"_{task['train_size']}shot" if task["train_size"] is not None else ""
    draws = f"_{degree}aug" if temperature else ""
    heat = f"t{round(100 * temperature)}_" if temperature else ""
    return _pairs().get(f"F_zs_cot_{heat}{own}{task['name']}{shot}{draws}.jsonl")


@cache
def _pairs() -> Mapping[str, int]:
    text = (files("ftcot") / "paper" / "finetune_file_counts.csv").read_text(encoding="utf-8")
    rows = csv.reader(text.splitlines())
    next(rows)
    return {row[0]: int(row[1]) for row in rows}


def _study(completions: Sequence[Completion], questions: Questions) -> Mapping[str, float]:
    step = max(1, -(-len(completions) // STUDIED))
    known = questions.train
    found = []
    for one in completions[::step]:
        sample = known.get(one.sample_index)
        found.append(kind_of_completion(one, sample.question if sample else None))
    return rates([kind for kind in found if kind is not None])


def _notes(
    source: Source, completions: Sequence[Completion], examples: Sequence[Example], counted: Mapping[str, Any]
) -> list[str]:
    notes = []
    for name, here in (("completions", len(completions)), ("kept", len(examples))):
        if name in counted and counted[name] != here:
            file = "completions.jsonl" if name == "completions" else "examples.jsonl"
            notes.append(f"{file} has {here:,} lines, the run counted {counted[name]:,}")
    return notes
