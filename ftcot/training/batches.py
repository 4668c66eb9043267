"""Which pairs make an optimiser step, and who computes which of them.

    questions   A A A A A A A A   B B B B B B B B   C C C C ...       eight rationales each
    groups      A A A A  C C C C  B B B B  A A A A  ...                of four (training.group_size), shuffled
    steps       A A A A  C C C C | B B B B  A A A A | ...              batch_size pairs, or as many tokens as these have
    rank 0      A A A A          | B B B B
    micro       A A A A

A student computes a question once for all of its rationales that are in the same micro batch. So groups are what speed
and chance trade: of large ones the work is less, and a step has fewer different questions. Every rank makes the same
plan of a step from seed and epoch alone, and takes its part of it.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

import torch

from ftcot.student import Encoded
from ftcot.training import Training

T = TypeVar("T")


def stream(seed: int, purpose: str, *place: int) -> int:
    """A seed for one use at one place (epoch, step, rank): the same in a resumed run, whatever was drawn before."""
    digest = hashlib.sha256("/".join(map(str, (seed, purpose, *place))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def n_steps(pairs: Sequence[Encoded], training: Training) -> int:
    """Optimiser steps of an epoch."""
    return math.ceil(len(pairs) / training.batch_size)


def steps(pairs: Sequence[Encoded], training: Training, seed: int, epoch: int) -> list[list[int]]:
    """The pairs of each step of an epoch, by their number; those of a group follow each other."""
    order = shuffled([pair.prompt_ids for pair in pairs], training.group_size, seed, epoch)
    if training.batch_by == "pairs":
        return [order[first : first + training.batch_size] for first in range(0, len(order), training.batch_size)]
    return cut(order, [len(pairs[i].target_ids) for i in order], n_steps(pairs, training))


def shuffled(questions: Sequence[object], group_size: int, seed: int, epoch: int) -> list[int]:
    """In which order pairs are seen in an epoch: groups of pairs with the same question, uniformly shuffled.

    Args:
        questions: of each pair.
        group_size: of one, uniformly shuffled pairs. A question's pairs are dealt out anew in every epoch, to groups
            of about the same size.
    """
    generator = torch.Generator().manual_seed(stream(seed, "order", epoch))
    order: list[int] = torch.randperm(len(questions), generator=generator).tolist()
    if group_size == 1:
        return order
    by_question: dict[object, list[int]] = {}
    for i in order:
        by_question.setdefault(questions[i], []).append(i)
    groups = [
        group
        for mine in by_question.values()
        for group in cut(mine, [1] * len(mine), math.ceil(len(mine) / group_size))
    ]
    return [i for g in torch.randperm(len(groups), generator=generator).tolist() for i in groups[g]]


def shares(step: Sequence[int], pairs: Sequence[Encoded], training: Training, world: int) -> list[list[list[int]]]:
    """The micro batches of each rank, which go through its model one after another.

    Every rank has as many of them, so that all meet where gradients are summed; where a rank's part is at its end,
    they are empty.
    """
    parts = cut(step, [_cost(pairs[i]) for i in step], world)
    if training.device_batch_size is not None:
        size = training.device_batch_size
        n_micro = math.ceil(max(map(len, parts)) / size)
        return [[part[n * size :][:size] for n in range(n_micro)] for part in parts]
    if training.device_batch_tokens is None:
        return [[part] for part in parts]
    # Sorted, so that texts of a micro batch are of about the same length: less is padded where texts have to be.
    ordered = [sorted(part, key=lambda i: (-len(pairs[i].prompt_ids), pairs[i].prompt_ids)) for part in parts]
    costs = [[_cost(pairs[i]) for i in part] for part in ordered]
    budget, most = training.device_batch_tokens, max(map(len, parts))
    least = max(math.ceil(sum(mine) / budget) for mine in costs)
    n_micro = next(n for n in range(min(least, most), most + 1) if all(_fit(mine, n, budget) for mine in costs))
    return [cut(part, mine, n_micro) for part, mine in zip(ordered, costs, strict=True)]


def _fit(costs: Sequence[int], n: int, budget: int) -> bool:
    """Whether each of `n` parts is within the budget, or a single pair."""
    return all(sum(part) <= budget or len(part) == 1 for part in cut(costs, costs, n))


def cut(items: Sequence[T], costs: Sequence[int], n: int) -> list[list[T]]:
    """`n` parts of the items, in their order, of about the same cost; none is empty where there are as many items.

    cut("abcd", [1, 1, 1, 3], 2)  ->  [["a", "b", "c"], ["d"]]
    """
    done = list(accumulate(costs))
    ends = [0]
    for part in range(1, n):
        # Half of the item that lies on the border belongs to each side: it goes to the one with more of it.
        border = done[-1] * part / n if done else 0
        end = bisect_left(done, border)
        if end < len(items) and done[end] - border <= costs[end] / 2:
            end += 1
        ends.append(min(max(end, ends[-1] + 1), max(len(items) - (n - part), ends[-1]), len(items)))
    ends.append(len(items))
    return [list(items[first:last]) for first, last in pairwise(ends)]


def _cost(pair: Encoded) -> int:
    """Tokens, as if none were shared: a bound, and what a rank's part is to be fair by."""
    return len(pair.prompt_ids) + len(pair.target_ids)
