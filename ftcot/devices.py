"""Which part of a machine a job may use: GPUs, or a share of the CPU cores.

    with slot(config["devices"], side_by_side=2, needed=1, accelerator="gpu") as mine:
        Slot(environment={"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "8"}, ...)

A slot is a lock on files in a folder of this user on this machine, so that two sweeps share out its GPUs as one does.
The kernel gives it back when its holders are gone: the launcher, and the worker, which may live a moment longer.
Nothing here imports torch: a launcher that has touched CUDA must not fork.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ftcot.errors import InputError, JobError

POLL = 0.25
"""Seconds between two looks for a free GPU."""


@dataclass(frozen=True)
class Slot:
    """A job's share of this machine."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS: set for its worker."""
    cores: frozenset[int] = frozenset()
    """The CPU cores its worker keeps to; empty: any."""
    handles: tuple[int, ...] = ()
    """Open files that hold the locks; the worker inherits them."""


def visible_gpus() -> tuple[str, ...]:
    """Ids of the GPUs that a job here could use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(word for word in chosen.replace(" ", "").split(",") if word not in ("", "-1", "NoDevFiles"))
    return tuple(str(number) for number in range(_n_gpus()))


@cache
def _n_gpus() -> int:
    listed = Path("/proc/driver/nvidia/gpus")
    if listed.is_dir():
        # A container is shown all of them there, but given the device files of its own only.
        return min(len(list(listed.iterdir())), len(list(Path("/dev").glob("nvidia[0-9]*"))))
    with suppress(OSError, subprocess.SubprocessError):
        lines = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
        return len(re.findall(r"^GPU \d+:", lines, re.MULTILINE))
    return 0


def own_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def uses_gpus(accelerator: str) -> bool:
    """Whether a job with this `trainer.accelerator` runs on GPUs here."""
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and bool(visible_gpus()))


def ranks_here(trainer: Mapping[str, Any]) -> int:
    """Ranks of a job on each machine: `trainer.devices`, with `auto` counted.

    Raises:
        InputError: it is no number of devices.
    """
    devices = trainer.get("devices", 1)
    if devices == "auto":
        return max(1, len(visible_gpus())) if uses_gpus(str(trainer.get("accelerator", "auto"))) else 1
    count = len(devices) if isinstance(devices, Sequence) and not isinstance(devices, str) else int(devices)
    if count < 1:
        raise InputError(f"trainer.devices={devices}: expected 1 or more, a list of devices, or auto")
    return count


@contextmanager
def slot(
    settings: Mapping[str, Any],
    *,
    side_by_side: int = 1,
    needed: int = 1,
    accelerator: str = "auto",
    stop: Callable[[], bool] | None = None,
) -> Iterator[Slot]:
    """Hold what one job may use, as long as it is held; waits for GPUs that other jobs use.

    Args:
        settings: `devices` of the config.
        side_by_side: jobs that share this machine.
        needed: ranks of the job on this machine.
        accelerator: `trainer.accelerator`.
        stop: asked while waiting; once true, the slot is empty and the job not to be started.
    Raises:
        InputError: there are not as many GPUs.
    """
    cores = own_cores()
    share = max(1, len(cores) // max(1, side_by_side))
    environment = {"OMP_NUM_THREADS": str(n_threads(settings, side_by_side, needed))}
    with _Locks() as locks:
        gpus = settings.get("gpus", "auto")
        ids = visible_gpus() if gpus == "auto" else tuple(str(gpu) for gpu in gpus)
        if uses_gpus(accelerator) and ids:  # none: there are some that cannot be counted (AMD, WSL), nor shared out
            if needed > len(ids):
                raise InputError(f"trainer.devices={needed}: this machine shows {len(ids)} GPUs; see devices.gpus")
            taken = locks.take_gpus(ids, needed, int(settings.get("jobs_per_gpu", 1)), stop)
            yield Slot({**environment, "CUDA_VISIBLE_DEVICES": ",".join(taken)}, handles=locks.handles)
        else:
            # Where another sweep has the cores, the job runs all the same: slower, not never.
            own = locks.take_cores(cores, share) if share < len(cores) else ()
            yield Slot(environment, frozenset(own), locks.handles)


def n_threads(settings: Mapping[str, Any], side_by_side: int, needed: int) -> int:
    """CPU threads of each rank of a job that shares this machine; the arguments are those of `slot`."""
    if (threads := settings.get("threads", "auto")) != "auto":
        return int(threads)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = max(1, len(own_cores()) // max(1, side_by_side) // needed)
    return min(threads, int(limit)) if limit.isdigit() and int(limit) else threads


class _Locks:
    """Locks on files in this user's folder; given back together."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.gettempdir()) / f"ftcot-slots-{os.getuid()}"
        self.handles: tuple[int, ...] = ()

    def __enter__(self) -> _Locks:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise JobError(f"{self.folder}: cannot be made ({error.strerror}); set TMPDIR") from error
        return self

    def __exit__(self, *error: object) -> None:
        self._give_back()

    def take_gpus(
        self, ids: Sequence[str], needed: int, jobs_per_gpu: int, stop: Callable[[], bool] | None
    ) -> list[str]:
        """All that are needed or none: two jobs that each hold half would wait for ever."""
        while stop is None or not stop():
            taken: list[str] = []
            with self._alone():
                for number in range(jobs_per_gpu):  # the emptiest first
                    for gpu in ids:
                        if len(taken) < needed and gpu not in taken and self._take_gpu(gpu, number, jobs_per_gpu):
                            taken.append(gpu)
                if len(taken) == needed:
                    return taken
                self._give_back()
            time.sleep(POLL)
        return []

    def take_cores(self, cores: Sequence[int], share: int) -> list[int]:
        """As many cores as that which nobody else holds; none where there are not so many."""
        with self._alone():
            taken: list[int] = []
            for core in cores:
                if len(taken) < share and self._take(f"core-{core}", fcntl.LOCK_EX):
                    taken.append(core)
            if len(taken) == share:
                return taken
            self._give_back()
            return []

    def _take_gpu(self, gpu: str, number: int, jobs_per_gpu: int) -> bool:
        # The GPU itself is held alone, or together with those who share it too; among these each has its number.
        before = self.handles
        if self._take(f"gpu-{gpu}", fcntl.LOCK_EX if jobs_per_gpu == 1 else fcntl.LOCK_SH):
            if self._take(f"gpu-{gpu}-{number}", fcntl.LOCK_EX):
                return True
            self._give_back(keep=before)
        return False

    def _take(self, name: str, kind: int) -> bool:
        handle = os.open(self.folder / re.sub(r"[^\w.-]", "_", name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self.handles += (handle,)
        return True

    def _give_back(self, keep: tuple[int, ...] = ()) -> None:
        for handle in self.handles:
            if handle not in keep:
                os.close(handle)
        self.handles = keep

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process looks for slots at a time."""
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
