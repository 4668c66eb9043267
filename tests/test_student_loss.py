"""What students are taught: ids, positions, what reads them, and the sum of the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.student import Encoded
from ftcot.student.language_model import LanguageModel
from ftcot.student.specs import Decoder, Limits, Tiny, TinyT5
from tests.student_models import (
    PAIRS,
    SIZES,
    TEXTS,
    assert_same_gradients,
    gpt2_with_real_tokenizer,
    gradients,
    plain_loss,
    random_student,
    still_student,
    stories260k,
)

RAGGED = [(prompt[: 7 + 3 * i], completion[: 1 + i % 25]) for i, (prompt, completion) in enumerate((PAIRS * 2)[:32])]
"""32 pairs of 32 lengths."""


@torch.no_grad()
def loss_of(student: LanguageModel, *pairs: Encoded) -> float:
    return float(student.loss(student.collate(pairs)))


# Ids by hand

Q = "Hello world, the answer is"
Q_IDS = (15496, 995, 11, 262, 3280, 318)
END = 50256


@pytest.mark.models
def test_ids_and_labels_of_gpt2_are_those_written_by_hand(models_dir: Path) -> None:
    """Source of the ids: the tokenizer's README."""
    student = gpt2_with_real_tokenizer(models_dir)
    pair = student.encode(Q, " 42.")
    assert pair == Encoded(Q_IDS, (5433, 13, END), truncated=False)
    batch: Any = student.collate([pair, student.encode("Hello", " the"), student.encode(Q, " the the the")])
    # Each question with its longest completion but for its end, then the others, which go on where a question stopped.
    assert batch.ids.tolist() == [[*Q_IDS, 262, 262, 262, 15496, 262, 5433, 13]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 6, 7]]
    # The last token of a question predicts the first of each of its completions.
    assert batch.reads.tolist() == [5, 6, 7, 8, 9, 10, 5, 11, 12]
    assert batch.labels.tolist() == [262, 262, 262, END, 262, END, 5433, 13, END]


