"""What keeping freed memory does: it is not asked for again, and not kept without bounds."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

SCRIPT = """
import resource, sys
import torch
from ftcot.malloc import keep_freed

def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

told = keep_freed() if sys.argv[1] == "kept" else None
faults(20)
print(told, faults(20))
"""


def told(how: str) -> tuple[str, int]:
    """What `keep_freed` said, and the page faults of making and dropping 64 MiB 20 times, the second time over."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    answer, faults = done.stdout.split()
    return answer, int(faults)


def test_a_tensor_takes_the_memory_of_the_one_before() -> None:
    answer, kept = told("kept")
    _, returned = told("returned")
    if answer == "True":
        assert kept < 0.01 * returned
    else:
        assert sys.platform != "linux" or kept > 0  # another C library: nothing is promised


GAPS = """
import sys
import torch
from ftcot.malloc import keep_freed, resident, tidy

print(keep_freed())
held = []
for step in range(160):
    block = torch.ones((1 << 20) + step * 20_000)  # larger than every gap before it
    held.append(torch.ones(1000))  # behind it, so that it leaves a gap
    del block
    if sys.argv[1] == "tidy":
        tidy()
    if step == 20:
        early = resident()
print(resident() - early)
"""


def test_gaps_that_fit_nothing_are_given_back() -> None:
    """160 blocks of 4 to 17 MB, one at a time."""
    grown = {}
    for how in ("tidy", "as it is"):
        command = [sys.executable, "-c", GAPS, how]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
        answer, grown[how] = done.stdout.split()
        if answer != "True":
            assert sys.platform != "linux"
            return
    assert int(grown["as it is"]) > 1e9
    assert int(grown["tidy"]) < 4e8
