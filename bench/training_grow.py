"""How the cost of training grows: the part of bench/training.py behind --grow.

One thing changes at a time, from D = 8 rationales a question, questions and rationales of about 64 tokens and the 30M
shape. Tokens are drawn by chance, as what they are costs nothing; lengths are drawn too, from half to one and a half of
what is said, so that there is something to pad.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.training import BEST, OF_EIGHT, WHOLE, measure
from bench.training_sides import SHAPES, Job

QUESTIONS = 96


@dataclass(frozen=True)
class Case:
    """What is trained on what."""

    changed: str
    degree: int = 8
    length: int = 64
    """Of a question, and of a rationale."""
    shape: str = "30M"


def cases() -> Iterator[Case]:
    for degree in (1, 2, 4, 8, 16):
        yield Case("rationales a question", degree=degree)
    for shape in ("0.2M", "7M", "30M", "gpt2"):
        yield Case("student", shape=shape)
    for length in (16, 32, 64, 128, 256):
        yield Case("tokens of each", length=length)


def questions(case: Case) -> list[Any]:
    """[prompt, [target, ...]] by chance."""
    generator = random.Random(0)
    vocabulary = SHAPES[case.shape].get("vocab_size", 50256)

    def text() -> list[int]:
        n = generator.randint(case.length // 2, case.length * 3 // 2)
        return [generator.randrange(vocabulary) for _ in range(n)]

    return [[text(), [text() for _ in range(case.degree)]] for _ in range(QUESTIONS)]


def grow(chosen: argparse.Namespace) -> None:
    """Print a table of tokens a CPU second, one line a case."""
    sides = [BEST.get(side, side) for side in chosen.sides]
    print(f"\n{chosen.threads} threads, 32 bits; supervised tokens a second of CPU time, medians of {chosen.rounds}")
    print(f"{'changed':<24}{'D':>4}{'tokens':>8}  {'shape':<8}" + "".join(f"{side:>18}" for side in sides))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "questions.json"
        for case in cases():
            file.write_text(json.dumps(questions(case)))
            found: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(chosen.rounds):
                for side in sides:
                    if case.shape not in WHOLE and side.partition("+")[0] not in ("paper", "fast"):
                        continue  # the others pad with a token that the student has not
                    pairs = 8 if side.partition("+")[0] in OF_EIGHT else chosen.pairs[0]
                    steps = max(2, chosen.sample // pairs)
                    job = Job(
                        *(side, case.shape, "32", pairs, steps, 1, chosen.threads, number),
                        file=str(file),
                        tokenizer=str(chosen.tokenizer),
                    )
                    took = measure(job, chosen.trl_python if job.name == "trl" else sys.executable)
                    if "error" not in took:
                        found[side].append(took["tokens"] / took["cpu"])
            print(
                f"{case.changed:<24}{case.degree:>4}{case.length:>8}  {case.shape:<8}"
                + "".join(f"{median(speeds):>18.1f}" if speeds else f"{'-':>18}" for speeds in found.values())
                + f"  load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
