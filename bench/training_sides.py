"""The sides of bench/training.py: `python -m bench.training_sides JOB.json`, a process each.

    {"side": "trl+sorted", "shape": "gpt2", "precision": "32", "pairs": 32, "steps": 4, ...}  ->  a line of JSON

Each trains the same model (random weights) on the same pairs of token ids with AdamW, and tells the clock of every
optimiser step. What one side alone needs is imported in it: the interpreter that has TRL need not have Lightning.

Words that a side's name may go on with:

    hf, trl        sorted (batches of like length), micro8 (pairs at once), compile (torch.compile), workers2 (loader)
    trl            free (no padding: padding_free), packed and long512 (bfd packing to that length), checkpointing
    paper, fast    group8 (training.group_size), tokens1024 (device_batch_tokens), micro8 (device_batch_size)
    all            malloc (see bench/training.py)
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Pair = tuple[list[int], list[int]]
"""Token ids of a prompt and of what follows it."""

SHAPES: Mapping[str, Mapping[str, int]] = {
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12},
    "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},
    # For how cost grows.
    "30M": {"n_embd": 384, "n_layer": 6, "n_head": 6},
    "7M": {"n_embd": 128, "n_layer": 4, "n_head": 4},
    "0.2M": {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 512},
}
END = 50256
IGNORED = -100
RATE = 3e-4


@dataclass(frozen=True)
class Job:
    """What one process is to do."""

    side: str
    """Name, and after each `+` a word on how."""
    shape: str
    precision: str
    pairs: int
    """In one optimiser step."""
    steps: int
    """That are timed."""
    warm_up: int
    """Steps before them."""
    threads: int
    seed: int
    file: str
    """Of the pairs: [[prompt, [target, ...]], ...], all of the training split."""
    tokenizer: str

    @property
    def name(self) -> str:
        return self.side.partition("+")[0]

    @property
    def words(self) -> list[str]:
        return self.side.split("+")[1:]

    def number(self, word: str, default: int) -> int:
        """What stands behind `word` in the side's name: 4 of `micro4`."""
        said = [each.removeprefix(word) for each in self.words if each.startswith(word)]
        return int(said[0]) if said else default


class Clock:
    """Times optimiser steps, and counts what goes through the model."""

    def __init__(self, job: Job, model: Any) -> None:
        self.job, self.model = job, model
        self.resting = _memory("VmRSS")
        self.times: list[tuple[float, float]] = [(time.perf_counter(), time.process_time())]
        self.tokens: list[int] = []
        self.through: list[int] = [0]
        model.get_input_embeddings().register_forward_pre_hook(self._count)

    def _count(self, _module: Any, arguments: tuple[Any, ...]) -> None:
        self.through[-1] += arguments[0].numel()

    def step(self, tokens: int) -> None:
        """An optimiser step over so many supervised tokens is over."""
        _now(device())  # a GPU is waited for
        self.times.append((time.perf_counter(), time.process_time()))
        self.tokens.append(tokens)
        self.through.append(0)

    def result(self) -> dict[str, Any]:
        """Seconds, tokens and MiB, those of the warm-up left out."""
        first = self.job.warm_up
        (wall, cpu), (end, cpu_end) = self.times[first], self.times[-1]
        return {
            "steps": len(self.tokens) - first,
            "tokens": sum(self.tokens[first:]),
            "through": sum(self.through[first:]),
            "wall": end - wall,
            "cpu": cpu_end - cpu,
        } | self._peaks()

    def _peaks(self) -> dict[str, float]:
        """MiB at most, and beyond what there was before training (of a GPU: beyond the weights)."""
        import torch

        if device() == "cuda":
            most, before = torch.cuda.max_memory_allocated(), 4 * sum(p.numel() for p in self.model.parameters())
            return {"peak_mib": most / 2**20, "beyond_mib": (most - before) / 2**20}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"peak_mib": peak, "beyond_mib": _memory("VmHWM") - self.resting}


def _memory(key: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most so far; 0 where the kernel does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(key)), 0.0)


# The sides


