"""Which part of a machine a job may use: GPUs, or a share of the CPU cores.

    with slot(config["devices"], side_by_side=2, needed=1, accelerator="gpu") as mine:
        Slot(environment={"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "8"}, ...)

A slot is a lock on files in a folder of this user on this machine, so that two sweeps share out its GPUs as one does.
The kernel gives it back when its holders are gone: the launcher, and the worker, which may live a moment longer. Where
jobs share a GPU, the file that a job holds says which part of the GPU is its own:

    gpu-0-0  "0.25"     gpu-0-1  "0.5"      a third job may come that needs a quarter at most

Nothing here imports torch: a launcher that has touched CUDA must not fork.
"""

from __future__ import annotations

import fcntl
import itertools
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

MOST = 8
"""Jobs that `devices.jobs_per_gpu=auto` lets share a GPU at most: beyond that they only slow each other down."""

CORES = 2
"""CPU cores that a job on a GPU keeps busy: its own thread and those of libraries."""

USABLE = 0.92
"""Part of a GPU's memory that jobs may share out: the rest is the driver's, and what falls between blocks."""


@dataclass(frozen=True)
class Slot:
    """A job's share of this machine."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS: set for its worker."""
    cores: frozenset[int] = frozenset()
    """The CPU cores its worker keeps to; empty: any."""
    handles: tuple[int, ...] = ()
    """Open files that hold the locks; the worker inherits them."""
    shared: bool = False
    """Other jobs may be on its GPU."""


@dataclass(frozen=True)
class Memory:
    """Of a GPU, in bytes."""

    total: int
    free: int


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


def gpu_memory() -> dict[str, Memory]:
    """The memory of this machine's GPUs, by number and by UUID; empty where nvidia-smi does not tell."""
    asked = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]
    found: dict[str, Memory] = {}
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        lines = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
        for line in lines:
            number, uuid, total, free = (word.strip() for word in line.split(","))
            found[number] = found[uuid] = Memory(int(total) * 2**20, int(free) * 2**20)
    return found


def gpu_share(settings: Mapping[str, Any], footprint: int | None, gpus: Sequence[str], needed: int = 1) -> float:
    """Which part of a GPU a job takes: 1 where it has it alone.

    Args:
        settings: `devices` of the config.
        footprint: bytes that the job needs at most; None: not known. Only `jobs_per_gpu=auto` looks at it.
        gpus: those that the job may get.
        needed: how many of them it takes. Jobs on several share none with `auto`: all would wait for the slowest.
    """
    if (count := settings.get("jobs_per_gpu", 1)) != "auto":
        return 1 / int(count)
    if footprint is None or needed > 1:
        return 1.0
    known = gpu_memory()
    if not gpus or not all(gpu in known for gpu in gpus):
        return 1.0  # a part of one (MIG), or not of NVIDIA's
    threads = settings.get("threads", "auto")
    cores = max(CORES, int(threads)) if threads != "auto" else CORES
    most = max(1, min(MOST, len(own_cores()) // cores // len(gpus)))
    return min(1.0, max(footprint / (USABLE * min(known[gpu].total for gpu in gpus)), 1 / most))


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
    footprint: Callable[[], int | None] = lambda: None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Slot]:
    """Hold what one job may use, as long as it is held; waits for GPUs that other jobs use.

    Args:
        settings: `devices` of the config.
        side_by_side: jobs that share this machine.
        needed: ranks of the job on this machine.
        accelerator: `trainer.accelerator`.
        footprint: asked where the job may share a GPU: bytes of its memory that the job needs at most, if it is known.
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
            bytes_needed = footprint() if settings.get("jobs_per_gpu", 1) == "auto" else None
            part = gpu_share(settings, bytes_needed, ids, needed)
            taken = locks.take_gpus(ids, needed, part, bytes_needed, stop)
            visible = {"CUDA_VISIBLE_DEVICES": ",".join(taken)}
            yield Slot(environment | visible, handles=locks.handles, shared=part < 1)
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
        self,
        ids: Sequence[str],
        needed: int,
        share: float,
        bytes_needed: int | None,
        stop: Callable[[], bool] | None,
    ) -> list[str]:
        """A share of as many GPUs as are needed, the emptiest first; all or none: two jobs that each hold half would
        wait for ever.

        Args:
            bytes_needed: that must be free on a GPU that others are on; None: it is not looked.
        """
        while stop is None or not stop():
            with self._alone():
                taken = {gpu: self._taken(gpu) for gpu in ids}
                free = [gpu for gpu in sorted(ids, key=taken.__getitem__) if taken[gpu] + share < 1 + 1e-6]
                if bytes_needed is not None and any(taken[gpu] for gpu in free):
                    known = gpu_memory()
                    free = [g for g in free if not taken[g] or (g in known and known[g].free >= bytes_needed)]
                if len(free) >= needed:
                    mine = [gpu for gpu in ids if gpu in free[:needed]]
                    for gpu in mine:
                        self._take_share(gpu, share)
                    return mine
            time.sleep(POLL)
        return []

    def take_cores(self, cores: Sequence[int], share: int) -> list[int]:
        """As many cores as that which nobody else holds; none where there are not so many."""
        with self._alone():
            taken: list[int] = []
            for core in cores:
                if len(taken) < share and self._take(f"core-{core}"):
                    taken.append(core)
            if len(taken) == share:
                return taken
            self._give_back()
            return []

    def _taken(self, gpu: str) -> float:
        """The sum of the shares of a GPU that are held."""
        total, name = 0.0, _file(f"gpu-{gpu}")
        for path in (found for found in self.folder.glob(f"{name}-*") if found.name.rpartition("-")[0] == name):
            with path.open("r") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go as it is closed
                except BlockingIOError:
                    total += float(file.read() or 1)
        return total

    def _take_share(self, gpu: str, share: float) -> None:
        next(number for number in itertools.count() if self._take(f"gpu-{gpu}-{number}"))
        os.ftruncate(self.handles[-1], 0)
        os.write(self.handles[-1], str(share).encode())

    def _take(self, name: str) -> bool:
        handle = os.open(self.folder / _file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self.handles += (handle,)
        return True

    def _give_back(self) -> None:
        for handle in self.handles:
            os.close(handle)
        self.handles = ()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process looks for slots at a time."""
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _file(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)
