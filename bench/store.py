"""What the completion store does at a million completions: python -m bench.store [--lines 1000000] [--folder FOLDER]

    append       durable completions a second, in groups, each group on disk before the next
    open         a new process opens the store and selects the first 8 of 64 draws of every sample
                 with the indexes, without them (all made anew and saved), and the old way: parsing every line
    merge        all segments into one

Completions are of about 1 KB, all of one teacher and task; the store is made in FOLDER and deleted afterwards. Each
way of opening runs in a process of its own, which gives its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftcot.records import Completion
from ftcot.teacher.store import CompletionStore, Paid

PARAMETERS = {"model": "davinci", "temperature": 0.7, "max_tokens": 128}
DRAWS, DEGREE = 64, 8
GROUPS = (1, 100, 500)
"""Completions in one `put`."""

ROOT = Path(__file__).resolve().parent.parent


def prompt(sample: int) -> str:
    """About 300 letters."""
    return (
        f"Q: Question {sample}. " + "For Halloween Debby and her sister combined their candy. " * 5 + "\nA: Let's think"
    )


def completion(sample: int, draw: int) -> Completion:
    """About 1 KB of JSON, with its key."""
    return Completion(
        task="multiarith",
        version=1,
        sample_index=sample,
        draw=draw,
        prompt=prompt(sample),
        rationale=f" {sample} and {draw}: " + "Debby had 32 pieces and her sister had 42. " * 4,
        answer_prompt="\nTherefore, the answer (arabic numerals) is",
        answer_text=" 39.",
        finish_reason="stop",
        usage={"prompt": 61, "completion": 97},
        teacher={"name": "davinci", "model": "davinci", "temperature": 0.7},
        cost_usd=0.00316,
    )


def fill(store: CompletionStore, lines: int, segments: int) -> None:
    """Put completions, sample by sample, into so many segments."""
    paid = [Paid(61, 97, 0.00316)] * DRAWS
    samples = lines // DRAWS
    for number in range(segments):
        writer = CompletionStore(store.root)
        for first in range(samples * number // segments, samples * (number + 1) // segments, 8):
            last = min(first + 8, samples * (number + 1) // segments)
            rows = [completion(sample, draw) for sample in range(first, last) for draw in range(DRAWS)]
            writer.put("davinci", PARAMETERS, rows, paid * (last - first))


def appending(folder: Path) -> dict[str, float]:
    """Durable completions a second, by the size of the group."""
    rates = {}
    for size in GROUPS:
        rows = [completion(sample, draw) for sample in range(max(1, size // DRAWS + 1)) for draw in range(DRAWS)][:size]
        paid = [Paid(61, 97, 0.00316)] * size
        store = CompletionStore(folder / f"append-{size}")
        store.put("davinci", PARAMETERS, rows, paid)
        n, began = 0, time.perf_counter()
        while time.perf_counter() - began < 5:
            store.put("davinci", PARAMETERS, rows, paid)
            n += size
        rates[f"in groups of {size}"] = n / (time.perf_counter() - began)
    return rates


def select(root: Path, samples: int) -> dict[str, float]:
    """Seconds to open the store and select, and of the other calls that follow."""
    prompts = {("multiarith", 1, sample): prompt(sample) for sample in range(samples)}
    seconds = {}
    began, cpu = time.perf_counter(), time.process_time()
    store = CompletionStore(root)
    found = store.get("davinci", PARAMETERS, prompts, DEGREE)
    seconds["open and select"] = time.perf_counter() - began
    seconds["of CPU"] = time.process_time() - cpu
    assert len(found) == samples * DEGREE
    began = time.perf_counter()
    assert len(store.has("davinci", PARAMETERS, prompts, DRAWS)) == samples * DRAWS
    seconds["has, all of them"] = time.perf_counter() - began
    began = time.perf_counter()
    chunk = dict(list(prompts.items())[:100])
    assert len(store.has("davinci", PARAMETERS, chunk, DRAWS)) == len(chunk) * DRAWS
    seconds["has, 100 samples"] = time.perf_counter() - began
    began = time.perf_counter()
    spent = store.spent("davinci", 0.0)
    seconds["spent"] = time.perf_counter() - began
    assert spent.prompt == 61 * samples * DRAWS
    return seconds


def parse_everything(root: Path, samples: int) -> dict[str, float]:
    """The old way: every line of every segment is parsed, and the first of each key kept."""
    began, cpu = time.perf_counter(), time.process_time()
    first: dict[Any, tuple[str, Completion]] = {}
    for row in CompletionStore(root).scan("davinci", "multiarith"):
        if row.key not in first or row.stored < first[row.key][0]:
            first[row.key] = (row.stored, row.completion)
    found = {key: value for key, value in first.items() if key.draw is not None and key.draw < DEGREE}
    assert len(found) == samples * DEGREE
    return {"open and select": time.perf_counter() - began, "of CPU": time.process_time() - cpu}


def in_process(way: str, root: Path, samples: int) -> dict[str, float]:
    """What a way of opening gives, run in a process of its own."""
    command = [sys.executable, "-m", "bench.store", "--way", way, "--folder", str(root), "--lines", str(samples)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def report(title: str, seconds: dict[str, float]) -> None:
    print(f"{title:<34}" + "   ".join(f"{name} {value:,.3f}" for name, value in seconds.items()), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to make the store; needs about 3 KB a line")
    parser.add_argument("--way", choices=("select", "parse"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way:
        seconds = {"select": select, "parse": parse_everything}[options.way](options.folder, options.lines)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(seconds | {"GiB": peak}))
        return
    print(f"{options.lines:,} completions, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        report("append, completions a second:", appending(folder))
        samples = options.lines // DRAWS
        for segments in (8, 1):
            store = CompletionStore(folder / "store")
            began = time.perf_counter()
            fill(store, options.lines, segments)
            size = sum(path.stat().st_size for path in store.root.rglob("*.jsonl"))
            words = f"{segments} segment{'s' * (segments > 1)}"
            report(words, {"made in": time.perf_counter() - began, "GB": size / 1e9})
            old = in_process("parse", store.root, samples)
            report(f"{words}, every line parsed", old)
            report(f"{words}, no index yet", in_process("select", store.root, samples))
            new = in_process("select", store.root, samples)
            report(f"{words}, with its index", new)
            report(f"{words}, old / new", {name: old[name] / new[name] for name in old})
            if segments > 1:
                began = time.perf_counter()
                store.merge("davinci", "multiarith")
                report(f"{words}, merged into one", {"seconds": time.perf_counter() - began})
            shutil.rmtree(store.root)


if __name__ == "__main__":
    main()
