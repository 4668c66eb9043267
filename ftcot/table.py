"""A sweep as a person sees it: a table that moves on a terminal, lines in a pipe, and in the end the whole table.

    sweep: 12 of 40 done, 2 running, 1 failed, 25 to go; 3 min 20 s, about 7 min left
        job                  state                   accuracy     time
     3  diversity=8 seed=0   failed                              4.1 s
    13  diversity=8 seed=1   train, 3 of 8 epochs     53.33 %   20.0 s

All it knows comes from files: the ledger, and of a running job its status.json and metrics.csv. So it does not matter
where the jobs run, or what started them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ftcot import display
from ftcot.errors import FtcotError
from ftcot.folder import read_status, thaw
from ftcot.ledger import DONE, Member
from ftcot.logger.metrics import Metrics

STYLES = {"complete": "green", "partial": "green", "failed": "red", "interrupted": "red", "running": "yellow"}

RECENT = 5
"""Jobs that ended last, of those that a terminal has no room for."""


class Board:
    """The jobs of a sweep and what is known of each."""

    def __init__(self, console: Console, folder: Path, jobs: Sequence[Member]) -> None:
        self.console = console
        self.folder = folder
        self.jobs: dict[int, Member] = {}
        self.states: dict[int, dict[str, Any]] = {}
        """The last line of the ledger for each job."""
        self.add(jobs)
        self._began = time.monotonic()
        self._started: dict[int, float] = {}
        self._took: list[float] = []
        self._ended: list[int] = []
        self._epochs: dict[int, int] = {}
        self._live: Live | None = None

    # -- what happens ------------------------------------------------------------------------------------------------

    def add(self, jobs: Iterable[Member]) -> None:
        """Some more jobs."""
        for job in jobs:
            self.jobs[job.number] = job
            self.states[job.number] = job.row(state="frozen")

    def know(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in lines of the ledger, and say nothing of them."""
        for row in rows:
            if row["number"] in self.jobs:
                self.states[row["number"]] = dict(row)

    def tell(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take in new lines of the ledger, and say what a person wants to know of them."""
        for row in rows:
            self.know([row])
            if row["number"] in self.jobs:
                self._tell(self.jobs[row["number"]], row)

    def _tell(self, job: Member, row: Mapping[str, Any]) -> None:
        state, number = row["state"], job.number
        if state == "running":
            self._started[number] = time.monotonic()
            again = "starts" if row.get("attempt", 1) == 1 else f"goes on (attempt {row['attempt']})"
            self._line(f"job {number} {again}: {_words(job)}")
            return
        started = self._started.pop(number, None)
        if state in DONE:
            self._ended.append(number)
            if started is not None and row.get("action") != "reused":
                self._took.append(time.monotonic() - started)
            self._line(f"job {number} {_ending(row)}")
        elif state in ("failed", "interrupted"):
            self._ended.append(number)
            self.warn(f"job {number} {state}: {row['cause']} ({_words(job)}; {self._home(row) / 'log.txt'})")
        elif state == "elsewhere":
            self._line(f"job {number} is left to another command: {row['cause']}")
        elif state in ("stopped", "preempted"):
            self._line(f"job {number} {state}: {row['cause']}")

    def _line(self, text: str) -> None:
        if self._live is None:  # where there is a table, it shows there
            self.console.print(text, soft_wrap=True, highlight=False, markup=False)
            self.console.file.flush()

    def warn(self, text: str) -> None:
        """Say something at once: above the table, and on stderr where that goes elsewhere."""
        if self._live is not None and sys.stderr.isatty():
            self.console.print(Text(text, style="red"), soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _home(self, row: Mapping[str, Any]) -> Path:
        return Path(row.get("home") or self.folder / row["folder"])

    # -- what is seen ------------------------------------------------------------------------------------------------

    @contextmanager
    def live(self) -> Iterator[None]:
        """Within it, on a terminal, there is a table that `refresh` moves on."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True, redirect_stderr=False) as self._live:
            try:
                self.refresh()
                yield
            finally:
                self._live = None

    def refresh(self) -> None:
        """Show how things stand."""
        if self._live is not None:
            self._live.update(self.view(), refresh=True)

    def view(self) -> Group:
        """The table as it fits the terminal."""
        shown = self._shown(self.console.size.height - 5)
        hidden = len(self.jobs) - len(shown)
        rest = [Text(f"and {hidden} more", style="dim")] if hidden else []
        summary = Text(self.summary(), style="bold", no_wrap=True, overflow="ellipsis")
        return Group(summary, self._table(shown, whole=False), *rest)

    def summary(self) -> str:
        """`sweep: 12 of 40 done, 2 running, 1 failed, 25 to go; 3 min 20 s, about 7 min left`."""
        count = self._count
        done = sum(count(state) for state in DONE)
        running, failed = count("running"), count("failed") + count("interrupted")
        left = len(self.jobs) - done - running - failed
        parts = [f"{done} of {len(self.jobs)} done", f"{running} running"]
        parts += [f"{failed} failed"] * bool(failed) + [f"{left} to go"] * bool(left)
        line = f"sweep: {', '.join(parts)}; {display.duration(time.monotonic() - self._began)}"
        if self._took and (running or left):
            line += f", about {_roughly(self._remaining(left))} left"
        return line

    def _count(self, state: str) -> int:
        return sum(row["state"] == state for row in self.states.values())

    def _remaining(self, left: int) -> float:
        mean = sum(self._took) / len(self._took)
        begun = [max(0.0, mean - (time.monotonic() - started)) for started in self._started.values()]
        return (left * mean + sum(begun)) / max(1, len(begun))

    def _shown(self, room: int) -> list[int]:
        """Those that tell most: what runs, what failed, what ended last, what comes next."""
        numbers = sorted(self.jobs)
        if len(numbers) <= room:
            return numbers
        by_state = {number: self.states[number]["state"] for number in numbers}
        running = [number for number in numbers if by_state[number] == "running"]
        failed = [number for number in reversed(self._ended) if by_state[number] not in (*DONE, "running")]
        ended = [number for number in reversed(self._ended) if by_state[number] in DONE]
        waiting = [number for number in numbers if by_state[number] in ("frozen", "elsewhere")]
        ranked = [*running, *failed[: room // 3], *ended[:RECENT], *waiting, *ended, *numbers]
        return sorted(list(dict.fromkeys(ranked))[: max(1, room)])

    def table(self) -> Table:
        """All jobs."""
        return self._table(sorted(self.jobs), whole=True)

    def _table(self, numbers: Sequence[int], *, whole: bool) -> Table:
        terminal = self.console.is_terminal
        table = Table(box=SIMPLE_HEAD if terminal else None, show_edge=False, pad_edge=False)
        table.add_column("folder" if whole else "", justify="left" if whole else "right", no_wrap=True)
        table.add_column("job", overflow="fold")  # it alone gives way on a narrow screen
        for title in ("state", "accuracy", "95 % interval", "time"):
            if whole or title != "95 % interval":
                table.add_column(title, justify="left" if title == "state" else "right", no_wrap=True)
        for number in numbers:
            row = self.states[number]
            state, accuracy, bounds, spent = self._cells(row)
            words = Text(" ".join(self.jobs[number].overrides))
            if not whole:
                words.no_wrap, words.overflow = True, "ellipsis"
            elif terminal and row["state"] in ("failed", "interrupted"):
                words.append(f"\n{row['cause']}", style="red")
            first = row["folder"] if whole else str(number)
            rest = [accuracy, bounds, spent] if whole else [accuracy, spent]
            table.add_row(first, words, Text(state, STYLES.get(row["state"], "")), *rest)
        return table

    def _cells(self, row: Mapping[str, Any]) -> tuple[str, str, str, str]:
        """State, accuracy, interval and time of a job."""
        if row["state"] == "running" and row["number"] in self._started:
            stage, accuracy = self._progress(row)
            known = "" if accuracy is None else display.percent(accuracy)
            return stage, known, "", display.duration(time.monotonic() - self._started[row["number"]])
        state = {"elsewhere": "left to another command", "frozen": "not started"}.get(row["state"], row["state"])
        state += " (reused)" if row.get("action") == "reused" else ""
        spent = display.duration(row["seconds"]) if row.get("seconds") else ""
        if row.get("accuracy") is None:
            return state, "", "", spent
        return state, display.percent(row["accuracy"]), display.interval(row["interval"]), spent

    def _progress(self, row: Mapping[str, Any]) -> tuple[str, float | None]:
        """How far a running job is, and its accuracy so far."""
        home = self._home(row)
        stage = read_status(home).get("stage") or "starts"
        try:
            rows = Metrics(home).rows()
        except (FtcotError, OSError):
            rows = []
        if stage == "train":
            epoch = int(rows[-1]["epoch"]) if rows else 0
            stage = f"train, {epoch} of {self._n_epochs(row)} epochs"
        return stage, next((line["accuracy"] for line in reversed(rows) if "accuracy" in line), None)

    def _n_epochs(self, row: Mapping[str, Any]) -> int:
        if row["number"] not in self._epochs:
            self._epochs[row["number"]] = 0
            with suppress(FtcotError, KeyError, TypeError):
                self._epochs[row["number"]] = thaw(self._home(row))["training"]["epochs"]
        return self._epochs[row["number"]]


def _roughly(seconds: float) -> str:
    """`40 s`, `7 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 3600 else display.duration(seconds)


def _words(job: Member) -> str:
    return " ".join(job.overrides) or job.name


def _ending(row: Mapping[str, Any]) -> str:
    """`complete: 53.33 % [46.05, 60.48] in 12.3 s`."""
    text = str(row["state"]) + (" (reused)" if row.get("action") == "reused" else "")
    if row.get("accuracy") is not None:
        text += f": {display.percent(row['accuracy'])} {display.interval(row['interval'])}"
    return text + (f" in {display.duration(row['seconds'])}" if row.get("seconds") else "")
