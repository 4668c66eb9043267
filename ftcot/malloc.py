"""Memory that is freed is kept for the next tensor.

The C library gives large blocks back to the system when they are freed, and the system clears them before it hands them
out again: 100 MiB are 25,600 page faults. A training step frees and takes the same blocks over and over. Told to keep
them, steps of GPT-2 took 0.76 to 0.98 of the CPU time, and as much memory at their peak (bench/RESULTS.md).
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of mallopt(3)."""


def keep_freed() -> bool:
    """Tell the C library of this process so; whether it is one that can be told (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # No block comes from the system by itself, and what the rest come from never shrinks.
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
