"""A sweep folder: there with all its jobs or not at all, described by `sweep.yaml`, run by one process at a time.

multirun/2026-11-22/10-15-00-ab12/      sweep.yaml  sweep.jsonl  0-5f0c12ab/  1-77aa01cd/  ...
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import ftcot
from ftcot.errors import InputError
from ftcot.files import write_atomic
from ftcot.folder import freeze, is_frozen, move_aside, sweep_began
from ftcot.grid import Planned
from ftcot.handoff import ended
from ftcot.launch import Launch
from ftcot.ledger import Ledger, Member, member
from ftcot.records import SCHEMA


@dataclass(frozen=True)
class Settings:
    """What `sweep.yaml` keeps, so that a sweep can be understood, and resumed."""

    overrides: tuple[str, ...]
    """Of the command."""
    cwd: str
    """Where it was given."""
    launcher: tuple[str, ...]
    """Those of the overrides that choose and set the launcher."""
    on_error: str
    cache: str
    """`paths.cache`: where the index says who runs a job."""
    figures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Hashes of the jobs of each figure that it was ever asked for."""
    own_figures: Mapping[str, Any] = field(default_factory=dict)
    """What the user's own files say of those of the figures that are not ftcot's."""
    config_dir: str | None = None
    """The folder with the user's own options."""
    earlier: tuple[tuple[str, ...], ...] = ()
    """The overrides of commands before this one, where it does not ask for all jobs of the sweep."""


class SweepFolder:
    """One sweep folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger(path)
        self._lock: int | None = None

    def settings(self) -> Settings:
        """What `sweep.yaml` says.

        Raises:
            InputError: this is no sweep folder, or one of another version of ftcot.
        """
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such folder")
        try:
            values = yaml.safe_load((self.path / "sweep.yaml").read_text(encoding="utf-8"))
        except FileNotFoundError:
            parent = self.path.parent
            hint = f"; it is a run of the sweep {parent}" if (parent / "sweep.yaml").exists() else ""
            raise InputError(f"{self.path}: not a sweep folder, it has no sweep.yaml{hint}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{self.path / 'sweep.yaml'}: cannot be read ({' '.join(str(error).split())})") from None
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise InputError(f"{self.path / 'sweep.yaml'}: written by another version of ftcot")
        if values["result_version"] != ftcot.RESULT_VERSION:
            raise InputError(
                f"{self.path}: its jobs were frozen by an ftcot whose results differ from this one's; "
                "start a new sweep with the same command"
            )
        return Settings(
            tuple(values["overrides"]),
            values["cwd"],
            tuple(values["launcher"]),
            values["on_error"],
            values["cache"],
            {name: tuple(hashes) for name, hashes in values.get("figures", {}).items()},
            values.get("own_figures", {}),
            values.get("config_dir"),
            tuple(map(tuple, values.get("earlier", ()))),
        )

    def members(self) -> list[Member]:
        """All jobs, in order."""
        return [member(row) for _, row in sorted(self.ledger.states().items())]

    def numbered(self, jobs: Sequence[Planned]) -> list[Planned]:
        """The jobs of another figure with the numbers they have here; those that are new come after all others."""
        known = {row["hash"]: number for number, row in self.ledger.states().items()}
        new = itertools.count(max(known.values(), default=-1) + 1)
        numbers = [known[job.checked.hash] if job.checked.hash in known else next(new) for job in jobs]
        return [replace(job, number=number) for job, number in zip(jobs, numbers, strict=True)]

    def refuse(self, jobs: Sequence[Planned]) -> None:
        """Refuse a folder that holds other jobs under these numbers.

        Raises:
            InputError: it does.
        """
        known = self.ledger.states()
        for job in jobs:
            if job.number in known and known[job.number]["hash"] != job.checked.hash:
                raise InputError(
                    f"hydra.sweep.dir={self.path}: holds another sweep, whose job {job.number} differs; "
                    f"name another folder, or go on with that one: python -m ftcot.resume {self.path}"
                )
            Launch(job.checked.config, job.checked.hash, self.path / job.name).refuse_folder()

    def add(self, jobs: Sequence[Planned], settings: Settings) -> None:
        """Freeze these jobs, and fill the folders of those that are done already; all are there at once, or none.

        Raises:
            InputError: somebody has made the folder meanwhile.
        """
        new, began = not self.path.exists(), sweep_began(self.path) or time.time()
        stage = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        stage.mkdir(parents=True)
        try:
            events = [self._add(job, stage) for job in jobs]
            values = {"schema": SCHEMA, "result_version": ftcot.RESULT_VERSION, "began": began}
            values |= self._with_earlier(jobs, settings)
            write_atomic(stage / "sweep.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))
            if new:
                Ledger(stage).extend(events)
                self._hold(stage)
            _sync(stage)
            if new:
                try:
                    stage.rename(self.path)
                except OSError:
                    raise InputError(f"{self.path}: somebody has just made this folder; name another one") from None
            else:
                for item in sorted(stage.iterdir()):
                    item.replace(self.path / item.name)
                self.ledger.extend(events)
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _with_earlier(self, jobs: Sequence[Planned], settings: Settings) -> dict[str, Any]:
        """The settings, with what is to be kept of earlier commands, as `sweep.yaml` has them."""
        found = self.settings() if (self.path / "sweep.yaml").exists() else replace(settings, figures={})
        figures = {name: list(hashes) for name, hashes in found.figures.items()}
        for name, hashes in settings.figures.items():
            figures[name] = list(dict.fromkeys([*figures.get(name, ()), *hashes]))
        asked_again = {row["hash"] for row in self.ledger.states().values()} <= {job.checked.hash for job in jobs}
        commands = () if asked_again else dict.fromkeys([*found.earlier, found.overrides])
        return vars(settings) | {
            "overrides": list(settings.overrides),
            "launcher": list(settings.launcher),
            "figures": figures,
            "own_figures": {**found.own_figures, **settings.own_figures},
            "earlier": [list(words) for words in commands if words != settings.overrides],
        }

    def _add(self, job: Planned, stage: Path) -> dict[str, Any]:
        config, target = self._grouped(job.checked.config), self.path / job.name
        this = Member(job.number, job.checked.hash, job.overrides)
        launch = Launch(config, this.hash, target)
        decision, entry = launch.peek(), launch.index.read(this.hash)
        if entry is not None and entry.folder == target and entry.runner() is not None:
            return this.row(state="elsewhere")  # SLURM runs it still, for an earlier command: hands off
        if target.exists() and decision.action == "new" and not is_frozen(target):  # reuse=false
            move_aside(target)
        place = target if target.exists() else stage / job.name
        if decision.action == "reused":
            return ended(this, Launch(config, this.hash, place).run(decision))
        freeze(place, config, this.hash, durable=place == target)
        return this.row(state="frozen")

    def _grouped(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the sweep as the W&B group, where nobody named one."""
        logger = config["logger"]
        if "group" not in logger or logger["group"] is not None:
            return config
        return {**config, "logger": {**logger, "group": self.path.name}}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one that runs this sweep; the kernel ends that with the process.

        Raises:
            InputError: somebody else runs it.
        """
        try:
            if self.path.exists():
                self._hold(self.path)
            yield
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _hold(self, folder: Path) -> None:
        self._lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{self.path}: this sweep is running now; wait for it, or stop it") from None
        except OSError:
            pass  # a file system without locks; the lease of each job still holds


def _sync(folder: Path) -> None:
    """See to it that a folder with all that is in it outlives a crash of the machine: one wait, not one a file."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "syncfs"):  # not Linux
        os.sync()
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        libc.syncfs(handle)
    finally:
        os.close(handle)
