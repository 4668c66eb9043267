"""What runs leave behind and nothing needs: found here, shown and freed by `ftcot.clean`.

    find([Path("outputs"), Path("multirun"), Path("~/.cache/ftcot")])
    Leftover(why="checkpoints of a finished run", path=outputs/2026-11-22/10-15-00-ab12/checkpoints, size=8_400_000)

Results are no leftovers: no score, prediction, completion, example, log or config is ever among them. Nothing of a run
that somebody works on now is, nor of one that can go on: its checkpoints are what it goes on from.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from ftcot.errors import InputError
from ftcot.folder import WEIGHTS, read_status, thaw
from ftcot.jobs import HEARTBEAT_LIMIT, Entry, JobIndex
from ftcot.ledger import DONE, Ledger
from ftcot.procfs import is_alive
from ftcot.status import boot_id

CHECKPOINTS = "checkpoints"

ABANDONED = 3600.0
"""Seconds after which a temporary file or folder belongs to nobody: the longest write takes minutes."""

_TEMPORARY = re.compile(r"\..+\.([a-z0-9_]{8}|\d+)")
"""`.score.json.k3x_81ab`: of `files.write_atomic`, tempfile, and folders that are renamed into place once whole."""

_ASIDE = re.compile(r".+\.old\d+")
"""Of `folder.move_aside`."""


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @cached_property
    def status(self) -> dict[str, Any]:
        return read_status(self.folder)

    @cached_property
    def index(self) -> JobIndex | None:
        """The job index that the run was entered in; None where the run does not tell, or the index is not there."""
        try:
            root = Path(thaw(self.folder)["paths"]["cache"]) / "jobs"
        except (InputError, KeyError, TypeError):
            return None
        return JobIndex(root) if root.is_dir() else None

    def entry(self) -> Entry | None:
        """What the index says now of this folder's job, where it is this folder that the job ran in."""
        entry = self.index.read(str(self.status.get("hash"))) if self.index else None
        return entry if entry is not None and entry.folder.resolve() == self.folder.resolve() else None

    def is_running(self) -> bool:
        """Whether somebody works on it now: by the lease, or by what the worker itself says."""
        entry = self.entry()
        if entry is not None and entry.runner() is not None:
            return True
        status = read_status(self.folder)
        if status.get("state") != "running":
            return False
        if status.get("boot") == boot_id() and isinstance(pid := status.get("pid"), int):
            return is_alive(pid, None)
        return time.time() - float(status.get("heartbeat") or 0) < HEARTBEAT_LIMIT

    @property
    def weights(self) -> Path | None:
        """Its own; not a link to those of another run."""
        path = self.folder / WEIGHTS
        return path if path.is_dir() and not path.is_symlink() else None

    @property
    def link(self) -> Path | None:
        """Its link to the weights of the run that it was reused from."""
        path = self.folder / WEIGHTS
        return path if path.is_symlink() else None


@dataclass(frozen=True)
class Leftover:
    """Something that can go."""

    path: Path
    why: str
    run: Run | None = None
    """The run it is of, which must not be running when it goes."""
    links: tuple[Path, ...] = ()
    """That lead to it, and go with it."""

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return sum(stat.st_size for stat in _stats(self.path) if not S_ISDIR(stat.st_mode))

    @cached_property
    def age(self) -> float:
        """Seconds since it, or the run it is of, was last touched."""
        return _rested(self.run.folder / "status.json" if self.run else self.path)


@dataclass
class _Places:
    """What there is below some folders."""

    runs: dict[Path, Run] = field(default_factory=dict)
    sweeps: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """Folders of half-made sweeps."""
    indexes: list[JobIndex] = field(default_factory=list)

    @classmethod
    def below(cls, roots: Iterable[Path]) -> _Places:
        places = cls()
        for root in dict.fromkeys(root.resolve() for root in roots):
            if any((root / "jobs").glob("*.json")):  # a cache: its completions and data are nobody's business
                places.indexes.append(JobIndex(root / "jobs"))
                continue
            for here, folders, files in os.walk(root):
                path = Path(here)
                if "status.json" in files and "job.yaml" in files:
                    places.runs[path] = Run(path)
                    folders.clear()
                if "sweep.jsonl" in files:
                    places.sweeps.append(path)
                places.hidden += [path / name for name in folders if _TEMPORARY.fullmatch(name)]
                folders[:] = [name for name in folders if not name.startswith(".")]
        return places


