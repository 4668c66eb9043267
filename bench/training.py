"""How fast students are trained, beside what people use: `python -m bench.training [--tasks multiarith] [--rounds 3]`.

    parent    the parent code's way: 8 pairs a step, all padded to the longest of the split, logits everywhere
    hf        transformers' Trainer: padding to the longest of a batch, batches of like length, fused AdamW
    trl       TRL's SFTTrainer in the settings that were best here (bench/RESULTS.md says what was tried)
    paper     ours, training=paper: 8 pairs a step
    fast      ours, training=fast: no padding, a question read once for its rationales

Students of GPT-2's shapes with random weights, on the recorded rationales of text-davinci-002 (T = 0.7, the right ones
among 8 of each question) by our own templates: the same token ids for all. hf, trl and fast take --pairs a step (more:
--pairs 8 32); parent and paper are batches of 8 by definition. Each side is a process of its own; the sides take turns
in every round, a round draws the pairs of its steps anew, and the first two or three steps are not timed. A side's name
may go on with
words on how: `trl+sorted+micro8+free+malloc`, `fast+group8+tokens1024` (training_sides.py has them all).

`tokens/s` counts supervised tokens, the end of text included. `through`: tokens that go through the layers for each of
them. `of peak`: at which share of the measured rate of matrix products the useful work (no padding) is done. Memory is
the peak of the process, and how far it lies above what the process held before training (weights and libraries).

With --json FILE results are added to the file, and those that are there are not measured again. --summary FILE tells
what is in it. TRL is no dependency: --trl-python names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from bench.training_sides import SHAPES, Job
from ftcot.prompts import TEMPLATES
from ftcot.records import Sample

ROOT = Path(__file__).resolve().parent.parent
TASKS = (
    *("single_eq", "addsub", "multiarith", "svamp", "date_understanding", "tracking_shuffled_objects"),
    *("last_letter_concatenation", "coin_flip", "strategy_qa"),
)
WHOLE = [name for name, shape in SHAPES.items() if "vocab_size" not in shape]
"""Shapes that know all tokens of GPT-2's tokenizer."""

BEST = {"hf": "hf+sorted+malloc", "trl": "trl+sorted+malloc"}
"""What was fastest of all that was tried (bench/RESULTS.md), by the side it stands for."""

