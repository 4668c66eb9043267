"""Memory that is freed is kept for the next tensor, within bounds.

The C library gives large blocks back to the system when they are freed, and the system clears them before it hands them
out again: 100 MiB are 25,600 page faults. A training step frees and takes the same blocks over and over. Told to keep
them, steps of GPT-2 took 0.76 to 0.98 of the CPU time, and as much memory at their peak (bench/RESULTS.md).

But blocks of ever other sizes leave gaps that fit nothing, and what is kept grows without end: GPT-2-small in 16 bits
from 6 to 14 GiB. So `tidy`, which steps call, gives what is free back once it is much more than a step needs.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

GROWTH = 1.3
"""How many times the memory of a step may be held before what is free is given back."""

SELDOM = 8
"""Steps between looks."""

STATM = Path("/proc/self/statm")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of mallopt(3)."""


def keep_freed() -> bool:
    """Tell the C library of this process so; whether it is one that can be told (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # No block comes from the system by itself, and what the rest come from never shrinks.
    kept = bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
    _kept.active = kept and STATM.exists()
    return kept


def tidy() -> None:
    """Give back what is free if it has become much; a step is over. Costs nothing where nothing is kept."""
    _kept.step()


class Kept:
    """What this process holds, looked at every few steps."""

    def __init__(self) -> None:
        self.active = False
        self.n_steps = 0
        self.needed: int | None = None
        """Bytes that were held some steps after all that was free was given back; None: to be seen."""

    def step(self) -> None:
        """One more is over."""
        if not self.active:
            return
        self.n_steps += 1
        if self.n_steps % SELDOM:
            return
        held = resident()
        if self.needed is None:
            self.needed = held
        elif held > GROWTH * self.needed:
            ctypes.CDLL(None).malloc_trim(0)
            self.needed = None


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


_kept = Kept()
