"""Files of others, which have no keys: recordings that become rows of the store.

    D_multiarith.json (the authors')      792 completions of text-davinci-002
      alone                               rows that `teacher=replay teacher.path=D_multiarith.json` finds
      with the words of a job             rows that this job's live teacher finds, and does not buy:
                                          teacher=api teacher.model=text-davinci-002 ... task=multiarith

A live teacher is promised nothing it would not have said itself: model, temperature, prompts and the lengths that were
allowed have to agree with what the recording says of them, and the recording has to know which draw each row was. What
it says nothing of is believed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftcot.completions.questions import compose, option
from ftcot.completions.reading import read_lines
from ftcot.errors import InputError
from ftcot.files import read_json
from ftcot.records import Completion
from ftcot.task.paper import BENCHMARKS
from ftcot.teacher import Diversity
from ftcot.teacher.asks import REFUSED, TOO_LONG, flatten
from ftcot.teacher.live import Live
from ftcot.teacher.matching import Known
from ftcot.teacher.recordings import Recording, read_recording
from ftcot.teacher.replay import PAPERS_TEACHER, Replay
from ftcot.teacher.store_lines import StoredRow, hash_parameters, key_of, sha256

_AUTHORS_NAME = re.compile(
    rf"F_zs_cot_(?:t\d+_|long_|test_)?(?:(?P<teacher>.+)_)?(?P<task>{'|'.join(BENCHMARKS)})(?:_.*)?\.jsonl"
)
"""Of the authors' fine-tuning files; they leave out the name of their usual teacher."""


_PLAIN = re.compile(r"[\w/.-]+")
"""Of values that Hydra takes as they are."""

RENAMED = {"max_tokens_rationale": "max_tokens", "max_tokens_answer": "answer_max_tokens"}
"""Fields of recordings that a live teacher calls otherwise."""

WORDS = {
    "temperature": "diversity.temperature",
    "max_tokens": "teacher.prompting.max_tokens",
    "answer_max_tokens": "teacher.prompting.answer_max_tokens",
    "answer_prompt": "task.answer_prompt",
}
"""Where a job sets them."""


@dataclass(frozen=True)
class Recorded:
    """What a file of others is worth to the store."""

    rows: Sequence[StoredRow]
    found_by: str
    """The words of a job that finds them."""
    left: int = 0
    """Draws that the job does not ask for."""


def read_recorded(path: Path, words: Sequence[str], teacher: str | None) -> Recorded:
    """The rows of a recording.

    Args:
        words: of a job, as `ftcot.run` takes them; they name at least the task, where the file does not.
        teacher: the name to store them under; None: the one the file or the words have.
    Raises:
        InputError: it is damaged, of another task, or not what the job asks for.
    """
    words = _with_task(path, words)
    live = any(word.startswith("teacher=") for word in words)
    given = words if live else [*words, "teacher=replay", f"teacher.path={_quoted(path)}"]
    job = compose(given)
    known = Known.of(job.task, job.task.splits())
    recording = read_recording(path, known, job.diversity.degree)
    if isinstance(job.teacher, Live):
        rows = _for_live(recording, known, job.teacher, job.diversity, teacher)
        named = [f"teacher.name={teacher}"] if teacher not in (None, job.teacher.name) else []
        return Recorded(rows, shlex.join([*words, *named]), len(recording.completions) - len(rows))
    if live:
        raise InputError("teacher=: only a live teacher can take over a recording; leave it out for teacher=replay")
    diversity = _diversity(recording, words, job.diversity)
    name = teacher or _name(recording)
    replay = Replay(name, None, path)
    completions = [replay.signed(completion, recording, diversity) for completion in recording.completions]
    rows = _rows(path, name, replay.parameters(recording), completions)
    asked = "greedy" if diversity.temperature == 0 else str(diversity.degree)
    place = str(path.absolute()) if _PLAIN.fullmatch(str(path.absolute())) else _quoted(path.absolute())
    found = ["teacher=replay", f"teacher.name={name}", f"teacher.path={place}", *words]
    found += [] if any(word.startswith("diversity") for word in words) else [f"diversity={asked}"]
    return Recorded(rows, shlex.join(found))


