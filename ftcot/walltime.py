"""Until when several jobs are done: how many run at a time, and what that makes of their costs.

[Cost(seconds=4120), Cost(seconds=3990), Cost(seconds=4070)], two at a time     8192 s
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from ftcot.costs import Cost, Sharing
from ftcot.devices import gpu_share, ranks_here, uses_gpus, visible_gpus
from ftcot.footprint import footprint

BETWEEN = 1.5
"""Seconds from one job's end to the next one's first stage: a process starts."""


def at_once(costs: Sequence[Cost], sharing: Sharing) -> int | None:
    """How many of these jobs run at a time; None: as a cluster has room."""
    if sharing.side_by_side is None or not costs:
        return sharing.side_by_side
    config = costs[0].job.checked.config
    trainer, devices = config["trainer"], config["devices"]
    n = sharing.side_by_side
    if uses_gpus(str(trainer.get("accelerator", "auto"))):
        gpus = visible_gpus() if devices["gpus"] == "auto" else devices["gpus"]
        needed = ranks_here(trainer)
        largest = _largest(costs) if devices["jobs_per_gpu"] == "auto" else None
        share = gpu_share(devices, largest, [str(gpu) for gpu in gpus], needed)
        n = min(n, max(1, len(gpus) * int(1 / share + 1e-6) // needed))
    return n


def _largest(costs: Sequence[Cost]) -> int | None:
    """What the largest of these jobs takes of a GPU's memory; None where that of one is not known."""
    sizes = [footprint(cost.job.checked.job) for cost in costs]
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None


def wall(costs: Sequence[Cost], n: int) -> float:
    """Seconds until all are done, `n` at a time, each as soon as there is room."""
    free = [0.0] * n
    for cost in costs:
        if cost.seconds:
            heapq.heapreplace(free, free[0] + cost.seconds + BETWEEN)
    return max(free)
