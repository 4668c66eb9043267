"""The summed loss is torch's cross entropy, in value and gradient, however it is cut and in whichever precision."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ftcot.student import head
from ftcot.student.head import SummedLoss, can_sum, summing
from tests.student_models import SIZES, random_student

N_TOKENS, SIZE = 11, 7


def drawn(n: int, *, bias: bool = True, frozen: tuple[str, ...] = (), seed: int = 0) -> dict[str, Tensor | None]:
    """Hidden states, and the weights of an output layer."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"hidden": (n, SIZE), "weight": (N_TOKENS, SIZE), "bias": (N_TOKENS,)}
    tensors: dict[str, Tensor | None] = {
        name: torch.randn(shape, generator=generator).requires_grad_(name not in frozen)
        for name, shape in shapes.items()
    }
    return tensors if bias else tensors | {"bias": None}


def labels_of(n: int, seed: int = 0) -> Tensor:
    return torch.randint(N_TOKENS, (n,), generator=torch.Generator().manual_seed(seed))


def by_torch(tensors: dict[str, Tensor | None], labels: Tensor) -> Tensor:
    logits = nn.functional.linear(tensors["hidden"], tensors["weight"], tensors["bias"])  # type: ignore[arg-type]
    return nn.functional.cross_entropy(logits.float(), labels, reduction="sum")


def by_us(tensors: dict[str, Tensor | None], labels: Tensor) -> Tensor:
    loss: Tensor = SummedLoss.apply(*tensors.values(), labels)  # type: ignore[no-untyped-call]
    return loss


def gradients(loss: Tensor, tensors: dict[str, Tensor | None], factor: float = 1.0) -> dict[str, Tensor]:
    wanted = {name: tensor for name, tensor in tensors.items() if tensor is not None and tensor.requires_grad}
    found = torch.autograd.grad(loss * factor, list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


@given(n=st.integers(0, 40), part=st.integers(1, 300), bias=st.booleans(), factor=st.floats(-3, 3))
def test_loss_and_gradients_are_those_of_torch_for_parts_of_any_size(
    n: int, part: int, bias: bool, factor: float
) -> None:
    tensors, labels = drawn(n, bias=bias, seed=n), labels_of(n, seed=part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "PART", part)
        loss = by_us(tensors, labels)
    expected = by_torch(tensors, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    found = gradients(loss, tensors, factor)
    for name, gradient in gradients(expected, tensors, factor).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


def test_a_vocabulary_as_wide_as_that_of_gpt2_has_the_loss_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor | None] = {
        "hidden": torch.randn(9, SIZE, generator=generator).requires_grad_(),
        "weight": torch.randn(50257, SIZE, generator=generator).requires_grad_(),
        "bias": None,
    }
    labels = torch.randint(50257, (9,), generator=generator)
    loss, expected = by_us(tensors, labels), by_torch(tensors, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    found = gradients(loss, tensors)
    for name, gradient in gradients(expected, tensors).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trained", list(product([True, False], repeat=3))[:-1])
def test_what_is_frozen_gets_no_gradient_and_the_others_the_same(trained: tuple[bool, bool, bool]) -> None:
    frozen = tuple(
        name for name, is_trained in zip(("hidden", "weight", "bias"), trained, strict=True) if not is_trained
    )
    tensors, labels = drawn(20, frozen=frozen), labels_of(20)
    loss = by_us(tensors, labels)
    found, expected = gradients(loss, tensors), gradients(by_torch(tensors, labels), tensors)
    assert found.keys() == expected.keys() == {"hidden", "weight", "bias"} - set(frozen)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)


def test_nothing_that_is_supervised_is_a_loss_of_zero_with_gradients_of_zero() -> None:
    tensors = drawn(0)
    loss = by_us(tensors, labels_of(0))
    assert (loss.item(), loss.dtype) == (0.0, torch.float32)
    found = gradients(loss, tensors)
    assert found["hidden"].shape == (0, SIZE)
    assert not found["weight"].any()
    assert not found["bias"].any()


@pytest.mark.parametrize("hidden_dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_the_error_is_that_of_torch_under_autocast(hidden_dtype: torch.dtype) -> None:
    exact, labels = drawn(200), labels_of(200)
    truth = gradients(by_torch(exact, labels), exact)
    errors = []
    for compute in (by_us, by_torch):
        tensors = drawn(200)
        assert tensors["hidden"] is not None
        tensors["hidden"] = tensors["hidden"].detach().to(hidden_dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute(tensors, labels)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(by_torch(exact, labels).item(), rel=1e-2)
        found = gradients(loss, tensors)
        assert {name: tensor.dtype for name, tensor in found.items()} == {
            "hidden": hidden_dtype, "weight": torch.float32, "bias": torch.float32
        }  # fmt: skip
        errors.append({name: float((found[name] - truth[name]).norm() / truth[name].norm()) for name in truth})
    ours, theirs = errors
    for name, error in ours.items():
        assert error <= max(1.2 * theirs[name], 1e-3), name


def test_gradients_cannot_be_taken_twice_in_silence() -> None:
    """They are scaled in place: to go back again would scale them twice."""
    tensors = drawn(5)
    loss = by_us(tensors, labels_of(5))
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_without_gradients_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(SIZE, N_TOKENS)
    hidden, labels = torch.randn(2, 5, SIZE), labels_of(3)
    asked: list[tuple[bool, ...]] = []
    forward = SummedLoss.forward

    def listening(ctx: torch.autograd.function.FunctionCtx, *arguments: Tensor) -> Tensor:
        asked.append(ctx.needs_input_grad)  # type: ignore[attr-defined]
        return forward(ctx, *arguments)

    monkeypatch.setattr(SummedLoss, "forward", staticmethod(listening))
    with torch.no_grad(), summing(layer, torch.tensor([1, 4, 9]), labels):
        loss = layer(hidden)
    assert asked == [(False, False, False, False)]
    states = hidden.flatten(0, 1)[[1, 4, 9]]
    torch.testing.assert_close(loss.sum(), nn.functional.cross_entropy(layer(states), labels, reduction="sum"))


@pytest.mark.parametrize("error", [None, KeyError])
def test_the_layer_gives_logits_again_afterwards(error: type[Exception] | None) -> None:
    layer, hidden = nn.Linear(SIZE, N_TOKENS), torch.randn(1, 4, SIZE)
    before, attributes = layer(hidden), set(vars(layer))
    try:
        with summing(layer, torch.tensor([0]), labels_of(1)):
            assert layer(hidden).shape == (1,)
            if error is not None:
                raise error
    except KeyError:
        pass
    assert torch.equal(layer(hidden), before)
    assert set(vars(layer)) == attributes


@pytest.mark.parametrize("kind", SIZES)
def test_only_models_that_give_their_logits_out_as_they_are_are_summed(kind: str) -> None:
    student = random_student(kind)
    assert can_sum(student.model) is (kind != "bart")  # which adds a bias of its own
    student.model.set_output_embeddings(nn.Sequential(student.model.get_output_embeddings()))
    assert not can_sum(student.model)
