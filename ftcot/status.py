"""The state of a run folder, as `status.json`.

    {"schema": 1, "state": "running", "hash": "5f0c...", "stage": "train", "stages": ["teach", "curate"],
     "pid": 4242, "boot": "9c1d...", "host": "node7", "heartbeat": 1790000000.0, "counts": {"examples": 323},
     "seconds": {"teach": 1.2, "train": 840.1}, "device_seconds": 1680.2, ...}

Written whole or not at all, by one process at a time: the launcher until the worker runs, then the worker.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import ftcot
from ftcot.files import read_json, write_json
from ftcot.records import SCHEMA

State = Literal["frozen", "running", "partial", "complete", "failed", "stopped"]
"""frozen: not started; partial: everything up to `until` is done; stopped: asked to stop, can go on."""

Stage = Literal["teach", "curate", "train", "evaluate"]
STAGES: tuple[Stage, ...] = ("teach", "curate", "train", "evaluate")

COMPUTING: tuple[Stage, ...] = ("train", "evaluate")
"""The stages that every device of the job is busy in."""

PACKAGES = ("torch", "transformers", "tokenizers", "pytorch-lightning")
"""Those whose versions may change a result."""


class Status:
    """`status.json` of one run folder. Safe to use from several threads."""

    def __init__(self, folder: Path, *, devices: int = 1, writes: bool = True) -> None:
        """The status that `folder` holds.

        Args:
            devices: that the job computes on.
            writes: False for a rank that leaves writing to the first one: what it sets, it alone knows.
        """
        self.path = folder / "status.json"
        self.devices, self.writes = devices, writes
        self._lock = threading.RLock()
        self._values: dict[str, Any] = read_json(self.path) if self.path.exists() else {"schema": SCHEMA}
        self._stage: Stage | None = None
        self._counted_to = 0.0

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that are done, in order."""
        return tuple(self._values.get("stages", ()))

    def update(self, **values: Any) -> None:
        """Set these values and write the file."""
        with self._lock:
            self._count_time()
            self._values.update(values)
            if self.writes:
                write_json(self.path, self._values)

    def count(self, values: Mapping[str, Any]) -> None:
        """Add to `counts`."""
        with self._lock:
            self.update(counts=self.get("counts", {}) | dict(values))

    def begin(self, stage: Stage) -> None:
        """Start a stage. Its seconds add to those of earlier attempts, and go up with everything that is written here:
        of an attempt that is killed they count up to the last heartbeat."""
        with self._lock:
            self._stage, self._counted_to = stage, time.monotonic()
            self.update(stage=stage)

    def finish(self, stage: Stage) -> None:
        """Mark a stage as done."""
        with self._lock:
            self.update(stages=[*self.stages, stage])
            self._stage = None

    def _count_time(self) -> None:
        """Add the time since the last count to the running stage."""
        if self._stage is None:
            return
        now = time.monotonic()
        passed, self._counted_to = now - self._counted_to, now
        seconds = dict(self.get("seconds", {}))
        seconds[self._stage] = round(seconds.get(self._stage, 0.0) + passed, 3)
        self._values["seconds"] = seconds
        if self._stage in COMPUTING:
            self._values["device_seconds"] = round(self.get("device_seconds", 0.0) + passed * self.devices, 3)

    def claim(self) -> None:
        """This process runs the job from now on."""
        versions = {"ftcot": ftcot.__version__, "python": platform.python_version()}
        versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
        self.update(
            state="running",
            pid=os.getpid(),
            boot=boot_id(),
            host=socket.gethostname(),
            cause=None,
            versions=versions,
            heartbeat=time.time(),
        )

    def beat(self) -> None:
        """Say that the process is alive."""
        self.update(heartbeat=time.time())


def boot_id() -> str:
    """Where a process number means what it means here: `BOOT/NAMESPACE`; empty where the system does not tell.

    The first part changes when this machine starts anew, the second tells containers on it apart.
    """
    path = Path("/proc/sys/kernel/random/boot_id")
    if not path.exists():
        return ""
    return f"{path.read_text().strip()}/{Path('/proc/self/ns/pid').stat().st_ino}"
