"""How fast a test split is answered after an epoch: `python -m bench.generation --runs FOLDER... [--rounds 3]`.

    generate    transformers' greedy generate, prompts in batches of 32 as given, padded
    sorted      the same, prompts sorted by length before
    ours        what evaluation does: no padding, texts leave as they end, others enter (student/decoding.py)

    --runs      folders of runs: their students answer their own test questions, as they were asked in the run, and end
                texts themselves. What both sides write is compared: `differ` counts the texts that are not the same
                tokens, `apart` is how far the logits of the two tokens are from each other, at most, where a text first
                differs. Rounding alone makes it some 1e-5 of the logits.
    --shape     random weights, which never end a text. Both sides are made to end each at the length of the answer that
                the teacher was recorded to give to that question (a logits processor; a share --endless of the texts
                runs on to --limit). Questions and template are those of --tasks.
    --draws 8   D texts of each prompt at temperature 0.7 instead, as the huggingface teacher draws them, --batch at
                once; generate then reads each prompt D times (num_return_sequences). --examples 5 puts worked examples
                before each question, the same ones; --endless 1 --limit 64 makes all texts of one length.

Theirs is the model as transformers loads it, ours as a student holds it (student/kernels.py). The sides take turns in
every round; the table gives medians, and ratios of tokens a second, by wall time and by process time, which other work
on the machine distorts less. `of bandwidth`: how fast the same number of steps would be if each only read the weights
once, at the speed at which this machine adds up a large tensor.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList

from bench.training_sides import SHAPES
from ftcot import job as jobs
from ftcot.folder import WEIGHTS, thaw
from ftcot.prompts import STEP_BY_STEP, TEMPLATES, Family
from ftcot.records import Sample
from ftcot.student import BATCH_TOKENS
from ftcot.student.decoding import Ending, Room, Text, likeliest, write
from ftcot.student.kernels import fuse
from ftcot.student.specs import Decoder, EncoderDecoder
from ftcot.student.waves import memory_of
from ftcot.teacher.asks import Decoding
from ftcot.teacher.sampling import choose, random_numbers

SIDES = ("generate", "sorted", "ours")
CLOCKS = ("wall", "cpu")

Texts = list[list[int]]
"""New tokens of each text, its end included, in the order of the prompts."""


class Prompt(NamedTuple):
    """A question of the test split."""

    ids: tuple[int, ...]
    length: int | None
    """New tokens of its answer; None: where the student ends it."""


class Asked(NamedTuple):
    """A model, and what it is asked."""

    name: str
    theirs: Any
    ours: Any
    family: Family
    end: int
    """The token that ends a text."""
    prompts: Sequence[Prompt]
    limit: int
    """New tokens of a text at most."""


class Took(NamedTuple):
    """What one way of answering took."""

    wall: float
    cpu: float
    """Seconds, of all threads of the process."""
    n_steps: int
    """Times that the model was called."""
    texts: Texts

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.texts))


# What is asked


def trained(folder: Path, chosen: argparse.Namespace) -> Asked:
    """The student of a run and its test questions."""
    job = jobs.build(thaw(folder))
    kind = Decoder if job.student.family == "decoder" else EncoderDecoder
    student: Any = kind(name=job.student.name, checkpoint=str(folder / WEIGHTS)).load([], job.seed)
    template = job.method.template_for(job.student.family)
    if template.stop is not None or template.answer_prompt is not None:
        raise SystemExit(f"{folder}: its texts end at a phrase or in two stages, which generate is not asked for here")
    asked = [template.ask(sample.question) for sample in job.task.splits().test[: chosen.prompts]]
    prompts = [Prompt(tuple(ids), None) for ids in student._prompts(asked)]
    # One limit for all, so that texts that never end are as long on both sides.
    limit = student._allowed(max(len(prompt.ids) for prompt in prompts), chosen.limit or job.evaluation.limit())
    ours = student.model.eval().to(chosen.device)
    theirs = student.auto_class.from_pretrained(folder / WEIGHTS, dtype=torch.float32).eval().to(chosen.device)
    name = f"{job.student.name} on {job.task.name}"
    return Asked(name, theirs, ours, job.student.family, student.end_of_text, prompts, limit)


def untrained(chosen: argparse.Namespace) -> Iterator[Asked]:
    """A shape with random weights, and the test questions of recorded tasks."""
    tokenizer = AutoTokenizer.from_pretrained(chosen.tokenizer)
    end = tokenizer.eos_token_id
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(**SHAPES[chosen.shape], bos_token_id=end, eos_token_id=end))
    theirs.eval().to(chosen.device)
    fuse(ours := copy.deepcopy(theirs))
    for task in chosen.tasks:
        prompts = questions(task, tokenizer, chosen)
        yield Asked(f"{chosen.shape} on {task}", theirs, ours, "decoder", end, prompts, chosen.limit or 512)


def questions(task: str, tokenizer: Any, chosen: argparse.Namespace) -> list[Prompt]:
    """The test split of a recorded task, with the lengths of the teacher's answers."""
    template, limit = TEMPLATES["fine_tune_cot"]["token"]["decoder"], chosen.limit or 512
    path = chosen.data / "recorded" / "text-davinci-002" / f"{task}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    shown = "".join(
        f"{STEP_BY_STEP.format(question=row['question'])} {row['rationale'].strip()}\n\n"
        for row in [row for row in rows if row["split"] == "train"][: chosen.examples]
    )
    draw, prompts = random.Random(0), []
    for row in [row for row in rows if row["split"] == "test"][: chosen.prompts]:
        sample = Sample(task, 1, row["sample_index"], row["question"], row["answer"], "test")
        pair = template.example(sample, row["rationale"])
        length = len(tokenizer(pair.completion).input_ids) + 1
        if draw.random() < chosen.endless:
            length = limit
        prompts.append(Prompt(tuple(tokenizer(shown + template.ask(row["question"])).input_ids), min(length, limit)))
    return prompts