SIDES = ("parent", "hf", "trl", "paper", "fast")
OF_EIGHT = ("parent", "paper")
"""Sides whose steps are of 8 pairs, whatever the others take."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
"""For a side that is named with `+malloc`: memory that is freed stays with the process, in place of pages that the
system has to clear for every large tensor again (glibc)."""

KEY = ("task", "shape", "precision", "pairs", "threads", "side", "round", "degree")
"""What a measurement is known by."""


def questions(folder: Path, task: str, degree: int, tokenizer: Any) -> list[Any]:
    """[prompt, [target, ...]] of every training question, as token ids."""
    template = TEMPLATES["fine_tune_cot"]["token"]["decoder"]
    path = folder / "recorded" / "text-davinci-002-t70" / f"{task}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["correct"] and row["min_diversity"] <= degree]
    found = []
    for index, group in itertools.groupby(rows, key=lambda row: row["sample_index"]):
        several = list(group)
        sample = Sample(task, 1, index, several[0]["question"], several[0]["answer"], "train")
        pairs = [template.example(sample, row["rationale"]) for row in several]
        targets = [[*tokenizer(pair.completion).input_ids, tokenizer.eos_token_id] for pair in pairs]
        found.append([tokenizer(pairs[0].prompt).input_ids, targets])
    return found


def measure(job: Job, python: str) -> dict[str, Any]:
    """What a side took, in a process of its own; `error` where it failed."""
    threads = str(job.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    environment |= MALLOC if "malloc" in job.words else {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(job), file)
        file.flush()
        command = [python, "-m", "bench.training_sides", file.name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode < 0:  # of memory that ran out nothing is said
        return {"error": f"killed by signal {-done.returncode}"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def has_trl(python: str) -> bool:
    command = [python, "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('trl') is None)"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def read(file: Path | None) -> list[dict[str, Any]]:
    """The measurements of a file; a line that was cut off is left out."""
    rows = []
    if file is not None and file.exists():
        for line in file.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def jobs(chosen: argparse.Namespace, folder: Path) -> Iterator[tuple[dict[str, Any], Job]]:
    """What is to be measured, round by round, and the key of each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chosen.tokenizer)
    files = {}
    for number in range(chosen.rounds):
        for task, shape, precision in itertools.product(chosen.tasks, chosen.shapes, chosen.precision):
            if task not in files:
                files[task] = folder / f"{task}.json"
                files[task].write_text(json.dumps(questions(chosen.data, task, chosen.degree, tokenizer)))
            turn = number % len(chosen.sides)  # who goes first takes turns too
            for side in [*chosen.sides[turn:], *chosen.sides[:turn]]:
                side = BEST.get(side, side)
                eight = side.partition("+")[0] in OF_EIGHT
                for pairs in [8] if eight else chosen.pairs:
                    # A step of the parent costs the same each time.
                    steps = 2 if side == "parent" else max(2, chosen.sample // pairs)
                    # Batches of several sizes take some steps until the process has the memory for all of them.
                    warm_up = 3 if pairs > 8 else 2
                    job = Job(
                        *(side, shape, precision, pairs, steps, warm_up, chosen.threads, number),
                        file=str(files[task]),
                        tokenizer=str(chosen.tokenizer),
                    )
                    values = (task, shape, precision, pairs, chosen.threads, side, number, chosen.degree)
                    yield dict(zip(KEY, values, strict=True)), job


def tell(row: Mapping[str, Any]) -> None:
    what = f"{row['task']:<27}{row['shape']:<12}{row['precision']:<5}{row['side']:<20}{row['pairs']:>3}"
    if "error" in row:
        print(f"{what}  failed: {row['error']}", flush=True)
        return
    print(
        f"{what}{row['tokens'] / row['wall']:>9.1f} tokens/s{row['tokens'] / row['cpu']:>8.1f} a CPU second"
        f"{row['through'] / row['tokens']:>6.2f} through{100 * row['fraction']:>5.0f} % of peak"
        f"{row['peak_mib']:>7.0f} MiB{row['beyond_mib']:>+7.0f}  {row['wall']:.0f} s  load {row['load']:.1f}",
        flush=True,
    )


def mean(values: Iterable[float]) -> float:
    """The geometric one."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Medians over rounds, then geometric means over tasks, and ratios to the parent and to TRL, as Markdown."""
    good = [row for row in rows if "error" not in row]
    text = []
    for place in sorted({(row["shape"], row["precision"], row["threads"], row["degree"]) for row in good}):
        shape, precision, threads, degree = place
        here = [row for row in good if (row["shape"], row["precision"], row["threads"], row["degree"]) == place]
        tasks = [task for task in TASKS if any(row["task"] == task for row in here)]
        text.append(f"\n{shape}, {precision}, {threads} threads, D = {degree}; {len(tasks)} tasks\n")
        text.append("| side | pairs | tokens/s | a CPU second | through | of peak | MiB | above weights | n |")
        text.append("|---|---|---|---|---|---|---|---|---|")
        speeds = {}
        for side, pairs in sorted({(row["side"], row["pairs"]) for row in here}, key=_order):
            mine = [row for row in here if (row["side"], row["pairs"]) == (side, pairs)]
            by_task = {task: [row for row in mine if row["task"] == task] for task in tasks}
            speeds[side, pairs] = {
                task: tuple(median(row["tokens"] / row[clock] for row in group) for clock in ("wall", "cpu"))
                for task, group in by_task.items()
                if group
            }
            wall, cpu = (mean(speed[i] for speed in speeds[side, pairs].values()) for i in (0, 1))
            text.append(
                f"| {side} | {pairs} | {wall:.1f} | {cpu:.1f} "
                f"| {median(row['through'] / row['tokens'] for row in mine):.2f} "
                f"| {100 * median(row['fraction'] for row in mine):.0f} % "
                f"| {max(row['peak_mib'] for row in mine):.0f} | {max(row['beyond_mib'] for row in mine):.0f} "
                f"| {len(mine)} |"
            )
        text += _ratios(speeds)
    failed = [row for row in rows if "error" in row]
    text += [
        f"\nfailed: {row['task']} {row['shape']} {row['precision']} {row['side']}: {row['error']}" for row in failed
    ]
    return "\n".join(text)


def _order(place: tuple[str, int]) -> tuple[int, str, int]:
    return SIDES.index(place[0].partition("+")[0]), *place


def _ratios(speeds: Mapping[tuple[str, int], Mapping[str, tuple[float, ...]]]) -> list[str]:
    """Our sides over each of the others, on the tasks that both were measured on, by wall time and by CPU time."""
    lines = []
    for mine, theirs in itertools.product(speeds, speeds):
        if mine[0].partition("+")[0] not in ("paper", "fast") or theirs[0].partition("+")[0] in ("paper", "fast"):
            continue
        both = [task for task in TASKS if task in speeds[mine] and task in speeds[theirs]]
        if both:
            ratios = [[speeds[mine][task][i] / speeds[theirs][task][i] for task in both] for i in (0, 1)]
            lines.append(
                f"- {mine[0]} of {mine[1]} / {theirs[0]} of {theirs[1]}: {mean(ratios[0]):.2f} "
                f"({min(ratios[0]):.2f} to {max(ratios[0]):.2f}); by CPU time {mean(ratios[1]):.2f}"
            )
    return ["", *lines] if lines else []


def _folder(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable) or ROOT.parent / "shared" / name)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--shapes", nargs="+", default=["gpt2", "gpt2-medium"], choices=WHOLE)
    parser.add_argument("--sides", nargs="+", default=SIDES, help="and words on how: trl+sorted+micro8, fast+tokens512")
    parser.add_argument("--precision", nargs="+", default=["32", "bf16"], choices=["32", "bf16"])
    parser.add_argument("--pairs", nargs="+", type=int, default=[32], help="in a step; of parent and paper always 8")
    parser.add_argument("--sample", type=int, default=64, help="pairs that are timed of each side")
    parser.add_argument("--degree", type=int, default=8, help="rationales of a question, D")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, default=_folder("FTCOT_DATA", "data"))
    parser.add_argument("--tokenizer", type=Path, default=_folder("FTCOT_MODELS", "models") / "gpt2-tokenizer")
    parser.add_argument("--trl-python", default=sys.executable, help="interpreter that has TRL")
    parser.add_argument("--json", type=Path, help="file that results are added to")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="say what is in a file, and measure nothing")
    parser.add_argument("--grow", action="store_true", help="how cost grows with D, size of the student and length")
    return parser


def main() -> None:
    chosen = options().parse_args()
    if chosen.summary:
        print(summary(read(chosen.summary)))
        return
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "pytorch-lightning"))
    print(f"{platform.system()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}")
    if "trl" in {side.partition("+")[0] for side in chosen.sides} and not has_trl(chosen.trl_python):
        print(f"trl: left out, {chosen.trl_python} has none (--trl-python)")
        chosen.sides = [side for side in chosen.sides if side.partition("+")[0] != "trl"]
    if chosen.grow:
        from bench.training_grow import grow

        grow(chosen)
        return
    rows = read(chosen.json)
    known = {tuple(row[key] for key in KEY) for row in rows if "error" not in row}
    with tempfile.TemporaryDirectory() as folder:
        for key, job in jobs(chosen, Path(folder)):
            if tuple(key.values()) in known:
                continue
            python = chosen.trl_python if job.name == "trl" else sys.executable
            row = key | measure(job, python) | {"load": os.getloadavg()[0], "at": round(time.time())}
            tell(row)
            rows.append(row)
            if chosen.json:
                with chosen.json.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
