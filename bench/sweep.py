"""Whole commands, from the first word to the last process: `python -m bench.sweep --against FOLDER [--rounds 3]`.

    bare      python -m ftcot.run
    figure    python -m ftcot.run -m figure=mini/diversity        (--figure WORD ... for another one, or a part of it)

Each runs in a folder and with a cache of its own, this version and the one in FOLDER in turn; the ratios are those of
medians. CPU seconds are those of the command and of everything it started, what outlived it included.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from bench.overhead import about

ROOT = Path(__file__).resolve().parent.parent


def run(root: Path, folder: Path, words: Sequence[str]) -> tuple[float, float]:
    """Run the command of the version in `root` in a new folder; returns its wall time and CPU seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "FTCOT_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    before = _cpu()
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ftcot.run", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{root}: ftcot.run {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    with suppress(ChildProcessError):  # none is left
        while True:
            os.wait()
    return wall, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, required=True, help="a folder with another version of the repository")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--figure", nargs="*", default=["figure=mini/diversity"], help="words of the sweep; none: no sweep"
    )
    parser.add_argument("--bare", nargs="*", default=[], help="words of the single job")
    given = parser.parse_args()
    print(about())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what outlives the command comes to us
    roots = {"here": ROOT, "against": given.against.resolve()}
    commands = {"bare": list(given.bare)} | ({"figure": ["-m", *given.figure]} if given.figure else {})
    figures: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="ftcot-bench-") as scratch:
        for number in range(given.rounds):
            for what, words in commands.items():
                for name, root in roots.items():
                    wall, cpu = run(root, Path(scratch) / "run", words)
                    figures.setdefault((what, name), []).append((wall, cpu))
                    print(f"  round {number + 1}: {what}, {name}: {wall:.1f} s, {cpu:.1f} CPU s", flush=True)
    print("\n| command | figure | here | against | against / here |\n|---|---|---|---|---|")
    for what, words in commands.items():
        for which, kind in enumerate(("seconds", "CPU seconds")):
            here, against = (median(pair[which] for pair in figures[what, name]) for name in roots)
            print(f"| ftcot.run {' '.join(words)} | {kind} | {here:.1f} | {against:.1f} | {against / here:.2f} |")


if __name__ == "__main__":
    main()
