"""What a job computes on, in words that are the same whoever says them: the launcher before, the worker in its status.

    "1 thread of Intel(R) Xeon(R) Processor"      "NVIDIA H100 80GB HBM3"      "4 x NVIDIA H100 80GB HBM3"

Speeds are known by them. No torch here, so the words name what is asked for: a GPU that torch was not built for, too.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from ftcot.devices import own_cores, uses_gpus

UNKNOWN_GPU = "GPU"


def describe(trainer: Mapping[str, Any], ranks: int, threads: int | str | None = None) -> str:
    """What a job of this `trainer` computes on here.

    Args:
        ranks: its processes, on all machines.
        threads: of each, as OMP_NUM_THREADS says them to it; None: what it says to this process.
    """
    if uses_gpus(str(trainer.get("accelerator", "auto"))):
        name = _gpu()
    else:
        said = os.environ.get("OMP_NUM_THREADS", "") if threads is None else str(threads)
        n = int(said) if said.isdigit() else len(own_cores())
        name = f"{n} thread{'s' * (n > 1)} of {_cpu()}"
    return name if ranks == 1 else f"{ranks} x {name}"


@cache
def _gpu() -> str:
    """Of a machine with several kinds, the first one."""
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        if found := re.search(r"^Model:\s*(.+?)\s*$", file.read_text(errors="replace"), re.MULTILINE):
            return found[1]
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        lines = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
        if lines:
            return lines[0].strip()
    return UNKNOWN_GPU


@cache
def _cpu() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+?)\s*$", text, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine() or "CPU"
