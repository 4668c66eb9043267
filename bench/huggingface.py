"""What computing prompts once gains: `python -m bench.huggingface [--model smollm2-135m] [--rounds 3]`.

    ours      ftcot.teacher.generation.Writer: each prompt is read once, its cache shared by its D texts
    theirs    transformers' generate with num_return_sequences=D: each prompt is read D times

The same prompts, the same number of texts at once, the same temperature. `fixed` lets every text be of --tokens tokens,
which shows the prompts' part alone; `natural` lets texts end where the model ends them, which also shows what it gains
that texts which have ended leave the batch. Prompts are questions (some 60 tokens), and the same with worked examples
before them (some 600). Ratios are of process time, which other work on the machine distorts less than wall time; the
two take turns in every round, and the table gives medians.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from ftcot.teacher.asks import Decoding, Turn
from ftcot.teacher.generation import Wanted, Writer
from ftcot.teacher.huggingface import HuggingFace
from ftcot.teacher.local import prompt_ids

QUESTION = "Q: {} had {} hats and bought {} more. Then {} of them were lost in the rain. How many hats are left?\nA: "
EXAMPLE = (
    "Q: A farmer has {} sheep in the north field and {} in the south field, and sells {} of them on the market.\n"
    "A: He has {} + {} = {} sheep. After the sale there are {} - {} = {} sheep. The answer is {}.\n\n"
)
STEPS = "Let's think step by step."


class Took(NamedTuple):
    """What one way of writing took."""

    wall: float
    cpu: float
    """Seconds, of all threads of the process."""
    n_tokens: int
    """Written, the ends included."""


def prompts(n: int, n_examples: int) -> list[str]:
    """Some prompts, no two of a length or a beginning."""
    shown = "".join(
        EXAMPLE.format(a, b, c, a, b, a + b, a + b, c, a + b - c, a + b - c)
        for a, b, c in ((20 + i, 11 * i, 3 + i) for i in range(1, n_examples + 1))
    )
    names = ("Ann", "Benjamin", "Zoë", "Maximilian")
    return [shown + QUESTION.format(names[i % 4], 10 + i, 5 * i, 3 + i) + STEPS for i in range(n)]


def timed(write: Callable[[], int]) -> Took:
    wall, cpu = time.perf_counter(), time.process_time()
    n_tokens = write()
    return Took(time.perf_counter() - wall, time.process_time() - cpu, n_tokens)


def ours(writer: Writer, rows: Sequence[Sequence[int]], draws: int, at_once: int, decoding: Decoding) -> int:
    """Write with our own, a batch after the other; returns the tokens written."""
    n_tokens, together = 0, max(1, at_once // draws)
    for start in range(0, len(rows), together):
        batch = [Wanted(tuple(row), tuple(range(draws)), decoding.max_tokens) for row in rows[start : start + together]]
        n_tokens += sum(text.n_tokens for texts in writer.write(batch, decoding, at_once) for text in texts if text)
    return n_tokens


@torch.inference_mode()
def theirs(writer: Writer, rows: Sequence[Sequence[int]], draws: int, at_once: int, decoding: Decoding) -> int:
    """Write with transformers' own, in the same batches."""
    n_tokens, together = 0, max(1, at_once // draws)
    model, ends = writer.model, writer._ends
    settings: dict[str, Any] = {
        "do_sample": True,
        "temperature": decoding.temperature,
        "top_k": 0,
        "num_return_sequences": draws,
        "max_new_tokens": decoding.max_tokens,
        "pad_token_id": 0,
    }
    if not ends:
        settings["min_new_tokens"] = decoding.max_tokens
    for start in range(0, len(rows), together):
        some = rows[start : start + together]
        width = max(map(len, some))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in some], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in some], device=model.device)
        new = model.generate(input_ids=ids, attention_mask=mask, **settings)[:, width:].tolist()
        for text in new:
            n_tokens += next((i for i, token in enumerate(text, start=1) if token in ends), len(text))
    return n_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--cache", default=None, help="folder that holds the package's weights, unpacked")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    teacher = HuggingFace(model=chosen.model, device=chosen.device, cache=chosen.cache and Path(chosen.cache))
    writer = teacher.load()
    print(f"{teacher.known_as}; {writer.described}; {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}")
    print(f"D = {chosen.draws}, {chosen.at_once} texts at once, {chosen.prompts} prompts, {chosen.rounds} rounds")
    print(f"{'prompts':<10}{'texts':<9}{'tokens':>7}{'ours':>12}{'theirs':>12}{'ratio, CPU':>12}{'wall':>6}{'load':>6}")
    ends = writer._ends
    for n_examples in (0, 8):
        turns = [[Turn("user", text)] for text in prompts(chosen.prompts, n_examples)]
        rows = [prompt_ids(writer.tokenizer, said, teacher.chat, None) for said in turns]
        for kind in ("fixed", "natural"):
            writer._ends = ends if kind == "natural" else frozenset()
            decoding = Decoding(0.7, chosen.tokens * (1 if kind == "fixed" else 4))
            arguments = (writer, rows, chosen.draws, chosen.at_once, decoding)
            pairs = [
                (timed(partial(ours, *arguments)), timed(partial(theirs, *arguments))) for _ in range(chosen.rounds)
            ]
            # Texts differ between the two where they may end: a token is what counts.
            speed = [median(took.n_tokens / took.cpu for took in side) for side in zip(*pairs, strict=True)]
            walls = [median(took.n_tokens / took.wall for took in side) for side in zip(*pairs, strict=True)]
            print(
                f"{sum(map(len, rows)) // len(rows):<10}{kind:<9}{pairs[0][0].n_tokens:>7}"
                f"{speed[0]:>8.1f} t/s{speed[1]:>8.1f} t/s{speed[0] / speed[1]:>12.2f}{walls[0] / walls[1]:>6.2f}"
                f"{os.getloadavg()[0]:>6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