def parent(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """As the parent code trains: all padded (before, for a decoder) to the longest of the split, logits everywhere."""
    import pytorch_lightning as pl
    import torch

    pairs = flat(questions)
    width = max(len(prompt) + len(target) for prompt, target in pairs)

    def row(pair: Pair) -> dict[str, torch.Tensor]:
        prompt, target = pair
        n = width - len(prompt) - len(target)
        return {
            "input_ids": torch.tensor([END] * n + prompt + target),
            "attention_mask": torch.tensor([0] * n + [1] * (width - n)),
            "labels": torch.tensor([IGNORED] * (n + len(prompt)) + target),
        }

    # Every step costs the same here, whatever it supervises: a step counts for the mean, so that few of them will do.
    expected = round(job.pairs * sum(len(target) for _, target in pairs) / len(pairs))

    class Module(pl.LightningModule):  # type: ignore[misc]
        """transformers' own loss, torch's own AdamW."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = self.model(**batch).loss
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=RATE)

    random.Random(job.seed).shuffle(pairs)
    chosen = pairs[: job.pairs * (job.warm_up + job.steps)]
    rows: Any = [row(pair) for pair in chosen]
    loader: Any = torch.utils.data.DataLoader(rows, batch_size=job.pairs)
    _lightning(job, lambda: clock.step(expected), lambda: len(loader)).fit(Module(), loader)


def ours(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """ftcot's own training, as `training=paper` and `training=fast` have it; pairs a step as for the others."""
    from bench.training_ours import train

    train(job, questions, model, clock)


def theirs(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """transformers' Trainer or TRL's."""
    from bench.training_trainers import train

    train(job, questions, model, clock)


SIDES: Mapping[str, Callable[[Job, list[Any], Any, Clock], None]] = {
    "parent": parent,
    "hf": theirs,
    "trl": theirs,
    "paper": ours,
    "fast": ours,
}


def flat(questions: Sequence[Any]) -> list[Pair]:
    return [(prompt, target) for prompt, targets in questions for target in targets]


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _lightning(job: Job, step: Callable[[], None], n_steps: Callable[[], int]) -> Any:
    import pytorch_lightning as pl

    class Steps(pl.Callback):  # type: ignore[misc]
        """Tells of each optimiser step."""

        def on_train_batch_end(self, *rest: Any) -> None:
            step()

    return pl.Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        max_epochs=1,
        limit_train_batches=n_steps(),
        callbacks=[Steps()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


# Rates of matrix products, to judge the rest by


def n_weights(shape: Mapping[str, int]) -> tuple[int, int]:
    """Weights of the matrix products of all layers, and of the output layer."""
    width = shape["n_embd"]
    return 12 * width**2 * shape["n_layer"], width * shape.get("vocab_size", 50257)


def matrix_rates(shape: Mapping[str, int], precision: str) -> tuple[float, float]:
    """Floating-point operations a second of CPU time and thread (of the GPU: of wall time) in products of a layer's
    shape and of the output layer's."""
    import torch

    on = device()
    kind = torch.bfloat16 if precision == "bf16" else torch.float32

    def rate(rows: int, before: int, after: int) -> float:
        x, weights = (torch.randn(n, before, device=on).to(kind) for n in (rows, after))
        seconds = []
        for _ in range(7):
            began = _now(on)
            torch.nn.functional.linear(x, weights)
            seconds.append(_now(on) - began)
        return 2 * rows * before * after / min(seconds)  # other work on the machine only ever slows it

    width = shape["n_embd"]
    return rate(1024, width, 4 * width), rate(512, width, shape.get("vocab_size", 50257))


def _now(on: str) -> float:
    import torch

    if on == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def fraction(job: Job, result: Mapping[str, Any], useful: float, rates: tuple[float, float]) -> float:
    """Of the rate of matrix products, what the useful work was done at.

    Args:
        useful: tokens through the layers, without padding.
    """
    layers, head = n_weights(SHAPES[job.shape])
    seconds = 6 * (layers * useful / rates[0] + head * result["tokens"] / rates[1])
    return float(seconds / (result["wall"] if device() == "cuda" else result["cpu"] / job.threads))


def run(job: Job) -> dict[str, Any]:
    """Train, and tell what it took."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(job.threads)
    shape = SHAPES[job.shape]
    rates = matrix_rates(shape, job.precision)
    torch.manual_seed(job.seed)
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=END, eos_token_id=END)).train()
    questions = json.loads(Path(job.file).read_text())
    clock = Clock(job, model)
    SIDES[job.name](job, questions, model, clock)
    result = clock.result()
    pairs = flat(questions)
    per_token = sum(len(prompt) + len(target) for prompt, target in pairs) / sum(len(t) for _, t in pairs)
    # Where nothing is shared, what goes through beyond the pairs themselves is padding.
    result["useful"] = min(result["through"], per_token * result["tokens"])
    result["fraction"] = fraction(job, result, result["useful"], rates)
    result["matrix_gflops"] = [rate / 1e9 * (1 if device() == "cuda" else job.threads) for rate in rates]
    return result


def main() -> None:
    warnings.filterwarnings("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    out, sys.stdout = sys.stdout, sys.stderr  # libraries talk
    print(json.dumps(run(job)), file=out)


if __name__ == "__main__":
    main()
