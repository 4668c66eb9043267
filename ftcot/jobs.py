"""What a job is known by, and which folder holds it: job hash, job index and lease.

    CACHE/jobs/5f0c....json
    {"schema": 1, "hash": "5f0c...", "folder": ".../outputs/2026-11-22/10-15-00-ab12", "state": "running",
     "lease": {"pid": 4242, "boot": "9c1d...", "host": "node7", "started": "8812345", "time": 1790000000.0}, ...}

Two commands that would give the same result have the same hash, wherever the data lies and whatever it runs on. The
index says who runs it: only the holder of the lease may write to the folder. The lease needs no renewing. On the same
machine its holder's process is looked up; from another one, the worker's heartbeat (status.json) is what counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ftcot
from ftcot.errors import InputError
from ftcot.files import read_json, write_json
from ftcot.folder import read_status
from ftcot.hashes import FileHashes
from ftcot.procfs import is_alive, start_of
from ftcot.records import SCHEMA
from ftcot.status import boot_id

NOT_RESULTS = frozenset(
    {"until", "dry_run", "reuse", "devices", "nodes", "launcher", "logger", "paths", "budgets", "display", "hydra"}
    | {"allow", "keep", "timeout", "on_error"}
)
"""Keys at the top of the config that do not change a result."""

TRAINER_NOT_RESULTS = frozenset(
    {"accelerator", "devices", "num_nodes", "strategy", "logger", "default_root_dir", "callbacks", "plugins"}
    | {"profiler", "log_every_n_steps", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"}
    | {"checkpoint_minutes"}
)
"""The same under `trainer`: where it runs and what it shows. Precision stays in."""

EVALUATION_NOT_RESULTS = frozenset({"overlap"})
"""The same under `evaluation`."""

TEACHER_NOT_RESULTS = frozenset(
    {"base_url", "key_variable", "listed", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout"}
    | {"stage_timeout", "attempts", "n", "budget_usd", "budget_tokens", "prices", "tokenizer", "context"}
    | {"max_requests", "max_bytes", "max_tokens_enqueued", "poll_seconds", "window", "batch_size", "device"}
    | {"tensor_parallel_size"}
)
"""The same under `teacher`: how its model is reached, and what it may cost."""

HEARTBEAT_LIMIT = 120.0
"""Seconds after which a process on another machine counts as dead."""

ENDED = ("partial", "complete", "failed", "stopped")
"""States in which a worker leaves its folder."""


def job_hash(config: Mapping[str, Any], files: Mapping[str, Sequence[Path]], hashes: FileHashes) -> str:
    """What the job is known by: 64 hex digits.

    Args:
        config: resolved; parts that the job does not use should be left out.
        files: those each part reads; their order counts. A folder stands for all files in it.
    Raises:
        InputError: a file cannot be read.
    """
    read = {part: [file for path in paths for file in _expand(path)] for part, paths in files.items()}
    # Not sorted by name: the training and the test file of a task may be called the same, or change places.
    contents = {part: [[file.name, hashes.sha256(file)] for file in expanded] for part, expanded in read.items()}
    places = {name: str(value) for name, value in config.get("paths", {}).items()}
    known = {file.resolve() for expanded in read.values() for file in expanded}
    known |= {parent for file in known for parent in file.parents}
    kept = {key: _portable(value, places, known) for key, value in config.items() if key not in NOT_RESULTS}
    if isinstance(trainer := kept.get("trainer"), dict):
        kept["trainer"] = {key: value for key, value in trainer.items() if key not in TRAINER_NOT_RESULTS}
    if isinstance(evaluation := kept.get("evaluation"), dict):
        kept["evaluation"] = {key: value for key, value in evaluation.items() if key not in EVALUATION_NOT_RESULTS}
    kept["teacher"] = _what_it_says(kept.get("teacher"))
    if isinstance(curation := kept.get("curation"), dict):
        kept["curation"] = curation | {"judge": _what_it_says(curation.get("judge"))}
    value = {"config": kept, "files": contents, "result_version": ftcot.RESULT_VERSION}
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _what_it_says(teacher: Any) -> Any:
    """A teacher's config without what does not change its words."""
    if not isinstance(teacher, dict):
        return teacher
    return {key: value for key, value in teacher.items() if key not in TEACHER_NOT_RESULTS}


