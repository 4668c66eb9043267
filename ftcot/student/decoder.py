"""Decoder students: prompt and target in one row, the loss on the target alone.

    prompt_ids   Q1 Q2 Q3            target_ids  T1 T2 END
    input_ids    Q1 Q2 Q3 T1 T2 END
    labels       -  -  T1 T2 END -

Most decoders take all pairs of a batch as one row, in which pairs of the same prompt share it (packing.py). For others
rows are padded: behind in training, so that positions count from 0 as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from ftcot.prompts import Family
from ftcot.student import Batch, Encoded
from ftcot.student.attention import attending, packs
from ftcot.student.batch import Padded, length_mask, padded
from ftcot.student.language_model import LanguageModel
from ftcot.student.packing import Packed


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
        ids = self._plain(["a"], special=False)[0]
        return str(self.tokenizer.convert_ids_to_tokens(ids[0])).startswith(("▁", "Ġ"))

    def _worded(self, completion: str) -> str:
        """A completion begins with a space; where the tokenizer writes one itself, ours goes: one space, not two."""
        return completion[1:] if completion.startswith(" ") and self._marks_start else completion

    def _text(self, ids: Sequence[int]) -> str:
        """The text of new tokens as it goes on after the prompt: such a tokenizer takes a first space for its own."""
        if not self._marks_start:
            return super()._text(ids)
        before = self._plain(["a"], special=False)[0]
        return super()._text([*before, *ids])[len(super()._text(before)) :]

    def collate(self, batch: Sequence[Encoded], *, supervised: bool = True) -> Batch:
        """One row without padding, or padded ones where the model is none that takes such a row."""
        return Packed.of(batch, supervised=supervised) if packs(self.model) else self._padded(batch, supervised)

    def loss(self, batch: Any) -> Tensor:
        if isinstance(batch, Padded):
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            return self._summed(batch["reads"], batch["labels"], lambda: self.model(**inputs, use_cache=False).logits)
        with attending(self.model, batch):
            inputs = {"input_ids": batch.ids, "position_ids": batch.positions}
            return self._summed(batch.reads, batch.labels, lambda: self.model(**inputs, use_cache=False).logits)

    def _padded(self, batch: Sequence[Encoded], supervised: bool) -> Padded:
        """input_ids and attention_mask, (B, P + T); reads and labels, (S,)."""
        rows = [(*pair.prompt_ids, *pair.target_ids) for pair in batch]
        ids = padded(rows, self.tokenizer.pad_token_id)
        reads: list[int] = []
        labels: list[int] = []
        for number, pair in enumerate(batch if supervised else ()):
            first = number * ids.shape[1] + len(pair.prompt_ids) - 1  # a position predicts the next token
            reads += range(first, first + len(pair.target_ids))
            labels += pair.target_ids
        return Padded(
            input_ids=ids,
            attention_mask=length_mask(rows),
            reads=torch.tensor(reads, dtype=torch.long),
            labels=torch.tensor(labels, dtype=torch.long),
        )

    def _allowed(self, n_prompt: int, max_new_tokens: int) -> int:
        return max_new_tokens if self.context is None else max(0, min(max_new_tokens, self.context - n_prompt))
