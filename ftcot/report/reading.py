"""From folders to runs: sweep folders by their ledgers, run folders, and folders that hold either at any depth.

    multirun/2026-11-23/      05-30-41-2239/sweep.jsonl: 9 jobs, 7 complete       Found(7 runs, 2 skipped, 1 sweep)
                              05-30-41-2239/3-ccf58e4c/status.json: failed        Skipped(.../3-ccf58e4c, "failed ...")

Whatever cannot be used is named with its reason, and left out. A job that several folders hold is one run: the folder
that ran it, before those that were filled from there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ftcot.errors import InputError
from ftcot.ledger import DONE, Ledger
from ftcot.records import SCHEMA
from ftcot.report.model import Found, Run, Skipped, Sweep
from ftcot.report.run_folder import read_run, version_of

SIGNS = ("job.yaml", "status.json", "score.json", "predictions.jsonl")
"""A folder with any of these is a run's, or what is left of one."""

CLOSED = frozenset({"student", "wandb", "report", "checkpoints", "node_modules"})
"""Folders that hold no runs, and may hold very much else."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Place:
    """A folder that may hold a run."""

    folder: Path
    version: int | None = None
    """RESULT_VERSION, where the sweep that it is of says it."""
    state: str | None = None
    """By the sweep's ledger."""


def read(folders: Sequence[Path], progress: Progress = lambda done, total: None) -> Found:
    """The runs in these folders, and what else was found.

    Args:
        progress: called with (done, total) as folders are read.
    Raises:
        InputError: a folder is not there, or none holds a run.
    """
    places: dict[Path, Place] = {}
    sweeps: dict[Path, Sweep] = {}
    skipped: list[Skipped] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        for found in _walk(folder.absolute()):
            if isinstance(found, Sweep):
                sweeps[found.folder] = found
            elif isinstance(found, Skipped):
                skipped.append(found)
            else:
                places.setdefault(found.folder, found)
    runs, versions, sound = [], {}, set[bytes]()
    for number, place in enumerate(places.values(), start=1):
        try:
            run = read_run(place.folder, sound)
            versions[run.folder] = version_of(run.folder, run.status) if place.version is None else place.version
            runs.append(run)
        except InputError as error:
            skipped.append(Skipped(place.folder, _reason(str(error), place.state)))
        progress(number, len(places))
    runs = _once(runs, skipped)
    newest = max((versions[run.folder] for run in runs), default=0)
    old = [run for run in runs if versions[run.folder] != newest]
    words = "results of version {}, which differ from those of version {}: not comparable"
    skipped += [Skipped(run.folder, words.format(versions[run.folder], newest)) for run in old]
    runs = _alike([run for run in runs if versions[run.folder] == newest], skipped)
    unique = {(one.path, one.reason): one for one in skipped}
    return Found(tuple(runs), tuple(unique.values()), tuple(sweeps.values()), newest)


def nothing_found(folders: Sequence[Path], found: Found) -> InputError:
    """The error for folders without a run that is finished."""
    where = ", ".join(map(str, folders))
    if not found.skipped:
        return InputError(f"{where}: holds no run; name a folder of outputs/ or multirun/")
    reasons = Counter(one.reason for one in found.skipped)
    reason, _ = reasons.most_common(1)[0]
    n = len(found.skipped)
    return InputError(
        f"{where}: none of {n} run{'s' * (n != 1)} can be used; {reason}" + (", ..." * (len(reasons) > 1))
    )


def _walk(folder: Path) -> Iterator[Place | Sweep | Skipped]:
    """The sweeps and the folders of runs in a folder, itself included, in order of their paths."""
    try:
        is_sweep, is_run = _is_sweep(folder), any((folder / name).exists() for name in SIGNS)
        inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        yield Skipped(folder, f"cannot be read ({error.strerror})")
        return
    if is_sweep:
        yield from _sweep(folder)
        return
    if is_run:
        yield Place(folder, _version(folder.parent) if _is_sweep(folder.parent) else None)
        return
    for path in map(Path, inner):
        if not path.name.startswith(".") and path.name not in CLOSED:
            yield from _walk(path)


def _is_sweep(folder: Path) -> bool:
    return (folder / "sweep.yaml").is_file() and (folder / "sweep.jsonl").is_file()


