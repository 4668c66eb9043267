"""The next token of each of some texts, by the random numbers of each.

    probabilities of four tokens   0.1  0.6  0.2  0.1
    cumulated                      0.1  0.7  0.9  1.0
    random number 0.75             falls on the third

One number a token does, however large the vocabulary, and rounding in the logits seldom changes where it falls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftcot.errors import JobError
from ftcot.teacher.asks import Decoding


def choose(logits: Tensor, decoding: Decoding, numbers: Tensor) -> Tensor:
    """The next token of each row.

    Args:
        logits: (R, V).
        numbers: (R,), each from 0 to below 1; not looked at where the temperature is 0.
    Returns:
        (R,) token ids.
    Raises:
        JobError: there are logits that are no numbers, or infinite ones.
    """
    if not (logits < float("inf")).all():
        raise JobError("teacher.dtype: the model computes no numbers any more; float16 overflows, take bfloat16")
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)
    scaled = logits.to(arithmetic(logits)) / decoding.temperature
    probabilities = scaled.softmax(dim=-1)
    if decoding.top_p < 1:
        ranked, order = probabilities.sort(dim=-1, descending=True)
        likelier = ranked.cumsum(dim=-1) - ranked  # than it, altogether
        left_out = torch.zeros_like(likelier, dtype=torch.bool).scatter(-1, order, likelier >= decoding.top_p)
        probabilities = probabilities.masked_fill(left_out, 0)
    cumulated = probabilities.cumsum(dim=-1)
    # In 64 bits a number below 1 leaves less than all, so a token with a probability is found.
    fallen = numbers[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, fallen, right=True).squeeze(-1)


def arithmetic(logits: Tensor) -> Tensor:
    """A tensor of the kind that probabilities are computed in: 64 bits, which MPS does not have."""
    return torch.empty(0, dtype=torch.float64, device="cpu" if logits.device.type == "mps" else logits.device)


def random_numbers(seed: int | None, n: int) -> Any:
    """(n,) random numbers from 0 to below 1, in steps of 2**-24. More of a seed begin with the same ones."""
    return (np.random.PCG64(seed).random_raw(n) >> np.uint64(40)) * 2.0**-24
