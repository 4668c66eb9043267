"""Cells as lines of a chart: those that a line's axis tells apart, and those that it does not.

    x = diversity, series = student
        gpt2, D = 1, 2, 4, 8                                ──>   "gpt2"
        gpt2, D = 1, 2, 4, 8 over 128 questions too         ──>   "gpt2, 420 training questions", "gpt2, 128 ..."

Two cells never share a place: where they would, the line is parted by what differs between them, facts of a reader
first and keys of the config last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftcot import published
from ftcot.jobs import NOT_RESULTS
from ftcot.report.labels import text, title
from ftcot.report.model import Cell
from ftcot.task.paper import BENCHMARKS

PARTING = (
    *("method", "student", "teacher", "skill", "split", "n_train", "diversity", "temperature", "filter", "epochs"),
    *("teacher_tokens", "student_tokens", "learning_rate", "batch_size", "scorer"),
)
"""Facts that may part a line, those a reader would name first."""

WORDS: Mapping[str, str] = {
    "diversity": "D = {}",
    "temperature": "T = {}",
    "n_train": "{} training questions",
    "n_parameters": "{} parameters",
    "skill": "teacher's skill {}",
    "teacher_tokens": "rationales up to {} tokens",
    "student_tokens": "up to {} new tokens",
    "learning_rate": "learning rate {}",
    "batch_size": "batch {}",
    "epochs": "{} epochs",
    "split": "{} split",
    "scorer": "{} scorer",
    "filter": "filter {}",
}

TASKS = tuple(BENCHMARKS)

METHODS = ("zero_shot", "zero_shot_cot", "few_shot_cot", "fine_tune", "fine_tune_cot", "fine_tune_cot_diverse")
"""In the order of the paper's tables."""

Value = str | float | None


def lines(cells: Sequence[Cell], x: str, series: str | None) -> list[tuple[str, list[Cell]]]:
    """The lines of a panel: name, and cells in the order of x. A name is the plain value of the axis where it alone
    tells the lines apart. Cells that have no x (vanilla fine-tuning has no D) are lines of their own, one cell each."""
    own_method = series not in ("method", "kind")
    groups: dict[tuple[str | None, Value], list[Cell]] = {}
    for cell in cells:
        bare = cell.facts.method if cell.facts.axis(x) is None and own_method else None
        groups.setdefault((bare, None if series is None else cell.facts.axis(series)), []).append(cell)
    found = []
    for (method, value), group in sorted(groups.items(), key=lambda item: _place(x, series, item[1][0])):
        name = "" if value is None else said(series, value)
        if method is not None:
            name = ", ".join(filter(None, [text(None, name), text("method", method)]))
        for words, line in _parted(group, x, series):
            whole = f"{text(None, name)}, {words}" if name and words else name or words
            found.append((whole, sorted(line, key=lambda cell: rank(x, cell))))
    return found


def _place(x: str, series: str | None, cell: Cell) -> tuple[bool, tuple[float, str], tuple[float, str]]:
    """Where a line stands among the others: those without x last."""
    return (cell.facts.axis(x) is None, rank(series, cell), rank("method", cell))


def said(axis: str | None, value: Value) -> str:
    """A value, so that a reader knows of what it is; a name as it is."""
    if value is None:
        return "none"
    if isinstance(value, str) and axis not in WORDS:
        return value
    return WORDS.get(axis or "", "{}").format(text(axis, value))


def ordered(axis: str | None, cells: Mapping[Value, Sequence[Cell]]) -> list[Value]:
    """The values of an axis in the order in which a reader expects them."""
    return sorted(cells, key=lambda value: rank(axis, cells[value][0]))


def rank(axis: str | None, cell: Cell) -> tuple[float, str]:
    """What orders the values of an axis: size, the paper's order of methods, a teacher's own accuracy; else a name's
    own order. Cells that have no value come first."""
    value = None if axis is None else cell.facts.axis(axis)
    if value is None:
        return (-1.0, "")
    if axis in ("kind", "method"):
        return (float(METHODS.index(str(value))) if value in METHODS else len(METHODS), str(value))
    if axis == "student":
        return (float(cell.facts.n_parameters or 0), str(value))
    if axis == "task":
        return (float(TASKS.index(str(value))) if value in TASKS else len(TASKS), str(value))
    if axis == "teacher":
        return (_skill(cell), str(value))
    return (0.0, value) if isinstance(value, str) else (float(value), "")


def _skill(cell: Cell) -> float:
    """The teacher's own accuracy: measured, or published where its recording keeps right answers only."""
    if (measured := cell.runs[0].score.teacher_accuracy) is not None:
        return measured
    found = published.teacher_accuracy(cell.facts.task, cell.facts.teacher or "")
    return 0.0 if found is None else found.accuracy


def values(cells: Sequence[Cell], axis: str) -> list[Value]:
    """The different values that cells have along an axis, in order; none for those that have none."""
    groups: dict[Value, list[Cell]] = {}
    for cell in cells:
        if (value := cell.facts.axis(axis)) is not None:
            groups.setdefault(value, []).append(cell)
    return ordered(axis, groups)


SAID: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("kind", "method"), ("kind", "method", "diversity")),
    **dict.fromkeys(("student", "n_parameters", "family"), ("student",)),
    "task": ("n_train",),
}
"""What an axis says beside itself."""


def also_differ(cells: Sequence[Cell], x: str) -> str:
    """What else differs along a line, which its x says nothing of: `temperature (0, 0.7), epochs (4, 32)`."""
    found = []
    for name in PARTING:
        if name not in (x, *SAID.get(x, ())) and len(there := values(cells, name)) > 1:
            found.append(f"{title(name)} ({', '.join(text(name, value) for value in there if value is not None)})")
    return ", ".join(found)


def _parted(cells: Sequence[Cell], x: str, series: str | None) -> Iterator[tuple[str, list[Cell]]]:
    """The cells in groups without two at one place, each with the words for what sets it apart."""
    known = {cell.key: _attributes(cell, {x, series}) for cell in cells}
    names = list(dict.fromkeys(name for attributes in known.values() for name in attributes))
    chosen: list[str] = []

    def group_of(cell: Cell, by: Sequence[str]) -> tuple[Value, ...]:
        return tuple(known[cell.key].get(name) for name in by)

    def clashes(by: Sequence[str]) -> int:
        places = Counter((group_of(cell, by), cell.facts.axis(x)) for cell in cells)
        return sum(n - 1 for n in places.values())

    while left := clashes(chosen):
        best = min(names, key=lambda name: clashes([*chosen, name]))
        if clashes([*chosen, best]) == left:
            chosen.append("key")
            break
        chosen.append(best)
    groups: dict[tuple[Value, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(group_of(cell, chosen), []).append(cell)
    for group in groups.values():
        attributes = known[group[0].key]
        yield ", ".join(_words(name, attributes.get(name)) for name in chosen), group


def _words(name: str, value: Value) -> str:
    if name in PARTING:
        return text(None, said(name, value)) if value is not None else f"no {name.replace('_', ' ')}"
    return f"{name}={value}"


def _attributes(cell: Cell, without: set[str | None]) -> dict[str, Value]:
    """Everything that may set a cell apart, in the order of preference: facts, then the keys of its config."""
    told = {"method", "kind"} if without & {"method", "kind"} else set()
    facts = {name: getattr(cell.facts, name) for name in PARTING if name not in without | told}
    own: dict[str, Value] = dict(_flat(cell.runs[0].config, ""))
    return facts | own | {"key": cell.key[:8]}


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if path or key not in {*NOT_RESULTS, "seed"}:
                yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, str(value)
