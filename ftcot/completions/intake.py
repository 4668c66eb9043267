"""Rows on their way into a store: all of them, or none.

    rows ──> ROOT/.import-5f0c12ab/0.jsonl, 1.jsonl, ...     nobody reads these
         ──> ROOT/TEACHER/TASK/HOST-PID-RANDOM.jsonl, ...    segments like any other, once all rows are there

What the store has already, by its key, is left out: an import done twice adds nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from ftcot.completions.digests import Digests, digest
from ftcot.completions.selection import set_of
from ftcot.errors import JobError
from ftcot.files import sync_folder
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.store_lines import StoredRow, write_line
from ftcot.teacher.store_writer import new_name


class Group(NamedTuple):
    """What a line of the report is about."""

    teacher: str
    task: str
    set: str
    """Its hash (selection.py)."""


class Intake:
    """Takes rows into a store. A context manager; nothing is in the store before `commit`."""

    def __init__(self, store: CompletionStore) -> None:
        self.store = store
        self.added: Counter[Group] = Counter()
        self.known: Counter[Group] = Counter()
        """Rows that the store, or the import itself, had already."""
        self._folder: Path | None = None
        self._files: dict[tuple[str, str], BinaryIO] = {}
        self._present: dict[tuple[str, str], Digests] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, row: StoredRow, *, write: bool = True) -> bool:
        """Take a row in, unless it is there; returns whether it is new.

        Args:
            write: whether it is to be written, or only counted.
        Raises:
            JobError: the disk is full.
        """
        place = (row.key.teacher, row.completion.task)
        if place not in self._present:
            self._present[place] = Digests()
            for present in self.store.scan(*place):
                self._present[place].add(digest(*present.key))
        group = Group(*place, set_of(row))
        if not self._present[place].add(digest(*row.key)):
            self.known[group] += 1
            return False
        self.added[group] += 1
        if write:
            try:
                key = row.key
                line = write_line(key.teacher, key.parameters_sha256, row.stored, row.paid, row.completion)
                self._file(place).write(line)
            except OSError as error:
                raise self._failed(error) from None
        return True

    def commit(self) -> None:
        """Make segments of what was taken in; they are on disk when this returns.

        Raises:
            JobError: they could not be written.
        """
        try:
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            for (teacher, task), file in self._files.items():
                folder = self.store.folder(teacher, task)
                folder.mkdir(parents=True, exist_ok=True)
                Path(file.name).rename(folder / new_name())
                for changed in (folder, folder.parent, self.store.root):
                    sync_folder(changed)
        except OSError as error:
            raise self._failed(error) from None

    def _file(self, place: tuple[str, str]) -> BinaryIO:
        if place not in self._files:
            if self._folder is None:
                self.store.root.mkdir(parents=True, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(dir=self.store.root, prefix=".import."))
            path = self._folder / f"{len(self._files)}.jsonl"
            self._files[place] = path.open("wb")
        return self._files[place]

    def _failed(self, error: OSError) -> JobError:
        return JobError(f"{self.store.root}: completions cannot be stored ({error.strerror or error})")
