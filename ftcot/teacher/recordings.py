"""Recordings of teachers, in the formats they come in, read as completions.

The format is recognised from the content:

- **our JSONL**, a completion a line with at least `sample_index` and `rationale` (`recorded/` of the data folder):
  `{"task": "multiarith", "sample_index": 0, "completion_index": 0, "question": "For ...", "answer": "39", "prompt":
  "Q: ...", "rationale": " \\n\\nDebby and ...", "answer_prompt": " Therefore, ...", "answer_text": " 39.", ...}`
- **a run's own `completions.jsonl`**: the same with `schema`;
- **an export of the store** (`python -m ftcot.completions export`): the same with `key`, which is of no use here;
- **the authors' completion JSON**: `{"metadata": {...}, "data": {"0": [{"reasoning_completion": ..., ...}], ...}}`;
- **the authors' fine-tuning JSONL**:
  `{"prompt": "For ...\\n\\n###\\n\\n", "completion": " Debby ...\\n\\n-->\\n\\n39 END"}`.

A recording that holds right and wrong completions knows which draw each was: `draw` is its `completion_index`. One
that kept correct ones only does not: `completion_index` counts the kept rows of a question, and `min_diversity` is the
smallest degree whose set holds the row. Fine-tuning files are such recordings; what is in them is taken as right. The
authors' names say at which temperature and degree they were drawn (`F_zs_cot_t70_multiarith_8aug`: 0.7, 8); a file with
another name counts as drawn as often as the job asks.

A verdict is kept only where the text it was made from is not: everything else is judged anew by the task's rule.
"""

from __future__ import annotations

import random
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.files import read_json, read_jsonl
from ftcot.records import Completion, SampleKey
from ftcot.teacher.matching import Known, Row
from ftcot.teacher.store_lines import reading_order, sha256

PROMPT = re.compile(r"(?:Q: )?(?P<question>.*?)(?:\s*###\s*|\n\nA: Let's think step by step\.\s*)", re.DOTALL)
COMPLETION = re.compile(
    r" ?(?P<rationale>.*)\s(?:-->|Therefore, the answer is)\s+(?P<answer>.*?)(?: END)?\s*", re.DOTALL
)
AUTHORS_NAME = re.compile(r"F_zs_cot_(?:t(?P<hundredths>\d+)_)?.*?(?:_(?P<degree>\d+)aug)?\.jsonl")

OF_THE_STORE = ("key", "stored", "paid")
"""What the rows of an export have beside the fields of a completion."""


LATEST = 3
"""Recordings that are kept in memory, the last ones."""


@dataclass(frozen=True)
class Recording:
    """What one file says of one task."""

    path: Path
    completions: tuple[Completion, ...]
    """By sample, draw and row; those of every sample that the task knows."""
    correct_only: bool
    temperature: float | None
    """Of stage 1; None where the file does not say."""
    depends_on: Mapping[str, Any] = field(default_factory=dict)
    """What decides its completions besides the file: a fine-tuning file's degree, and which samples its rows got."""

    @cached_property
    def degrees(self) -> tuple[int, ...] | None:
        """The degrees it can serve, where draws are unknown; None where it has every degree up to `n_draws`."""
        if all(completion.draw is not None for completion in self.completions):
            return None
        return tuple(sorted({completion.min_diversity or 0 for completion in self.completions}))

    @cached_property
    def n_draws(self) -> int:
        """How many completions the question with the most of them has."""
        return max((completion.draw + 1 for completion in self.completions if completion.draw is not None), default=0)

    def holds(self, degree: int) -> bool:
        """Whether it has a set of this degree. One in between two recorded degrees is not known."""
        return degree <= self.n_draws if self.degrees is None else degree in self.degrees


def in_random_order(recording: Recording) -> Recording:
    """The recording with every degree up to its largest: a place by chance for each row whose draw is not known.

    Rows of degree 8 in a recording that has 4 too are some of the draws 5 to 8, and get places among these.
    """
    if recording.degrees is None:
        return recording
    below = dict(zip(recording.degrees, (0, *recording.degrees), strict=False))
    rows: dict[tuple[SampleKey, int], list[Completion]] = {}
    for completion in recording.completions:
        rows.setdefault((completion.sample_key, completion.min_diversity or 0), []).append(completion)
    placed = []
    for (sample, degree), kept in rows.items():
        places = list(range(below[degree] + 1, degree + 1))
        random.Random(f"{sample} {degree}").shuffle(places)
        places += [degree] * (len(kept) - len(places))  # two of the authors' files disagree by some rows
        placed += [replace(row, min_diversity=place) for row, place in zip(kept, places, strict=False)]
    depends_on = {**recording.depends_on, "draw_order": "random"}
    return replace(recording, completions=tuple(sorted(placed, key=reading_order)), depends_on=depends_on)


