"""A user's own task, from a file and without Python.

    python -m ftcot.run task=jsonl task.path=sums.jsonl task.answer=number

    {"question": "What is 2 + 3?", "answer": 5}
    Sample(task='sums', version=1, sample_index=0, question='What is 2 + 3?', answer='5', split='train', ...)

The split is the file's own (a field, the splits of a `datasets` folder, or a second file with the test questions), or
drawn as the paper draws its own. `sample_index` counts the rows, those of the second file after those of the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, get_args

from ftcot.answers import AnswerKind, Candidate, Choice, Number, Text, YesNo
from ftcot.errors import InputError
from ftcot.records import Sample, Split
from ftcot.task import Demonstrations, Splits
from ftcot.task.splits import Division, by_rule, check_sizes, clean_groups, clean_train, splits
from ftcot.task.tables import Row, read_rows, table_files

AnswerWord = Literal["number", "choice", "yes_no", "text"]

SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What a split may be called in a file."""


@dataclass(frozen=True)
class Phrase(Text):
    """A text of any length. The paper's rule for last letters deletes spaces: no answer of two words could be right."""

    def candidates(self, text: str) -> list[str]:
        whole = self.whole(text)
        return [] if whole is None else [whole]

    def same(self, prediction: str, answer: str) -> bool:
        return self.equivalent(prediction, answer)


