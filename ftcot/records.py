"""The records that pass between the stages, and how they are written as JSONL (files.py).

    task ──> teacher ──> curation ──> training ──> evaluation
    Sample   Completion  Example      Student      Prediction, Score

One completion, as a line of `completions.jsonl` (shortened):

    {"schema": 1, "task": "multiarith", "version": 1, "sample_index": 0, "draw": 0,
     "prompt": "Q: For Halloween ...\\nA: Let's think step by step.", "rationale": " \\n\\nDebby and her ...",
     "answer_prompt": " Therefore, the answer (arabic numerals) is", "answer_text": " 39.",
     "prediction": "39", "correct": true, "finish_reason": "stop", "teacher": {"name": "text-davinci-002"}}

Records are frozen; a stage makes new ones. A line that does not fit is refused with its file and number.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar, cast

from ftcot.errors import InputError
from ftcot.files import read_jsonl, write_atomic

SCHEMA = 1
"""Version of the records on disk. A reader refuses a newer one."""

Split = Literal["train", "validation", "test"]

SampleKey = tuple[str, int, int]
"""(task, version, sample_index): what a sample is known by. Never its text: MultiArith repeats 20 questions."""


class Record:
    """What the records share: to and from one line of JSON."""

    retired: ClassVar[frozenset[str]] = frozenset()
    """Fields that earlier versions wrote; they are read over."""

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object, `schema` first."""
        layout = _layout(type(self))  # type: ignore[arg-type]
        return {"schema": SCHEMA} | dict(zip(layout.names, layout.of_record(self), strict=True))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The record in `row`.

        Raises:
            InputError: a field is missing or unknown, or the schema is newer than this program.
        """
        layout = _layout(cls)  # type: ignore[arg-type]
        values = dict(row)
        schema = values.pop("schema", None)
        if not isinstance(schema, int) or schema > SCHEMA:
            raise InputError(f"schema {schema!r} is not one this version reads (up to {SCHEMA})")
        for name in cls.retired:
            values.pop(name, None)
        if values.keys() == layout.known:
            return layout.make(cls, layout.of_row(values))
        if unknown := values.keys() - layout.known:
            raise InputError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"not a {cls.__name__}: {str(error).rpartition('__init__() ')[2]}") from None


@dataclass(frozen=True, slots=True)
class Sample(Record):
    """A question and its gold answer."""

    task: str
    version: int
    sample_index: int
    """Position in the task's unified list (METHOD section 2)."""
    question: str
    answer: str
    split: Split
    rationale: str | None = None
    """A human rationale where the source has one. Never shown to a student."""

    @property
    def key(self) -> SampleKey:
        return (self.task, self.version, self.sample_index)


@dataclass(frozen=True, slots=True)
class Completion(Record):
    """One draw of a teacher for one sample: two-stage Zero-shot-CoT, or what stands for it."""

    task: str
    version: int
    sample_index: int
    draw: int | None
    """Which of the D draws, 0 first; None where a recording holds kept rows only and does not know."""
    prompt: str | None
    """Stage-1 prompt, exactly as sent; None where a recording does not keep it."""
    rationale: str
    """Stage-1 text, raw (leading whitespace and all)."""
    answer_prompt: str | None = None
    """Text between rationale and answer: prompt + rationale + answer_prompt is the stage-2 prompt."""
    answer_text: str | None = None
    """Stage-2 text, raw; None where a recording does not keep it."""
    prediction: str | None = None
    """Extracted by the task's answer rule; None if there was no candidate."""
    correct: bool | None = None
    min_diversity: int | None = None
    """The smallest D whose set holds this row, where `draw` is unknown."""
    completion_index: int | None = None
    """Row of this sample within the recording: tells apart rows whose draw is unknown."""
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    """Tokens: prompt, completion (and what else the server counts)."""
    teacher: Mapping[str, Any] = field(default_factory=dict)
    """name, model, server and decoding parameters."""
    correct_only: bool = False
    """True for a row of a recording that kept correct completions only: it says nothing of accuracy."""
    raw: Mapping[str, Any] | None = None
    """The server's reply, as it came. The store keeps it; a run folder does not repeat it."""
    thinking: str | None = None
    """What a reasoning model thought before it spoke; no student sees it."""
    cost_usd: float | None = None
    """What this draw cost when it was bought, both calls; None where the price is not known."""

    @property
    def sample_key(self) -> SampleKey:
        return (self.task, self.version, self.sample_index)

    def judged(self, prediction: str | None, correct: bool) -> Completion:
        """With this verdict. As `dataclasses.replace`, which takes ten times as long."""
        if self.prediction == prediction and self.correct is correct:
            return self
        layout = _layout(Completion)
        values = list(layout.of_record(self))
        place = layout.names.index("prediction")
        values[place : place + 2] = (prediction, correct)
        return layout.make(Completion, values)


@dataclass(frozen=True, slots=True)
class Example(Record):
    """A prompt/completion pair the student is trained on."""

    prompt: str
    completion: str
    sample_index: int
    draw: int | None = None


