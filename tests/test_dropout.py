"""Dropout in few draws, and attention with it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ftcot.student.dropout import LEVELS, Dropout, keeping
from ftcot.student.softmax import Weighted, attend
from tests.student_models import random_student

sizes = st.lists(st.integers(0, 9), min_size=1, max_size=3)


@given(sizes, st.floats(0, 0.999), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_what_is_kept_is_scaled_so_that_the_mean_is_one(shape: list[int], p: float, dtype: torch.dtype) -> None:
    kept = keeping(shape, p, dtype)
    assert kept.shape == torch.Size(shape)
    assert kept.dtype == dtype
    dropped = round(p * LEVELS) / LEVELS
    assert set(kept.flatten().tolist()) <= {0.0, torch.tensor(1 / (1 - dropped), dtype=dtype).item()}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.01])
def test_as_many_are_dropped_as_the_probability_says(p: float) -> None:
    torch.manual_seed(5)
    n = 1 << 20
    kept = keeping((n // 8, 8), p, torch.float32)
    for several in (kept, *kept.unbind(1)):  # numbers that share a draw are as often dropped as others
        dropped = (several == 0).double().mean().item()
        assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / several.numel()) + 1 / LEVELS
    pairs = ((kept[:, 0] == 0) & (kept[:, 1] == 0)).double().mean().item()  # and not together
    assert abs(pairs - p * p) < 5 * math.sqrt(p * p / (n // 8)) + 2 / LEVELS


def test_the_seed_says_what_is_dropped() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(keeping((40, 40), 0.3, torch.float32))
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])


def test_a_gradient_takes_the_way_its_number_took() -> None:
    numbers = torch.randn(30, 20, requires_grad=True)
    dropped = Dropout(0.4)(numbers)
    dropped.backward(torch.ones_like(dropped))
    assert numbers.grad is not None
    torch.testing.assert_close(numbers.grad * numbers, dropped)
    assert 0 < (dropped == 0).sum() < 600


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_nothing_is_dropped_but_in_training(p: float) -> None:
    numbers = torch.randn(9, 9)
    assert Dropout(p).eval()(numbers).equal(numbers)
    if p in (0.0, 1.0):
        assert Dropout(p)(numbers).equal(numbers * (1 - p))


def test_a_students_dropout_is_the_quick_one() -> None:
    student = random_student("gpt2")
    found = {type(module) for module in student.model.modules() if isinstance(module, nn.Dropout)}
    assert found == {Dropout}


# Attention


def three(n: int, heads: int, width: int, length: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n + heads + width + length)
    return [
        torch.randn(n, heads, size, 4, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in (width, length, length)
    ]


def mask_of(n: int, width: int, length: int) -> Tensor:
    """Each query sees the keys before it, and in half of the texts not the first."""
    seen = torch.ones(n, 1, width, length, dtype=torch.bool).tril(length - width)
    seen[::2, :, 1:, 0] = False
    return torch.zeros(seen.shape, dtype=torch.float64).masked_fill_(~seen, float("-inf"))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(0, 5), st.none() | st.just(0.3))
def test_weights_are_torchs(n: int, heads: int, width: int, before: int, scale: float | None) -> None:
    inputs, mask = three(n, heads, width, width + before), mask_of(n, width, width + before)
    theirs = nn.functional.scaled_dot_product_attention(*inputs, attn_mask=mask, scale=scale)
    expected = torch.autograd.grad(theirs.square().sum(), inputs)
    ours = attend(*inputs, mask, 0.0, scale)  # 64 bits are not torch's to compute here
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours.square().sum(), inputs), expected)


def test_without_a_mask_none_sees_what_follows() -> None:
    inputs = three(2, 2, 5, 5)
    theirs = nn.functional.scaled_dot_product_attention(*inputs, is_causal=True)
    torch.testing.assert_close(attend(*inputs, None, 0.0, None), theirs)


def test_gradients_go_through_what_dropout_left() -> None:
    inputs, mask = three(2, 2, 3, 5), mask_of(2, 3, 5)

    def summed(*inputs: Tensor) -> Tensor:
        torch.manual_seed(3)
        weighted: Tensor = Weighted.apply(*inputs, mask, 0.4, 0.5)  # type: ignore[no-untyped-call]
        return weighted

    assert torch.autograd.gradcheck(summed, inputs)
    torch.manual_seed(3)
    kept = keeping((4, 3, 5), 0.4, torch.float64).view(2, 2, 3, 5)
    query, key, value = inputs
    weights = torch.softmax(query @ key.mT * 0.5 + mask, dim=-1)
    torch.testing.assert_close(summed(*inputs), (weights * kept) @ value)
