"""What a person sees of training.

On a terminal, a bar that goes as each epoch ends; everywhere, one line an epoch:

    epoch 3/20  loss 0.4312  5210 tokens/s  accuracy 41.7 %  about 3:12 left
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


class Display:
    """The bar of the running epoch and the lines of those that are over."""

    def __init__(self, console: Console, epochs: int) -> None:
        self.console, self.epochs = console, epochs
        self._bar: Progress | None = None

    def start_epoch(self, epoch: int, n_steps: int, done: int = 0) -> None:
        """Show a bar for `epoch` (from 1), on a terminal; `done` of its steps are."""
        if not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn(f"epoch {epoch}/{self.epochs}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            refresh_per_second=4,  # of a small student, the bar would otherwise take a noticeable share of a core
        )
        self._bar.add_task("", total=n_steps, completed=done, figures="")
        self._bar.start()

    def step(self, loss: float, tokens_per_second: float) -> None:
        """Move the bar by one step."""
        if self._bar is not None:
            figures = f"loss {loss:.4f}  {tokens_per_second:.0f} tokens/s"
            self._bar.update(self._bar.task_ids[0], advance=1, figures=figures)

    def stop(self) -> None:
        """Take the bar away: the epoch's steps are over, or the run is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def end_epoch(
        self, epoch: int, *, loss: float, tokens_per_second: float, metrics: Mapping[str, float], seconds_left: float
    ) -> None:
        """Print the line of an epoch."""
        parts = [f"epoch {epoch}/{self.epochs}", f"loss {loss:.4f}", f"{tokens_per_second:.0f} tokens/s"]
        parts += [f"{key.replace('_', ' ')} {100 * metrics[key]:.1f} %" for key in metrics if key.endswith("accuracy")]
        if epoch < self.epochs:
            parts.append(f"about {clock(seconds_left)} left")
        self.say("  ".join(parts))

    def say(self, line: str) -> None:
        """Print one line, never folded."""
        self.console.print(Text(line), soft_wrap=True)


def clock(seconds: float) -> str:
    """`0:42`, `3:12` or `1:02:05`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
