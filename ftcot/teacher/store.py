"""The completion store: what teachers said, for ever.

Completions cost money, so each is durable when the `put` that stores it returns, and nothing is ever overwritten:

    ROOT/TEACHER/TASK/HOST-PID-RANDOM.jsonl        a segment: one writer appends to it, everybody reads it

One line of a segment (shortened) is a completion with what it is known by:

    {"key": {"teacher": "text-davinci-002", "prompt_sha256": "9c1e…", "parameters_sha256": "04b7…"},
     "stored": "2026-11-22T10:15:00.123456Z",
     "schema": 1, "task": "multiarith", "version": 1, "sample_index": 0, "draw": 0, "prompt": "Q: For …", …}

The full key is (teacher, sample, prompt, decoding parameters, draw); where a recording does not know the draw, its row
number stands for it. Reading merges the segments; of several completions with one key the one stored first counts, so
that what was read once is read again. A writer that dies leaves at most one torn last line, which is dropped. Damage
anywhere else is reported, never skipped: someone paid for that line.

Writers need no lock, since none shares a segment. Only `*.jsonl` is a segment: what else stands beside them (an index
built from them, claims on what is being made) may be lost without losing a completion.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ftcot.errors import InputError, JobError
from ftcot.records import Completion, SampleKey, sync_folder, to_line

LONGEST_NAME = 150
"""Letters of a folder name; file systems allow 255 bytes."""


class Key(NamedTuple):
    """What a completion is known by."""

    teacher: str
    sample: SampleKey
    prompt_sha256: str | None
    parameters_sha256: str
    draw: int | None
    completion_index: int | None
    """Only where `draw` is None."""


class CompletionStore:
    """All completions under one folder. Nothing is created before the first `put`; safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._segments: dict[tuple[str, str, int], Path] = {}

    def get(
        self, teacher: str, parameters: Mapping[str, Any], prompts: Mapping[SampleKey, str], degree: int
    ) -> dict[tuple[SampleKey, int], Completion]:
        """The stored completions among the first `degree` draws of these samples, by (sample, draw).

        Args:
            parameters: everything that decides what the teacher says besides the prompt.
            prompts: the prompt of each sample asked for; a completion of another prompt is not returned.
        Raises:
            InputError: a segment is damaged.
        """
        asked = {sample: sha256(prompt) for sample, prompt in prompts.items()}
        parameters_sha256 = hash_parameters(parameters)
        found: dict[tuple[SampleKey, int], Completion] = {}
        for task in sorted({name for name, _, _ in asked}):
            for key, completion in self._read(teacher, task, parameters_sha256):
                if key.draw is None or key.draw >= degree or key.sample not in asked:
                    continue
                if key.prompt_sha256 == asked[key.sample]:
                    found[key.sample, key.draw] = completion
        return found

    def rows(self, teacher: str, task: str, parameters: Mapping[str, Any]) -> list[Completion]:
        """Every stored completion of a task with these parameters, by sample, draw and row of its recording.

        Raises:
            InputError: a segment is damaged.
        """
        completions = [completion for _, completion in self._read(teacher, task, hash_parameters(parameters))]
        return sorted(completions, key=reading_order)

    def put(self, teacher: str, parameters: Mapping[str, Any], completions: Sequence[Completion]) -> None:
        """Store these completions; they are on disk when this returns.

        Raises:
            JobError: they could not be written. What was stored before stays.
        """
        parameters_sha256 = hash_parameters(parameters)
        stored = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lines: dict[str, list[bytes]] = {}
        for completion in completions:
            prompt_sha256 = None if completion.prompt is None else sha256(completion.prompt)
            key = {"teacher": teacher, "prompt_sha256": prompt_sha256, "parameters_sha256": parameters_sha256}
            line = to_line({"key": key, "stored": stored} | completion.to_json())
            lines.setdefault(completion.task, []).append(line.encode())
        with self._lock:
            for task, task_lines in lines.items():
                self._append(teacher, task, b"".join(task_lines))

    @contextmanager
    def claim(self, teacher: str, task: str, parameters: Mapping[str, Any]) -> Iterator[None]:
        """Be the only one that makes completions of this teacher for this task with these parameters.

        For teachers that are quick: who comes second waits for all of it, then finds it in the store. The kernel ends a
        claim with its process. Where files cannot be locked, the work may be done twice, which costs nothing but time:
        of two completions with one key the first counts.
        """
        folder = self.folder(teacher, task)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f".{hash_parameters(parameters)[:16]}.claim").open("a")
        except OSError as error:
            raise JobError(f"{folder}: completions cannot be stored ({error.strerror or error})") from None
        with file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def folder(self, teacher: str, task: str) -> Path:
        """Where the segments of a teacher and task are."""
        return self.root / safe_name(teacher) / safe_name(task)

    def _append(self, teacher: str, task: str, data: bytes) -> None:
        folder = self.folder(teacher, task)
        # The process is part of the writer's name: after a fork two processes hold this object.
        writer = (teacher, task, os.getpid())
        try:
            segment = self._segments.get(writer)
            if segment is None or not segment.exists():
                segment = self._segments[writer] = _create_segment(folder)
            _append_durably(segment, data)
        except OSError as error:
            # What reached the disk may end in a torn line, which is only dropped while it is the last one.
            self._segments.pop(writer, None)
            raise JobError(f"{folder}: completions cannot be stored ({error.strerror or error})") from None

    def _read(self, teacher: str, task: str, parameters_sha256: str) -> Iterator[tuple[Key, Completion]]:
        first: dict[Key, tuple[str, Completion]] = {}
        for segment in sorted(self.folder(teacher, task).glob("*.jsonl")):
            for key, stored, completion in read_segment(segment):
                # Names of teachers and tasks are compared too: on some file systems `A` and `a` share a folder.
                if key.teacher != teacher or completion.task != task or key.parameters_sha256 != parameters_sha256:
                    continue
                if key not in first or stored < first[key][0]:
                    first[key] = (stored, completion)
        return ((key, completion) for key, (_, completion) in first.items())


