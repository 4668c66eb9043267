"""One process of the pool: a pair of answers a line comes in, a verdict a line goes out.

    ["39", " \\\\boxed{39}"]    ->    "equal"

Run by its path, as a program of its own: it imports math-verify and nothing of ftcot, so it starts in a moment, has no
torch in it, and nothing of the job's process is copied into it.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import sys
from contextlib import suppress

MEMORY = 4 * 1024**3
"""Bytes of address space; beyond them sympy gets a MemoryError, not the machine."""

SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG."""


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the job decides when it ends
    if sys.platform == "linux":  # or it would go on with a hard item after its job is gone
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most), most))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no verdict
    from math_verify import parse, verify

    logging.disable()

    def read(text: str) -> list[object]:
        # No time-outs of its own: they need SIGALRM, which C code does not see. The pool kills what takes too long.
        found: list[object] = parse(text, parsing_timeout=None)
        if not found and "\\" in text:  # LaTeX outside of dollar signs
            found = parse(f"${text}$", parsing_timeout=None)
        return found

    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        gold, said = json.loads(line)
        try:
            parsed = read(said)
            verdict = "nothing"
            if parsed:
                verdict = "equal" if verify(read(gold), parsed, timeout_seconds=None) else "different"
        except Exception:
            verdict = "failed"
        print(json.dumps(verdict), file=answers, flush=True)


if __name__ == "__main__":
    main()