def _expand(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _portable(value: Any, places: Mapping[str, str], known: set[Path]) -> Any:
    """The value with everything taken out that says where files lie, not what is in them."""
    if isinstance(value, Mapping):
        return {str(name): _portable(inner, places, known) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_portable(inner, places, known) for inner in value]
    if not isinstance(value, str):
        return value
    # First, as the cache may or may not hold the data.
    for name, place in places.items():
        if value == place:
            return f"<{name}>"
    if value.startswith(os.sep) and Path(value).resolve() in known:  # its contents are hashed, so its name is not
        return "<contents>"
    # The longest first: the data may lie inside the cache.
    for name, place in sorted(places.items(), key=lambda item: -len(item[1])):
        if value.startswith(place + os.sep):
            return f"<{name}>{value[len(place) :]}"
    return value


@dataclass(frozen=True)
class Lease:
    """Who runs a job."""

    pid: int
    boot: str
    host: str
    started: str
    """When the process began, in the kernel's words: tells it from a later one of the same number."""
    time: float

    @classmethod
    def mine(cls) -> Lease:
        """A lease for this process."""
        return cls(os.getpid(), boot_id(), socket.gethostname(), start_of(os.getpid()), time.time())

    @property
    def here(self) -> bool:
        """Whether its process can be looked up: same machine, not started anew since."""
        return self.host == socket.gethostname() and self.boot == boot_id()

    @property
    def from_before_the_boot(self) -> bool:
        """Whether its machine is this one, started anew since. Another container on it has the same boot."""
        if self.host in ("", "localhost") or self.host != socket.gethostname():  # a name that any machine may have
            return False
        return self.boot.partition("/")[0] != boot_id().partition("/")[0]


@dataclass(frozen=True)
class Runner:
    """Who is running a job now."""

    words: str
    leaving: bool = False
    """Its launcher is gone; the worker ends within seconds."""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Entry:
    """One job of the index."""

    hash: str
    folder: Path
    state: str
    lease: Lease | None

    def runner(self) -> Runner | None:
        """Who is running the job now; None if nobody is."""
        lease = self.lease
        if lease is None or lease.from_before_the_boot:
            return None
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease.time))
        worker = read_status(self.folder)
        heartbeat = float(worker.get("heartbeat") or 0.0)
        if not lease.here:
            if worker.get("state") in ENDED and heartbeat > lease.time:
                return None  # its worker has come and gone: the machine was taken away, perhaps
            alive = time.time() - max(lease.time, heartbeat) < HEARTBEAT_LIMIT
            return Runner(f"since {since} on {lease.host}") if alive else None
        if is_alive(lease.pid, lease.started):
            return Runner(f"since {since}, pid {lease.pid}")
        pid = worker.get("pid")
        if (
            worker.get("state") == "running"
            and worker.get("boot") == lease.boot
            and time.time() - heartbeat < HEARTBEAT_LIMIT
            and isinstance(pid, int)
            and is_alive(pid, None)
        ):
            return Runner(f"since {since}, worker pid {pid}", leaving=True)
        return None


class JobIndex:
    """`paths.cache/jobs`. Nothing is created before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, job: str) -> Entry | None:
        """The job's entry; None where there is none, or it is damaged (the job is then run anew)."""
        try:
            row = read_json(self.root / f"{job}.json")
            lease = row["lease"]
            return Entry(row["hash"], Path(row["folder"]), row["state"], None if lease is None else Lease(**lease))
        except (InputError, KeyError, TypeError):
            return None

    def write(self, job: str, folder: Path, state: str, lease: Lease | None) -> None:
        """Set the job's entry, durably."""
        row = {"schema": SCHEMA, "hash": job, "folder": str(folder), "state": state, "time": time.time()}
        write_json(self.root / f"{job}.json", row | {"lease": None if lease is None else asdict(lease)})

    def forget(self, job: str) -> None:
        """Remove the job's entry."""
        (self.root / f"{job}.json").unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the index for the moment it takes to look and to write."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