def _sweep(folder: Path) -> Iterator[Place | Sweep | Skipped]:
    """A sweep and its jobs, by its ledger."""
    try:
        settings = _settings(folder)
        states = dict(sorted(Ledger(folder).states().items()))
    except (InputError, OSError) as error:
        yield Skipped(folder, str(error).replace(f"{folder}/", ""))
        return
    version = settings.get("result_version")
    counted = Counter(str(row.get("state")) for row in states.values())
    figures, own = settings.get("figures") or {}, settings.get("own_figures") or {}
    options = ["--config-dir", str(settings["config_dir"])] if settings.get("config_dir") else []
    commands = [*(settings.get("earlier") or ()), settings.get("overrides") or ()]
    yield Sweep(
        folder,
        tuple((*options, *map(str, words)) for words in commands),
        {str(name): tuple(map(str, hashes)) for name, hashes in figures.items()},
        tuple(str(row.get("hash")) for row in states.values()),
        dict(sorted(counted.items())),
        own if isinstance(own, dict) else {},
    )
    for row in states.values():
        own = folder / str(row.get("folder"))
        home = Path(str(row["home"])) if row.get("home") else own
        # Until it is done, and filled into the sweep, a job may be at home elsewhere.
        place = own if (own / "score.json").exists() or not home.is_dir() else home
        if place.is_dir():
            yield Place(place, version if isinstance(version, int) else None, str(row.get("state")))
        else:
            yield Skipped(place, "the folder is gone")
    named = {str(row.get("folder")) for row in states.values()}
    for path in sorted(folder.iterdir()):
        if path.name not in named and not path.name.startswith(".") and (path / "job.yaml").exists():
            yield Skipped(path, "not in the sweep's ledger: moved aside by reuse=false, perhaps")


def _settings(folder: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # 2026-13-45 is a date to YAML, and none
        raise InputError(f"sweep.yaml: cannot be read ({' '.join(str(error).split())})") from None
    figures = found.get("figures") or {} if isinstance(found, dict) else None
    if not isinstance(figures, dict) or not all(isinstance(part, list) for part in _parts(found, figures)):
        raise InputError("sweep.yaml: damaged")
    if found.get("schema", SCHEMA) != SCHEMA:  # the first ones had none
        raise InputError(f"sweep.yaml: schema {found['schema']!r} is not one this version reads (up to {SCHEMA})")
    settings: Mapping[str, Any] = found
    return settings


def _parts(found: Mapping[str, Any], figures: Mapping[str, Any]) -> Iterator[Any]:
    """What has to be a list in sweep.yaml."""
    yield found.get("overrides") or []
    yield from figures.values()


def _version(folder: Path) -> int | None:
    try:
        version = _settings(folder).get("result_version")
    except InputError:
        return None
    return version if isinstance(version, int) else None


def _reason(said: str, state: str | None) -> str:
    """Why a run is left out. The ledger knows more than a worker that is gone could write down."""
    if state == "interrupted" and said.startswith("not finished"):
        return said.replace("running", "interrupted", 1)
    if state == "failed" and said == "not started":
        return "failed before it began"
    return f"{said}; the sweep has it as {state}" if state in DONE and said.startswith("not ") else said


def _once(runs: Sequence[Run], skipped: list[Skipped]) -> list[Run]:
    """One run a job: where it was run, before where it was filled in; of two the later one."""
    by_job: dict[str, list[Run]] = {}
    for run in runs:
        by_job.setdefault(run.hash, []).append(run)
    chosen = []
    for same in by_job.values():
        homes = [run for run in same if "reused_from" not in run.status] or same[:1]
        best = max(homes, key=lambda run: (float(run.status.get("heartbeat") or 0), str(run.folder)))
        chosen.append(best)
        others = [run for run in homes if run is not best]
        skipped += [Skipped(run.folder, f"the same job was run again: {best.folder}") for run in others]
    return chosen


def _alike(runs: Sequence[Run], skipped: list[Skipped]) -> list[Run]:
    """The runs, but for those that seem to be the same experiment as another one and are not."""
    known: dict[tuple[str, int], Run] = {}
    exams: dict[str, Any] = {}
    kept = []
    for run in runs:
        if exams.setdefault(run.key, run.exam) != run.exam:
            skipped.append(Skipped(run.folder, "the same settings as other runs, and other test questions"))
        elif known.setdefault((run.key, run.facts.seed), run) is not run:
            first = known[run.key, run.facts.seed].folder
            skipped.append(Skipped(run.folder, f"the same settings and seed as {first}, and other data or weights"))
        else:
            kept.append(run)
    return kept
