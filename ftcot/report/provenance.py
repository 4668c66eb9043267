"""How a report's runs were made, and how to make them again: versions, hashes, commands, protocols, machines.

    versions     ftcot 0.1.0, python 3.11.7, torch 2.13.0+cpu, transformers 5.23.0 ...     15 runs
    sweep        python -m ftcot.run -m figure=mini/diversity
    a run        python -m ftcot.run task=generated/coin_flip diversity=8 seed=2 ...
    protocol     last epoch of 8, by the paper scorer, seeds 0, 1, 2

A command says what differs from ftcot's defaults. No home folder and no secret of this machine is in any of it: a path
below the home folder begins with `~`, and what the environment holds as a key or token is blanked.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import ftcot
from ftcot.jobs import EVALUATION_NOT_RESULTS, NOT_RESULTS, TRAINER_NOT_RESULTS
from ftcot.redact import secrets
from ftcot.report import cells
from ftcot.report.model import Report, Run

GROUPS = ("task", "teacher", "diversity", "method", "student", "training", "trainer")
"""Of the config, in the order in which a command names them."""

NOT_RESULTS_OF = {"": NOT_RESULTS, "trainer": TRAINER_NOT_RESULTS, "evaluation": EVALUATION_NOT_RESULTS}
"""Keys of a config that change no result, by the part that they are in."""

_HOME = re.compile(r"(?:/home/[^/\s:'\"]+|/Users/[^/\s:'\"]+|/root)(?=/|\b)")


@dataclass(frozen=True)
class Sweep:
    """A sweep folder."""

    folder: str
    command: str
    """That runs what is missing of it, or all of it elsewhere."""
    resume: str
    """That goes on with it where it is."""
    states: Mapping[str, int]


@dataclass(frozen=True)
class Made:
    """A run."""

    hash: str
    folder: str
    command: str
    began: float | None
    """Seconds since 1970; the same of `ended`."""
    ended: float | None
    computed_on: str
    """`1 thread of Intel(R) Xeon(R) Processor`; the host's name in folders of earlier versions; empty: not known."""
    devices: int


@dataclass(frozen=True)
class Provenance:
    result_version: int
    """Of the runs: results of others are not comparable."""
    report_version: str
    """Of the ftcot that made the report."""
    versions: tuple[tuple[Mapping[str, str], int], ...]
    """Versions of packages, and how many runs were made with them; empty ones: the folders do not say."""
    machines: Mapping[str, int]
    """What was computed on -> runs."""
    protocols: Mapping[str, int]
    """`last epoch of 8` -> runs."""
    scorers: tuple[str, ...]
    seeds: tuple[int, ...]
    data: Mapping[str, str]
    """Task or teacher -> where its data come from, as its config says."""
    sweeps: tuple[Sweep, ...]
    runs: tuple[Made, ...]
    command: str
    """That makes the report again."""


def build(report: Report) -> Provenance:
    """How the runs of a report were made."""
    runs = report.found.runs
    versions = Counter(tuple(sorted((run.status.get("versions") or {}).items())) for run in runs)
    protocols: Counter[str] = Counter()
    for cell in report.cells:
        protocols[cells.protocol(cell)] += len(cell.runs)
    commands = Commands()
    found = Provenance(
        result_version=report.found.result_version,
        report_version=ftcot.__version__,
        versions=tuple((dict(known), n) for known, n in versions.most_common()),
        machines=dict(Counter(filter(None, map(_machine, runs))).most_common()),
        protocols=dict(protocols.most_common()),
        scorers=tuple(sorted({run.facts.scorer for run in runs})),
        seeds=tuple(sorted({run.facts.seed for run in runs})),
        data=dict(pair for run in runs for pair in _data(run)),
        sweeps=tuple(
            Sweep(
                str(sweep.folder),
                " && ".join(shlex.join(["python", "-m", "ftcot.run", "-m", *words]) for words in sweep.commands),
                shlex.join(["python", "-m", "ftcot.resume", str(sweep.folder)]),
                sweep.states,
            )
            for sweep in report.found.sweeps
        ),
        runs=tuple(_made(run, commands) for run in runs),
        command=report.command,
    )
    cleaned: Provenance = clean(found)
    return cleaned


