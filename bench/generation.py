"""How fast a test split is answered after an epoch: `python -m bench.generation [--tasks multiarith] [--rounds 3]`.

    generate    transformers' greedy generate, prompts in batches of 32 as given, padded in front
    sorted      the same, prompts sorted by length before
    ours        what evaluation does: no padding, texts leave as they end, others enter (student/decoding.py)

    --draws 8   D texts of each prompt at temperature 0.7 instead, as the huggingface teacher draws them;
                generate then reads each prompt D times (num_return_sequences)

The questions are those of the test split, with GPT-2's tokenizer and our own template. Of a shape (--shape) the weights
are random, and a student with random weights never ends its texts. So both sides are made to end each at the length of
the answer that the teacher was recorded to give to that question (a logits processor; a share --endless of the texts
runs on to --limit, as those of trained students do). With --student FOLDER (the student/ of a run) texts end where the
student ends them.

The sides take turns in every round; the table gives medians, and ratios of tokens a second, by wall time and by process
time, which other work on the machine distorts less. `of bandwidth`: how fast the same number of steps would be if each
only read the weights once, at the speed at which this machine adds up a large tensor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessor,
    LogitsProcessorList,
)

from bench.training_sides import SHAPES
from ftcot.prompts import TEMPLATES
from ftcot.records import Sample
from ftcot.student import BATCH_TOKENS
from ftcot.student.decoding import Ending, Room, Text, likeliest, write
from ftcot.student.waves import memory_of
from ftcot.teacher.asks import Decoding
from ftcot.teacher.sampling import choose, random_numbers


class Prompt(NamedTuple):
    """A question of the test split."""

    ids: tuple[int, ...]
    length: int | None
    """New tokens of its answer; None: where the student ends it."""


class Took(NamedTuple):
    """What one way of answering took."""

    wall: float
    cpu: float
    """Seconds, of all threads of the process."""
    n_tokens: int
    n_steps: int
    """Times that the model was called."""


def questions(data: Path, task: str, tokenizer: Any, n: int | None, endless: float, limit: int) -> list[Prompt]:
    """The test split of a recorded task, with the lengths of the teacher's answers."""
    template = TEMPLATES["fine_tune_cot"]["token"]["decoder"]
    path = data / "recorded" / "text-davinci-002" / f"{task}.jsonl"
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if row["split"] == "test"][:n]
    draw, prompts = random.Random(0), []
    for row in rows:
        sample = Sample(task, 1, row["sample_index"], row["question"], row["answer"], "test")
        pair = template.example(sample, row["rationale"])
        length = len(tokenizer(pair.completion).input_ids) + 1
        if draw.random() < endless:
            length = limit
        prompts.append(Prompt(tuple(tokenizer(template.ask(row["question"])).input_ids), min(length, limit)))
    return prompts


class EndsAt(LogitsProcessor):  # type: ignore[misc]
    """Ends each row of a batch at its length, and not before."""

    def __init__(self, lengths: Sequence[int], n_before: int, end: int) -> None:
        self.lengths, self.n_before, self.end = torch.tensor(lengths), n_before, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ending = (self.lengths.to(scores.device) <= input_ids.shape[1] - self.n_before + 1)[:, None]
        column = torch.arange(scores.shape[1], device=scores.device) == self.end
        return scores.masked_fill(ending != column, float("-inf"))


