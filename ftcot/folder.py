"""A run folder, seen from outside: frozen for a worker, read for its state, filled from another one.

outputs/2026-11-22/10-15-00-ab12/      job.yaml  status.json  *.jsonl  metrics.csv  score.json  log.txt  student/
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

import ftcot
from ftcot.errors import InputError
from ftcot.files import read_json, write_atomic
from ftcot.records import SCHEMA
from ftcot.status import STAGES

SMALL_FILES = ("job.yaml", "status.json", "metrics.csv", "score.json", "log.txt")
"""Copied, with every *.jsonl, where a run is reused. Weights are linked."""

WEIGHTS = "student"

FREE = 32_000_000
"""Bytes that any training needs on the disk."""

# The same in C, ten times as fast, where libyaml is there.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def freeze(folder: Path, config: Mapping[str, Any], job: str, *, durable: bool = True) -> None:
    """Write what a worker needs. A folder that has a status keeps what it knows.

    Args:
        folder: made where it is missing.
        config: resolved.
        job: its hash.
        durable: on the disk when this returns. False is quicker: for many folders that the caller syncs together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    _write(folder / "job.yaml", text, durable=durable)
    status = {"schema": SCHEMA, "state": "frozen", "began": time.time(), **read_status(folder), "hash": job}
    status["result_version"] = ftcot.RESULT_VERSION
    _write(folder / "status.json", json.dumps(status, ensure_ascii=False, indent=2) + "\n", durable=durable)


def thaw(folder: Path) -> dict[str, Any]:
    """The config in `folder`/job.yaml.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        config = yaml.load((folder / "job.yaml").read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{folder}: not a run folder, job.yaml cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 2026-13-45 is a date to YAML, and none
        raise InputError(f"{folder / 'job.yaml'}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'job.yaml'}: not a job")
    return config


def check_space(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to train where the first checkpoint would fill the disk.

    The need is a rough one: four times the weights (they, two moments of the optimizer, the finished student), where
    these lie in a local folder, and what any student needs.

    Raises:
        InputError: there is less.
    """
    if config["until"] not in ("train", "evaluate"):
        return
    checkpoint = Path(str(config["student"].get("checkpoint")))
    weights = [*checkpoint.glob("*.safetensors"), *checkpoint.glob("*.bin")] if checkpoint.is_absolute() else []
    needed = max(FREE, 4 * sum(file.stat().st_size for file in weights))
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if (free := shutil.disk_usage(place).free) < needed:
        raise InputError(
            f"{folder}: {free / 1e6:,.0f} MB are free there and its checkpoints may need {needed / 1e6:,.0f}: "
            "free space, or name another folder (hydra.run.dir)"
        )


def satisfied(status: Mapping[str, Any], until: str) -> bool:
    """Whether all stages up to `until` are done."""
    done = status.get("stages", ())
    return status.get("state") == "complete" or all(name in done for name in STAGES[: STAGES.index(until) + 1])


def fill(home: Path, folder: Path) -> None:
    """Put the small files of a run into `folder`, with a link to its weights and a note where they come from.

    It waits for no disk: what a crash of the machine takes from a copy can be copied again.
    """
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
    status = read_status(home) | {"reused_from": str(home)}
    _write(folder / "status.json", json.dumps(status, ensure_ascii=False, indent=2) + "\n", durable=False)


def _write(path: Path, text: str, *, durable: bool) -> None:
    """Write a file whole or not at all."""
    if durable:
        write_atomic(path, text)
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def new_folder(root: str, stamp: datetime | None = None) -> Path:
    """`ROOT/DATE/TIME-RANDOM`, absolute, which nobody has; not made yet."""
    stamp = stamp or datetime.now()
    parent = Path(root).absolute() / stamp.strftime("%Y-%m-%d")
    while (folder := parent / f"{stamp:%H-%M-%S}-{secrets.token_hex(2)}").exists():
        pass
    return folder


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


def began(folder: Path) -> float | None:
    """When the sweep that a run folder is of, or else its run, was begun, in seconds since 1970; None where there is
    neither yet. What they may cost counts from then on, however often they are taken up again and wherever: so it is
    written down, and not left to the times of files."""
    if (sweep := sweep_began(folder.parent)) is not None:
        return sweep
    run = read_status(folder).get("began")
    return None if run is None else float(run)


def sweep_began(folder: Path) -> float | None:
    """When the sweep in a sweep folder was begun; None where there is none."""
    try:
        values = yaml.load((folder / "sweep.yaml").read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{folder / 'sweep.yaml'}: cannot be read ({' '.join(str(error).split())})") from None
    # A file of this name may also be one for `wandb sweep`.
    return float(values["began"]) if isinstance(values, dict) and "began" in values else None


def is_frozen(folder: Path) -> bool:
    """Whether no worker has touched it yet."""
    return read_status(folder).get("state") in (None, "frozen")
