"""One run folder, as a report needs it: a Run, or the reason why there is none.

    2-5f0c12ab/  job.yaml  status.json  score.json  predictions.jsonl   ──>   Run(hash="5f0c...", facts=..., right=...)
    3-77aa01cd/  job.yaml  status.json                                  ──>   "not finished (train, epoch 3 of 8)"

No part of the job is built: a report of a run needs neither its data nor its student, and an earlier ftcot's config may
name what is no longer there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.folder import thaw
from ftcot.prompts import Method
from ftcot.records import Completion, Example, read_records
from ftcot.report.model import Run
from ftcot.report.run_facts import facts_of, key_of, value_at
from ftcot.report.run_files import read_object, read_score, read_status, read_verdicts


def read_run(folder: Path, sound: set[bytes]) -> Run:
    """The run in a folder.

    Args:
        sound: digests of completions and pairs that have been looked at, as runs share many; added to.
    Raises:
        InputError: it is not finished, or a file of it is missing, damaged or of a newer ftcot. The text begins with
            the file, not with the folder.
    """
    try:
        return _read(folder, sound)
    except InputError as error:
        raise InputError(str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")) from None
    except OSError as error:
        raise InputError(f"{Path(error.filename or folder).name}: cannot be read ({error.strerror})") from None


def _read(folder: Path, sound: set[bytes]) -> Run:
    if not (folder / "job.yaml").exists():
        raise InputError("half-written: it has no job.yaml")
    config = thaw(folder)
    status = read_status(folder / "status.json")
    refuse_unfinished(folder, config, status)
    score = read_score(folder / "score.json")
    verdicts = read_verdicts(folder / "predictions.jsonl", score)
    job = status.get("hash")
    if not isinstance(job, str):
        raise InputError("status.json: names no job")
    facts = facts_of(config, status, score)
    _refuse_method(config)
    for name, kind in (("completions.jsonl", Completion), ("examples.jsonl", Example)):
        _refuse_damaged(folder / name, kind, sound)
    key = key_of(config, score)
    return Run(folder, job, key, facts, config, status, score, verdicts.asked, verdicts.right, verdicts.gold)


def _refuse_method(config: Mapping[str, Any]) -> None:
    """Refuse a method that has no template now."""
    values = {name: value for name, value in value_at(config, "method").items() if name != "_target_"}
    try:
        Method(**values)
    except (InputError, TypeError) as error:
        raise InputError(f"job.yaml: {error}") from None


def _refuse_damaged(path: Path, kind: type[Completion] | type[Example], sound: set[bytes]) -> None:
    """Refuse a file of records with a line that is none."""
    if not path.exists():
        return
    digest = hashlib.sha256(path.read_bytes()).digest()
    if digest not in sound:
        text = "rationale" if kind is Completion else "completion"
        for number, one in enumerate(read_records(path, kind), start=1):
            if type(one.sample_index) is not int or type(getattr(one, text)) is not str:
                raise InputError(f"{path}: record {number} has a damaged sample_index or {text}")
        sound.add(digest)


def refuse_unfinished(folder: Path, config: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    """Refuse a run that has no result.

    Raises:
        InputError: it says how far the run is.
    """
    state = status.get("state")
    if state == "complete" and (folder / "score.json").exists():
        return
    if state == "complete":
        raise InputError("score.json: missing, though the run is complete")
    if state == "failed":
        raise InputError(f"failed ({' '.join(str(status.get('cause')).split())})")
    if state == "partial":
        raise InputError(f"has no score (until={config.get('until')})")
    if state in (None, "frozen"):
        raise InputError("not started")
    raise InputError(f"not finished ({state}, {progress(folder, config, status)})")


def progress(folder: Path, config: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """How far a run is: `train, epoch 3 of 8`."""
    stage = str(status.get("stage") or "starting")
    training = config.get("training")
    if stage != "train" or not isinstance(training, Mapping):
        return stage
    try:
        epochs = (folder / "metrics.csv").read_text(encoding="utf-8").count("\n") - 1
    except OSError:
        epochs = 0
    return f"train, epoch {max(epochs, 0)} of {training.get('epochs')}"


def version_of(folder: Path, status: Mapping[str, Any]) -> int:
    """The RESULT_VERSION that a run was made by."""
    if "result_version" in status:
        return int(status["result_version"])
    # Runs did not say so at first. Version 2 is that of the commit that began to write down the devices.
    return 2 if "devices" in read_object(folder / "score.json") else 1
