"""Students from scratch: tokenizer and weights are a function of the texts and the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.student import Student
from ftcot.student.specs import Decoder, EncoderDecoder, Tiny, TinyT5
from ftcot.student.tiny import train_tokenizer
from tests.student_models import PAIRS, TEXTS

SPECS = [Tiny("tiny", width=32, n_heads=2), TinyT5("tiny-t5", width=32, n_heads=2)]
TOKENIZER = train_tokenizer(TEXTS, 512, ends_prompt=False)


def weights(student: Student) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in student.model.parameters()])


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_one_seed_repeats_bit_for_bit_and_two_differ(spec: Tiny | TinyT5) -> None:
    first, again, other = spec.load(TEXTS, 3), spec.load(TEXTS, 3), spec.load(TEXTS, 4)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert first.encode(*PAIRS[0]) == again.encode(*PAIRS[0]) == other.encode(*PAIRS[0])


def test_building_a_student_leaves_the_random_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SPECS[0].load(TEXTS, 0)
    assert torch.equal(torch.rand(3), expected)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text, split_special_tokens=True).input_ids) == text


def test_every_digit_is_a_token_and_common_words_are_one() -> None:
    assert [TOKENIZER.decode(i) for i in TOKENIZER(" hats 3127").input_ids] == [" hats", " ", "3", "1", "2", "7"]


def test_no_text_at_all_still_gives_a_tokenizer_of_bytes() -> None:
    student = SPECS[0].load([], 0)
    pair = student.encode("é", "b")
    assert len(pair.prompt_ids) == 2
    assert len(pair.target_ids) == 2


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_saved_student_is_loaded_again_as_any_checkpoint(spec: Tiny | TinyT5, tmp_path: Path) -> None:
    student = spec.load(TEXTS, 0)
    student.save(tmp_path / "student")
    kind = Decoder if spec.family == "decoder" else EncoderDecoder
    again = kind("again", checkpoint=str(tmp_path / "student"))
    again.check()
    loaded = again.load([], 0)
    assert loaded.encode(*PAIRS[0]) == student.encode(*PAIRS[0])
    assert torch.equal(weights(loaded), weights(student))
    assert loaded.model.training
