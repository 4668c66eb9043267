"""Many pairs through the tokenizer at once: the ids of each are what they are alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ftcot.student import language_model
from ftcot.student.language_model import LanguageModel
from ftcot.student.specs import Limits
from tests.student_models import PAIRS, random_student

WORDS = st.sampled_from(
    [
        "",
        " ",
        "Ann",
        " has 6",
        " hats.",
        " ###",
        " --> 11",
        "\n",
        "é😀",
        "<|endoftext|>",
        "</s>",
        "<|im_start|>",
        "7777",
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map("".join)


def with_tokenizer(tokenizer: Any, limits: Limits | None = None) -> LanguageModel:
    """A random student that reads with another tokenizer; its model would not know the ids."""
    student = random_student("gpt2", limits=limits)
    return type(student)(student.model, tokenizer, student.limits)


@cache
def student_of(kind: str) -> LanguageModel:
    return random_student(kind)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5", "bart"])
@settings(max_examples=50)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=8), n=st.integers(2, 40))
def test_pairs_are_encoded_together_as_they_are_alone(kind: str, pairs: list[tuple[str, str]], n: int) -> None:
    student = student_of(kind)
    student.limits = Limits(kind, max_prompt_tokens=n, max_target_tokens=n)
    alone = []
    for prompt, completion in pairs:
        student._known.clear()
        alone.append(student.encode(prompt, completion))
    student._known.clear()
    assert student.encode_all([*pairs, *reversed(pairs)]) == [*alone, *reversed(alone)]


@pytest.mark.parametrize("name", ["gpt2-tokenizer", "smollm2-135m-tokenizer", "stories260k"])
def test_real_text_has_the_ids_that_its_tokenizer_gives_it_alone(name: str, models_dir: Path, data_dir: Path) -> None:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(models_dir / name)
    student = with_tokenizer(tokenizer, Limits(name, max_prompt_tokens=2000, max_target_tokens=2000))
    student.context = None if student.context is None else 4000
    lines = (data_dir / "README.md").read_text().splitlines()
    texts = [line for line in lines if line.strip()][:60]
    pairs = [(prompt, " " + completion) for prompt in texts[:12] for completion in texts]
    prefix, suffix = student._special_ids()
    for (prompt, completion), pair in zip(pairs, student.encode_all(pairs), strict=True):
        plain = tokenizer(prompt, add_special_tokens=False).input_ids
        assert pair.prompt_ids == (*prefix, *plain, *suffix)
        assert student._text(pair.target_ids) == completion
        assert pair == student.encode(prompt, completion)


def test_each_prompt_goes_through_the_tokenizer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    student = random_student("llama")
    read: list[str] = []
    tokenizer, _ = student.tokenizer, student._marks_start  # type: ignore[attr-defined]  # which reads an "a" once

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def __call__(self, texts: list[str], **options: Any) -> Any:
            read.extend(texts)
            return tokenizer(texts, **options)

    monkeypatch.setattr(student, "tokenizer", Counting())
    prompt = PAIRS[0][0]
    student.encode_all([(prompt, " 1"), (prompt, " 2"), (prompt, " 3")])
    for _ in range(3):
        student.generate([prompt, PAIRS[1][0]], max_new_tokens=2)
    assert sorted(read) == sorted([prompt, PAIRS[1][0], " 1", " 2", " 3"])


def test_a_student_does_not_remember_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "KNOWN", 3)
    student = random_student("llama")
    prompts = [prompt for prompt, _ in PAIRS]
    whole = student._prompts(prompts[:3])
    for prompt in prompts:
        student._prompts([prompt])
        assert len(student._known) <= 3
    assert student._prompts(prompts[:3]) == whole
