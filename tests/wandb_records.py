"""W&B runs as wandb's own reader finds them on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Records = dict[str, list[Any]]
"""What a run's file holds, by type and in its order: run, history, summary, config, metric, artifact, exit, ..."""

WANDB = str(Path(sys.executable).with_name("wandb"))
"""The command of this very environment."""


def files(folder: Path) -> list[Path]:
    """The W&B runs in a run folder, oldest first."""
    return sorted((folder / "wandb").glob("*run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def read(file: Path) -> Records:
    """The records of one W&B run."""
    command = [WANDB, "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: Records = {}
    for line in output.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record.get(record["type"]))
    return found


def only(folder: Path) -> Records:
    """The records of the one W&B run in a run folder."""
    (file,) = files(folder)
    return read(file)


def summary(file: Path) -> dict[str, Any]:
    """state, config, summary, tags and exit_code, as they ended up."""
    command = [WANDB, "leet", "inspect", "--summary", "--json", str(file)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def table(file: Path, key: str) -> dict[str, Any]:
    """The columns and rows of a table that the run logged."""
    (path,) = (file.parent / "files" / "media" / "table").glob(f"{key}_*.table.json")
    return dict(json.loads(path.read_text()))


def exit_code(records: Records) -> int:
    """What the run ended with; the reader leaves 0 out."""
    return int(records["exit"][0].get("exit_code", 0))
