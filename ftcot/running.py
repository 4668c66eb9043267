"""A job that is being run: what every stage works with.

Run(job=Job(task=..., student=...), folder=outputs/2026-11-22/10-15-00-ab12, ranks=Ranks(rank=0, world=2), ...)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ftcot.evaluate import Evaluation
from ftcot.job import Job
from ftcot.prompts import Template
from ftcot.ranks import Ranks
from ftcot.status import Status
from ftcot.task import Splits

if TYPE_CHECKING:
    from ftcot.logger import RunLogger

LINE_EVERY = 60.0
"""Seconds between lines about long work, where there is no terminal for a bar."""


class Report(Protocol):
    """Told how far the work is."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@dataclass
class Run:
    """A job in its folder, as one of its ranks sees it."""

    job: Job
    folder: Path
    status: Status
    console: Console
    logger: RunLogger
    ranks: Ranks

    longest: int | None = None
    """Tokens of the longest target that the student is taught, once they are known."""

    @property
    def evaluation(self) -> Evaluation:
        """How the student is tested, with a limit of tokens that is a number."""
        return replace(self.job.evaluation, max_new_tokens=self.job.evaluation.limit(self.longest))

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
def progress_bar(console: Console, what: str, *, bar: bool = True) -> Iterator[Report]:
    """A bar on a terminal, a line now and then in a pipe; yields what to call with (done, total, note).

    Args:
        bar: False: no bar; a terminal has room for one.
    """
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), note)
    with Progress(*columns, console=console, transient=True, disable=not (bar and console.is_terminal)) as shown:
        task = shown.add_task(what, total=None, note="")
        said = time.monotonic()

        def report(done: int, total: int, note: str = "") -> None:
            nonlocal said
            shown.update(task, completed=done, total=total, note=note)
            if not console.is_terminal and time.monotonic() - said > LINE_EVERY:
                said = time.monotonic()
                console.print(f"{what}: {done} of {total}" + (f", {note}" if note else ""), soft_wrap=True)

        yield report