# The sides


class EndsAt(LogitsProcessor):  # type: ignore[misc]
    """Ends each row of a batch at its length, and not before."""

    def __init__(self, lengths: Sequence[int], n_before: int, end: int) -> None:
        self.lengths, self.n_before, self.end = torch.tensor(lengths), n_before, end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ending = (self.lengths.to(scores.device) <= input_ids.shape[1] - self.n_before + 1)[:, None]
        column = torch.arange(scores.shape[1], device=scores.device) == self.end
        return scores.masked_fill(ending != column, float("-inf"))


@torch.inference_mode()
def by_generate(asked: Asked, chosen: argparse.Namespace, in_order: bool) -> Texts:
    """Answer in batches."""
    end, draws = asked.end, chosen.draws or 1
    numbers = list(range(len(asked.prompts)))
    if in_order:
        numbers.sort(key=lambda number: len(asked.prompts[number].ids))
    settings: dict[str, Any] = {"do_sample": False, "max_new_tokens": asked.limit, "pad_token_id": end}
    if chosen.draws:
        settings |= {"do_sample": True, "temperature": 0.7, "top_k": 0, "num_return_sequences": draws}
    size = max(1, chosen.batch // draws)
    said: dict[int, Texts] = {}
    for start in range(0, len(numbers), size):
        some = [asked.prompts[number] for number in numbers[start : start + size]]
        width = max(len(prompt.ids) for prompt in some)
        ids, mask = torch.full((len(some), width), end), torch.zeros(len(some), width, dtype=torch.long)
        for row, prompt in enumerate(some):
            n = len(prompt.ids)
            real = slice(width - n, width) if asked.family == "decoder" else slice(n)
            ids[row, real], mask[row, real] = torch.tensor(prompt.ids), 1
        lengths = [prompt.length for prompt in some for _ in range(draws) if prompt.length is not None]
        if lengths:
            settings["logits_processor"] = LogitsProcessorList([EndsAt(lengths, width, end)])
        device = asked.theirs.device
        rows = asked.theirs.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **settings)
        new = rows[:, width if asked.family == "decoder" else 1 :].tolist()
        cut = [row[: row.index(end) + 1] if end in row else row for row in new]
        said |= {number: cut[i * draws : (i + 1) * draws] for i, number in enumerate(numbers[start : start + size])}
    return [text for number in sorted(said) for text in said[number]]


@torch.inference_mode()
def by_ours(asked: Asked, chosen: argparse.Namespace) -> Texts:
    """Answer as students and teachers do."""
    end, draws, decoding = asked.end, chosen.draws or 1, Decoding(0.7 if chosen.draws else 0.0, asked.limit)
    texts = [
        Text(prompt.ids, asked.limit, owner=(random_numbers(i * draws + draw, asked.limit), prompt.length))
        for i, prompt in enumerate(asked.prompts)
        for draw in range(draws)
    ]

    free = asked.prompts[0].length is None and not chosen.draws

    def next_tokens(logits: Tensor, under_way: Sequence[Text]) -> list[int]:
        if free:
            return likeliest(logits)
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
    memory = memory_of(asked.ours, asked.family, room, guess=free)
    in_order = sorted(texts, key=lambda text: -len(text.prompt))
    for _ in write(memory, in_order, next_tokens, Ending(frozenset({end}), (), lambda ids: "")):
        pass
    return [text.ids for text in texts]


# The clock


def timed(model: Any, answer: Callable[[], Texts]) -> Took:
    steps = [0]

    def count(*_: Any) -> None:
        steps[0] += 1

    hook = model.register_forward_pre_hook(count)
    wall, cpu = time.perf_counter(), time.process_time()
    texts = answer()
    took = Took(time.perf_counter() - wall, time.process_time() - cpu, steps[0], texts)
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