def _for_live(
    recording: Recording, known: Known, teacher: Live, diversity: Diversity, name: str | None
) -> list[StoredRow]:
    path = recording.path
    if recording.correct_only:
        raise InputError(
            f"{path}: keeps correct completions only, and not which draws they were, so no live teacher can take them "
            f"over; train on them with teacher=replay teacher.path={path}"
        )
    task = known.task
    samples = list(known.samples.values())
    asked = dict(zip((s.key for s in samples), map(flatten, teacher.prompting.first(task, samples)), strict=True))
    parameters = teacher.parameters(task, diversity)
    answer_prompt = teacher.prompting.answer_text(task) if teacher.prompting.two_calls else None
    completions = []
    for completion in filter(diversity.selects, recording.completions):
        where = f"{path}, sample {completion.sample_index}, draw {completion.draw}"
        _check_parameters(where, completion, parameters)
        _check_model(where, completion, teacher)
        prompt = asked[completion.sample_key]
        if completion.prompt not in (None, prompt):
            raise InputError(f"{where}: was asked {_end(completion.prompt)}, and the job asks {_end(prompt)}")
        if answer_prompt is not None and completion.answer_prompt not in (None, answer_prompt):
            raise InputError(
                f"{where}: was asked for its answer with {completion.answer_prompt!r}, and the job asks with "
                f"{answer_prompt!r} (task.answer_prompt, teacher.prompting.answer_prompt)"
            )
        if completion.answer_text is None and completion.finish_reason not in (REFUSED, TOO_LONG):
            raise InputError(f"{where}: holds no answer text, and a live teacher's completions do")
        signed = {"name": name or teacher.name, "temperature": diversity.temperature}
        completions.append(
            replace(completion, prompt=prompt, teacher=signed | dict(completion.teacher) | {"recording": path.name})
        )
    return _rows(path, name or teacher.name, parameters, completions)


def _check_parameters(where: str, completion: Completion, parameters: Mapping[str, Any]) -> None:
    """Hold what the job asks for against what the recording says of itself, under whichever name."""
    told = {RENAMED.get(field, field): value for field, value in completion.teacher.items()}
    for field, value in parameters.items():
        if field != "model" and told.get(field) not in (None, value):
            raise InputError(
                f"{where}: recorded with {WORDS.get(field, field)}={told[field]}, and the job has {value}; "
                "a live teacher finds what it would have asked for itself"
            )


def _check_model(where: str, completion: Completion, teacher: Live) -> None:
    recorded = [name for field in ("name", "model") if (name := completion.teacher.get(field)) is not None]
    if recorded and not {teacher.model, teacher.name} & set(recorded):
        raise InputError(f"{where}: is of {recorded[0]}, and the job has teacher.model={teacher.model}")


def _rows(
    path: Path, teacher: str, parameters: Mapping[str, Any], completions: Sequence[Completion]
) -> list[StoredRow]:
    stored = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    parameters_sha256 = hash_parameters(parameters)
    rows = []
    for number, completion in enumerate(completions, start=1):
        prompt_sha256 = None if completion.prompt is None else sha256(completion.prompt)
        key = {"teacher": teacher, "prompt_sha256": prompt_sha256, "parameters_sha256": parameters_sha256}
        rows.append(StoredRow(key_of(key, completion), stored, None, completion, path, number))
    return rows


def _with_task(path: Path, words: Sequence[str]) -> list[str]:
    """The words, with the task that the file itself names, if they name none."""
    if any(word.startswith("task=") for word in words):
        return list(words)
    task = _task_of(path)
    if task is None:
        raise InputError(f"{path}: does not say of which task it is; add --task NAME, or task=jsonl task.path=FILE")
    return [f"task={option(task)}", *words]


def _task_of(path: Path) -> str | None:
    if path.name.removesuffix(".gz").endswith(".json"):
        content = read_json(path)
        metadata = content.get("metadata") if isinstance(content, dict) else None
        task = metadata.get("dataset_key") if isinstance(metadata, dict) else None
    elif authors := _AUTHORS_NAME.match(path.name):
        task = authors["task"]
    else:
        first = next(read_lines(path), None)
        task = None if first is None else first[1].get("task")
    return task if isinstance(task, str) else None


def _diversity(recording: Recording, words: Sequence[str], composed: Diversity) -> Diversity:
    """How its completions were drawn: as it says itself, or the words do."""
    degree = max(recording.n_draws, *(recording.degrees or (1,)))
    if any(word.startswith("diversity") for word in words):
        return composed
    if recording.temperature is None:
        raise InputError(
            f"{recording.path}: does not say at which temperature it was drawn; add diversity=greedy, or diversity=8"
        )
    return Diversity(degree if recording.temperature else 1, recording.temperature)


def _name(recording: Recording) -> str:
    """Of the teacher that was recorded."""
    names = {str(c.teacher["name"]) for c in recording.completions if c.teacher.get("name")}
    if len(names) > 1:
        raise InputError(f"{recording.path}: is of several teachers ({', '.join(sorted(names))}); name one: --teacher")
    authors = _AUTHORS_NAME.match(recording.path.name)
    own = (authors["teacher"] or PAPERS_TEACHER) if authors else recording.path.name.partition(".")[0]
    return next(iter(names), own)


def _quoted(path: Path) -> str:
    """A value that Hydra reads as this path."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _end(prompt: str | None) -> str:
    text = prompt or ""
    return repr(text if len(text) <= 120 else f"{text[:60]} … {text[-60:]}")
