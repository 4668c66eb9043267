"""What a run is: its facts, in a reader's words, and the key that runs share which differ in their seed only.

job.yaml {"method": {"name": "fine_tune_cot"}, "diversity": {"degree": 8, "temperature": 0.7}, "seed": 0, ...}
    Facts(method="fine_tune_cot", diversity=8, seed=0, ...)   key 6ee751f1...
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.hashes import FileHashes
from ftcot.jobs import NOT_RESULTS, job_hash
from ftcot.prompts import Method
from ftcot.records import Score
from ftcot.report.model import Facts, Run

PAPER_TEACHER_TOKENS = {"-long": 512, "": 128}
"""Longest rationale of the authors' recordings, by the end of a name. Source: METHOD section 7."""


def facts_of(config: Mapping[str, Any], status: Mapping[str, Any], score: Score) -> Facts:
    """What the run is, in a reader's words.

    Raises:
        InputError: job.yaml says too little.
    """
    counts = status.get("counts") or {}
    teacher = score.teacher
    trains = score.method in ("fine_tune", "fine_tune_cot")
    return Facts(
        task=score.task,
        split=str(value_at(config, "task.split", "default")),
        method=score.method,
        student=score.student,
        n_parameters=counts.get("parameters"),
        teacher=teacher,
        skill=_number(config, "teacher.skill", None) if teacher else None,
        diversity=_number(config, "diversity.degree") if teacher else None,
        temperature=_number(config, "diversity.temperature") if teacher else None,
        n_train=counts.get("train") if trains or teacher else None,
        filter=_filters(value_at(config, "curation.filter")) if teacher else None,
        teacher_tokens=_teacher_tokens(config) if teacher else None,
        student_tokens=_number(config, "evaluation.max_new_tokens"),
        learning_rate=_number(config, "training.optimizer.lr", None) if trains else None,
        batch_size=_number(config, "training.batch_size") if trains else None,
        epochs=_number(config, "training.epochs") if trains else None,
        scorer=score.scorer,
        seed=_number(config, "seed"),
    )


def key_of(config: Mapping[str, Any], score: Score) -> str:
    """What runs have in common that differ in their seed only: the job hash without seed, files and unused parts."""
    unused = set(NOT_RESULTS) - {"paths"} | {"seed"}
    if score.teacher is None:
        unused |= {"teacher", "diversity", "curation"}
    if score.method not in ("fine_tune", "fine_tune_cot"):
        unused |= {"training"}
    kept = {name: part for name, part in config.items() if name not in unused}
    return job_hash(kept, {}, FileHashes(Path()))


def _teacher_tokens(config: Mapping[str, Any]) -> int | None:
    live = value_at(config, "teacher.prompting.max_tokens", None)
    if live is not None or not str(value_at(config, "teacher._target_")).endswith(".Replay"):
        return live  # type: ignore[no-any-return]
    recording = Path(str(value_at(config, "teacher.path", None) or value_at(config, "teacher.name")))
    names = (recording.name.partition(".")[0], recording.parent.name)
    return next(n for end, n in PAPER_TEACHER_TOKENS.items() if any(name.endswith(end) for name in names))


def _filters(found: Any) -> str:
    return found if isinstance(found, str) else "+".join(map(str, found))


_NEEDED: Any = object()


def value_at(config: Mapping[str, Any], key: str, otherwise: Any = _NEEDED) -> Any:
    """The value at `task.split`; `otherwise` where a config of another kind of part has none."""
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            if otherwise is _NEEDED:
                raise InputError(f"job.yaml: has no {key}")
            return otherwise
        value = value[name]
    return value


def _number(config: Mapping[str, Any], key: str, otherwise: Any = _NEEDED) -> Any:
    value = value_at(config, key, otherwise)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"job.yaml: {key} is {value!r}")
    return value


def marker(run: Run) -> str | None:
    """What a student of the run writes before its answer; the same for decoders and encoder-decoders."""
    config = {name: value for name, value in run.config["method"].items() if name != "_target_"}
    return Method(**config).template_for("decoder").marker