def file_task(
    *,
    path: str | None,
    answer: AnswerWord,
    name: str | None = None,
    random_accuracy: float | None = None,
    **fields: Any,
) -> FileTask:
    """The FileTask that a config describes.

    Args:
        answer: number, choice, yes_no or text. (The task's own `answer` is the kind made of it.)
        name: None for the file's name without its endings.
        fields: the other fields of FileTask.
    Raises:
        InputError: no path, or a value that no file could suit.
    """
    if not path:
        raise InputError("task.path is not set: name your file with task.path=FILE")
    if name is None:
        name = re.sub(r"[^\w-]+", "_", Path(path).name.partition(".")[0]).strip("_") or "file"
    return FileTask(path=path, answer_word=answer, name=name, guess_accuracy=random_accuracy, **fields)


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """Questions and answers of a JSONL, CSV or Parquet file, or of a `datasets` folder."""

    path: str
    answer_word: AnswerWord
    name: str
    version: int = 1
    question_field: str = "question"
    answer_field: str = "answer"
    split_field: str | None = "split"
    """Used where the rows have it."""
    test_path: str | None = None
    """A second file with the test questions; all of the first is then for training."""
    test_size: float = 0.3
    """Test questions to draw where nothing else says which they are: a share below 1, else a number."""
    letters: str | None = None
    """Of choice answers; None for A up to the last letter the answers use."""
    split: Literal["default", "clean"] = "default"
    train_size: int | None = None
    validation_size: int = 0
    guess_accuracy: float | None = None
    """None for the answer kind's own."""
    answer_prompt: str = "\nTherefore, the answer is"
    filter_candidate: Candidate = "first"

    def __post_init__(self) -> None:
        if self.answer_word not in get_args(AnswerWord):
            raise InputError(f"task.answer={self.answer_word}: give one of {', '.join(get_args(AnswerWord))}")
        if self.split not in ("default", "clean"):
            raise InputError(f"task.split={self.split}: give default or clean")
        if isinstance(self.test_size, bool) or not isinstance(self.test_size, int | float) or self.test_size <= 0:
            raise InputError(f"task.test_size={self.test_size}: give a share between 0 and 1, or a number of questions")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise InputError(f"task.name={self.name!r}: folders are named after it; use letters, digits, _ . and -")
        if self.letters is not None and not re.fullmatch(r"[A-Z]{2,}", self.letters):
            raise InputError(f"task.letters={self.letters!r}: give capital letters, such as ABCD")
        check_sizes(self.train_size, self.validation_size)

    @cached_property
    def answer(self) -> AnswerKind:
        """The kind of answer. For choice answers without `letters` the file is read."""
        kinds: dict[AnswerWord, AnswerKind] = {"number": Number(as_float=True), "yes_no": YesNo(), "text": Phrase()}
        if self.answer_word != "choice":
            return kinds[self.answer_word]
        if self.letters is not None:
            return Choice(self.letters)
        used = {self._answer(path, row) for path, row in self._rows}
        last = max((letter for letter in used if letter in [*ascii_uppercase]), default="B")
        return Choice(ascii_uppercase[: max(ascii_uppercase.index(last) + 1, 2)])

    @property
    def random_accuracy(self) -> float:
        return self.answer.random_accuracy if self.guess_accuracy is None else self.guess_accuracy

    def splits(self) -> Splits:
        """The samples.

        Raises:
            InputError: a row, named by file and line, does not fit; the split leaves nothing to train or test on.
        """
        samples = {index: self._sample(index, path, row) for index, (path, row) in enumerate(self._rows)}
        if not samples:
            raise InputError(f"{self.path}: no questions in it")
        named = self._named_splits()
        division = self._drawn(len(samples)) if named is None else _division(named)
        if self.split == "clean":
            texts = {index: sample.question for index, sample in samples.items()}
            division = clean_groups(texts, len(division.train)) if named is None else clean_train(texts, division)
        for split, indices in (("train", division.train), ("test", division.test)):
            if not indices:
                raise InputError(f"{self.path}: no question is left for {split} (task.split_field, task.test_size)")
        return splits(samples, division, self.train_size, self.validation_size)

    def files(self) -> tuple[Path, ...]:
        return tuple(file for path in self._paths for file in table_files(path))

    def demonstrations(self) -> Demonstrations | None:
        """None: few-shot prompts are made of the training questions."""
        return None

    @property
    def _paths(self) -> list[Path]:
        return [Path(path).expanduser() for path in (self.path, self.test_path) if path is not None]

    @cached_property
    def _rows(self) -> list[tuple[Path, Row]]:
        return [(path, row) for path in self._paths for row in read_rows(path)]

    def _sample(self, index: int, path: Path, row: Row) -> Sample:
        question = row.values.get(self.question_field)
        if not isinstance(question, str) or not question.strip():
            raise InputError(
                f"{path}, {row.where}: {_fault(row, self.question_field, question)} (task.question_field names it)"
            )
        answer = self._answer(path, row)
        try:
            self.answer.check(answer)
        except InputError as error:
            raise InputError(f"{path}, {row.where}: {error} (task.answer={self.answer_word})") from None
        if self.answer.whole(answer) is None:
            raise InputError(
                f"{path}, {row.where}: answer {answer!r} is not one that task.answer={self.answer_word} finds"
            )
        return Sample(self.name, self.version, index, question, answer, "train")

    def _answer(self, path: Path, row: Row) -> str:
        answer = row.values.get(self.answer_field)
        if isinstance(answer, bool) and self.answer_word == "yes_no":
            return "yes" if answer else "no"
        if isinstance(answer, str | int | float) and not isinstance(answer, bool) and str(answer).strip():
            return str(answer).strip()
        raise InputError(f"{path}, {row.where}: {_fault(row, self.answer_field, answer)} (task.answer_field names it)")

    def _named_splits(self) -> list[Split] | None:
        """The split of each row where the data says it, else None."""
        if self.test_path is not None:
            return ["train" if path == self._paths[0] else "test" for path, _ in self._rows]
        given = [(path, row, self._split_of(row)) for path, row in self._rows]
        if all(split is None for _, _, split in given):
            return None
        named: list[Split] = []
        for path, row, split in given:
            if str(split) not in SPLIT_NAMES:
                raise InputError(
                    f"{path}, {row.where}: split {split!r} is not one of {', '.join(SPLIT_NAMES)}; "
                    f"task.split_field=null draws the split instead"
                )
            named.append(SPLIT_NAMES[str(split)])
        return named

    def _split_of(self, row: Row) -> Any:
        return row.split if self.split_field is None else row.values.get(self.split_field, row.split)

    def _drawn(self, n: int) -> Division:
        n_train = round((1 - self.test_size) * n) if self.test_size < 1 else n - int(self.test_size)
        if not 0 < n_train < n:
            raise InputError(
                f"task.test_size={self.test_size}: of the {n} questions in {self.path} it leaves {max(n_train, 0)} "
                f"for training and {n - max(n_train, 0)} for the test"
            )
        return by_rule(n, n_train)


def _division(named: list[Split]) -> Division:
    def of(split: Split) -> list[int]:
        return [index for index, other in enumerate(named) if other == split]

    return Division(of("train"), of("test"), of("validation"))


def _fault(row: Row, field: str, value: Any) -> str:
    if field not in row.values:
        return f"no field {field!r}, only {', '.join(map(str, row.values)) or 'nothing'}"
    return f"{field!r} is {'empty' if value is None or str(value).strip() == '' else f'{value!r}, which will not do'}"