def find(roots: Sequence[Path], *, others: Sequence[Path] = (), weights: bool = False) -> list[Leftover]:
    """What can go below `roots`, the largest first.

    Args:
        roots: folders of runs and sweeps, and caches.
        others: where it is looked too for what needs something below `roots`.
        weights: also of finished runs, but for the best of each sweep.
    """
    places, around = _Places.below(roots), _Places.below([*roots, *others])
    found = [
        *(leftover for run in places.runs.values() for leftover in _of_run(run)),
        *_weights(places, around, finished=weights),
        *(Leftover(path, "a sweep that was never ready") for path in places.hidden if _is_half_made(path)),
        *(leftover for index in places.indexes for leftover in _of_index(index)),
    ]
    return sorted(found, key=lambda leftover: (-leftover.size, leftover.path))


def _of_run(run: Run) -> Iterator[Leftover]:
    """But for its weights."""
    if run.is_running():
        return
    aside = _ASIDE.fullmatch(run.folder.name) is not None
    if (run.folder / CHECKPOINTS).is_dir() and (aside or run.status.get("state") == "complete"):
        of = "run that was moved aside" if aside else "finished run"
        yield Leftover(run.folder / CHECKPOINTS, f"checkpoints of a {of}", run)
    for path in run.folder.iterdir():
        if _is_abandoned(path):
            yield Leftover(path, "half-written", run)
    for mark in run.folder.glob("wandb/**/offline-run-*/*.wandb.synced"):
        yield Leftover(mark.parent, "W&B has it", run)


def _weights(places: _Places, around: _Places, *, finished: bool) -> Iterator[Leftover]:
    links: dict[Path, list[Path]] = {}
    for run in around.runs.values():
        if run.link is not None:
            links.setdefault(run.link.resolve().parent, []).append(run.link)
    listed, best = _listed(around.sweeps)
    for run in places.runs.values():
        if run.weights is None or run.is_running() or run.folder in best:
            continue
        linked = links.get(run.folder, [])
        if best.intersection(link.parent for link in linked):
            continue
        if _ASIDE.fullmatch(run.folder.name):
            yield Leftover(run.weights, "weights of a run that was moved aside", run, tuple(linked))
        elif finished and run.status.get("state") == "complete":
            yield Leftover(run.weights, "weights of a finished run", run, tuple(linked))
        # Without its index, as when a disk is not mounted, nobody can tell.
        elif not linked and run.folder not in listed and run.index is not None and run.entry() is None:
            yield Leftover(run.weights, "weights that no index entry, sweep or link leads to", run)


def _listed(sweeps: Iterable[Path]) -> tuple[set[Path], set[Path]]:
    """The run folders that the ledgers speak of, and those of each sweep's most accurate job."""
    listed: set[Path] = set()
    best: set[Path] = set()
    for sweep in sweeps:
        rows = list(Ledger(sweep).states().values())
        places = {
            row["number"]: {(sweep / str(row.get("folder", ""))).resolve()}
            | {Path(row[key]).resolve() for key in ("home", "reused_from") if row.get(key)}
            for row in rows
        }
        listed.update(*places.values())
        scored = [row for row in rows if row["state"] in DONE and row.get("accuracy") is not None]
        if scored:
            best |= places[max(scored, key=lambda row: float(row["accuracy"]))["number"]]
    return listed, best


def _of_index(index: JobIndex) -> Iterator[Leftover]:
    for path in sorted(index.root.iterdir()):
        if path.suffix == ".json" and not path.name.startswith("."):
            entry = index.read(path.stem)
            if entry is not None and not entry.folder.exists() and entry.runner() is None:
                yield Leftover(path, "index entry of a folder that is gone")
    for folder in (index.root, index.root.parent):
        yield from (Leftover(path, "half-written") for path in folder.iterdir() if _is_abandoned(path))


def _is_abandoned(path: Path) -> bool:
    """Whether it is a temporary file or folder that nobody writes to any more."""
    return _TEMPORARY.fullmatch(path.name) is not None and _rested(path) > ABANDONED


def _is_half_made(path: Path) -> bool:
    """Whether it is the hidden folder of a sweep, of which nobody makes a sweep any more."""
    try:
        inside = list(path.iterdir())
    except FileNotFoundError:  # it has just become one
        return False
    known = all(item.name.startswith((".", "sweep.")) or (item / "job.yaml").exists() for item in inside)
    return known and _rested(path) > ABANDONED


def _rested(path: Path) -> float:
    """Seconds since anything in it was touched."""
    return time.time() - max((stat.st_mtime for stat in _stats(path)), default=time.time())


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of the file itself, or of a folder and all below it; links are not followed. What is just going is left out."""
    with suppress(FileNotFoundError):
        yield path.lstat()
        if path.is_dir() and not path.is_symlink():
            for item in path.iterdir():
                yield from _stats(item)