def read_recording(path: Path, known: Known, degree: int) -> Recording:
    """The recording in `path`.

    Args:
        degree: what the job asks for.
    Raises:
        InputError: the file cannot be read, a line is damaged, or it is of another task.
    """
    first = _first_row(path)
    if first is None:
        recording = _authors_completions(path, known)
    elif "rationale" in first:
        recording = _own_once(path, known)
    elif "prompt" in first and "completion" in first:
        recording = _fine_tuning(path, known, degree)
    else:
        raise InputError(
            f"{path}, line 1: holds no rationale (expected our JSONL with sample_index and rationale, "
            "the authors' completion JSON, or a fine-tuning file with prompt and completion)"
        )
    if not recording.completions:
        raise InputError(f"{path}: holds no completion of {known.task.name}'s questions")
    return replace(recording, completions=tuple(sorted(recording.completions, key=reading_order)))


def _first_row(path: Path) -> dict[str, Any] | None:
    """The first line of a JSONL file; None if the file is one JSON object of metadata and data."""
    try:
        row = next((row for _, row in read_jsonl(path)), None)
    except InputError:
        # A pretty-printed JSON file is no JSONL; only its own reader can say what is wrong with it.
        if path.name.removesuffix(".gz").endswith(".json"):
            return None
        raise
    if row is None:
        raise InputError(f"{path}: is empty")
    return None if "metadata" in row and "data" in row else row


_LATEST: OrderedDict[tuple[object, ...], Recording] = OrderedDict()


def _own_once(path: Path, known: Known) -> Recording:
    """As `_own`; a sweep looks into one recording at many degrees, one after the other."""
    stat = path.stat()
    key = (path, stat.st_ino, stat.st_mtime_ns, stat.st_size, repr(known.task))
    if key not in _LATEST:
        _LATEST[key] = _own(path, known)
        while len(_LATEST) > LATEST:
            _LATEST.popitem(last=False)
    return _LATEST[key]


def _own(path: Path, known: Known) -> Recording:
    completions = []
    temperatures = set()
    says_draw = False
    seen: Counter[int] = Counter()
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        _check_types(where, row)
        completion = _record(where, row, known) if "schema" in row else _recorded(where, row, known, seen)
        if completion is not None:
            completions.append(completion)
            temperatures.add(completion.teacher.get("temperature"))
            says_draw |= row.get("draw") is not None
    # Nothing but right rationales, and no text that shows it: a filter went over this file, and its rows are no draws.
    filtered = not says_draw and all(c.correct is True and c.answer_text is None for c in completions)
    if filtered:
        completions = [
            replace(c, draw=None, min_diversity=c.min_diversity or 1, correct_only=True) for c in completions
        ]
    correct_only = any(completion.correct_only for completion in completions)
    return Recording(path, tuple(completions), correct_only, _temperature(path, temperatures))


def _check_types(where: str, row: Mapping[str, Any]) -> None:
    for name in ("rationale", "question", "answer", "prompt", "answer_prompt", "answer_text"):
        if not isinstance(row.get(name), str | None):
            raise InputError(f"{where}: {name} is {row[name]!r}, expected text")
    for name in ("completion_index", "min_diversity", "draw"):
        value = row.get(name)
        if value is not None and (not isinstance(value, int) or value < 0):
            raise InputError(f"{where}: {name} is {value!r}, expected a whole number")
    teacher = row.get("teacher")
    temperature = teacher.get("temperature") if isinstance(teacher, Mapping) else row.get("temperature")
    if not isinstance(temperature, int | float | None):
        raise InputError(f"{where}: temperature is {temperature!r}, expected a number")
    if "schema" in row and not isinstance(teacher, Mapping):
        raise InputError(f"{where}: teacher is {teacher!r}, expected an object")
    if row.get("rationale") is None:
        raise InputError(f"{where}: holds no rationale")


def _record(where: str, row: Mapping[str, Any], known: Known) -> Completion | None:
    """A line of a run's `completions.jsonl`."""
    try:
        completion = Completion.from_json({name: value for name, value in row.items() if name not in OF_THE_STORE})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    _check_task(where, completion.task, known)
    if completion.version != known.task.version:
        raise InputError(f"{where}: of version {completion.version} of {known.task.name}, not {known.task.version}")
    sample = known.find(where, completion.sample_index, None, None)
    if sample is None:
        return None
    if completion.prompt is not None and sample.question.strip() not in completion.prompt:
        raise InputError(f"{where}: the prompt does not hold the question of sample_index {sample.sample_index}")
    return completion if completion.answer_text is None else replace(completion, prediction=None, correct=None)


