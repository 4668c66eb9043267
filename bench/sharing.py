"""What keeping a question's rationales together in a step does to accuracy and to speed.

    python -m bench.sharing --groups 1,4,8 --seeds 12 --folder sharing task=generated/coin_flip task.n_flips=4

Every other word is an override of the real command, which runs a sweep of seeds x training.group_size in the folder.
All groups of a seed come before the next seed, so a command that is stopped has whole seeds; the same command, or one
with more seeds, goes on. Groups differ in nothing else: the same questions, steps and supervised tokens.

    seed     the accuracies of the groups, then what each is better than the first one by, in points
    mean     over seeds; of the differences the 95 % interval (Student's t over seeds), and whether its lower end is
             above the limit. `with questions` counts as chance, too, which questions are asked (ftcot.statistics)
    speed    supervised tokens a CPU second of steps like the sweep's, in this process, groups in turn
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from bench.overhead import about
from ftcot.files import read_json
from ftcot.records import Example, Prediction, read_records
from ftcot.statistics.paired import paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ftcot.training import Training

ROOT = Path(__file__).resolve().parent.parent

LIMIT = -0.02
"""What the lower end of an interval is to be above."""

ALWAYS = ("logger=none", "keep=none", "training.evaluate_every=1000")
"""Before the words of the command, which may say otherwise. The last epoch is always tested."""

Runs = dict[tuple[int, int], Path]
"""Finished jobs by seed and group size."""


def sweep(folder: Path, groups: Sequence[int], n_seeds: int, words: Sequence[str]) -> None:
    """Run the jobs that are not done yet."""
    seeds = f"seed=range(0,{n_seeds})"  # the first that is swept changes last
    several = f"training.group_size={','.join(map(str, groups))}"
    command = [sys.executable, "-m", "ftcot.run", "-m", *ALWAYS, *words, seeds, several, f"hydra.sweep.dir={folder}"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False)
    if done.returncode:
        print(f"ftcot.run: exit code {done.returncode}; what follows is of the jobs that are done")


def finished(folder: Path) -> Runs:
    """The jobs of a sweep folder that have a score."""
    runs = {}
    for score in sorted(folder.glob("*/score.json")):
        config = yaml.safe_load((score.parent / "job.yaml").read_text(encoding="utf-8"))
        runs[config["seed"], config["training"]["group_size"]] = score.parent
    return runs


def answers(run: Path) -> NDArray[np.bool_]:
    """(n,) which test questions it has right after its last epoch, in the questions' order."""
    epoch = read_json(run / "score.json")["epoch"]
    rows = [p for p in read_records(run / "predictions.jsonl", Prediction) if (p.epoch, p.split) == (epoch, "test")]
    return np.array([row.correct for row in sorted(rows, key=lambda row: row.sample_index)], dtype=bool)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % of their mean, by Student's t."""
    from scipy.stats import t

    half = float(t.isf(0.025, len(differences) - 1)) * stdev(differences) / math.sqrt(len(differences))
    return mean(differences) - half, mean(differences) + half


