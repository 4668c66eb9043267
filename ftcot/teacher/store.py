"""The completion store: what teachers said, for ever.

Completions cost money, so each is durable when the `put` that stores it returns, and nothing is ever overwritten:

    ROOT/TEACHER/TASK/HOST-PID-RANDOM.jsonl        a segment: one writer appends to it, everybody reads it
                      HOST-PID-RANDOM.index        where its lines stand; made by readers, and made anew if it is lost
                      5f0c….leases                 who is making what at the moment (leases.py)

A line of a segment is a completion with what it is known by (store_lines.py). Reading merges the segments; of several
completions with one key the one stored first counts, so that what was read once is read again. A writer that dies
leaves at most one torn last line, which is dropped. Damage anywhere else is reported, never skipped: someone paid for
that line.

Writers need no lock between them, since none shares a segment. Segments of writers that have ended can be joined at any
time (store_merge.py); readers do not notice.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftcot.errors import InputError, JobError
from ftcot.records import Completion, SampleKey
from ftcot.teacher.lease_file import Draw
from ftcot.teacher.leases import Leases
from ftcot.teacher.store_entries import Group
from ftcot.teacher.store_folder import Folder, Spent, folders_in, segments_in
from ftcot.teacher.store_lines import (
    Key,
    Paid,
    StoredRow,
    hash_parameters,
    read_rows,
    reading_order,
    sha256,
    write_line,
)
from ftcot.teacher.store_merge import Merged, idle_segments, merge
from ftcot.teacher.store_selection import ANY, Wanted
from ftcot.teacher.store_writer import Writer, safe_name

__all__ = ["CompletionStore", "Key", "Merged", "Paid", "Spent", "StoredRow", "hash_parameters", "safe_name", "sha256"]

ATTEMPTS = 10
"""How many segments may be taken from under a writer in one call."""


class CompletionStore:
    """All completions under one folder. Nothing is created before the first `put`; safe to use from several threads."""

    def __init__(self, root: Path, *, saves_index: bool = True) -> None:
        """A store.

        Args:
            saves_index: False for who is not to write anything, be it to save time.
        """
        self.root = root
        self._saves_index = saves_index
        self._open = _Open()

    def get(
        self, teacher: str, parameters: Mapping[str, Any], prompts: Mapping[SampleKey, str], degree: int
    ) -> dict[Draw, Completion]:
        """The stored completions among the first `degree` draws of these samples, by (sample, draw).

        Args:
            parameters: everything that decides what the teacher says besides the prompt.
            prompts: the prompt of each sample asked for; a completion of another prompt is not returned.
        Raises:
            InputError: a segment is damaged, or cannot be read.
        """
        found: dict[Draw, Completion] = {}
        for group, wanted in _by_sample(teacher, parameters, prompts, degree):
            found |= _by_draw(self._folder(group).completions(group, wanted))
        return found

    def has(
        self, teacher: str, parameters: Mapping[str, Any], prompts: Mapping[SampleKey, str], degree: int
    ) -> set[Draw]:
        """Which completions `get` would find. Quick: it looks into the index.

        Raises:
            InputError: a segment is damaged, or cannot be read.
        """
        found: set[Draw] = set()
        for group, wanted in _by_sample(teacher, parameters, prompts, degree):
            stored = self._folder(group).stored(group, wanted)
            found.update(((group.task, version, index), draw) for version, index, draw in stored)
        return found

    def find(self, teacher: str, parameters: Mapping[str, Any], wanted: Mapping[Draw, str]) -> dict[Draw, Completion]:
        """The stored completions of these prompts, where each draw has a prompt of its own.

        Raises:
            InputError: a segment is damaged, or cannot be read.
        """
        asked: dict[str, dict[tuple[int, int, int], str]] = {}
        for ((task, version, index), draw), prompt in wanted.items():
            asked.setdefault(task, {})[version, index, draw] = sha256(prompt)
        found: dict[Draw, Completion] = {}
        for task, prompts in sorted(asked.items()):
            group = Group(teacher, task, hash_parameters(parameters))
            degree = 1 + max(draw for _, _, draw in prompts)
            found |= _by_draw(self._folder(group).completions(group, Wanted(prompts, degree, by_draw=True)))
        return found

    def rows(self, teacher: str, task: str, parameters: Mapping[str, Any]) -> list[Completion]:
        """Every stored completion of a task with these parameters, by sample, draw and row of its recording.

        Raises:
            InputError: a segment is damaged, or cannot be read.
        """
        group = Group(teacher, task, hash_parameters(parameters))
        return sorted((row for _, row in self._folder(group).completions(group, None)), key=reading_order)

    def put(
        self,
        teacher: str,
        parameters: Mapping[str, Any],
        completions: Sequence[Completion],
        paid: Sequence[Paid | None] | None = None,
    ) -> None:
        """Store these completions; they are on disk when this returns. Many at once are cheaper.

        Args:
            paid: what the call that gave each completion cost; None where nothing was bought.
        Raises:
            JobError: they could not be written. What was stored before stays.
        """
        parameters_sha256 = hash_parameters(parameters)
        stored = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lines: dict[str, list[bytes]] = {}
        for completion, cost in zip(completions, paid or [None] * len(completions), strict=True):
            if cost is not None and cost.usd is not None and not math.isfinite(cost.usd):
                raise ValueError(f"a call cannot have cost {cost.usd} dollars")
            line = write_line(teacher, parameters_sha256, stored, cost, completion)
            lines.setdefault(completion.task, []).append(line)
        mine = self._mine()
        with mine.lock:
            for task, task_lines in lines.items():
                self._append(mine.writers, self.folder(teacher, task), b"".join(task_lines))

    def spent(self, teacher: str, since: float) -> Spent:
        """What was paid this teacher from `since` (seconds since 1970) on, for whatever task. Quick, after the first.

        Raises:
            InputError: a segment is damaged, or cannot be read.
        """
        folders = [self._folder_at(path) for path in folders_in(self.root / safe_name(teacher))]
        sums = [folder.spent(teacher, round(since * 1e6)) for folder in folders]
        return Spent(*map(sum, zip(Spent(0, 0, 0.0, 0), *sums, strict=True)))

    def teachers(self) -> list[tuple[str, str]]:
        """Each teacher and task of which something is stored.

        Raises:
            InputError: a segment is damaged, or cannot be read.
        """
        groups = {group for path in self._folders(None, None) for group in self._folder_at(path).groups()}
        return sorted({(group.teacher, group.task) for group in groups})

    def scan(
        self,
        teacher: str | None = None,
        task: str | None = None,
        damaged: Callable[[InputError], None] | None = None,
    ) -> Iterator[StoredRow]:
        """Every line of the store, of a teacher, of a task, as it was written: one segment after the other.

        Lines that do not count for their key are among them. While segments are merged, a line may come twice.

        Args:
            damaged: told of each damaged line, which is then passed over.
        Raises:
            InputError: a line is damaged and `damaged` is None, or a segment cannot be read.
        """
        for folder in self._folders(teacher, task):
            done: set[Path] = set()
            while waiting := [path for path in segments_in(folder) if path not in done]:
                done.update(waiting)
                for path in waiting:
                    with suppress(FileNotFoundError):  # merged with others, into one that the next list has
                        for row in read_rows(path, damaged):
                            if teacher in (None, row.key.teacher) and task in (None, row.completion.task):
                                yield row

    def leases(self, teacher: str, task: str, parameters: Mapping[str, Any]) -> Leases:
        """Leases on draws of this teacher for this task with these parameters."""
        name = sha256(json.dumps(Group(teacher, task, hash_parameters(parameters))))
        return Leases(self.folder(teacher, task) / f"{name[:16]}.leases", task)

    def idle_segments(self, teacher: str, task: str) -> list[Path]:
        """Segments whose writer has ended. Where files cannot be locked nobody can tell, and there are none.

        Raises:
            InputError: the folder cannot be read.
        """
        return idle_segments(self.folder(teacher, task))

    def merge(self, teacher: str, task: str) -> Merged:
        """Join the segments of ended writers into one; readers and writers may go on meanwhile.

        Raises:
            InputError: a segment is damaged; none is touched then.
            JobError: the new one could not be written, or a segment is edited meanwhile; all lines are still there.
        """
        return merge(self.folder(teacher, task))

    def folder(self, teacher: str, task: str) -> Path:
        """Where the segments of a teacher and task are."""
        return self.root / safe_name(teacher) / safe_name(task)

    def _append(self, writers: dict[Path, Writer], folder: Path, data: bytes) -> None:
        try:
            for _ in range(ATTEMPTS):
                # Out of the list until it has written: after a failure it may end in a torn line, which is only
                # dropped while it is the last one.
                writer = writers.pop(folder, None) or Writer(folder)
                if writer.append(data):
                    writers[folder] = writer
                    return
        except OSError as error:
            raise JobError(f"{folder}: completions cannot be stored ({error.strerror or error})") from None
        raise JobError(f"{folder}: completions cannot be stored (something removes its files all the time)")

    def _folders(self, teacher: str | None, task: str | None) -> list[Path]:
        teachers = folders_in(self.root) if teacher is None else [self.root / safe_name(teacher)]
        if task is not None:
            return [folder / safe_name(task) for folder in teachers]
        return [path for folder in teachers for path in folders_in(folder)]

    def _folder(self, group: Group) -> Folder:
        return self._folder_at(self.folder(group.teacher, group.task))

    def _folder_at(self, path: Path) -> Folder:
        mine = self._mine()
        with mine.lock:
            return mine.folders.setdefault(path, Folder(path, saves_index=self._saves_index))

    def _mine(self) -> _Open:
        """What this process has open: after a fork its parent's segments and locks are not its own."""
        if self._open.pid != os.getpid():
            self._open = _Open()
        return self._open


class _Open:
    """What a process has open of a store."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.writers: dict[Path, Writer] = {}
        self.folders: dict[Path, Folder] = {}


def _by_sample(
    teacher: str, parameters: Mapping[str, Any], prompts: Mapping[SampleKey, str], degree: int
) -> Iterator[tuple[Group, Wanted]]:
    """What is wanted of each task."""
    asked: dict[str, dict[tuple[int, int, int], str]] = {}
    for (task, version, index), prompt in prompts.items():
        asked.setdefault(task, {})[version, index, ANY] = sha256(prompt)
    parameters_sha256 = hash_parameters(parameters)
    for task, hashes in sorted(asked.items()):
        yield Group(teacher, task, parameters_sha256), Wanted(hashes, degree)


def _by_draw(found: Sequence[tuple[Key, Completion]]) -> dict[Draw, Completion]:
    return {(key.sample, key.draw): completion for key, completion in found if key.draw is not None}