class Commands:
    """Commands that make runs again: what differs from the defaults, options before values."""

    def __init__(self) -> None:
        from ftcot.compose import Composer, conf_dir

        self._folder = conf_dir()
        self._composer = Composer(self._folder)
        self._parts: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self._known: dict[tuple[str, ...], dict[str, Any]] = {}

    def of(self, config: Mapping[str, Any]) -> str:
        """The command that makes a run with this config.

        Of a config that no option of ftcot's own tree fits (a task or student of somebody's own) it says every value.
        """
        words = [f"{group}={option}" for group in GROUPS if (option := self._option(group, config.get(group)))]
        base = self._composed(tuple(words))
        here = set((config.get("paths") or {}).values())  # where data and cache were is of that machine
        for path, value in _flat(config, ""):
            if isinstance(value, str) and value in here:
                continue
            if path not in base:
                words.append(f"++{path}={_word(value)}")
            elif base[path] != value:
                words.append(f"{path}={_word(value)}")
        return shlex.join(["python", "-m", "ftcot.run", *words])

    def _composed(self, words: tuple[str, ...]) -> Mapping[str, Any]:
        if words not in self._known:
            self._known[words] = dict(_flat(self._composer.job(list(words)), ""))
        return self._known[words]

    def _option(self, group: str, part: Any) -> str | None:
        """The option of a group that has the most values in common with a part of a config."""
        if not isinstance(part, Mapping):
            return None
        if group not in self._parts:
            self._parts[group] = list(self._options(group))
        own = dict(_flat(part, ""))
        fitting = [
            (sum(key in values and values[key] == value for key, value in own.items()), option)
            for option, values in self._parts[group]
            if values.get("_target_") == own.get("_target_")
        ]
        return max(fitting, key=lambda one: one[0])[1] if fitting else None

    def _options(self, group: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every option of a group with the values that its file says."""
        for option in self._composer.options(group):
            yield option, dict(_flat(self._written(group, option), ""))

    def _written(self, group: str, option: str) -> dict[str, Any]:
        """What the file of an option says, on top of the option of the same group that it is based on."""
        values = yaml.safe_load((self._folder / group / f"{option}.yaml").read_text(encoding="utf-8"))
        bases = [word for word in values.pop("defaults", ()) if isinstance(word, str) and word[0] not in "_/"]
        for base in bases:
            values = self._written(group, base) | values
        return dict(values)


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value of a nested config that may change a result, with its dotted key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in NOT_RESULTS_OF.get(path, ()):
                continue
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _word(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_word, value))}]"
    if re.fullmatch(r"[\w./@~-]+", value) and not re.fullmatch(r"[\d.eE+-]+|true|false|null", value, re.IGNORECASE):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _made(run: Run, commands: Commands) -> Made:
    status = run.status
    return Made(
        hash=run.hash,
        folder=str(run.folder),
        command=commands.of(run.config),
        began=_time(status.get("began")),
        ended=_time(status.get("heartbeat")),
        computed_on=_machine(run),
        devices=run.score.devices,
    )


def _machine(run: Run) -> str:
    found = run.status.get("computed_on") or run.status.get("host") or ""
    return str(found)


def _time(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _data(run: Run) -> Iterator[tuple[str, str]]:
    task, teacher = run.config["task"], run.config["teacher"]
    for kind, part, name in (("task", task, run.facts.task), ("teacher", teacher, run.facts.teacher)):
        if name is not None:
            places = [str(part[key]) for key in ("path", "folder") if part.get(key)]
            yield f"{kind} {name}", places[0] if places else f"made by {str(part['_target_']).rpartition('.')[2]}"


def clean(value: Any) -> Any:
    """The same without home folders and secrets, in every text of it."""
    home = str(Path.home())
    hidden = dict.fromkeys(sorted(secrets(), key=len, reverse=True), "***")  # one may hold another
    known = hidden if home == "/" else {home: "~"} | hidden

    def cleaned(text: str) -> str:
        for old, new in known.items():
            text = text.replace(old, new)
        return _HOME.sub("~", text) if "/" in text else text

    return _mapped(value, cleaned)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_mapped(inner, change) for inner in value)
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(**{name: _mapped(getattr(value, name), change) for name in value.__dataclass_fields__})
    return value
