"""Encoder-decoder students: the encoder reads the prompt, the decoder writes the target.

input_ids          Q1 Q2 END
decoder_input_ids  START T1 T2
labels             T1    T2 END
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from ftcot.prompts import Family
from ftcot.student import Encoded
from ftcot.student.batch import IGNORED, length_mask, padded
from ftcot.student.language_model import LanguageModel


class EncoderDecoderStudent(LanguageModel):
    """A sequence-to-sequence model as a student."""

    family: Family = "encoder_decoder"
    auto_class: Any = AutoModelForSeq2SeqLM

    def _room(self, n_prompt: int, n_target: int) -> tuple[int, int]:
        """Encoder and decoder have a context each."""
        context = self.context or max(n_prompt, n_target)
        return min(n_prompt, self.limits.max_prompt_tokens, context), min(
            n_target, self.limits.max_target_tokens, context
        )

    def _wrap(self, ids: list[int], limit: int | None) -> list[int]:
        """An encoder with learned positions cannot read more than it has."""
        return super()._wrap(ids, limit or self.context)

    def collate(self, batch: Sequence[Encoded]) -> dict[str, Tensor]:
        """input_ids and attention_mask (B, P); decoder_input_ids, decoder_attention_mask and labels (B, T)."""
        prompts = [pair.prompt_ids for pair in batch]
        targets = [pair.target_ids for pair in batch]
        start = self.model.config.decoder_start_token_id
        pad = self.tokenizer.pad_token_id
        return {
            "input_ids": padded(prompts, pad),
            "attention_mask": length_mask(prompts),
            "decoder_input_ids": padded([(start, *target[:-1]) for target in targets], pad),
            "decoder_attention_mask": length_mask(targets),
            "labels": padded(targets, IGNORED),
        }

    def _labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["labels"]

    def _forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        logits: Tensor = self.model(**inputs, use_cache=False).logits
        return logits

    def _allowed(self, n_prompt: int, max_new_tokens: int) -> int:
        """The start token takes a position."""
        return max_new_tokens if self.context is None else max(0, min(max_new_tokens, self.context - 1))
