"""Decoder students: prompt and target in one row, the loss on the target alone.

    prompt_ids   Q1 Q2 Q3            target_ids  T1 T2 END
    input_ids    Q1 Q2 Q3 T1 T2 END  (padding behind)
    labels       -  -  -  T1 T2 END  -

Training pads behind, so positions count from 0 as they are. Generation pads in front, with the mask from which
transformers counts every row's positions from its own first token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor
from transformers import AutoModelForCausalLM

from ftcot.prompts import Family
from ftcot.student import Encoded
from ftcot.student.batch import IGNORED, length_mask, padded
from ftcot.student.language_model import LanguageModel


class DecoderStudent(LanguageModel):
    """A causal language model as a student."""

    family: Family = "decoder"
    auto_class: Any = AutoModelForCausalLM

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """Nothing may stand between prompt and target; a beginning-of-text token stays."""
        prefix, _ = super()._special_ids()
        return prefix, []

    def _wrap(self, ids: list[int], limit: int | None) -> list[int]:
        """An empty prompt becomes one end-of-text token: the first target token needs something to follow."""
        return super()._wrap(ids, limit) or [self.end_of_text]

    def _room(self, n_prompt: int, n_target: int) -> tuple[int, int]:
        """Both must fit into the context; the target goes first, but leaves the prompt half of it."""
        n_prompt = min(n_prompt, self.limits.max_prompt_tokens)
        n_target = min(n_target, self.limits.max_target_tokens)
        if self.context is not None:
            n_target = min(n_target, self.context - min(n_prompt, self.context // 2))
            n_prompt = min(n_prompt, self.context - n_target)
        return n_prompt, n_target

    @cached_property
    def _marks_start(self) -> bool:
        """Whether the tokenizer writes a space before any text (SentencePiece: `▁` + text)."""
        ids = self._plain("a", special=False)
        return str(self.tokenizer.convert_ids_to_tokens(ids[0])).startswith(("▁", "Ġ"))

    def _target(self, completion: str) -> list[int]:
        """A completion begins with a space; where the tokenizer writes one itself, ours goes: one space, not two."""
        if completion.startswith(" ") and self._marks_start:
            completion = completion[1:]
        return super()._target(completion)

    def _text(self, ids: Sequence[int]) -> str:
        """The text of new tokens as it goes on after the prompt: such a tokenizer takes a first space for its own."""
        if not self._marks_start:
            return super()._text(ids)
        before = self._plain("a", special=False)
        return super()._text([*before, *ids])[len(super()._text(before)) :]

    def collate(self, batch: Sequence[Encoded]) -> dict[str, Tensor]:
        """input_ids, attention_mask and labels, each (B, P + T)."""
        rows = [(*pair.prompt_ids, *pair.target_ids) for pair in batch]
        labels = [(*[IGNORED] * len(pair.prompt_ids), *pair.target_ids) for pair in batch]
        return {
            "input_ids": padded(rows, self.tokenizer.pad_token_id),
            "attention_mask": length_mask(rows),
            "labels": padded(labels, IGNORED),
        }

    def _labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """A position predicts the next token; the last one nothing."""
        labels = batch["labels"].roll(-1, dims=1)
        labels[:, -1] = IGNORED
        return labels

    def _forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        output = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        logits: Tensor = output.logits
        return logits

    def _allowed(self, n_prompt: int, max_new_tokens: int) -> int:
        return max_new_tokens if self.context is None else max(0, min(max_new_tokens, self.context - n_prompt))