def _recorded(where: str, row: Mapping[str, Any], known: Known, seen: Counter[int]) -> Completion | None:
    """A line of our JSONL. `seen` counts the rows of each sample."""
    if row.get("answer_text") is None and not isinstance(row.get("correct"), bool):
        raise InputError(f"{where}: neither answer_text nor correct (true or false) says whether it is right")
    _check_task(where, row.get("task"), known)
    sample = known.find(where, row.get("sample_index"), row.get("question"), row.get("answer"))
    if sample is None:
        return None
    index = row.get("completion_index", seen[sample.sample_index])
    seen[sample.sample_index] += 1
    min_diversity = row.get("min_diversity")
    draw = row.get("draw", index if min_diversity is None else None)
    judged = row.get("answer_text") is None
    kept = ("temperature", "max_tokens_rationale", "max_tokens_answer")
    return Completion(
        *sample.key,
        draw=draw,
        prompt=row.get("prompt"),
        rationale=row["rationale"],
        answer_prompt=row.get("answer_prompt"),
        answer_text=row.get("answer_text"),
        # addsub's and single_eq's recorded predictions are numbers.
        prediction=str(row["prediction"]) if judged and row.get("prediction") is not None else None,
        correct=row.get("correct") if judged else None,
        min_diversity=min_diversity,
        completion_index=index,
        finish_reason=row.get("finish_reason"),
        usage=row.get("usage"),
        teacher={"name": row.get("teacher")} | {name: row[name] for name in kept if row.get(name) is not None},
    )


def _authors_completions(path: Path, known: Known) -> Recording:
    try:
        content = read_json(path)
        metadata = content["metadata"]
        parameters = metadata.get("parameters") or {}
        _check_task(str(path), metadata["dataset_key"], known)
        teacher = {
            "name": metadata["base_model"],
            "temperature": parameters.get("reasoning_temperature"),
            "max_tokens_rationale": parameters.get("reasoning_max_tokens"),
            "max_tokens_answer": parameters.get("max_tokens"),
        }
        rows = [row for sample_rows in content["data"].values() for row in sample_rows]
        read = [_authors_completion(path, row, teacher, known) for row in rows]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a completion file of the authors ({type(error).__name__}: {error})") from None
    return Recording(path, tuple(filter(None, read)), False, teacher["temperature"])


def _authors_completion(
    path: Path, row: Mapping[str, Any], teacher: Mapping[str, Any], known: Known
) -> Completion | None:
    where = f"{path}, sample {row['sample_index']}"
    prompt, rationale, answer_text = row.get("reasoning_prompt"), row.get("reasoning_completion"), row["completion"]
    if not (isinstance(prompt, str) and isinstance(rationale, str) and isinstance(answer_text, str)):
        raise InputError(f"{where}: holds no rationale, or no answer text")
    sample = known.find(where, row["sample_index"], row["question"], row["answer"])
    if sample is None:
        return None
    asked, before = row["prompt"], prompt + rationale
    return Completion(
        *sample.key,
        draw=row["completion_index"],
        prompt=prompt,
        rationale=rationale,
        # Of a "long" rationale only the beginning went into stage 2: then nothing is known of what followed.
        answer_prompt=asked.removeprefix(before) if asked.startswith(before) else None,
        answer_text=answer_text,
        completion_index=row["completion_index"],
        finish_reason=row.get("reasoning_finish_reason"),
        teacher={name: value for name, value in teacher.items() if value is not None},
    )


def _fine_tuning(path: Path, known: Known, degree: int) -> Recording:
    authors = AUTHORS_NAME.match(path.name)
    temperature = int(authors["hundredths"] or 0) / 100 if authors else None
    drawn = int(authors["degree"] or 1) if authors else degree
    rows = list(_fine_tuning_rows(path))
    assigned = known.assign(rows)
    seen: Counter[int] = Counter()
    completions = []
    for row, sample in zip(rows, assigned, strict=True):
        if sample is None:
            continue
        completion = Completion(
            *sample.key,
            draw=None,
            prompt=None,
            rationale=row.rationale,
            prediction=sample.answer,
            correct=True,
            min_diversity=drawn,
            completion_index=seen[sample.sample_index],
            teacher={} if temperature is None else {"temperature": temperature},
            correct_only=True,
        )
        seen[sample.sample_index] += 1
        completions.append(completion)
    indices = [sample and sample.sample_index for sample in assigned]
    return Recording(path, tuple(completions), True, temperature, {"degree": drawn, "samples": sha256(str(indices))})


def _fine_tuning_rows(path: Path) -> Iterator[Row]:
    for number, line in read_jsonl(path):
        where = f"{path}, line {number}"
        prompt, completion = line.get("prompt"), line.get("completion")
        if not isinstance(prompt, str) or not isinstance(completion, str):
            raise InputError(f"{where}: expected a prompt and a completion, found {', '.join(line)}")
        asked, told = PROMPT.fullmatch(prompt), COMPLETION.fullmatch(completion)
        if asked is None:
            raise InputError(f"{where}: the prompt does not end in ###: {prompt[-30:]!r}")
        if told is None:
            raise InputError(f"{where}: no rationale, -->, and answer in the completion: {completion[-30:]!r}")
        yield Row(where, asked["question"], told["rationale"].strip(), told["answer"])


def _check_task(where: str, task: str | None, known: Known) -> None:
    if task is not None and task != known.task.name:
        raise InputError(f"{where}: of the task {task}, not {known.task.name}")


def _temperature(path: Path, found: set[float | None]) -> float | None:
    if len(found) > 1:
        names = ", ".join(sorted(map(str, found)))
        raise InputError(
            f"{path}: its lines were drawn at different temperatures ({names}); put them in files of their own"
        )
    return next(iter(found), None)