@pytest.mark.models
def test_ids_and_labels_of_a_gpt2_that_is_not_known_are_padded_rows(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftcot.student.attention.FAMILIES", frozenset())
    student = gpt2_with_real_tokenizer(models_dir)
    batch: Any = student.collate([student.encode(Q, " 42."), student.encode("Hello", " the")])
    assert batch["input_ids"].tolist() == [[*Q_IDS, 5433, 13, END], [15496, 262, *[END] * 7]]
    assert batch["attention_mask"].tolist() == [[1] * 9, [1, 1, 1, *[0] * 6]]
    # A position predicts the token after it; positions are counted through both rows.
    assert batch["reads"].tolist() == [5, 6, 7, 9, 10]
    assert batch["labels"].tolist() == [5433, 13, END, 262, END]


@pytest.mark.models
def test_no_token_spans_prompt_and_completion(models_dir: Path) -> None:
    student = gpt2_with_real_tokenizer(models_dir)
    pair = student.encode("Hello wor", "ld")
    assert pair.prompt_ids == tuple(student._prompt("Hello wor"))
    assert [*pair.prompt_ids, *pair.target_ids[:-1]] != student.tokenizer("Hello world").input_ids


@pytest.mark.models
def test_a_sentencepiece_tokenizer_writes_one_space_between_prompt_and_completion(models_dir: Path) -> None:
    student = stories260k(models_dir)
    pair = student.encode("She saw a big", " red ball.")
    whole = tuple(student.tokenizer("She saw a big red ball.").input_ids)
    assert pair.prompt_ids + pair.target_ids[:-1] == whole
    assert pair.prompt_ids[0] == 1  # <s>
    assert pair.target_ids.count(2) == 1  # </s>
    assert 1 not in pair.target_ids


def test_t5_ends_prompt_and_target() -> None:
    student = random_student("t5")
    pair = student.encode("Ann has 6", "6")
    batch: Any = student.collate([pair, student.encode("Ann", "11"), student.encode("Ann has 6", "1")])
    (six,), (one,), ann, has = student._plain(["6", "1", "Ann", " has 6"], special=False)
    assert pair == Encoded((*ann, *has, 0), (six, 0), truncated=False)
    assert batch["input_ids"].tolist() == [[*ann, *has, 0], [*ann, 0, *[0] * len(has)]]
    assert batch["attention_mask"].tolist() == [[1] * (len(ann + has) + 1), [1] * (len(ann) + 1) + [0] * len(has)]
    assert batch["question"].tolist() == [0, 1, 0]
    assert batch["decoder_input_ids"].tolist() == [[0, six, 0], [0, one, one], [0, one, 0]]
    assert batch["decoder_attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 0]]
    assert batch["reads"].tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert batch["labels"].tolist() == [six, 0, one, one, 0, one, 0]


@pytest.mark.parametrize("kind", ["llama", "t5"])
@given(text=st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_each_target_supervises_one_end_whatever_it_says(kind: str, text: str) -> None:
    student = _student(kind)
    for completion in (text, f" {text}<|endoftext|>{text}"):
        pair = student.encode(text, completion)
        assert pair.target_ids.count(student.end_of_text) == 1
        assert pair.target_ids[-1] == student.end_of_text
        assert student._text(pair.target_ids) == completion
        assert pair.prompt_ids


def test_an_empty_prompt_is_one_end_of_text_token_so_that_every_target_token_is_supervised() -> None:
    student = random_student("gpt2")
    pair = student.encode("", " 11")
    assert pair.prompt_ids == (0,)
    batch: Any = student.collate([pair])
    assert batch.labels.tolist() == list(pair.target_ids)
    assert batch.reads.tolist() == list(range(len(pair.target_ids)))


# Truncation


def test_a_long_prompt_loses_its_beginning_and_a_long_target_its_end_but_not_its_end_of_text() -> None:
    student = Tiny("tiny", width=32, n_heads=2, max_prompt_tokens=5, max_target_tokens=4).load(TEXTS, 0)
    prompt, completion = PAIRS[0]
    whole = random_student("llama").encode(prompt, completion)
    pair = student.encode(prompt, completion)
    assert pair == Encoded(whole.prompt_ids[-5:], (*whole.target_ids[:3], 0), truncated=True)
    assert not student.encode("Ann", "6").truncated


def test_a_pair_that_just_fits_is_not_truncated() -> None:
    whole = random_student("llama").encode(*PAIRS[0])
    limits = {"max_prompt_tokens": len(whole.prompt_ids), "max_target_tokens": len(whole.target_ids)}
    assert Tiny("tiny", width=32, n_heads=2, **limits).load(TEXTS, 0).encode(*PAIRS[0]) == whole
    short = Tiny("tiny", width=32, n_heads=2, **(limits | {"max_target_tokens": len(whole.target_ids) - 1}))
    assert short.load(TEXTS, 0).encode(*PAIRS[0]).truncated


def test_a_t5_prompt_that_is_cut_keeps_its_end_token() -> None:
    student = TinyT5("tiny-t5", width=32, n_heads=2, max_prompt_tokens=5).load(TEXTS, 0)
    pair = student.encode(*PAIRS[0])
    assert len(pair.prompt_ids) == 5
    assert pair.prompt_ids[-1] == 0
    assert pair.truncated


@given(n_prompt=st.integers(0, 90), n_target=st.integers(0, 90))
@settings(max_examples=40, deadline=None)
def test_prompt_and_target_fit_the_context_together(n_prompt: int, n_target: int) -> None:
    student = _student("short")
    pair = student.encode("7" * n_prompt, "7" * n_target)
    fits = max(n_prompt, 1) + n_target + 1 <= 64
    assert len(pair.prompt_ids) + len(pair.target_ids) <= 64
    assert pair.truncated is not fits
    assert len(pair.prompt_ids) >= min(max(n_prompt, 1), 32)
    assert pair.target_ids[-1] == 0
    assert len(pair.target_ids) == min(n_target + 1, 64 - min(max(n_prompt, 1), 32))


# Loss


@pytest.mark.parametrize("kind", SIZES)
def test_a_batch_of_32_has_the_loss_of_32_singles_and_of_the_full_logits(kind: str) -> None:
    student = random_student(kind)
    student.model.eval()
    pairs = [student.encode(*pair) for pair in RAGGED]
    with torch.no_grad():
        total = student.loss(student.collate(pairs))
        singles = [student.loss(student.collate([pair])) for pair in pairs]
        expected = plain_loss(student, pairs)
    assert total.dim() == 0
    torch.testing.assert_close(total, torch.stack(singles).sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", SIZES)
def test_every_token_of_a_target_is_supervised_once(kind: str) -> None:
    student = random_student(kind)
    pairs = [student.encode(*pair) for pair in RAGGED]
    batch: Any = student.collate(pairs)
    labels = batch.labels if hasattr(batch, "labels") else batch["labels"]
    assert sorted(labels.tolist()) == sorted(token for pair in pairs for token in pair.target_ids)
    silent: Any = student.collate(pairs, supervised=False)
    assert (silent.labels if hasattr(silent, "labels") else silent["labels"]).tolist() == []


@pytest.mark.parametrize("kind", SIZES)
def test_what_is_not_supervised_has_a_gradient_of_zero_for_every_weight(kind: str) -> None:
    student = random_student(kind)
    loss = student.loss(student.collate([student.encode(*PAIRS[0])], supervised=False))
    found = gradients(student, [loss])
    assert loss.item() == 0
    assert found.keys() == dict(student.model.named_parameters()).keys()
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("kind", SIZES)
def test_a_batch_of_32_has_the_gradient_of_32_singles(kind: str) -> None:
    student = still_student(kind)
    pairs = [student.encode(*pair) for pair in RAGGED]
    together = gradients(student, [student.loss(student.collate(pairs))])
    assert_same_gradients(together, gradients(student, (student.loss(student.collate([pair])) for pair in pairs)))
    assert_same_gradients(together, gradients(student, [plain_loss(student, pairs)]))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
@given(
    short=st.text("ab 12", min_size=1, max_size=6),
    long=st.text("ab 12", min_size=1, max_size=60),
    target=st.text("ab 12", max_size=20),
)
@settings(max_examples=25, deadline=None)
def test_padding_changes_no_loss(kind: str, short: str, long: str, target: str) -> None:
    student = _student(kind)
    student.model.eval()
    one, other = student.encode(short, target), student.encode(long, target[::-1])
    assert loss_of(student, one, other) == pytest.approx(loss_of(student, one) + loss_of(student, other), rel=1e-5)


def test_dropout_is_on_in_training_and_off_in_evaluation(tmp_path: Path) -> None:
    random_student("gpt2").save(tmp_path / "gpt2")
    student: Any = Decoder("gpt2", checkpoint=str(tmp_path / "gpt2")).load([], 0)
    pairs = [student.encode(*pair) for pair in PAIRS]
    assert student.model.training
    assert loss_of(student, *pairs) != loss_of(student, *pairs)
    student.model.eval()
    assert loss_of(student, *pairs) == loss_of(student, *pairs)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks transformers
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_loss_is_the_same_through_lora_layers_that_start_at_nothing(kind: str) -> None:
    student = random_student(kind)
    student.model.eval()
    pairs = [student.encode(*pair) for pair in PAIRS[:4]]
    before = loss_of(student, *pairs)
    task = peft.TaskType.CAUSAL_LM if student.family == "decoder" else peft.TaskType.SEQ_2_SEQ_LM
    model = peft.get_peft_model(student.model, peft.LoraConfig(task_type=task, target_modules="all-linear", r=2))
    assert loss_of(student, *pairs) == pytest.approx(before, rel=1e-6)
    student.model = model
    assert loss_of(student, *pairs) == pytest.approx(before, rel=1e-6)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    student = random_student("gpt2")
    student.tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end-of-text token"):
        type(student)(student.model, student.tokenizer, Limits("gpt2"))


def test_shared_weights_count_once() -> None:
    model = random_student("gpt2").model
    assert model.lm_head.weight is model.transformer.wte.weight
    assert random_student("gpt2").n_parameters == 512 * 32 + 128 * 32 + 2 * 12704 + 64


_STUDENTS: dict[str, LanguageModel] = {}


def _student(kind: str) -> LanguageModel:
    """Hypothesis draws many examples for one student."""
    if kind not in _STUDENTS:
        short = Tiny("short", width=32, n_heads=2, context=64)
        _STUDENTS[kind] = short.load(TEXTS, 0) if kind == "short" else random_student(kind)  # type: ignore[assignment]
    return _STUDENTS[kind]
