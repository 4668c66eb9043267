"""A job that is being run: what every stage works with.

Run(job=Job(task=..., student=...), folder=outputs/2026-11-22/10-15-00-ab12, ranks=Ranks(rank=0, world=2), ...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ftcot.job import Job
from ftcot.prompts import Template
from ftcot.ranks import Ranks
from ftcot.status import Status
from ftcot.task import Splits

if TYPE_CHECKING:
    from ftcot.logger import RunLogger


@dataclass
class Run:
    """A job in its folder, as one of its ranks sees it."""

    job: Job
    folder: Path
    status: Status
    console: Console
    logger: RunLogger
    ranks: Ranks

    @cached_property
    def splits(self) -> Splits:
        return self.job.task.splits()

    @cached_property
    def template(self) -> Template:
        return self.job.method.template_for(self.job.student.family)

    @property
    def predictions_file(self) -> Path:
        return self.folder / "predictions.jsonl"

    @property
    def weights(self) -> Path:
        return self.folder / "student"


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing in a pipe; yields what to call with (done, total)."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar_task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(bar_task, completed=done, total=total)
