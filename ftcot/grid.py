"""Which jobs a sweep asks for: from the words of the command line to the overrides of each job, and to checked jobs.

    task=svamp diversity=1,8 seed=0,1     [task=svamp diversity='1' seed=0], [task=svamp diversity='1' seed=1], ...
    figure=diversity student=gpt2         [method=fine_tune_cot student=gpt2 task=multiarith diversity='1' ...], ...

A figure (conf/figure/NAME.yaml) is a list of grids. A value given beside it narrows it to the grids that list the
value; one that no grid lists takes the place of what they list.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ftcot.checks import Checked, Checker
from ftcot.complaints import bare_integers
from ftcot.compose import Composer
from ftcot.errors import InputError

Axes = dict[str, list[str]]
"""The overrides of each key that is set, `{"seed": ["seed=0", "seed=1"]}`. A job has one of each."""


@dataclass(frozen=True)
class Planned:
    """One job of a sweep."""

    number: int
    overrides: tuple[str, ...]
    """Those that differ from job to job."""
    checked: Checked

    @property
    def name(self) -> str:
        """Of its folder in the sweep folder."""
        return f"{self.number}-{self.checked.hash[:8]}"


def expand(composer: Composer, overrides: Sequence[str]) -> tuple[DictConfig, list[list[str]]]:
    """The config of the sweep itself, and the overrides of each of its jobs.

    Differs from Hydra's BasicSweeper in two things: a value may name an integer option wherever it stands, and there
    are figures.

    Raises:
        InputError: an override is not valid, sweeps over what cannot be enumerated, or leaves nothing of a figure.
    """
    parsed = composer.parse(composer.quote(overrides))
    words = [word for word in parsed if word.key_or_group != "figure"]
    figures = [word for word in parsed if word.key_or_group == "figure"]
    master = composer.compose([word.input_line or "" for word in words if not word.is_sweep_override()])
    params = OmegaConf.select(master, "hydra.sweeper.params", throw_on_missing=False) or {}
    own = composer.parse(composer.quote([f"{key}={value}" for key, value in params.items()]))
    named = {word.get_key_element() for word in words}
    axes = _axes(composer, [*(word for word in own if word.get_key_element() not in named), *words])
    if not figures:
        return master, _product(axes)
    names = [word.partition("=")[2] for values in _axes(composer, figures).values() for word in values]
    grids = [_grid(composer, name, grid) for name in names for grid in composer.grids(name)]
    jobs = [job for grid in _narrowed(composer, grids, axes) for job in _product(grid)]
    if not jobs:
        given = " ".join(word for word in overrides if not word.startswith(("figure=", "hydra")))
        raise InputError(f"figure={','.join(names)}: no grid of it has {given}")
    return master, jobs


def _product(axes: Axes) -> list[list[str]]:
    return [list(job) for job in itertools.product(*axes.values())]


def _axes(composer: Composer, words: Iterable[Override]) -> Axes:
    axes: Axes = {}
    for word in words:
        if word.is_hydra_override():
            if word.is_sweep_override():
                raise InputError(f"{word.input_line}: Hydra's own settings cannot be swept")
            continue
        axes[word.get_key_element()] = composer.quote(_values(word))  # choice() lost the quotes
    return axes


def _values(word: Override) -> list[str]:
    key = word.get_key_element()
    if not word.is_sweep_override():
        return [word.input_line or ""]
    if not word.is_discrete_sweep():
        raise InputError(f"{word.input_line}: an interval has no list of values; use choice(...) or range(...)")
    values = [f"{key}={value}" for value in word.sweep_string_iterator()]
    if not values:
        raise InputError(f"{word.input_line}: matches nothing")
    return values


def _grid(composer: Composer, figure: str, grid: Mapping[str, Any]) -> Axes:
    """The axes of one grid of a figure."""
    words = []
    for key, value in grid.items():
        values = value if isinstance(value, list) else [value]
        if not values or any(isinstance(one, list | dict) for one in values):
            raise InputError(f"figure={figure}: {key} is to have a value, or a list of values")
        words.append(f"{key}={','.join(map(_written, values))}")
    return _axes(composer, composer.parse(composer.quote(words)))


def _written(value: Any) -> str:
    """A YAML value as it stands in an override."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _narrowed(composer: Composer, grids: Sequence[Axes], given: Axes) -> Iterator[Axes]:
    """The grids of a figure, with what is given beside it."""

    def values(words: Iterable[str]) -> list[str]:
        return [json.dumps(word.value(), default=str) for word in composer.parse(list(words))]  # True is true

    for grid in grids:
        narrowed = grid | given
        for key in grid.keys() & given.keys():
            listed = {value for other in grids for value in values(other.get(key, ()))}
            elsewhere = listed.difference(values(grid[key]))
            narrowed[key] = [
                word for word, value in zip(given[key], values(given[key]), strict=True) if value not in elsewhere
            ]
        yield narrowed


def plan(
    composer: Composer,
    grid: Sequence[Sequence[str]],
    checker: Checker,
    progress: Callable[[int, int], None] | None = None,
) -> list[Planned]:
    """The jobs, checked, each hash once.

    Args:
        composer: of the tree.
        grid: the overrides of each job.
        checker: knows whether the jobs run on this machine.
        progress: called with (done, total) as work goes on.
    Raises:
        InputError: a job is refused; the line begins with what makes it different.
    """
    common = set.intersection(*(set(job) for job in grid))
    jobs: dict[str, Planned] = {}
    for number, overrides in enumerate(grid, start=1):
        special = tuple(bare_integers(word) for word in overrides if word not in common)
        try:
            checked = checker.check(composer.job(overrides))
        except InputError as error:
            said = any(str(error).startswith(word) for word in special) or not special
            raise InputError(str(error) if said else f"{' '.join(special)}: {error}") from error
        if checked.hash not in jobs:
            jobs[checked.hash] = Planned(len(jobs), special, checked)
        if progress is not None:
            progress(number, len(grid))
    return list(jobs.values())