@torch.inference_mode()
def theirs(model: Any, prompts: Sequence[Prompt], end: int, chosen: argparse.Namespace, in_order: bool) -> int:
    """Answer in batches; returns the tokens that count."""
    if in_order:
        prompts = sorted(prompts, key=lambda prompt: len(prompt.ids))
    n_tokens, draws = 0, chosen.draws or 1
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": chosen.limit, "pad_token_id": end}
    if chosen.draws:
        settings |= {"do_sample": True, "temperature": 0.7, "top_k": 0, "num_return_sequences": draws}
    size = max(1, chosen.batch // draws)
    for start in range(0, len(prompts), size):
        some = prompts[start : start + size]
        width = max(len(prompt.ids) for prompt in some)
        ids = torch.tensor([[end] * (width - len(prompt.ids)) + list(prompt.ids) for prompt in some])
        mask = torch.tensor([[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in some])
        lengths = [prompt.length for prompt in some for _ in range(draws) if prompt.length is not None]
        if lengths:
            settings["logits_processor"] = LogitsProcessorList([EndsAt(lengths, width, end)])
        rows = model.generate(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), **settings)
        for row in rows[:, width:].tolist():
            n_tokens += row.index(end) + 1 if end in row else len(row)
    return n_tokens


@torch.inference_mode()
def ours(model: Any, prompts: Sequence[Prompt], end: int, chosen: argparse.Namespace) -> int:
    """Answer as students and teachers do."""
    draws, decoding = chosen.draws or 1, Decoding(0.7 if chosen.draws else 0.0, chosen.limit)
    texts = [
        Text(prompt.ids, chosen.limit, owner=(random_numbers(i * draws + draw, chosen.limit), prompt.length))
        for i, prompt in enumerate(sorted(prompts, key=lambda prompt: -len(prompt.ids)))
        for draw in range(draws)
    ]

    def next_tokens(logits: Tensor, under_way: Sequence[Text]) -> list[int]:
        if under_way[0].owner[1] is not None:
            logits[:, end] = float("-inf")
        if chosen.draws:
            numbers = torch.tensor([text.owner[0][len(text.ids)] for text in under_way], dtype=torch.float64)
            tokens = choose(logits, decoding, numbers.to(logits.device)).tolist()
        else:
            tokens = likeliest(logits)
        return [
            end if len(text.ids) + 1 == text.owner[1] else token for text, token in zip(under_way, tokens, strict=True)
        ]

    room = Room(texts=chosen.batch) if chosen.draws else Room(chosen.batch_tokens)
    memory = memory_of(model, "decoder", room)
    for _ in write(memory, texts, next_tokens, Ending(frozenset({end}), (), lambda ids: "")):
        pass
    return sum(len(text.ids) for text in texts)


def timed(model: Any, answer: Callable[[], int]) -> Took:
    steps = [0]

    def count(*_: Any) -> None:
        steps[0] += 1

    hook = model.register_forward_pre_hook(count)
    wall, cpu = time.perf_counter(), time.process_time()
    n_tokens = answer()
    took = Took(time.perf_counter() - wall, time.process_time() - cpu, n_tokens, steps[0])
    hook.remove()
    return took


def bandwidth(device: Any) -> float:
    """Bytes a second that a sum reads of a large tensor."""
    large = torch.ones(1 << 27, device=device)
    best = 0.0
    for _ in range(4):
        began = time.perf_counter()
        large.sum().item()
        best = max(best, large.numel() * 4 / (time.perf_counter() - began))
    return best


def load(chosen: argparse.Namespace) -> tuple[Any, Any, int]:
    """Model, tokenizer and the token that ends a text."""
    if chosen.student:
        tokenizer = AutoTokenizer.from_pretrained(chosen.student)
        model = AutoModelForCausalLM.from_pretrained(chosen.student)
        return model.eval().to(chosen.device), tokenizer, tokenizer.eos_token_id
    tokenizer = AutoTokenizer.from_pretrained(chosen.tokenizer)
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SHAPES[chosen.shape], bos_token_id=end, eos_token_id=end))
    return model.eval().to(chosen.device), tokenizer, end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of paths.data")
    parser.add_argument("--tokenizer", type=Path, help="a folder with GPT-2's tokenizer")
    parser.add_argument("--shape", default="gpt2", choices=sorted(SHAPES))
    parser.add_argument("--student", type=Path, default=None)
    parser.add_argument("--tasks", nargs="+", default=["multiarith"])
    parser.add_argument("--prompts", type=int, default=None, help="of a test split; all of them where not given")
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--endless", type=float, default=0.0)
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS)
    parser.add_argument("--sides", nargs="+", default=["generate", "ours"], choices=["generate", "sorted", "ours"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    model, tokenizer, end = load(chosen)
    n_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    print(
        f"{chosen.student or chosen.shape} ({n_bytes / 4e6:.1f}M); torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {platform.machine()}, {chosen.device}, {torch.get_num_threads()} threads"
    )
    for task in chosen.tasks:
        prompts = questions(chosen.data, task, tokenizer, chosen.prompts, chosen.endless, chosen.limit)
        if chosen.student:
            prompts = [Prompt(prompt.ids, None) for prompt in prompts]
        answers = {
            "generate": partial(theirs, model, prompts, end, chosen, False),
            "sorted": partial(theirs, model, prompts, end, chosen, True),
            "ours": partial(ours, model, prompts, end, chosen),
        }
        rounds = []
        for number in range(chosen.rounds):
            turn = number % len(chosen.sides)  # who goes first takes turns too
            sides = [*chosen.sides[turn:], *chosen.sides[:turn]]
            rounds.append({side: timed(model, answers[side]) for side in sides} | {"speed": bandwidth(chosen.device)})
        print(
            f"{task}: {len(prompts)} prompts of {sum(len(prompt.ids) for prompt in prompts) / len(prompts):.0f} tokens"
            f"{f', {chosen.draws} texts each' if chosen.draws else ''}; load {os.getloadavg()[0]:.1f}"
        )
        for side in chosen.sides:
            took = [one[side] for one in rounds]
            wall, cpu = (median(getattr(t, clock) / t.n_tokens for t in took) for clock in ("wall", "cpu"))
            least = median(one[side].n_steps * n_bytes / one["speed"] / one[side].wall for one in rounds)
            line = f"  {side:<9}{took[0].n_tokens:>7} tokens{took[0].n_steps:>6} steps{1 / wall:>9.1f} tokens/s"
            line += f"{1 / cpu:>9.1f} a CPU second  {100 * least:.0f} % of bandwidth"
            if side == "ours" and chosen.sides[0] != "ours":
                for other in chosen.sides[:-1]:
                    walls, cpus = (
                        [
                            getattr(one[other], clock)
                            / one[other].n_tokens
                            * one["ours"].n_tokens
                            / getattr(one["ours"], clock)
                            for one in rounds
                        ]
                        for clock in ("wall", "cpu")
                    )
                    line += f"  {median(walls):.2f} x {other} (CPU {median(cpus):.2f})"
            print(line, flush=True)


if __name__ == "__main__":
    main()
