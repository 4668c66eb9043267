"""Pairs in one row, each question once: the loss and every gradient are those of the pairs one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.student import Encoded, packing
from ftcot.student.language_model import LanguageModel
from ftcot.student.packing import Block, Packed
from tests.student_models import (
    DECODERS,
    assert_same_gradients,
    gradients,
    plain_loss,
    respread,
    still_student,
)

END = 0
KINDS = (*DECODERS, "t5", "bart")

Lengths = list[tuple[int, list[int]]]
"""Of the questions, each with those of its targets (the end of text included)."""

SHAPES: dict[str, Lengths] = {
    "eight rationales": [(9, [5, 3, 8, 5, 1, 2, 7, 4])],
    "one pair": [(4, [6])],
    "a token each": [(1, [1])],
    "prompts of a token": [(1, [3, 2]), (1, [2])],
    "nothing but ends": [(5, [1, 1]), (2, [1])],
    "ends and one completion": [(3, [1, 1, 9]), (7, [1])],
    "none shared": [(3, [4]), (8, [2]), (1, [5])],
    "all of a length": [(6, [4, 4, 4]), (6, [4, 4, 4])],
    "ragged": [(30, [2, 12]), (2, [40, 1, 3]), (11, [11, 11])],
}


def pairs_of(lengths: Lengths, seed: int = 0, *, twice: bool = False) -> list[Encoded]:
    """Pairs of such lengths, shuffled; their ids are drawn, and so may be those that pad or end.

    Args:
        twice: the first pair comes twice.
    """
    generator = torch.Generator().manual_seed(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(512, (n,), generator=generator).tolist())

    pairs: list[Encoded] = []
    for n_prompt, targets in lengths:
        prompt = ids(n_prompt)
        pairs += [Encoded(prompt, (*ids(n_target - 1), END), truncated=False) for n_target in targets]
    order: list[int] = torch.randperm(len(pairs), generator=generator).tolist()
    return [pairs[i] for i in order] + pairs[: int(twice)]


def grouped(pairs: Sequence[Encoded]) -> Lengths:
    """The lengths that some pairs have."""
    prompts = dict.fromkeys(pair.prompt_ids for pair in pairs)
    return [(len(prompt), [len(pair.target_ids) for pair in pairs if pair.prompt_ids == prompt]) for prompt in prompts]


drawn_pairs = st.builds(
    pairs_of,
    st.lists(
        st.tuples(st.integers(1, 14), st.lists(st.integers(1, 9), min_size=1, max_size=5)), min_size=1, max_size=4
    ),
    st.integers(0, 10**6),
    twice=st.booleans(),
)

_STUDENTS: dict[str, LanguageModel] = {}


def student_of(kind: str) -> LanguageModel:
    """Hypothesis draws many examples for one student."""
    if kind not in _STUDENTS:
        _STUDENTS[kind] = still_student(kind)
    return _STUDENTS[kind]


def assert_exact(student: LanguageModel, pairs: Sequence[Encoded], micros: Sequence[Sequence[Encoded]]) -> None:
    """Loss and gradients of the micro batches are those of the padded batch and of the pairs one by one, as plain
    transformers has them."""
    losses = [student.loss(student.collate(micro)) for micro in micros]
    found = gradients(student, losses)
    for batches in ([pairs], [[pair] for pair in pairs]):
        expected = [plain_loss(student, batch) for batch in batches]
        torch.testing.assert_close(sum(losses), sum(expected), rtol=1e-5, atol=0)
        assert_same_gradients(found, gradients(student, expected))


# Exactness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_is_its_pairs_one_by_one(kind: str, shape: str) -> None:
    pairs = pairs_of(SHAPES[shape])
    assert_exact(student_of(kind), pairs, [pairs])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(pairs=drawn_pairs)
@settings(max_examples=20)
def test_any_batch_is_its_pairs_one_by_one(kind: str, pairs: list[Encoded]) -> None:
    assert_exact(student_of(kind), pairs, [pairs])


@pytest.mark.parametrize("kind", ["gpt2", "grouped", "t5"])
@given(pairs=drawn_pairs, borders=st.lists(st.integers(0, 20), max_size=3))
@settings(max_examples=8)
def test_micro_batches_are_the_whole(kind: str, pairs: list[Encoded], borders: list[int]) -> None:
    ends = [0, *sorted(min(border, len(pairs)) for border in borders), len(pairs)]
    micros = [pairs[first:last] for first, last in pairwise(ends) if first < last]
    assert_exact(student_of(kind), pairs, micros)


@pytest.mark.parametrize("kind", ["gpt2", "grouped"])
@given(pairs=drawn_pairs, worth=st.sampled_from([1, 30, 200, 10**9]))
@settings(max_examples=8)
def test_attention_in_several_calls_is_that_in_one(kind: str, pairs: list[Encoded], worth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "WORTH", worth)
        completions = Packed.of(pairs).completions
        # One completion of a question, its longest, stands behind it.
        others = [length for _, lengths in grouped(pairs) for length in sorted(lengths)[:-1] if length > 1]
        expected = {1: len(set(others)), 10**9: min(1, len(others))}
        assert len(completions) == expected.get(worth, len(completions))
        assert_exact(student_of(kind), pairs, [pairs])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks transformers
@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_the_gradients_of_lora_layers_are_exact_too(kind: str) -> None:
    student, pairs = still_student(kind), pairs_of(SHAPES["ragged"])
    config = peft.LoraConfig(
        task_type="CAUSAL_LM" if student.family == "decoder" else "SEQ_2_SEQ_LM",
        **{"target_modules": "all-linear", "r": 2, "init_lora_weights": False, "fan_in_fan_out": kind == "gpt2"},
    )
    peft.LoraModel(student.model, config, "default")
    respread(student, 1, 0.1)
    assert_exact(student, pairs, [pairs])
    trained = [name for name, p in student.model.named_parameters() if p.grad is not None]
    assert trained
    assert all("lora" in name for name in trained)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bf16_it_errs_as_the_padded_batch_does(kind: str) -> None:
    student, pairs = student_of(kind), pairs_of(SHAPES["ragged"] + SHAPES["eight rationales"])
    truth = gradients(student, [plain_loss(student, pairs)])
    errors = []
    for compute in (lambda: student.loss(student.collate(pairs)), lambda: plain_loss(student, pairs)):
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute()
        found = gradients(student, [loss])
        assert all(gradient.dtype == torch.float32 for gradient in found.values())
        difference = torch.stack([(found[name] - truth[name]).norm() for name in truth]).norm()
        errors.append(float(difference / torch.stack([tensor.norm() for tensor in truth.values()]).norm()))
    ours, theirs = errors
    assert ours <= 1.5 * theirs
    assert theirs < 0.1


def test_dropout_is_drawn_anew_and_from_the_seed() -> None:
    student, pairs = still_student("gpt2"), pairs_of(SHAPES["ragged"])
    student.model.train()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(student.loss(student.collate(pairs)).item())
    assert losses[0] == losses[1] != losses[2]


# Work


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_token_goes_through_a_layer_once(kind: str, shape: str) -> None:
    student = student_of(kind)
    width = student.model.get_input_embeddings().weight.shape[1]
    layer = next(module for module in student.model.modules() if isinstance(module, torch.nn.ModuleList))[1]
    seen: list[int] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel() // width))
    student.loss(student.collate(pairs_of(SHAPES[shape])))
    hook.remove()
    # A question once; of a target all but its end, which predicts nothing.
    assert seen == [sum(n_prompt + sum(targets) - len(targets) for n_prompt, targets in SHAPES[shape])]


@pytest.mark.parametrize("kind", ["t5", "bart"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_encoder_reads_each_question_once(kind: str, shape: str) -> None:
    student = student_of(kind)
    shapes: list[tuple[int, ...]] = []
    encoder = student.model.get_encoder()
    hook = encoder.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output[0].shape[:2])))
    student.loss(student.collate(pairs_of(SHAPES[shape])))
    hook.remove()
    lengths = [n_prompt for n_prompt, _ in SHAPES[shape]]
    assert shapes == [(len(lengths), max(lengths))]
    assert not encoder._forward_hooks
    assert not student.model.get_decoder()._forward_pre_hooks


def test_only_what_is_supervised_reaches_the_output_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    linear = torch.nn.functional.linear
    student = student_of("gpt2")
    head = student.model.get_output_embeddings().weight

    def counting(inputs: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
        if weight.shape == head.shape:
            asked.append(len(inputs))
        return linear(inputs, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", counting)
    pairs = pairs_of(SHAPES["ragged"])
    student.loss(student.collate(pairs))
    assert asked == [sum(len(pair.target_ids) for pair in pairs)]


# By hand


def test_a_row_is_that_of_the_drawing() -> None:
    """The drawing at the head of packing.py."""
    q, r, end = (11, 12, 13), (21, 22, 23), 0
    a, b, c = (31, 32), (41,), (51, 52)
    batch = Packed.of([Encoded(*pair, truncated=False) for pair in ((q, (*a, end)), (q, (*b, end)), (r, (*c, end)))])
    assert batch.ids.tolist() == [[*q, *a, *r, *c, *b]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 3]]
    assert batch.reads.tolist() == [2, 3, 4, 7, 8, 9, 2, 10]
    assert batch.labels.tolist() == [*a, end, *c, end, *b, end]
    assert batch.texts.back.tolist() == list(range(10))
    (completions,) = batch.completions
    assert completions.question.tolist() == [0]
    assert completions.mask.tolist() == [[[[0.0] * 4]]]


def test_what_is_not_shared_takes_one_call_of_the_attention() -> None:
    assert Packed.of(pairs_of(SHAPES["none shared"])).completions == ()


def test_a_block_is_that_of_the_drawing() -> None:
    block = Block.of([3, 2])
    assert block.places.tolist() == [[0, 1, 2], [3, 4, 3]]
    assert block.back.tolist() == [0, 1, 2, 3, 4]
    assert Block.of([1, 3]).back.tolist() == [0, 3, 4, 5]


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(any))
def test_a_block_spreads_and_gathers_texts(lengths: list[int]) -> None:
    tokens = torch.randn(sum(lengths), 2, 3, requires_grad=True)
    block = Block.of(lengths)
    rows = block.spread(tokens)
    assert rows.shape == (len(lengths), 2, max(lengths), 3)
    for row, end in zip(range(len(lengths)), accumulate(lengths), strict=True):
        assert torch.equal(rows[row, :, : lengths[row]].transpose(0, 1), tokens[end - lengths[row] : end])
    gathered = block.gather(rows)
    assert torch.equal(gathered, tokens)
    weights = torch.randn_like(tokens)
    (gradient,) = torch.autograd.grad((gathered * weights).sum(), tokens)
    assert torch.equal(gradient, weights)


def test_a_batch_on_a_device_is_the_same_batch() -> None:
    batch = Packed.of(pairs_of(SHAPES["ragged"]))
    there = batch.to("meta")
    assert {tensor.device.type for tensor in (there.ids, there.positions, there.reads, there.labels)} == {"meta"}
    assert {some.mask.device.type for some in there.completions} == {"meta"}
    assert {block.back.device.type for block in there._blocks} == {"meta"}
    assert there.ids.shape == batch.ids.shape
