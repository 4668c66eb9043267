"""A run folder, seen from outside: frozen for a worker, read for its state, filled from another one.

outputs/2026-11-22/10-15-00-ab12/      job.yaml  status.json  *.jsonl  metrics.csv  score.json  log.txt  student/
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ftcot.errors import InputError
from ftcot.records import read_json, write_atomic, write_json
from ftcot.status import STAGES, Status

SMALL_FILES = ("job.yaml", "status.json", "metrics.csv", "score.json", "log.txt")
"""Copied, with every *.jsonl, where a run is reused. Weights are linked."""

WEIGHTS = "student"


def freeze(folder: Path, config: Mapping[str, Any], job: str) -> None:
    """Write what a worker needs. A folder that has a status keeps what it knows."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "job.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120))
    status = Status(folder)
    status.update(hash=job, state="frozen" if not status.stages and is_frozen(folder) else status["state"])


def thaw(folder: Path) -> dict[str, Any]:
    """The config in `folder`/job.yaml.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        config = yaml.safe_load((folder / "job.yaml").read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder}: not a run folder, job.yaml cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / 'job.yaml'}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'job.yaml'}: not a job")
    return config


def satisfied(status: Mapping[str, Any], until: str) -> bool:
    """Whether all stages up to `until` are done."""
    done = status.get("stages", ())
    return status.get("state") == "complete" or all(name in done for name in STAGES[: STAGES.index(until) + 1])


def fill(home: Path, folder: Path) -> None:
    """Put the small files of a run into `folder`, with a link to its weights and a note where they come from."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [home / name for name in SMALL_FILES] + sorted(home.glob("*.jsonl")):
        if path.is_file() and path.name != "status.json":
            shutil.copyfile(path, folder / path.name)
    link = folder / WEIGHTS
    if link.is_symlink():
        link.unlink()
    if (home / WEIGHTS).exists() and not link.exists():
        weights = (home / WEIGHTS).resolve()
        link.symlink_to(os.path.relpath(weights, folder.resolve()), target_is_directory=True)
    # Last: a folder whose status says that it is done has everything else.
    write_json(folder / "status.json", read_status(home) | {"reused_from": str(home)})


def new_folder(root: str, stamp: datetime | None = None) -> Path:
    """`ROOT/DATE/TIME-RANDOM`, absolute; not made yet."""
    stamp = stamp or datetime.now()
    return Path(root).absolute() / stamp.strftime("%Y-%m-%d") / f"{stamp:%H-%M-%S}-{secrets.token_hex(2)}"


def move_aside(folder: Path) -> None:
    """Rename a folder, so that its place is free and nothing is lost."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old{number}")).exists():
        number += 1
    folder.rename(aside)


def read_status(folder: Path) -> dict[str, Any]:
    """The values of `folder`/status.json; empty where there is none, or a damaged one."""
    try:
        return dict(read_json(folder / "status.json"))
    except (InputError, TypeError, ValueError):
        return {}


def is_frozen(folder: Path) -> bool:
    """Whether no worker has touched it yet."""
    return read_status(folder).get("state") in (None, "frozen")
