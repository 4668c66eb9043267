"""Training pairs in one row, each question once, however many rationales go on from it.

    pairs      Q: 3 + 4? -> A1 A2 END      Q: 3 + 4? -> B1 END      R: 5 - 2? -> C1 C2 END
    tokens     Q1 Q2 Q3 A1 A2  R1 R2 R3 C1 C2  |  B1           longest first; the end of a target predicts nothing
    positions  0  1  2  3  4   0  1  2  3  4   |  3
    attend to  those before it                 |  its question, and those before it
    labels     Q3: A1   A1: A2   A2: END   R3: C1   C1: C2   C2: END   Q3: B1   B1: END

The student computes a question once for all its rationales, and the gradients of all of them go back into it: loss and
gradients are those of the pairs one by one. The first rationale stands behind its question, as it would alone; what is
not shared then takes one call of the attention. Nothing is padded but within attention, which is a small part of the
work.

Shapes: G questions of at most P tokens, R further completions of at most T tokens (their last one left out), N tokens
in the row, S supervised tokens, H heads of the queries, K heads of keys and values, d numbers a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor

from ftcot.student import Encoded, softmax

WORTH = 1 << 16
"""Products of a query and a key that are worth another call of the attention. With 768 numbers a token, they are 0.2
GFLOP, forward and backward three times that."""


class Arrange(torch.autograd.Function):
    """Rows of a tensor in another order, some of them more than once, where those do not count.

    As `index_select`, but its gradient is a selection too: torch would add rows up one by one.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, back: Tensor) -> Tensor:
        """The rows at `places`.

        Args:
            rows: (n, ...).
            places: (m,), each of the n once where it counts.
            back: (n,) where, in the result, that is.
        """
        ctx.save_for_backward(back)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


@dataclass(frozen=True)
class Block:
    """Texts of several lengths as rows of one, and back.

    lengths 3, 2   ->   places [[0, 1, 2], [3, 4, 3]]   back [0, 1, 2, 3, 4]
    """

    places: Tensor
    """(rows, width): which token stands there; behind a text's end, its first."""
    back: Tensor
    """(tokens,): where the token stands among the rows * width places."""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Block:
        """The block of texts that follow each other."""
        length = torch.tensor(lengths)
        begin = length.cumsum(0) - length
        column = torch.arange(max(lengths))[None]
        real = column < length[:, None]
        # An empty text has no first token; any will do, as none of it counts.
        places = (begin[:, None] + column.where(real, 0)).clamp(max=max(0, sum(lengths) - 1))
        return cls(places, real.flatten().nonzero().flatten())

    def to(self, device: Any) -> Block:
        return Block(self.places.to(device), self.back.to(device))

    def spread(self, tokens: Tensor) -> Tensor:
        """(tokens, heads, d) -> (rows, heads, width, d)."""
        spread: Tensor = Arrange.apply(tokens, self.places.flatten(), self.back)  # type: ignore[no-untyped-call]
        return spread.view(*self.places.shape, *tokens.shape[1:]).transpose(1, 2)

    def gather(self, spread: Tensor) -> Tensor:
        """(rows, heads, width, d) -> (tokens, heads, d)."""
        # What stands behind a text's end is not gathered, so its gradient is zero, as index_select has it.
        return spread.transpose(1, 2).flatten(0, 1).index_select(0, self.back)