@dataclass(frozen=True, slots=True)
class Prediction(Record):
    """What a student said to one question after one epoch, and what the scorers made of it."""

    sample_index: int
    split: Split
    epoch: int
    """1 after the first epoch; 0 for a student that was not trained."""
    text: str
    """The student's completion, without prompt and special tokens."""
    answer: str
    """Gold."""
    prediction: str | None
    """By the scorer the job reports."""
    correct: bool
    """By the scorer the job reports."""
    verdicts: Mapping[str, bool]
    """Correct by each scorer: paper, strict, lenient."""
    contains_answer: bool
    """Any candidate of the text equals gold."""
    formatted: bool
    """The answer marker was found, or the template has none."""
    truncated: bool
    """Generation stopped at max_new_tokens, not at the end-of-text token or stop phrase."""
    n_tokens: int
    """New tokens generated, the end-of-text token included."""
    rationale: str | None = None
    """Stage-1 text of a two-stage method; None for a single call."""
    study: str | None = None
    """What is wrong with it, or that nothing is: one of ftcot/sample_study.py's KINDS. None in folders of earlier
    versions, which said less, as `error`."""

    retired = frozenset({"error"})

    @property
    def error(self) -> str | None:
        """What went wrong; None if the answer is right, or in folders of earlier versions."""
        return None if self.correct else self.study


@dataclass(frozen=True, slots=True)
class EpochScore(Record):
    """Accuracy of one evaluated epoch on one split."""

    epoch: int
    split: Split
    n: int
    accuracy: float
    """By the scorer the job reports; a fraction."""
    interval: tuple[float, float]
    """Wilson 95 %."""
    accuracies: Mapping[str, float]
    """By each scorer: paper, strict, lenient."""
    contains_answer: float
    format_rate: float
    truncation_rate: float
    mean_tokens: float
    study: Mapping[str, float] = field(default_factory=dict)
    """Share of each kind of right and wrong answers (ftcot/sample_study.py); empty in folders of earlier versions."""


@dataclass(frozen=True, slots=True)
class Score(Record):
    """The result of a job, as `score.json`. `accuracy`, `n`, `interval` and `epoch` are the last epoch's on test."""

    task: str
    method: str
    student: str
    teacher: str | None
    """Whose rationales the student was taught or shown; None where there are none."""
    scorer: str
    accuracy: float
    n: int
    interval: tuple[float, float]
    epoch: int
    best_on_test: Mapping[str, Any] | None
    """The paper's protocol: the best epoch by test accuracy (first of equals). It flatters; it says so by its name."""
    best_on_validation: Mapping[str, Any] | None
    """Test score of the epoch that was best on validation; None without a validation split."""
    random_accuracy: float | None
    teacher_accuracy: float | None
    """Over the teacher's completions for the task; None without a teacher, or where only correct ones are recorded."""
    n_examples: int
    """Pairs the student was trained on; 0 for untrained methods."""
    seconds: Mapping[str, float]
    """Wall time of each stage, over all attempts; of one that was killed, up to its last heartbeat."""
    tokens: Mapping[str, int]
    """Supervised tokens trained on, tokens generated, the teacher's tokens."""
    cost_usd: float | None
    """What the teacher's words and a judge's cost; None where that is not known."""
    epochs: tuple[Mapping[str, Any], ...] = ()
    """Every EpochScore, in order."""
    devices: int = 1
    """That it was trained and tested on, in the last attempt."""
    device_seconds: float = 0.0
    """Wall time of training and evaluation, over all attempts, times the devices: what stands for energy."""
    diversity: Mapping[str, float] | None = None
    """Of the rationales that the student was shown (ftcot/variety.py, `Diversity`); None where it was shown none,
    and in folders of earlier versions."""


R = TypeVar("R", bound=Record)


class _Layout(NamedTuple):
    """How records of one kind are taken apart and put together."""

    names: tuple[str, ...]
    """Of the fields."""
    known: frozenset[str]
    of_record: Callable[[Any], tuple[Any, ...]]
    """All values of a record."""
    of_row: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    """All values of a JSON object that has every field."""
    thawed: type
    """The same class, not frozen."""

    def make(self, kind: type[R], values: Iterable[Any]) -> R:
        """A record of these values.

        A frozen class sets each field by a call, which is most of what it takes to read one, and ten times as much as
        without. So it is frozen when all are set.
        """
        record = self.thawed(*values)
        record.__class__ = kind
        return cast(R, record)


@cache
def _layout(kind: type[Record]) -> _Layout:
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    names = tuple(field.name for field in fields)
    thawed = dataclasses.make_dataclass(kind.__name__, names, bases=kind.__bases__, slots=True, eq=False)
    return _Layout(names, frozenset(names), attrgetter(*names), itemgetter(*names), thawed)


def read_records(path: Path, kind: type[R]) -> list[R]:
    """All records of a JSONL file.

    Raises:
        InputError: a line, named by its number, is not such a record.
    """
    return list(stream_records(path, kind))


def stream_records(path: Path, kind: type[R]) -> Iterator[R]:
    """The records of a JSONL file, one at a time.

    Raises:
        InputError: a line, named by its number, is not such a record.
    """
    for number, row in read_jsonl(path):
        try:
            yield kind.from_json(row)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None


_as_json = json.JSONEncoder(ensure_ascii=False).encode


def to_line(row: Mapping[str, Any] | Record) -> str:
    """One line of JSONL, with its newline."""
    values = row.to_json() if isinstance(row, Record) else row
    line = _as_json(values) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError:
        # A server may send half of a surrogate pair; escaped it can be kept.
        return json.dumps(values) + "\n"
    return line


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a JSONL file whole or not at all. Records are taken one at a time, so they may be a stream."""
    write_atomic(path, (to_line(record).encode() for record in records))
