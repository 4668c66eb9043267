"""Words of a command line as axes, and axes as jobs.

task=svamp diversity=1,8   ──>   {"task": ["task=svamp"], "diversity": ["diversity='1'", "diversity='8'"]}
                           ──>   [task=svamp diversity='1'], [task=svamp diversity='8']
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

from hydra.core.override_parser.types import Override

from ftcot.compose import Composer
from ftcot.errors import InputError

Axes = dict[str, list[str]]
"""The overrides of each key that is set, `{"seed": ["seed=0", "seed=1"]}`. A job has one of each."""


def axes_of(composer: Composer, words: Iterable[Override]) -> Axes:
    """The axes that words span; Hydra's own settings are of the sweep, not of a job.

    Raises:
        InputError: a word sweeps over what cannot be enumerated, or over a setting of Hydra's.
    """
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


def product(axes: Axes) -> list[list[str]]:
    """One job for every combination."""
    return [list(job) for job in itertools.product(*axes.values())]


def values_of(composer: Composer, words: Iterable[str]) -> list[str]:
    """What overrides set their keys to, comparable however it is written: `true` for True."""
    return [json.dumps(word.value(), default=str) for word in composer.parse(list(words))]
