"""Rows of keys and values, and attention to them: what `cache.py` keeps texts in.

    band of 128 tokens a row    texts a, b, c in rows 0, 1, 2; no gaps, so that attention works on slices
    part of a step              a1 b1 c1: written into the rows, then each attends to its own, as far as it is filled

Shapes: T tokens of a step, n texts of a band of rows, W tokens of its rows, H heads of queries, K heads of keys, d
numbers a head, L longest text of a band so far, C most new tokens of a text in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor, nn

from ftcot.student.decoding import Text

ROUND = 16
"""Lengths are attended to in multiples of this: kernels like it, and shapes change seldom."""


@dataclass(eq=False)
class Held:
    """A text with its place."""

    text: Text
    n_read: int = 0
    """Tokens whose keys and values are in the memory."""
    band: Band | None = None
    row: int = 0
    followers: list[Text] = field(default_factory=list)
    """Texts of the same prompt, which begin with the same logits."""

    @property
    def n_tokens(self) -> int:
        return len(self.text.prompt) + len(self.text.ids)

    @property
    def room(self) -> int:
        """Tokens that may be tried behind the text: within its row, and its limit."""
        width = self.band.width if self.band else 0
        return min(width - self.n_tokens, self.text.limit - len(self.text.ids) - 1)

    def unread(self) -> Sequence[int]:
        text, n_prompt = self.text, len(self.text.prompt)
        if self.n_read >= n_prompt:
            return text.ids[self.n_read - n_prompt :]
        return (*text.prompt[self.n_read :], *text.ids)


class Band:
    """Rows of one length."""

    def __init__(self, width: int, n_layers: int) -> None:
        self.width, self.n_layers = width, n_layers
        self.held: list[Held] = []
        """Of each row."""
        self.memory: Tensor | None = None
        """(layers, 2, rows, K, W, d)."""

    def add(self, held: Held) -> None:
        held.band, held.row = self, len(self.held)
        self.held.append(held)

    def reserve(self, key: Tensor) -> None:
        """Memory for all texts, of a kind with `key`: (T, K, d). What is there is kept."""
        n, old = len(self.held), self.memory
        if old is not None and old.shape[2] >= n:
            return
        n_rows = n if old is None else max(n, old.shape[2] * 5 // 4)
        # Zeros: what is masked is multiplied by 0, and 0 times what is no number is none.
        self.memory = key.new_zeros(self.n_layers, 2, n_rows, key.shape[1], self.width, key.shape[2])
        if old is not None:
            self.memory[:, :, : old.shape[2]] = old

    def remove(self, gone: Sequence[Held]) -> None:
        """Let go of some; the last ones take their places."""
        n_left = len(self.held) - len(gone)
        for held in gone:
            held.band = None
        holes = sorted(held.row for held in gone if held.row < n_left)
        movers = [held for held in self.held[n_left:] if held.band is self]
        if holes and self.memory is not None:
            self.memory[:, :, holes] = self.memory[:, :, [held.row for held in movers]]
        for row, held in zip(holes, movers, strict=True):
            self.held[row], held.row = held, row
        del self.held[n_left:]
        if not self.held:
            self.memory = None


class Part:
    """The tokens of a step that belong to one band: of texts with one new token each, then of those that enter."""

    def __init__(self, band: Band, start: int, n_new: Sequence[int]) -> None:
        self.band, self.start, self.n_new = band, start, n_new
        self.stop = start + sum(n_new)
        self.n_old = sum(1 for _ in takewhile(lambda n: n == 1, n_new))
        self.middle = start + self.n_old

    def prepare(self, positions: Tensor, rows: Tensor, known: Sequence[int]) -> None:
        """What all layers need.

        Args:
            positions: (T,); `rows`: (T,) of their band; `known`: the positions, on the CPU.
        """
        mine = slice(self.start, self.stop)
        self._positions, self._rows = positions[mine], rows[mine]
        self._target: Tensor | None = None
        columns = torch.arange(self.band.width, device=positions.device)
        if self.n_old:
            self._n_seen = self._rounded(max(known[self.start : self.middle]) + 1)
            seen = columns[: self._n_seen] <= positions[self.start : self.middle, None]
            self._old_mask = seen[:, None, None]
        if self.n_old < len(self.n_new):
            n_new = self.n_new[self.n_old :]
            most = max(n_new)
            self._n_seen_new = self._rounded(max(known[self.middle : self.stop]) + 1)
            counts = torch.tensor(n_new)
            steps = torch.arange(most)
            # (n, C): which token; beyond a text's last one it again, whose output nobody takes.
            taken = (counts.cumsum(0) - counts)[:, None] + torch.minimum(steps, counts[:, None] - 1)
            real = (steps < counts[:, None]).flatten().nonzero().flatten()
            self._taken, self._real = taken.to(positions.device), real.to(positions.device)
            at = positions[self.middle : self.stop][self._taken]
            self._new_mask = (columns[: self._n_seen_new] <= at[..., None])[:, None]

    def _rounded(self, n: int) -> int:
        return min(-(-n // ROUND) * ROUND, self.band.width)

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scaling: float | None) -> Tensor:
        """(tokens of the part, H, d) of (T, H, d), (T, K, d) and (T, K, d)."""
        band = self.band
        band.reserve(keys)
        assert band.memory is not None
        n_heads, width, size = band.memory.shape[3:]
        if self._target is None:
            heads = torch.arange(n_heads, device=keys.device)
            self._target = ((self._rows[:, None] * n_heads + heads) * width + self._positions[:, None]).flatten()
            self._masks = _additive(self, queries.dtype, queries.shape[1] // n_heads)
        memory = band.memory[layer]
        for kept, new in zip(memory, (keys, values), strict=True):
            kept.view(-1, size).index_copy_(0, self._target, new[self.start : self.stop].reshape(-1, size))
        kept_keys, kept_values = memory
        old_mask, new_mask = self._masks
        outputs = []
        if self.n_old:
            asked = queries[self.start : self.middle]
            own = kept_keys[: self.n_old, :, : self._n_seen], kept_values[: self.n_old, :, : self._n_seen]
            outputs.append(_grouped(asked[:, :, None], *own, old_mask, scaling)[:, :, 0])
        if self.n_old < len(self.n_new):
            asked = queries[self.middle : self.stop][self._taken].transpose(1, 2)
            rows = slice(self.n_old, len(band.held))
            own = kept_keys[rows, :, : self._n_seen_new], kept_values[rows, :, : self._n_seen_new]
            answer = _grouped(asked, *own, new_mask, scaling)
            outputs.append(answer.transpose(1, 2).flatten(0, 1)[self._real])
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _additive(part: Part, dtype: torch.dtype, n_groups: int) -> tuple[Tensor | None, Tensor | None]:
    """The part's masks as what is added to the products, for queries of `_grouped`: made once, not in every layer."""

    def made(mask: Tensor) -> Tensor:
        added = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
        return added.repeat(1, 1, n_groups, 1) if added.shape[2] > 1 else added

    old = made(part._old_mask) if part.n_old else None
    new = made(part._new_mask) if part.n_old < len(part.n_new) else None
    return old, new


def _grouped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """Attention of (n, H, C, d) to (n, K, L, d). Heads that share keys are asked as more queries of one head, so keys
    are not copied for them.

    Args:
        mask: (n, 1, 1 or H / K * C, L).
    """
    n, n_queries, count, size = query.shape
    grouped = query.reshape(n, key.shape[1], n_queries // key.shape[1] * count, size)
    output = nn.functional.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(n, n_queries, count, size)