@dataclass(frozen=True)
class Completions:
    """Some of the completions, of about the same length, that attend in one call."""

    block: Block
    question: Tensor
    """(rows,) which question each goes on from."""
    mask: Tensor
    """(rows, 1, T, P + T): what is added to the products, 0 or minus infinity."""

    def to(self, device: Any) -> Completions:
        return Completions(self.block.to(device), self.question.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Packed:
    """A micro batch in one row; the plan by which it attends."""

    ids: Tensor
    """(1, N)"""
    positions: Tensor
    """(1, N)"""
    reads: Tensor
    """(S,) tokens that predict one; the last of a question does so for each of its completions."""
    labels: Tensor
    """(S,)"""
    texts: Block
    """Each question, with one of its completions."""
    completions: tuple[Completions, ...]
    _masks: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, pairs: Sequence[Encoded], *, supervised: bool = True) -> Packed:
        """The batch of some pairs. Those whose prompts are the same tokens share them.

        Args:
            supervised: False: nothing is to be predicted, as in a batch of a rank that is at its end.
        """
        texts: dict[tuple[int, ...], Encoded] = {}
        others: list[Encoded] = []
        # Longest first, so that calls are of about the same length. The order has no part in the loss.
        for pair in sorted(pairs, key=lambda pair: -len(pair.target_ids)):
            if pair.prompt_ids in texts:
                others.append(pair)
            else:
                texts[pair.prompt_ids] = pair
        number = {prompt: number for number, prompt in enumerate(texts)}
        pieces = [(*pair.prompt_ids, *pair.target_ids[:-1]) for pair in texts.values()]
        pieces += [pair.target_ids[:-1] for pair in others]
        starts = [0] * len(texts) + [len(pair.prompt_ids) for pair in others]
        ends = list(accumulate(map(len, pieces)))
        reads: list[int] = []
        labels: list[int] = []
        for pair, end in zip((*texts.values(), *others) if supervised else (), ends, strict=supervised):
            text = number[pair.prompt_ids]
            reads.append(ends[text] - len(pieces[text]) + len(pair.prompt_ids) - 1)
            reads += range(end - len(pair.target_ids) + 1, end)
            labels += pair.target_ids
        return cls(
            torch.tensor([[token for piece in pieces for token in piece]]),
            torch.tensor([[start + i for start, piece in zip(starts, pieces, strict=True) for i in range(len(piece))]]),
            torch.tensor(reads, dtype=torch.long),
            torch.tensor(labels, dtype=torch.long),
            Block.of([len(piece) for piece in pieces[: len(texts)]]),
            tuple(
                _completions(
                    [number[pair.prompt_ids] for pair in others],
                    [len(pair.target_ids) - 1 for pair in others],
                    starts[len(texts) :],
                )
            ),
        )

    def to(self, device: Any) -> Self:
        """The same on a device. Lightning calls it."""
        return type(self)(
            ids=self.ids.to(device),
            positions=self.positions.to(device),
            reads=self.reads.to(device),
            labels=self.labels.to(device),
            texts=self.texts.to(device),
            completions=tuple(some.to(device) for some in self.completions),
        )

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float
    ) -> Tensor:
        """As `attention.Plan.attend`."""
        n_heads, sizes = query.shape[1], [len(block.back) for block in self._blocks]
        parts = [torch.split(tensor[0].transpose(0, 1), sizes) for tensor in (query, key, value)]
        spread = [[block.spread(part) for block, part in zip(self._blocks, split, strict=True)] for split in parts]
        (q, *queries), (k, *keys), (v, *values) = spread
        k, v = _each_head(k, n_heads), _each_head(v, n_heads)
        outputs = [self.texts.gather(softmax.attend(q, k, v, None, dropout, scaling))]
        for number, some in enumerate(self.completions):
            own_key, own_value = (_each_head(tensor[number], n_heads) for tensor in (keys, values))
            width = some.mask.shape[3] - some.mask.shape[2]
            output = softmax.attend(
                queries[number],
                torch.cat([k[:, :, :width].index_select(0, some.question), own_key], dim=2),
                torch.cat([v[:, :, :width].index_select(0, some.question), own_value], dim=2),
                self._mask(number, query.dtype),
                dropout,
                scaling,
            )
            outputs.append(some.block.gather(output))
        return torch.cat(outputs)[None]

    @property
    def _blocks(self) -> list[Block]:
        return [self.texts, *(some.block for some in self.completions)]

    def _mask(self, number: int, dtype: torch.dtype) -> Tensor:
        """In the precision of the queries, made once for all layers."""
        if (number, dtype) not in self._masks:
            self._masks[number, dtype] = self.completions[number].mask.to(dtype)
        return self._masks[number, dtype]


def _completions(question: Sequence[int], news: Sequence[int], lengths: Sequence[int]) -> Iterator[Completions]:
    """The calls that attend from the further completions.

    Args:
        question: of each completion, longest first.
        news: their tokens, the last one left out.
        lengths: of their questions.
    """
    first, longest = 0, max(lengths, default=0)
    while first < len(news) and news[first]:  # a completion that is the end of text alone asks nothing
        last = first + 1
        area = news[first] * (longest + news[first])
        while last < len(news) and (len(news) - last) * (area - news[last] * (longest + news[last])) < WORTH:
            last += 1
        length = torch.tensor(lengths[first:last])[:, None]
        before = torch.arange(max(lengths[first:last])) < length
        own = torch.ones(news[first], news[first], dtype=torch.bool).tril()
        seen = torch.cat([before[:, None].expand(-1, news[first], -1), own[None].expand(last - first, -1, -1)], dim=2)
        mask = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))[:, None]
        yield Completions(Block.of(news[first:last]), torch.tensor(question[first:last]), mask)
        first = last


def _each_head(tensor: Tensor, n_heads: int) -> Tensor:
    """(rows, K, width, d) -> (rows, H, width, d): queries that share keys and values get a copy each."""
    shared = n_heads // tensor.shape[1]
    return tensor if shared == 1 else tensor.repeat_interleave(shared, dim=1)
