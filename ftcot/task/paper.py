"""The paper's twelve tasks, built from their raw files by the authors' rules.

    task = PaperTask("multiarith", Number(), Path("../shared/data"), train_size=128)
    task.splits().test[0]
    Sample(task='multiarith', version=1, sample_index=3, question='The school ...', answer='40', split='test', ...)

A task is a row of BENCHMARKS: its raw files, the reader of each, and how many questions they hold. Where a raw file
is missing, the unified list `datasets/<task>.jsonl[.gz]` stands in; where that is missing too, the raw file is
downloaded. All three give the same samples.

Source: METHOD section 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ftcot.answers import AnswerKind, Candidate
from ftcot.errors import InputError
from ftcot.files import read_json, read_jsonl
from ftcot.records import Sample
from ftcot.task import Demonstrations, Splits, raw, sources
from ftcot.task.splits import (
    Division,
    by_rule,
    by_template,
    check_sizes,
    clean_groups,
    clean_train,
    official,
    share_of,
    splits,
)

SplitRule = Literal["default", "template", "clean"]

FIRST_NAMES = re.compile(
    r"\b(?:Adam|Amy|April|Bianca|Billy|Carol|Chloe|Cody|Dave|Debby|Edward|Emily|Faye|Frank|George|Gwen|Haley|Henry|"
    r"Isabel|Janet|Jerry|John|Kaleb|Katie|Lana|Luke|Maria|Megan|Mike|Nancy|Ned|Oliver|Olivia|Paige|Paul|Rachel|"
    r"Robin|Roger|Sam|Sarah|Tiffany|Todd|Tom|Vanessa|Victor|Wendy|Will|Zoe)\b"
)
"""Every first name in MultiArith."""


def without_numbers(text: str) -> str:
    """`text` without the numbers 1 to 101, taken out one after another, the largest first.

    So 120 goes (20, then 1), and of 2001 a 0 stays: one Date template differs from another by that alone.
    """
    for number in range(101, 0, -1):
        text = text.replace(str(number), "")
    return text


def multiarith_template(question: str) -> str:
    """The question without the numbers 1 to 101 and with NAME for first names: 120 templates."""
    return FIRST_NAMES.sub("NAME", without_numbers(question))


def date_template(question: str) -> str:
    """What comes before the question itself, without the numbers 1 to 101: 41 templates of 9."""
    return without_numbers(question.partition("What is the date")[0])


@dataclass(frozen=True)
class Part:
    """A raw file of a task and what it holds."""

    file: sources.RawFile
    read: raw.Reader
    n: int
    """Questions in it."""


@dataclass(frozen=True)
class Benchmark:
    """How a task is put together. Two parts are an official train and test."""

    parts: tuple[Part, ...]
    n_drawn: int | None = None
    """Training questions the paper draws from the official ones; None for all."""
    template: Callable[[str], str] | None = None
    """The template of a question, where the paper has a template-wise split (appendix E.3)."""

    @property
    def n(self) -> int:
        return sum(part.n for part in self.parts)

    def default(self) -> Division:
        """The split of the paper, before any question is read."""
        if len(self.parts) == 1:
            return by_rule(self.n, share_of(self.n))
        train, test = self.parts
        return official(train.n, test.n, train.n if self.n_drawn is None else self.n_drawn)


BENCHMARKS: Mapping[str, Benchmark] = {
    "single_eq": Benchmark((Part(sources.SINGLE_EQ, raw.single_eq, 508),)),
    "addsub": Benchmark((Part(sources.ADDSUB, raw.addsub, 395),)),
    "multiarith": Benchmark((Part(sources.MULTIARITH, raw.multiarith, 600),), template=multiarith_template),
    "gsm8k": Benchmark((Part(sources.GSM8K_TRAIN, raw.gsm8k, 7473), Part(sources.GSM8K_TEST, raw.gsm8k, 1319))),
    "aqua": Benchmark(
        (Part(sources.AQUA_TRAIN, raw.aqua, 97467), Part(sources.AQUA_TEST, raw.aqua, 254)), n_drawn=10000
    ),
    "svamp": Benchmark((Part(sources.SVAMP, raw.svamp, 1000),)),
    "date_understanding": Benchmark((Part(sources.DATE, raw.date_understanding, 369),), template=date_template),
    "tracking_shuffled_objects": Benchmark((Part(sources.TRACKING, raw.tracking_shuffled_objects, 750),)),
    "last_letter_concatenation": Benchmark((Part(sources.LAST_LETTERS, raw.symbolic, 500),)),
    "coin_flip": Benchmark((Part(sources.COIN_FLIP, raw.symbolic, 500),)),
    # The official test file has no answers: the paper tests on the dev file.
    "commonsense_qa": Benchmark(
        (
            Part(sources.COMMONSENSE_TRAIN, raw.commonsense_qa, 9741),
            Part(sources.COMMONSENSE_DEV, raw.commonsense_qa, 1221),
        )
    ),
    "strategy_qa": Benchmark((Part(sources.STRATEGY_QA, raw.strategy_qa, 2290),)),
}


@dataclass(frozen=True)
class PaperTask:
    """One of the paper's tasks.

    Raises:
        InputError: no such task, split or size.
    """

    name: str
    answer: AnswerKind
    folder: Path
    """The data folder, laid out as DESIGN says."""
    version: int = 1
    split: SplitRule = "default"
    train_size: int | None = None
    """Training questions to keep, by the authors' rule; None for all."""
    validation_size: int = 0
    """Training questions to set aside for selection; 0 in the paper's protocol."""
    answer_prompt: str = "\nTherefore, the answer is"
    filter_candidate: Candidate = "first"
    random_accuracy: float | None = None
    """None for the answer kind's own."""
    source: str = sources.BASE
    """Where missing raw files are downloaded from."""

    def __post_init__(self) -> None:
        if self.name not in BENCHMARKS:
            raise InputError(f"task.name={self.name}: not one of the paper's tasks ({', '.join(BENCHMARKS)})")
        if self.split not in ("default", "template", "clean"):
            raise InputError(f"task.split={self.split}: give default, template or clean")
        if self.split == "template" and self._benchmark.template is None:
            known = " and ".join(name for name, benchmark in BENCHMARKS.items() if benchmark.template)
            raise InputError(f"task.split=template: only {known} have template-wise splits, not {self.name}")
        check_sizes(self.train_size, self.validation_size)
        object.__setattr__(self, "folder", Path(self.folder).expanduser())
        if self.random_accuracy is None:
            object.__setattr__(self, "random_accuracy", self.answer.random_accuracy)

    @property
    def _benchmark(self) -> Benchmark:
        return BENCHMARKS[self.name]

    def splits(self) -> Splits:
        """The samples; raw files that are missing are downloaded."""
        division = self._benchmark.default()
        unified = self._unified()
        questions = self._from_raw() if unified is None else self._from_list(unified)
        samples = self._samples(questions, division)
        texts = {index: sample.question for index, sample in samples.items()}
        if self.split == "template" and self._benchmark.template is not None:
            division = by_template({index: self._benchmark.template(text) for index, text in texts.items()})
        elif self.split == "clean" and len(self._benchmark.parts) == 1:
            division = clean_groups(texts, len(division.train))
        elif self.split == "clean":
            division = clean_train(texts, division)
        return splits(samples, division, self.train_size, self.validation_size)

    def files(self) -> tuple[Path, ...]:
        """The raw files, or the unified list that stands in for one that is missing."""
        unified = self._unified()
        return self._raw_paths() if unified is None else (unified,)

    def demonstrations(self) -> Demonstrations | None:
        """The authors' Few-shot-CoT prompt, where the data folder has one for this task."""
        path = self.folder / "few_shot_cot_prompts.json"
        if not sources.present(path):
            return None
        prompt = read_json(path).get(self.name)
        return prompt and Demonstrations(prompt["prompt"], tuple(prompt["sample_indices"]))

    def _raw_paths(self) -> tuple[Path, ...]:
        return tuple(self.folder / part.file.path for part in self._benchmark.parts)

    def _unified(self) -> Path | None:
        """The unified list, where it has to be used."""
        if all(map(sources.present, self._raw_paths())):
            return None
        lists = (self.folder / "datasets" / f"{self.name}.jsonl{suffix}" for suffix in ("", ".gz"))
        return next(filter(sources.present, lists), None)

    def _from_raw(self) -> dict[int, raw.Question]:
        parts = self._benchmark.parts
        for path, file in zip(self._raw_paths(), (part.file for part in parts), strict=True):
            if file.sha256 is None and not sources.present(path):
                raise InputError(
                    f"{self.name}: neither datasets/{self.name}.jsonl.gz nor {file.path} is in {self.folder} "
                    f"({sources.FOLDER_HINT}); put the list there, or the raw file from {file.url(self.source)} "
                    f"(not downloaded, for want of a checksum)"
                )
        questions: list[raw.Question] = []
        for part in parts:
            path = sources.obtain(part.file, self.folder, self.source)
            try:
                found = part.read(path)
            except (KeyError, IndexError, TypeError, ValueError):
                raise InputError(f"{path}: not in the format of {self.name}'s raw file") from None
            if len(found) != part.n:
                raise InputError(f"{path}: holds {len(found)} questions, {self.name} has {part.n} there")
            questions += found
        return dict(enumerate(questions))

    def _from_list(self, path: Path) -> dict[int, raw.Question]:
        questions = {}
        for number, row in read_jsonl(path):
            index, text, answer, rationale = map(row.get, ("sample_index", "question", "answer", "rationale"))
            if not (isinstance(index, int) and isinstance(text, str) and isinstance(answer, str)):
                raise InputError(
                    f"{path}, line {number}: needs sample_index, question and answer (a number, two texts)"
                )
            questions[index] = raw.Question(text, answer, rationale)
        return questions

    def _samples(self, questions: Mapping[int, raw.Question], division: Division) -> dict[int, Sample]:
        """Every question of the default split, by index."""
        samples = {}
        for index in sorted([*division.train, *division.test]):
            if index not in questions:
                raise InputError(f"{self.files()[0]}: sample {index} of {self.name} is missing")
            text, answer, rationale = questions[index]
            samples[index] = Sample(self.name, self.version, index, text, answer, "train", rationale)
        return samples
