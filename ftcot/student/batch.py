"""Rows of token ids as tensors, and logits where they are needed only.

[[5, 9, 7], [4]]  ->  ids [[5, 9, 7], [4, 0, 0]]   mask [[1, 1, 1], [1, 0, 0]]      (padding id 0)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Padded(dict[str, Tensor]):
    """The tensors of a batch of padded rows, by their names in transformers."""

    def to(self, device: Any) -> Padded:
        """The same on a device. Lightning calls it."""
        return Padded((name, tensor.to(device)) for name, tensor in self.items())


@contextmanager
def only_at(head: nn.Module | None, positions: Tensor) -> Iterator[None]:
    """Within, the output layer computes logits at the marked positions alone, as (1, N, V).

    Most positions of a batch are prompt and padding, and the output layer of a small student is a large part of it.
    Whatever a model does to its logits afterwards (a scale, a soft cap) stays as it is.

    Args:
        positions: (N,) rows of the hidden states, once these are (B * L, d).
    """
    if head is None:
        raise ValueError("the model has no output layer")

    def select(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0].flatten(end_dim=-2).index_select(0, positions)[None], *arguments[1:])

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


def padded(rows: Sequence[Sequence[int]], fill: int, *, before: bool = False) -> Tensor:
    """(B, L) of ids, `fill` behind (or before) the shorter rows."""
    width = max(map(len, rows))
    fills = [[fill] * (width - len(row)) for row in rows]
    return torch.tensor([[*f, *row] if before else [*row, *f] for row, f in zip(rows, fills, strict=True)])


def length_mask(rows: Sequence[Sequence[int]], *, before: bool = False) -> Tensor:
    """(B, L) of 1 where `padded` has a token of the row; by length, as the padding id may be a real token too."""
    return padded([[1] * len(row) for row in rows], 0, before=before)