def table(runs: Runs, groups: Sequence[int]) -> str:
    """Accuracies and differences as Markdown, of the seeds that all groups have."""
    base, others = groups[0], groups[1:]
    seeds = [seed for seed in sorted({seed for seed, _ in runs}) if all((seed, group) in runs for group in groups)]
    if len(seeds) < 2:
        return f"{len(seeds)} seeds with all groups: no interval yet"
    right = {group: np.stack([answers(runs[seed, group]) for seed in seeds]) for group in groups}
    accuracy = {group: [float(value) for value in right[group].mean(axis=1)] for group in groups}
    difference = {group: [b - a for a, b in zip(accuracy[base], accuracy[group], strict=True)] for group in others}
    head = [*(f"group {group}, %" for group in groups), *(f"{group} less {base}" for group in others)]
    lines = ["| seed | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]
    for number, seed in enumerate(seeds):
        cells = [f"{100 * accuracy[group][number]:.1f}" for group in groups]
        cells += [f"{100 * difference[group][number]:+.1f}" for group in others]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    for name, of in (("mean", mean), ("standard deviation", stdev)):
        cells = [f"{100 * of(accuracy[group]):.2f}" for group in groups]
        cells += [f"{100 * of(difference[group]):{'+' if of is mean else ''}.2f}" for group in others]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append(f"\n{right[base].shape[1]} test questions, {len(seeds)} seeds, {_tokens(runs, seeds, groups)}\n")
    for group in others:
        low, high = interval(difference[group])
        both = paired(right[base], right[group])
        lines.append(
            f"- group {group} less group {base}: {100 * mean(difference[group]):+.2f} points "
            f"[{100 * low:+.2f}, {100 * high:+.2f}]; with questions [{100 * both.low:+.2f}, {100 * both.high:+.2f}]; "
            f"{'above' if low > LIMIT else 'NOT above'} {100 * LIMIT:.0f} points"
        )
    return "\n".join(lines)


def _tokens(runs: Runs, seeds: Sequence[int], groups: Sequence[int]) -> str:
    """How many tokens jobs were trained on; groups of a seed that differ are said to."""
    counts = {
        seed: {read_json(runs[seed, group] / "score.json")["tokens"]["supervised"] for group in groups}
        for seed in seeds
    }
    if any(len(several) > 1 for several in counts.values()):
        return f"DIFFERENT supervised tokens: {counts}"
    return f"{mean(n for several in counts.values() for n in several):,.0f} supervised tokens in each job"


def speed(run: Path, groups: Sequence[int], rounds: int, n_steps: int) -> str:
    """Supervised tokens a CPU second of training steps, as Markdown; groups take turns in every round."""
    import torch

    from ftcot import job
    from ftcot.training.batches import steps
    from ftcot.training.module import build_optimizer

    torch.set_num_threads(1)
    built = job.build(yaml.safe_load((run / "job.yaml").read_text(encoding="utf-8")))
    examples = read_records(run / "examples.jsonl", Example)
    student = built.student.load([f"{each.prompt} {each.completion}" for each in examples], built.seed)
    pairs = [student.encode(each.prompt, each.completion) for each in examples]
    optimizer = build_optimizer(built.training, list(student.model.parameters()))
    student.model.train()

    def timed(training: Training, epoch: int) -> float:
        tokens, began = 0, time.process_time()
        for step in steps(pairs, training, built.seed, epoch)[:n_steps]:
            supervised = sum(len(pairs[i].target_ids) for i in step)
            loss = student.loss(student.collate([pairs[i] for i in step]))
            torch.autograd.backward(loss / supervised)
            torch.nn.utils.clip_grad_norm_(student.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            tokens += supervised
        return tokens / (time.process_time() - began)

    settings = {group: replace(built.training, group_size=group) for group in groups}
    for training in settings.values():
        timed(replace(training, epochs=1), 0)  # the first steps wait for memory
    rates: dict[int, list[float]] = {group: [] for group in groups}
    for number in range(rounds):
        for group in (*groups[number % len(groups) :], *groups[: number % len(groups)]):
            rates[group].append(timed(settings[group], number + 1))
    prompt, target = (mean(len(ids) for ids in several) for several in zip(*map(_ids, pairs), strict=True))
    lines = ["| group | supervised tokens a CPU second | of group 1 |".replace("group 1", f"group {groups[0]}")]
    lines.append("|---|---|---|")
    for group in groups:
        ratios = [mine / base for mine, base in zip(rates[group], rates[groups[0]], strict=True)]
        values = f"{median(rates[group]):,.0f} ({min(rates[group]):,.0f} to {max(rates[group]):,.0f})"
        lines.append(f"| {group} | {values} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")
    return "\n".join([*lines, f"\n{prompt:.0f} prompt and {target:.0f} supervised tokens a pair, one thread"])


def _ids(pair: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return pair.prompt_ids, pair.target_ids


def main() -> None:
    """Run, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sharing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="of the sweep; one that is there is gone on with")
    parser.add_argument("--groups", type=_numbers, default=[1, 4, 8], help="the others are compared with the first")
    parser.add_argument("--seeds", type=int, default=12, help="0: compare what is in the folder")
    parser.add_argument("--speed-groups", type=_numbers, default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=7, help="of measuring speed; 0: none")
    parser.add_argument("--steps", type=int, default=10, help="of a group in a round")
    parser.add_argument("words", nargs="*", metavar="OVERRIDE", help="task=..., student=..., and the like")
    given = parser.parse_intermixed_args()
    print(about())
    folder = given.folder.absolute()
    if given.seeds:
        sweep(folder, given.groups, given.seeds, given.words)
    runs = finished(folder)
    print(f"\n{table(runs, given.groups)}")
    if given.rounds and runs:
        print(f"\n{speed(next(iter(runs.values())), given.speed_groups, given.rounds, given.steps)}")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
