"""Encoder-decoder students: the encoder reads the prompt, the decoder writes the target.

input_ids          Q1 Q2 END
decoder_input_ids  START T1 T2
labels             T1    T2 END

Pairs of the same prompt share what the encoder makes of it.

Shapes: B pairs of G questions in a batch, P prompt tokens, T target tokens, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM
from transformers.modeling_outputs import BaseModelOutput

from ftcot.prompts import Family
from ftcot.student import Batch, Encoded
from ftcot.student.batch import Padded, length_mask, padded
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

    def collate(self, batch: Sequence[Encoded], *, supervised: bool = True) -> Batch:
        """input_ids and attention_mask (G, P), each prompt once; question (B,), the prompt of each target;
        decoder_input_ids and decoder_attention_mask (B, T); reads and labels (S,)."""
        prompts = {prompt: number for number, prompt in enumerate(dict.fromkeys(pair.prompt_ids for pair in batch))}
        targets = [pair.target_ids for pair in batch]
        start = self.model.config.decoder_start_token_id
        pad = self.tokenizer.pad_token_id
        mask = length_mask(targets)
        return Padded(
            input_ids=padded(list(prompts), pad),
            attention_mask=length_mask(list(prompts)),
            question=torch.tensor([prompts[pair.prompt_ids] for pair in batch]),
            decoder_input_ids=padded([(start, *target[:-1]) for target in targets], pad),
            decoder_attention_mask=mask,
            reads=mask.flatten().nonzero().flatten() if supervised else torch.empty(0, dtype=torch.long),
            labels=torch.tensor([token for target in targets if supervised for token in target], dtype=torch.long),
        )

    def loss(self, batch: Any) -> Tensor:
        inputs = {name: tensor for name, tensor in batch.items() if name not in ("question", "reads", "labels")}
        with shared(self.model, batch["question"], len(batch["input_ids"])):
            return self._summed(batch["reads"], batch["labels"], lambda: self.model(**inputs, use_cache=False).logits)

    def _allowed(self, n_prompt: int, max_new_tokens: int) -> int:
        """The start token takes a position."""
        return max_new_tokens if self.context is None else max(0, min(max_new_tokens, self.context - 1))


@contextmanager
def shared(model: Any, question: Tensor, n_questions: int) -> Iterator[None]:
    """Within, the encoder reads each question once, and what it makes of it is handed to all of its targets.

    Args:
        question: (B,) of each target.
    """
    if n_questions == len(question):
        yield
        return

    def hand_out(_module: nn.Module, _arguments: Any, output: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=output[0].index_select(0, question))

    def hand_out_mask(
        _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = named["encoder_attention_mask"].index_select(0, question)
        return arguments, named | {"encoder_attention_mask": mask}

    hooks = [
        model.get_encoder().register_forward_hook(hand_out),
        model.get_decoder().register_forward_pre_hook(hand_out_mask, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
