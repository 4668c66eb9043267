"""What a run was made from and what it made, as W&B shows lineage: references with digests, no file leaves the machine.

    multiarith               dataset      file:///data/multiarith.json              sha256 9f2c...
    text-davinci-002-...     completions  file:///data/completion_data/...          sha256 77aa...
    openai-community-gpt2    model        https://huggingface.co/.../tree/607a30d7  commit 607a30d7...
    fine_tune_cot-...-5f0c   model        file:///outputs/.../student/...           the run's own

The first three are what the run used, the last what it made. A file is known by its contents, wherever it lies.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ftcot.hashes import FileHashes
from ftcot.redact import secrets, without_secrets

if TYPE_CHECKING:
    from ftcot.job import Job

HUB = "https://huggingface.co"

MAX_NAME = 128
"""Letters of an artifact's name that W&B takes."""


@dataclass(frozen=True)
class Lineage:
    """One artifact: something a run used or made."""

    name: str
    kind: str
    """W&B's type: dataset, completions or model."""
    references: Mapping[str, str]
    """Where each of its files is, as a URI."""
    metadata: Mapping[str, Any]


def inputs(job: Job) -> list[Lineage]:
    """What the job reads: its task, the recorded completions it replays, the checkpoint it starts from.

    Raises:
        InputError: one cannot be found any more.
    """
    hashes = FileHashes(job.cache / "hashes.json")
    found = [_dataset(job, hashes)]
    if job.needs_teacher and (recorded := job.teacher.files(job.task, job.diversity)):
        found.append(_of_files(f"{job.teacher.name}-{job.task.name}", "completions", recorded, hashes))
    if (model := _checkpoint(job, hashes)) is not None:
        found.append(model)
    return found


def trained(job: Job, folder: Path, job_hash: str, metadata: Mapping[str, Any]) -> Lineage | None:
    """The student in a run folder; None where no weights are kept."""
    files = sorted(path for path in (folder / "student").rglob("*") if path.is_file())
    if not files:
        return None
    name = _name(job.method.name, job.task.name, job.student.name, job_hash[:8])
    return Lineage(name, "model", _references(files, folder / "student"), metadata)


def local_path(uri: str) -> Path:
    """The file that a `file:` URI names."""
    return Path(url2pathname(urlsplit(uri).path))


def _dataset(job: Job, hashes: FileHashes) -> Lineage:
    files = job.task.files()
    if files:
        return _of_files(job.task.name, "dataset", files, hashes, version=job.task.version)
    # Generated from its config and seed, so that is what it is known by.
    config = without_secrets(job.config["task"])
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return Lineage(_name(job.task.name), "dataset", {"task": f"ftcot://{job.task.name}/{digest}"}, {"config": config})


def _checkpoint(job: Job, hashes: FileHashes) -> Lineage | None:
    checkpoint = getattr(job.student, "checkpoint", None)
    if files := job.student.files():
        return _of_files(job.student.name, "model", files, hashes)
    if checkpoint is None or (commit := job.student.commit()) is None:
        return None  # from scratch
    reference = {"checkpoint": f"{HUB}/{checkpoint}/tree/{commit}"}
    return Lineage(_name(checkpoint), "model", reference, {"checkpoint": checkpoint, "commit": commit})


def _of_files(name: str, kind: str, files: Sequence[Path], hashes: FileHashes, **metadata: Any) -> Lineage:
    found = [sorted(file.rglob("*")) if file.is_dir() else [file] for file in files]
    paths = [path for group in found for path in group if not path.is_dir()]
    root = paths[0].parent if len({path.parent for path in paths}) == 1 else Path(paths[0].anchor)
    digests = {str(path.relative_to(root)): hashes.sha256(path) for path in paths}
    return Lineage(_name(name), kind, _references(paths, root), metadata | {"sha256": digests})


def _references(files: Sequence[Path], root: Path) -> dict[str, str]:
    # A path that holds a secret stays here.
    hidden = secrets()
    return {
        str(path.relative_to(root)): path.absolute().as_uri()
        for path in files
        if not any(secret in str(path.absolute()) for secret in hidden)
    }


def _name(*parts: str) -> str:
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))[:MAX_NAME]