@torch.inference_mode()
def apart(asked: Asked, theirs: Texts, ours: Texts) -> list[float]:
    """Of each text that differs: how far apart the logits are of the two tokens where it first does."""
    gaps = []
    for prompt, one, other in zip(asked.prompts, theirs, ours, strict=True):
        if one != other:
            same = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            before = [*prompt.ids, *one[:same]]
            if asked.family == "decoder":
                inputs = {"input_ids": torch.tensor([before])}
            else:
                start = asked.theirs.config.decoder_start_token_id
                inputs = {
                    "input_ids": torch.tensor([prompt.ids]),
                    "decoder_input_ids": torch.tensor([[start, *one[:same]]]),
                }
            logits = asked.theirs(**{name: ids.to(asked.theirs.device) for name, ids in inputs.items()}).logits[0, -1]
            gaps.append(float((logits[one[same]] - logits[other[same]]).abs()))
    return gaps


def measure(asked: Asked, chosen: argparse.Namespace) -> None:
    """The rounds of one model, and their table."""
    answers = {
        "generate": (asked.theirs, partial(by_generate, asked, chosen, False)),
        "sorted": (asked.theirs, partial(by_generate, asked, chosen, True)),
        "ours": (asked.ours, partial(by_ours, asked, chosen)),
    }
    rounds, speeds, loads = [], [], []
    for number in range(chosen.rounds):
        turn = number % len(chosen.sides)  # who goes first takes turns too
        sides = [*chosen.sides[turn:], *chosen.sides[:turn]]
        rounds.append({side: timed(*answers[side]) for side in sides})
        speeds.append(bandwidth(chosen.device))
        loads.append(os.getloadavg()[0])
    first = rounds[0]
    n_bytes = sum(parameter.numel() * parameter.element_size() for parameter in asked.ours.parameters())
    lengths = sorted(map(len, first[chosen.sides[0]].texts))
    print(
        f"{asked.name} ({n_bytes / 4e6:.1f}M): {len(asked.prompts)} prompts of "
        f"{sum(len(prompt.ids) for prompt in asked.prompts) / len(asked.prompts):.0f} tokens; texts of "
        f"{median(lengths):.0f} (median), {sum(n >= asked.limit for n in lengths)} of {len(lengths)} run to "
        f"{asked.limit}; {chosen.rounds} rounds, load {min(loads):.1f} to {max(loads):.1f}"
    )
    for side in chosen.sides:
        took = [one[side] for one in rounds]
        wall, cpu = (median(t.n_tokens / getattr(t, clock) for t in took) for clock in ("wall", "cpu"))
        least = median(t.n_steps * n_bytes / speed / t.wall for t, speed in zip(took, speeds, strict=True))
        line = f"  {side:<9}{took[0].n_tokens:>7} tokens{took[0].n_steps:>6} steps{wall:>9.1f} tokens/s"
        line += f"{cpu:>9.1f} a CPU second  {100 * least:.0f} % of bandwidth"
        for other in [other for other in chosen.sides if side == "ours" != other]:
            walls, cpus = ([rate(one["ours"], clock) / rate(one[other], clock) for one in rounds] for clock in CLOCKS)
            line += f"  {median(walls):.2f} x {other} (CPU {median(cpus):.2f}, {min(cpus):.2f} to {max(cpus):.2f})"
            if asked.prompts[0].length is None and not chosen.draws:
                gaps = apart(asked, first[other].texts, first["ours"].texts)
                line += f"  {len(gaps)} differ, {max(gaps, default=0):.1e} apart"
        print(line, flush=True)


def rate(took: Took, clock: str) -> float:
    """Tokens a second."""
    return took.n_tokens / float(getattr(took, clock))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="folders with job.yaml and student/")
    parser.add_argument("--data", type=Path, help="the folder of paths.data, without --runs")
    parser.add_argument("--tokenizer", type=Path, help="a folder with GPT-2's tokenizer, without --runs")
    parser.add_argument("--shape", default="gpt2", choices=sorted(SHAPES))
    parser.add_argument("--tasks", nargs="+", default=["multiarith"])
    parser.add_argument("--prompts", type=int, default=None, help="of a test split; all of them where not given")
    parser.add_argument("--limit", type=int, default=None, help="new tokens; a run's own, or 512, where not given")
    parser.add_argument("--endless", type=float, default=0.0)
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--examples", type=int, default=0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS)
    parser.add_argument("--sides", nargs="+", default=["generate", "ours"], choices=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    if not chosen.runs and not (chosen.data and chosen.tokenizer):
        parser.error("--runs FOLDER..., or --data and --tokenizer")
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}, {chosen.device}, "
        f"{torch.get_num_threads()} threads"
    )
    for asked in (trained(folder, chosen) for folder in chosen.runs) if chosen.runs else untrained(chosen):
        measure(asked, chosen)


if __name__ == "__main__":
    main()
