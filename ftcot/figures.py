"""Figures: what `-m figure=NAME` runs, and how a report draws it. One YAML file each, in conf/figure/.

    title: Diverse reasoning
    caption: Accuracy by D, the rationales a question that are drawn at T = 0.7.
    kind: curve
    x: diversity
    series: student
    panel: task
    chart: family
    paper: [fig:diverse_reasoning, fig:diverse_reasoning_gpt2]
    grids:
      - {method: fine_tune_cot, task: [multiarith, svamp], diversity: [1, 2, 4, 8, 16], student: [gpt2, gpt2-medium]}

A file with `figures: [mini/methods, mini/diversity]` in place of `grids` stands for several. A bare list of grids is a
figure too, with nothing said of how to draw it. docs/figures.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftcot.complaints import meant, no_such_option
from ftcot.errors import InputError

if TYPE_CHECKING:
    from ftcot.compose import Composer

AXES = (
    *("task", "split", "kind", "method", "student", "family", "n_parameters", "teacher", "skill", "diversity"),
    *("n_train", "filter", "teacher_tokens", "student_tokens", "learning_rate", "batch_size", "epochs", "seed"),
)
"""What figures can have along x, as series, as panels and as charts: facts of a run (ftcot/report/model.py)."""

Kind = Literal["curve", "bars", "table", "heatmap"]

Test = Literal["increasing", "highest"]
"""What a finding claims of the accuracies along x: they rise, or one of them is the highest."""

ANY = "*"
"""In a grid's list of values: whatever is asked for that no grid of the figure lists."""


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, as a test can look at it."""

    claim: str
    """In words: `More rationales a question make a better student.`"""
    test: Test
    value: str | None = None
    """With `highest`: of x."""


@dataclass(frozen=True)
class Figure:
    """One figure or table."""

    name: str
    """`diversity`, `mini/teacher`."""
    title: str
    caption: str = ""
    kind: Kind = "curve"
    x: str = "diversity"
    """What stands along x: one of AXES."""
    series: str | None = None
    """The axis that tells lines apart."""
    panel: str | None = "task"
    """The axis that tells panels apart."""
    chart: str | None = None
    """The axis that tells charts apart: a figure of nine students is drawn once for each family. None: one chart."""
    paper: tuple[str, ...] = ()
    """Labels of the paper's figures and tables that it redoes (ftcot/paper/*.csv, column `figure`)."""
    finding: Claim | None = None
    note: str = ""
    """What a reader has to know: where it differs from the paper, what cannot be had."""
    grids: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Overrides, each with its value or a list of values."""
    recorded: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Grids for recorded completions (teacher=replay) alone: what stands in for what was not recorded."""
    live: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Grids for every other teacher: what was not recorded, and what the paper never ran."""


LISTS = ("grids", "recorded", "live")
"""The keys of a file that hold grids."""

KEYS = tuple(one.name for one in fields(Figure) if one.name != "name")


def find(composer: Composer, name: str) -> tuple[Figure, ...]:
    """The figures that a name stands for: one, or those of a composite, in order, each once.

    Raises:
        InputError: there is no such figure, or its file is not one; the line names the file.
    """
    found: dict[str, Figure] = {}
    _find(composer, name, (), found)
    return tuple(found.values())


def title_of(composer: Composer, names: Collection[str]) -> str | None:
    """The title of the file that stands for exactly these figures; None: there is no such file."""
    for option in composer.options("figure"):
        _, values = composer.read(f"figure/{option}")
        if (
            isinstance(values, dict)
            and "figures" in values
            and {one.name for one in find(composer, option)} == {*names}
        ):
            return str(values.get("title", option))
    return None


def _find(composer: Composer, name: str, within: tuple[str, ...], found: dict[str, Figure]) -> None:
    file, values = composer.read(f"figure/{name}")
    if values is None:
        raise InputError(no_such_option(f"figure/{name}", composer))
    if isinstance(values, list) or "figures" not in values:
        found.setdefault(name, figure_of(file, name, values))
        return
    if others := [key for key in values if key not in ("figures", "title")]:
        raise InputError(f"{file}: {others[0]}: a file of several figures has a title and figures, nothing else")
    parts = values["figures"]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise InputError(f"{file}: figures: expected a list of their names")
    for part in parts:
        if part in (*within, name):
            raise InputError(f"{file}: figures: {part} is part of itself")
        if composer.read(f"figure/{part}")[1] is None:
            raise InputError(f"{file}: figures: {no_such_option(f'figure/{part}', composer)}")
        _find(composer, part, (*within, name), found)


def of_users(composer: Composer, names: Iterable[str]) -> dict[str, Any]:
    """What the files of those of these figures say that are not ftcot's own.

    A sweep keeps it, and a report of it needs neither `--config-dir` nor what has become of that folder.
    """
    from ftcot.compose import conf_dir

    found = {name: composer.read(f"figure/{name}") for name in names}
    return {
        name: values
        for name, (file, values) in found.items()
        if values is not None and not file.is_relative_to(conf_dir())
    }


def figure_of(file: Path, name: str, values: list[Any] | Mapping[str, Any]) -> Figure:
    """What a file says of one figure.

    Raises:
        InputError: it says nothing that a figure could be; the line names the file.
    """
    if isinstance(values, list):
        values = {"grids": values}
    for key in values:
        if key not in KEYS:
            raise InputError(f"{file}: {key}: no such key{_meant(key, KEYS)} Keys: {', '.join(KEYS)}, figures")
    if not any(values.get(key) for key in LISTS):
        raise InputError(f"{file}: grids: expected a list of grids, each a mapping of overrides to values")
    known = {"title": name} | {key: _value(file, key, value) for key, value in values.items()}
    return Figure(name=name, **known)


def _value(file: Path, key: str, value: Any) -> Any:
    """What a key of the file says, in the type of the field."""
    if key in LISTS:
        return _grids(file, key, value)
    if key == "finding":
        return _claim(file, value)
    if key == "paper":
        if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
            raise InputError(f"{file}: paper: expected a list of labels of the paper, such as [fig:dataset_size]")
        return tuple(value)
    if key in ("series", "panel", "chart") and value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{file}: {key}: {value!r} is no text")
    allowed = {"kind": get_args(Kind)} | dict.fromkeys(("x", "series", "panel", "chart"), AXES)
    if key in allowed:
        _one_of(file, key, value, allowed[key])
    return " ".join(value.split())


def _grids(file: Path, key: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(grid, Mapping) and grid for grid in value):
        raise InputError(f"{file}: {key}: expected a list of grids, each a mapping of overrides to values")
    for number, grid in enumerate(value, start=1):
        for name, values in grid.items():
            where = f"{file}: {key}, grid {number}: {name}"
            if not isinstance(name, str) or name.partition(".")[0] in ("figure", "hydra"):
                raise InputError(f"{where}: no override that a job could have")
            listed = values if isinstance(values, list) else [values]
            if not listed or listed == [ANY] or any(isinstance(one, list | Mapping) for one in listed):
                raise InputError(f"{where}: is to have a value, or a list of values")
    return tuple(value)


def _claim(file: Path, value: Any) -> Claim:
    if not isinstance(value, Mapping) or not isinstance(value.get("claim"), str) or "test" not in value:
        raise InputError(f"{file}: finding: expected claim (a sentence), test and, with test: highest, value")
    for key in value:
        _one_of(file, "finding", key, ("claim", "test", "value"))
    _one_of(file, "finding.test", value["test"], get_args(Test))
    if (value["test"] == "highest") != ("value" in value):
        raise InputError(f"{file}: finding.value: goes with test: highest, which claims it of a value of x")
    highest = str(value["value"]) if "value" in value else None
    return Claim(" ".join(value["claim"].split()), value["test"], highest)


def _one_of(file: Path, key: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{file}: {key}: {value}: no such thing{_meant(str(value), allowed)} {', '.join(allowed)}")


def _meant(word: str, options: Sequence[str]) -> str:
    return meant(word, options) or ";"
