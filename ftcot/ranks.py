"""The ranks of a job: which one this process is, and how it reaches the others.

    RANK=1 LOCAL_RANK=1 WORLD_SIZE=2 ...     Ranks(rank=1, world=2, local=1, local_world=2)
    nothing of it is set                     Ranks()

torchrun starts the ranks and says which is which. A rank on its own needs no torch for any of this: it waits for
nobody, and what it gathers is what it has.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long ranks wait for each other. The first may teach, or write to a slow disk, for as long as it takes; it is a
rank's end, not the time, that ends the others."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that run the job."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Among the ranks on this machine."""
    local_world: int = 1

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """What torchrun says; one rank where nobody says anything."""
        if "RANK" not in environment:
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(environment[name]) for name in names))

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def start(self, *, cuda: bool) -> None:
        """Meet the other ranks.

        Args:
            cuda: they compute on GPUs. What is not a tensor of a GPU goes by gloo all the same.
        """
        if self.alone:
            return
        import torch
        import torch.distributed as dist

        device = torch.device("cuda", self.local) if cuda else None
        if device is not None:
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE, device_id=device)

    def end(self) -> None:
        """Part from the other ranks, when all is done."""
        if not self.alone:
            import torch.distributed as dist

            dist.destroy_process_group()

    def wait(self) -> None:
        """Until every rank is here. A signal is heeded meanwhile.

        Raises:
            RuntimeError: another rank is gone.
        """
        if self.alone:
            return
        import torch
        import torch.distributed as dist

        work = dist.all_reduce(torch.zeros(1), async_op=True)
        while not work.is_completed():
            time.sleep(0.01)
        work.wait()

    def gather(self, value: T) -> list[T]:
        """What every rank has, by rank, on every rank."""
        if self.alone:
            return [value]
        import torch.distributed as dist

        self.wait()  # in what follows, a signal would have to wait
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def share(self, value: T) -> T:
        """What the first rank has, on every rank."""
        if self.alone:
            return value
        import torch.distributed as dist

        self.wait()
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the ranks; exact for whole numbers."""
        if self.alone:
            return list(values)
        import torch
        import torch.distributed as dist

        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total]


def is_peer_gone(error: BaseException) -> bool:
    """Whether the error only tells that another rank has ended: the cause is to be looked for there."""
    if "torch" not in sys.modules:
        return False
    import torch.distributed as dist

    return any(
        isinstance(link, dist.DistError) or (isinstance(link, RuntimeError) and "gloo" in str(link))
        for link in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
