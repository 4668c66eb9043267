"""The jobs of figures: their grids, with what is given beside them.

    figure=diversity task=svamp diversity=1,8   ──>   those of its jobs on svamp whose D is 1 or 8

A value narrows the figures to the grids that list it. One that no grid of them lists goes into the grids that list `*`
for this key; where none does, it takes the place of what they list. A key that a grid says nothing of is added to it.
Which grids there are depends on the teacher: one that was recorded has no more than was recorded (figures.py).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftcot.axes import Axes, axes_of, product, values_of
from ftcot.complaints import bare_integers, meant
from ftcot.compose import Composer
from ftcot.errors import InputError
from ftcot.figures import ANY, Figure

SHORT = {"figure.tasks": "task", "figure.students": "student"}
"""What narrows or widens a figure, and the group whose options it takes."""

REPLAY = "ftcot.teacher.replay.Replay"
"""The teacher that has no more than was recorded."""

ASK = "it takes a teacher that can be asked: teacher=api teacher.model=NAME"


@dataclass(frozen=True)
class Grid:
    """A grid of a figure."""

    axes: Axes
    takes_any: frozenset[str]
    """Keys for which it lists `*`."""


def in_full(composer: Composer, overrides: Sequence[str]) -> list[str]:
    """The overrides with `figure.tasks=...` as the `task=...` that it stands for.

    Raises:
        InputError: there is no such key, or no such task or student; or no figure.
    """
    keys = [word.partition("=")[0].lstrip("+") for word in overrides]
    full = []
    for word, key in zip(overrides, keys, strict=True):
        if not key.startswith("figure."):
            full.append(word)
            continue
        if key not in SHORT:
            raise InputError(f"{key}: no such key{meant(key, list(SHORT)) or ';'} Keys: {', '.join(SHORT)}")
        group = SHORT[key]
        if "figure" not in keys:
            raise InputError(f"{word}: of which figure? Add figure=NAME: {', '.join(composer.options('figure'))}")
        if group in keys:
            raise InputError(f"{word}: {group}= is there too; beside a figure they mean the same, say one of them")
        full.append(f"{group}={word.partition('=')[2]}")
        _check_options(composer, key, full[-1])
    return full


def _check_options(composer: Composer, key: str, word: str) -> None:
    group = SHORT[key]
    options = composer.options(group)
    named = axes_of(composer, composer.parse(composer.quote([word])))[group]
    for option in (word.partition("=")[2].strip("'\"") for word in named):
        if option not in options:
            close = meant(option, options) or ";"
            raise InputError(f"{key}={option}: no such {group}{close} Options: {', '.join(options)}")


def jobs_of(composer: Composer, figures: Sequence[Figure], given: Axes) -> tuple[dict[str, list[list[str]]], list[str]]:
    """The jobs of each figure that has any, and why the others have none.

    Args:
        given: what is given beside the figures.
    Raises:
        InputError: no figure has a job.
    """
    grids = {figure.name: _grids(composer, figure) for figure in figures}
    narrow = _Narrower(composer, [grid for lists in grids.values() for name in lists for grid in lists[name]], given)
    jobs = {name: list(narrow.jobs(lists)) for name, lists in grids.items()}
    left_out = []
    for name in [name for name in jobs if not jobs[name]]:
        del jobs[name]
        words = bare_integers(" ".join(word for key in narrow.listed if narrow.listed[key] for word in given[key]))
        why = f"no grid of it has {words}" if words else "it has no grid for this teacher"
        if next(narrow.jobs({"live": [*grids[name]["grids"], *grids[name]["live"]]}, asked=True), None):
            why = f"{words and words + ' was '}not recorded; {ASK}"
        left_out.append(f"figure={name}: {why}")
    if not jobs:
        raise InputError("; ".join(left_out))
    return jobs, left_out


def _grids(composer: Composer, figure: Figure) -> dict[str, list[Grid]]:
    lists = {"grids": figure.grids, "recorded": figure.recorded, "live": figure.live}
    return {name: [grid_of(composer, grid) for grid in grids] for name, grids in lists.items()}


def grid_of(composer: Composer, grid: Mapping[str, Any]) -> Grid:
    """A grid as its file has it, as axes."""
    words, takes_any = [], set()
    for key, value in grid.items():
        values = value if isinstance(value, list) else [value]
        if ANY in values:
            takes_any.add(key)
        words.append(f"{key}={','.join(_written(one) for one in values if one != ANY)}")
    return Grid(axes_of(composer, composer.parse(composer.quote(words))), frozenset(takes_any))


def _written(value: Any) -> str:
    """A YAML value as it stands in an override."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


class _Narrower:
    """What is given beside figures, and what their grids become by it."""

    def __init__(self, composer: Composer, grids: Sequence[Grid], given: Axes) -> None:
        self.composer = composer
        self.given = given
        words = {key: [word for grid in grids for word in grid.axes.get(key, ())] for key in given}
        self.listed = {key: set(values_of(composer, words[key])) for key in given}
        self.open = {key for grid in grids for key in grid.takes_any}
        self._recorded: dict[tuple[str, str], bool] = {}

    def jobs(self, lists: Mapping[str, Sequence[Grid]], *, asked: bool = False) -> Iterator[list[str]]:
        """Of one figure.

        Args:
            asked: suppose a teacher that can be asked.
        """
        for name, grids in lists.items():
            for grid in grids:
                narrowed = self._narrowed(grid)
                if name == "grids" or asked:
                    yield from product(narrowed)
                    continue
                for pair in itertools.product(narrowed.get("teacher", [""]), narrowed.get("task", [""])):
                    if self._is_recorded(*pair) == (name == "recorded"):
                        named = {key: [word] for key, word in zip(("teacher", "task"), pair, strict=True) if word}
                        yield from product(narrowed | named)

    def _narrowed(self, grid: Grid) -> Axes:
        narrowed = grid.axes | self.given
        for key in grid.axes.keys() & self.given.keys():
            own = values_of(self.composer, grid.axes[key])
            is_open = key in grid.takes_any or key not in self.open
            values = values_of(self.composer, self.given[key])
            narrowed[key] = [
                word
                for word, value in zip(self.given[key], values, strict=True)
                if value in own or (is_open and value not in self.listed[key])
            ]
        return narrowed

    def _is_recorded(self, teacher: str, task: str) -> bool:
        """Whether the teacher is one of recordings; a task may bring its own."""
        if (teacher, task) not in self._recorded:
            own = self.given.get("teacher._target_", [])[:1]  # somebody's own class
            config = self.composer.job([word for word in (task, teacher, *own) if word])
            self._recorded[teacher, task] = config["teacher"]["_target_"] == REPLAY
        return self._recorded[teacher, task]
