"""Models that attend by a plan of ours say what they say on their own; models that would not are known."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ftcot.student.attention import FAMILIES, attending, packs
from ftcot.student.batch import Padded
from ftcot.student.decoder import DecoderStudent
from ftcot.student.packing import Packed
from ftcot.student.specs import Limits
from ftcot.student.tiny import train_tokenizer
from tests.student_models import (
    DECODERS,
    PAIRS,
    SPREAD,
    TEXTS,
    assert_same_gradients,
    gradients,
    plain_loss,
    random_student,
    respread,
)

SIZE = {
    **{"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
}
GPT2 = {"vocab_size": 512, "n_embd": 32, "n_layer": 3, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}

VARIANTS: dict[str, Any] = {
    "attention scaled by layer": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True)),
    "attention not scaled": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_weights=False)),
    "biases": lambda: LlamaForCausalLM(LlamaConfig(**SIZE, attention_bias=True, mlp_bias=True)),
    "wide heads": lambda: LlamaForCausalLM(LlamaConfig(**SIZE, head_dim=24)),
    "scaled positions": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZE, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})
    ),
}
"""Settings of known families that change attention."""

UNKNOWN: dict[str, Any] = {
    # Of which each token sees the last four alone.
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZE, sliding_window=4)),
    "qwen2 with windows": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SIZE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    # Which bends its logits, those of attention too.
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZE, head_dim=8, sliding_window=4, final_logit_softcapping=2.0)
    ),
}


class Causal:
    """The plan of one text, and a record of what it was asked."""

    def __init__(self) -> None:
        self.layers: list[int] = []
        self.dropouts: set[float] = set()

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float
    ) -> Tensor:
        self.layers.append(layer)
        self.dropouts.add(dropout)
        output = nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2)


def student_of(model: Any) -> Any:
    """A student around a model."""
    student = DecoderStudent(model, train_tokenizer(TEXTS, 512, ends_prompt=False), Limits("x"))
    respread(student, 0, SPREAD)
    student.model.eval()
    return student


@torch.no_grad()
def assert_attends(student: Any) -> None:
    """The model says the same of a text by a plan, in one piece and as a question with its completion."""
    pair = student.encode(*PAIRS[0])
    ids = torch.tensor([[*pair.prompt_ids, *pair.target_ids[:-1]]])
    expected = student.model(ids).logits
    causal = Causal()
    packed = Packed.of([pair])
    assert torch.equal(packed.ids, ids)
    for plan in (causal, packed):
        with attending(student.model, plan):
            logits = student.model(ids, position_ids=packed.positions, use_cache=False).logits
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)
    assert causal.layers == list(range(student.model.config.num_hidden_layers))


@pytest.mark.parametrize("kind", DECODERS)
def test_a_known_family_attends_by_a_plan_as_on_its_own(kind: str) -> None:
    student = random_student(kind)
    student.model.eval()
    assert packs(student.model)
    assert_attends(student)


@pytest.mark.parametrize("name", VARIANTS)
def test_so_does_one_with_other_settings(name: str) -> None:
    student = student_of(VARIANTS[name]())
    assert packs(student.model)
    assert_attends(student)


def test_every_known_family_is_tested() -> None:
    assert {random_student(kind).model.config.model_type for kind in DECODERS} == FAMILIES


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_model_is_padded_and_right(name: str) -> None:
    student = student_of(UNKNOWN[name]())
    assert not packs(student.model)
    pairs = [student.encode(*pair) for pair in PAIRS[:5]] * 2
    batch = student.collate(pairs)
    assert isinstance(batch, Padded)
    loss, expected = student.loss(batch), plain_loss(student, pairs)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    assert_same_gradients(gradients(student, [loss]), gradients(student, [plain_loss(student, pairs)]))


def test_a_decoder_that_reads_an_encoder_is_not_packed() -> None:
    assert not packs(GPT2LMHeadModel(GPT2Config(**GPT2, add_cross_attention=True)))


@pytest.mark.parametrize("training", [True, False])
def test_a_plan_is_told_the_dropout_of_attention(training: bool) -> None:
    model = GPT2LMHeadModel(GPT2Config(**GPT2, attn_pdrop=0.25))
    model.train(training)
    causal = Causal()
    with attending(model, causal):
        model(torch.tensor([[1, 2, 3]]), position_ids=torch.tensor([[0, 1, 2]]))
    assert causal.dropouts == {0.25 if training else 0.0}


@pytest.mark.parametrize("error", [None, KeyError])
def test_afterwards_the_model_attends_as_before(error: type[Exception] | None) -> None:
    student = student_of(VARIANTS["biases"]())
    ids = torch.tensor([[1, 2, 3]])
    before, implementation, causal = student.model(ids).logits, student.model.config._attn_implementation, Causal()
    try:
        with attending(student.model, causal):
            if error is not None:
                raise error
    except KeyError:
        pass
    assert student.model.config._attn_implementation == implementation
    assert torch.equal(student.model(ids).logits, before)
    assert causal.layers == []


def test_a_plan_within_a_plan_is_left_for_the_one_around_it() -> None:
    student = student_of(VARIANTS["biases"]())
    around, within = Causal(), Causal()
    with attending(student.model, around):
        with attending(student.model, within):
            student.model(torch.tensor([[1, 2, 3]]))
        student.model(torch.tensor([[1, 2, 3]]))
    assert around.layers == within.layers == [0, 1, 2]


def test_each_thread_has_a_plan_of_its_own() -> None:
    """A test may go on beside training, each with a model of its own."""
    student = student_of(VARIANTS["biases"]())
    other = copy.deepcopy(student.model)
    ids = torch.tensor([[1, 2, 3]])
    first, second = Causal(), Causal()

    def meanwhile() -> None:
        with attending(other, second):
            other(ids)

    with attending(student.model, first):
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        assert (first.layers, second.layers) == ([], [0, 1, 2])
        student.model(ids)
    assert first.layers == [0, 1, 2]
