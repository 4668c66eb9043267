"""`import` and `merge OTHER_CACHE`: rows into the store, from files or from another store.

Rows of ours have keys, and are put under them: a job that would have asked for them finds them. Files of others have
none; recorded.py says what becomes of those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftcot.completions.intake import Group, Intake
from ftcot.completions.questions import option
from ftcot.completions.reading import how_many, is_ours, read_ours, sources
from ftcot.completions.recorded import read_recorded
from ftcot.completions.rows import row_of
from ftcot.completions.selection import Selection, set_of
from ftcot.errors import InputError
from ftcot.records import Completion
from ftcot.teacher import Progress, no_progress
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.store_lines import StoredRow


@dataclass
class Imported:
    """What became of the rows of one file or store."""

    source: str
    added: dict[Group, int] = field(default_factory=dict)
    known: dict[Group, int] = field(default_factory=dict)
    """Rows that were there already."""
    examples: dict[Group, Completion] = field(default_factory=dict)
    found_by: str | None = None
    """The words of a job that finds them; None: the job that bought them finds them."""
    left: int = 0
    """Draws that this job does not ask for."""


def take_files(
    store: CompletionStore,
    names: Sequence[str],
    *,
    teacher: str | None = None,
    task: str | None = None,
    words: Sequence[str] = (),
    report: Progress = no_progress,
) -> Iterator[Imported]:
    """Bring files, folders and data sets of the hub into the store, one after another, each whole or not at all.

    Args:
        teacher: the name to store them under; None: the one they have.
        task: of rows of ours, only those of this task; of files of others, the task they are of.
        words: of the job that shall find files of others.
    Raises:
        InputError: a file is damaged; nothing of it is stored.
        JobError: the disk is full.
    """
    for name in names:
        for path in sources(name):
            if is_ours(path):
                yield _take(store, str(path), _ours(path, teacher, task), report, how_many(path))
            else:
                given = [*([f"task={option(task)}"] if task else []), *words]
                recorded = read_recorded(path, given, teacher)
                done = _take(store, str(path), iter(recorded.rows), report, len(recorded.rows))
                done.found_by, done.left = recorded.found_by, recorded.left
                yield done


def take_store(
    store: CompletionStore,
    other: Path,
    *,
    teacher: str | None = None,
    task: str | None = None,
    dry_run: bool = False,
    report: Progress = no_progress,
) -> Imported:
    """What another store has and this one lacks.

    Raises:
        InputError: there is no store, or a line of it is damaged.
        JobError: the disk is full.
    """
    root = other / "completions" if (other / "completions").is_dir() else other
    if not root.is_dir():
        raise InputError(f"{other}: no such folder; expected a cache, with completions/ in it")
    if root.resolve() == store.root.resolve():
        raise InputError(f"{other}: is this store itself")
    theirs = Selection(CompletionStore(root), teacher, task)
    theirs.check()
    return _take(store, str(root), theirs.rows(), report, theirs.n_lines(), write=not dry_run)


def _take(
    store: CompletionStore, source: str, rows: Iterator[StoredRow], report: Progress, total: int, *, write: bool = True
) -> Imported:
    examples: dict[Group, Completion] = {}
    with Intake(store) as intake:
        for done, row in enumerate(rows, start=1):
            intake.add(row, write=write)
            examples.setdefault(Group(row.key.teacher, row.completion.task, set_of(row)), row.completion)
            if done % 1000 == 0:
                report(done, total, source)
        if write:
            intake.commit()
        return Imported(source, dict(intake.added), dict(intake.known), examples)


def _ours(path: Path, teacher: str | None, task: str | None) -> Iterator[StoredRow]:
    n = 0
    for where, values in read_ours(path):
        if "key" not in values:
            raise InputError(f"{where}: has no key, and other rows of the file have; put them in files of their own")
        row = row_of(where, values)
        n += 1
        if task in (None, row.completion.task):
            yield row if teacher is None else row._replace(key=row.key._replace(teacher=teacher))
    if not n:
        raise InputError(f"{path}: holds no completion")
