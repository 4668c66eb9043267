"""The loss where labels are, without the logits of a whole batch in memory at once.

    hidden states of 2,080 supervised tokens  ->  logits of 667, their loss and its gradient, the next 667, ...

A small student's output layer is a large part of its work: GPT-2's 38M of 124M parameters, and 50,257 numbers for each
token. What is not supervised is never given to it. The rest goes through in parts, and the gradient of a part is made
while its logits are still there. So no more than one part's logits are held, and each is computed once.

Shapes: S supervised tokens, V tokens in the vocabulary, d numbers a hidden state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ftcot.student.attention import FAMILIES

PART = 1 << 25
"""Logits that are made at once: 128 MiB in 32 bits. Half of it is a few percent slower, twice it no faster, but with
weights in 32 bits and products in 16, where each part's share of the weights' gradient is converted."""

CACHED = 1 << 18
"""Numbers that a core is to keep at hand: 1 MiB in 32 bits."""

PLAIN = FAMILIES | {"mt5", "t5"}
"""`model_type`s that give their output layer's logits out as they are."""


class SummedLoss(torch.autograd.Function):
    """Cross entropy, summed. The gradients are made with the loss, so that nothing is computed twice."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            hidden: (S, d).
            weight: (V, d); `bias`: (V,).
            labels: (S,) token ids.
        Returns:
            0-d, in 32 bits.
        """
        # With autocast weights are 32 bits and hidden states are not always: the products are in its precision.
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        for_hidden, for_weight, for_bias, _ = ctx.needs_input_grad
        narrow, ctx.dtype = weight.to(dtype), hidden.dtype
        loss = hidden.new_zeros((), dtype=torch.float32)
        d_hidden = torch.empty_like(hidden, dtype=dtype) if for_hidden else None
        d_weight = torch.empty_like(weight) if for_weight else None
        d_bias = torch.zeros_like(bias) if bias is not None and for_bias else None
        n_parts = max(1, -(-len(labels) * len(weight) // (PART if dtype == weight.dtype else 2 * PART)))
        for number in range(n_parts):
            part = slice(number * len(labels) // n_parts, (number + 1) * len(labels) // n_parts)
            states, wanted = hidden[part].to(dtype), labels[part, None]
            logits = nn.functional.linear(states, narrow, None if bias is None else bias.to(dtype))
            for rows, right in zip(_in_cache(logits), _in_cache(wanted, logits.shape[1]), strict=True):
                in_place = device == "cpu" and rows.dtype == torch.float32
                scores = torch.log_softmax(rows.float(), dim=-1, out=rows if in_place else None)
                loss -= scores.gather(1, right).sum()
                if not any((for_hidden, for_weight, for_bias)):
                    continue
                # Probabilities, less one where the label is: the gradient of the logits.
                scores.exp_().scatter_add_(1, right, scores.new_full(right.shape, -1.0))
                if d_bias is not None:
                    d_bias += scores.sum(dim=0)
                if not in_place:
                    rows.copy_(scores)
            if d_hidden is not None:
                torch.mm(logits, narrow, out=d_hidden[part])
            if d_weight is not None and dtype == d_weight.dtype:
                torch.addmm(d_weight, logits.t(), states, beta=min(number, 1), out=d_weight)
            elif d_weight is not None and number == 0:
                d_weight.copy_(logits.t() @ states)
            elif d_weight is not None:
                d_weight += logits.t() @ states
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        return (
            None if d_hidden is None else (d_hidden * gradient).to(ctx.dtype),
            None if d_weight is None else d_weight.mul_(gradient),
            None if d_bias is None else d_bias.mul_(gradient),
            None,
        )


def _in_cache(rows: Tensor, width: int | None = None) -> Sequence[Tensor]:
    """The rows, so many at a time that the passes over them stay within a CPU's cache.

    Args:
        width: numbers of a row that count; None: all.
    """
    if rows.device.type != "cpu":
        return (rows,)
    return torch.split(rows, max(1, CACHED // (width or rows.shape[1])))


def can_sum(model: Any) -> bool:
    """Whether `summing` knows the model's output layer."""
    return model.config.model_type in PLAIN and type(model.get_output_embeddings()) is nn.Linear


@contextmanager
def summing(head: nn.Linear, positions: Tensor, labels: Tensor) -> Iterator[None]:
    """Within, the output layer gives the summed loss, (1,), in place of logits. The model itself is called, not its
    parts, as what spreads a model over devices counts on that.

    Args:
        positions: (S,) rows of the hidden states that predict something, once these are (tokens, d).
        labels: (S,) what they are to predict.
    """

    def loss(hidden: Tensor) -> Tensor:
        states = hidden.flatten(end_dim=-2).index_select(0, positions)
        weights: list[Tensor | None] = [head.weight, head.bias]
        if not torch.is_grad_enabled():  # which a Function does not see
            weights = [None if tensor is None else tensor.detach() for tensor in weights]
        total: Tensor = SummedLoss.apply(states, *weights, labels)  # type: ignore[no-untyped-call]
        return torch.stack([total])  # no view, of which FSDP warns

    head.forward = loss  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward  # the class's own is back
