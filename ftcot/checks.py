"""Everything that can be refused before a job starts, without torch.

    {"task": {...}, "teacher": {...}, ...}   ──>   Checked(job, splits, hash="5f0c...")   or one InputError

A check reads, it never writes: after a refusal no folder is left, and store and cache are as they were.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ftcot.devices import uses_gpus, visible_gpus
from ftcot.errors import InputError
from ftcot.hashes import FileHashes
from ftcot.job import PARTS, Job, build
from ftcot.jobs import job_hash
from ftcot.logger import build as build_logger
from ftcot.nodes import here
from ftcot.redact import secrets
from ftcot.settings import check_settings
from ftcot.task import Splits
from ftcot.teacher import Estimate, Planned
from ftcot.teacher.live import Live
from ftcot.teacher.store import CompletionStore
from ftcot.training.trainer import check_sharing

T = TypeVar("T")

NEEDED = (*PARTS, "seed", "until", "trainer", "logger", "paths", "keep", "timeout", "on_error", "devices")
"""What every job needs to have at the top of its config; `~keep` would delete it."""

GPU_SIGNS = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/kfd", "/dev/dxg")
"""What a Linux machine with a usable GPU has at least one of: NVIDIA, NVIDIA in a container, AMD, WSL."""


@dataclass(frozen=True)
class Checked:
    """A job that may start."""

    config: Mapping[str, Any]
    job: Job
    splits: Splits
    hash: str


@dataclass
class Checker:
    """Checks jobs; what several jobs of a sweep share (a task's samples, a recording) is read once."""

    hashes: FileHashes
    local: bool = True
    """The jobs run on this machine; False: what it has says nothing about theirs."""
    dry: bool = False
    """Nothing is to run: then no student and no teacher need be at hand, and no folder to be written to."""
    lacks: list[str] = field(default_factory=list)
    """Of a dry run: what a run would be refused for."""
    missing: dict[str, str] = field(default_factory=dict)
    """Of a dry run: students whose weights cannot be had, and why."""
    _memory: dict[str, Any] = field(default_factory=dict)
    _parts: dict[str, Any] = field(default_factory=dict)

    def check(self, config: Mapping[str, Any]) -> Checked:
        """The job of a resolved config.

        Raises:
            InputError: something is wrong with it.
        """
        for key in NEEDED:
            if key not in config:
                raise InputError(f"{key}: no job can do without it")
        refuse_secrets(config)
        job = build(config, self._parts)
        check_settings(config)
        if not self.dry:
            self._once("cache", config, ("paths",), lambda: check_writable("paths.cache", job.cache))
        if self.local:
            devices = ("trainer", "devices")
            n = self._once("devices", config, devices, lambda: check_devices(job.trainer, config["devices"]))
            if job.method.trains:
                check_sharing(job.trainer, job.training, n)
        build_logger(job.logger)
        check_lora(job)
        # Before the task, which may be downloaded.
        if "train" in job.stages and not self.dry:
            self._once("student", config, ("student",), job.student.check)
        splits = self._once("task", config, ("task",), job.task.splits)
        job.check_keep(splits)
        job.method.template_for(job.student.family)
        if job.needs_teacher:
            job.curation.check(job.task, job.teacher)
            parts = ("teacher", "task", "diversity")
            correct_only = self._once(
                "teacher", config, parts, lambda: job.teacher.check(job.task, splits, job.diversity)
            )
            if (judge := judge_of(job)) is not None and judge is not job.teacher:
                _of_judge(lambda: judge.check(job.task, splits, job.diversity))
            if correct_only and job.curation.needs_wrong_ones:
                raise InputError(
                    f"curation.filter={config['curation']['filter']} needs wrong completions too, but what is recorded "
                    f"of {job.teacher.name} for {job.task.name} holds correct ones only: use curation.filter=answer"
                )
        return Checked(config, job, splits, self._hash(job, config))

    def purchase(self, checked: Checked, planned: Planned | None = None) -> Estimate:
        """What the job's teacher would have to buy for it, of what the store has not; without what a judge says of it.

        Args:
            planned: what jobs before it will have bought; what it buys is added.
        Raises:
            InputError: the store is damaged.
        """
        job, planned = checked.job, {} if planned is None else planned
        return job.teacher.estimate(job.task, checked.splits.train, job.diversity, self.store(checked), planned)

    def store(self, checked: Checked) -> CompletionStore:
        """Where the job finds and keeps completions."""
        root = checked.job.cache / "completions"
        return self._once("store", checked.config, ("paths",), lambda: CompletionStore(root, saves_index=False))

    def reach(self, checked: Checked, done: Collection[str] = ()) -> Estimate | None:
        """See to it that the job can have what it is going to buy; returns what that is, None where it asks nobody.

        Args:
            done: stages that an earlier attempt has behind it.
        Raises:
            InputError: the store is damaged, or a teacher it needs cannot be asked.
        """
        job = checked.job
        if not job.needs_teacher or "teach" in done:
            return None
        parts = ("teacher", "task", "diversity", "paths")
        estimate = self._once("purchase", checked.config, parts, lambda: self.purchase(checked))
        if not self.local:
            return estimate
        if missing := estimate.stored < estimate.wanted:
            self._once("reach", checked.config, ("teacher",), job.teacher.reach)
        judge = judge_of(job)
        # Which verdicts are missing shows when the completions are there. It is sure to be asked where these are not
        # there yet, or where it has said nothing yet.
        if judge is not None and (missing or (judge.name, job.task.name) not in self.store(checked).teachers()):
            reach = judge.reach if judge is job.teacher else lambda: _of_judge(judge.reach)
            self._once("reach judge", checked.config, ("teacher", "curation"), reach)
        return estimate

    def _hash(self, job: Job, config: Mapping[str, Any]) -> str:
        # A part that is not used must not make two jobs of one: every diversity has the same vanilla fine-tuning.
        unused = set() if job.needs_teacher else {"teacher", "diversity", "curation"}
        unused |= set() if job.method.trains else {"training"}
        student, commit = self._once("checkpoint", config, ("student", "until"), lambda: self._checkpoint(job))
        files = {"task": job.task.files(), "student": student}
        kept = {name: part for name, part in config.items() if name not in unused} | {"commit": commit}
        speakers = {"teacher": job.teacher} if job.needs_teacher else {}
        if job.needs_teacher and "judge" in job.curation.filters:
            speakers |= {"judge": job.curation.judge} if job.curation.judge else {}
        elif job.needs_teacher:  # a sweep over filters may name a judge for those that have none
            kept["curation"] = config["curation"] | {"judge": None, "judge_prompt": None}
        for name, speaker in speakers.items():
            files[name] = speaker.files(job.task, job.diversity)
            if isinstance(speaker, Live) and (version := speaker.commit()) is not None:
                kept[f"{name}_commit"] = version
        if job.method.name == "few_shot_cot" and (shown := job.task.demonstrations()) is not None:
            kept["demonstrations"] = shown.text
        return job_hash(kept, files, self.hashes)

    def _checkpoint(self, job: Job) -> tuple[tuple[Path, ...], str | None]:
        """What the student's weights are read from: files, or a commit of the hub's."""
        try:
            return job.student.files(), job.student.commit()
        except InputError as error:
            if "train" in job.stages:
                if not self.dry:
                    raise
                self.lacks.append(str(error))
                self.missing[job.student.name] = str(error)
            return (), None  # a job that only makes training pairs needs no student

    def _once(self, what: str, config: Mapping[str, Any], parts: tuple[str, ...], look: Callable[[], T]) -> T:
        key = what + json.dumps([config[part] for part in parts], sort_keys=True)
        if key not in self._memory:
            self._memory[key] = look()
        found: T = self._memory[key]
        return found


def judge_of(job: Job) -> Live | None:
    """Who judges the job's completions; None where nobody does."""
    if not job.needs_teacher or "curate" not in job.stages or "judge" not in job.curation.filters:
        return None
    judge = job.curation.judge or job.teacher
    assert isinstance(judge, Live)  # the filter's own check
    return judge


def _of_judge(look: Callable[[], object]) -> None:
    """Have a judge checked: its complaints name the keys of a teacher, and its own stand below curation.judge."""
    try:
        look()
    except InputError as error:
        raise InputError(f"curation.judge: {error}") from error


def refuse_secrets(config: Mapping[str, Any]) -> None:
    """Refuse a config that holds the value of a secret environment variable: job.yaml is for everybody's eyes.

    Raises:
        InputError: a value is (or holds) one; it is not repeated.
    """
    known = secrets()
    for key, value in _strings(config, ""):
        for secret, name in known.items():
            if secret in value:
                raise InputError(f"{key} holds the secret of ${name}: leave it out, it is read from the environment")


def _strings(value: Any, path: str) -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, Mapping):
        return [found for name, inner in value.items() for found in _strings(inner, f"{path}.{name}".lstrip("."))]
    if isinstance(value, list | tuple):
        return [found for number, inner in enumerate(value) for found in _strings(inner, f"{path}[{number}]")]
    return []


