"""Texts without padding: all tokens of a batch in one row, and an attention that knows which belong together.

    "Q: 3 + 4?"  two rationales      ->  one row  Q1 Q2 Q3 Q4  A1 A2 A3  B1 B2
    plan                                 A attends to Q and A, B to Q and B: the question goes through the model once

Everything in a transformer but attention treats tokens alone, so there it does not matter what stands beside them. A
`Plan` says who attends to whom (`student/packing.py` for training, `student/cache.py` for generation), and positions
are given with the tokens. transformers asks us for each layer's attention by the name under which we register it.

Shapes: N tokens of the row, H heads of the queries, K heads of keys and values, d numbers a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "ftcot"

FAMILIES = frozenset({"gpt2", "gpt_neox", "llama", "opt", "qwen2"})
"""`model_type`s that are known to take positions for every token, to leave all attending to us and to change their
logits in no way (tests/test_attention.py). Others are padded: slower, and right."""


class Plan(Protocol):
    """Who attends to whom."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float
    ) -> Tensor:
        """One layer's attention.

        Args:
            layer: counted from 0.
            query: (1, H, N, d); `key` and `value`: (1, K, N, d), where K divides H.
            scaling: of the products of query and key; None: 1 / sqrt(d).
        Returns:
            (1, N, H, d).
        """
        ...


_PLAN: ContextVar[Plan] = ContextVar("plan")


def packs(model: Any) -> bool:
    """Whether the model is one that attends by a plan. One with sliding windows does not."""
    config = model.config
    windows = getattr(config, "use_sliding_window", False)
    return config.model_type in FAMILIES and not windows and not getattr(config, "add_cross_attention", False)


@contextmanager
def attending(model: Any, plan: Plan) -> Iterator[None]:
    """Within, the model attends by the plan; in this thread."""
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    token = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(token)
        model.config._attn_implementation = before


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    # No mask: transformers makes none for an attention it does not know.
    return _PLAN.get().attend(int(module.layer_idx), query, key, value, scaling, dropout), None  # type: ignore[arg-type]


AttentionInterface.register(NAME, _attend)