def read_segment(path: Path) -> Iterator[tuple[Key, str, Completion]]:
    """Key, time of storing and completion of each line; a torn last line is left out.

    Raises:
        InputError: a line before the last is damaged, or a line is not one of the store's.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError as error:
            if number == len(lines):
                return
            raise InputError(
                f"{path}, line {number}: a stored completion is damaged ({error}); "
                "restore the file, or delete the line to have it made again"
            ) from None
        try:
            key, stored = row.pop("key"), row.pop("stored")
            completion = Completion.from_json(row)
            yield _key(key, completion), stored, completion
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{path}, line {number}: not a line of the completion store") from None
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None


def reading_order(completion: Completion) -> tuple[int, int, int]:
    """Sorts completions of one task by sample, draw and row of the recording."""
    return (completion.sample_index, completion.draw or 0, completion.completion_index or 0)


def sha256(text: str) -> str:
    """Of a prompt."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_parameters(parameters: Mapping[str, Any]) -> str:
    """The same for equal parameters, in whatever order and whether written 0 or 0.0."""
    return sha256(json.dumps(_canonical(parameters), sort_keys=True, separators=(",", ":")))


def safe_name(name: str) -> str:
    """A folder name for any text; two texts never share one."""
    quoted = quote(name, safe=" ", errors="surrogatepass")
    if quoted.startswith(".") or not quoted:
        quoted = "%" + quoted.replace(".", "%2E")
    if len(quoted) <= LONGEST_NAME:
        return quoted
    return f"{quoted[:LONGEST_NAME]}~{sha256(name)[:16]}"


def _key(row: Mapping[str, Any], completion: Completion) -> Key:
    index = completion.completion_index if completion.draw is None else None
    return Key(
        row["teacher"],
        completion.sample_key,
        row["prompt_sha256"],
        row["parameters_sha256"],
        completion.draw,
        index,
    )


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _create_segment(folder: Path) -> Path:
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{safe_name(socket.gethostname())}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
    segment = folder / name
    segment.open("xb").close()
    for changed in {folder, *(path.parent for path in created)}:
        sync_folder(changed)
    return segment


def _append_durably(segment: Path, data: bytes) -> None:
    with segment.open("ab", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