def check_writable(key: str, folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, without making it.

    Raises:
        InputError: it cannot.
    """
    existing = folder
    while not existing.exists() and existing.parent != existing:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{key}={folder}: {existing} is not a folder")
    try:  # asking for permission would not do: root has it everywhere, /proc takes nothing all the same
        Path(tempfile.mkdtemp(dir=existing, prefix=".ftcot-")).rmdir()
    except OSError as error:
        raise InputError(f"{key}={folder}: {existing} cannot be written to ({error.strerror})") from None


def check_lora(job: Job) -> None:
    """Refuse LoRA where the package that does it is missing.

    Raises:
        InputError: it is.
    """
    if job.method.trains and job.training.lora and importlib.util.find_spec("peft") is None:
        raise InputError("training=lora needs the package peft: pip install 'ftcot[lora]'")


def check_devices(trainer: Mapping[str, Any], devices: Mapping[str, Any]) -> int:
    """How many ranks a job has, on all its machines; refuses one for which this machine has not the GPUs.

    Args:
        trainer: the config's; it has passed `check_trainer`.
        devices: the config's; they have passed `check_settings`.
    Raises:
        InputError: it has none, or too few; or nobody says which of several machines it is.
    """
    accelerator = str(trainer.get("accelerator", "auto"))
    if accelerator in ("gpu", "cuda") and sys.platform == "linux" and not any(Path(s).exists() for s in GPU_SIGNS):
        raise InputError(f"trainer.accelerator={accelerator}: this machine has no GPU; use trainer=auto or trainer=cpu")
    node = here(trainer)
    if uses_gpus(accelerator) and (visible := visible_gpus()):  # empty: there are some that cannot be counted
        chosen = visible if devices["gpus"] == "auto" else tuple(str(gpu) for gpu in devices["gpus"])
        if strangers := [gpu for gpu in chosen if gpu.isdigit() and gpu not in visible]:
            raise InputError(f"devices.gpus={','.join(strangers)}: this machine shows GPU {', '.join(visible)}")
        if node.ranks > len(chosen):
            raise InputError(
                f"trainer.devices={node.ranks}: of this machine's GPUs the job may use {', '.join(chosen)} only "
                "(CUDA_VISIBLE_DEVICES and devices.gpus say which)"
            )
    return node.world
