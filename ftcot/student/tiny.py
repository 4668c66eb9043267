"""Students from scratch: a byte-level BPE tokenizer trained on the training text, and a small random model.

    texts   "Ann has 6 hats and buys 5 more. ... ###", " 6 + 5 = 11. --> 11", ...
    tokens  "Ann", " has", " ", "6", " hats", ...   (at most 512; every digit alone; any UTF-8 text has tokens)

Both are plain transformers objects; a saved student is an ordinary checkpoint folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from ftcot.student.decoder import DecoderStudent
from ftcot.student.encoder_decoder import EncoderDecoderStudent
from ftcot.student.specs import Tiny, TinyT5

END = "<|endoftext|>"
END_ID = 0
"""Special tokens are numbered first. It is the padding too; masks go by length."""


def build_decoder(spec: Tiny, texts: Sequence[str], seed: int) -> DecoderStudent:
    """A Llama-type student with weights drawn from `seed`."""
    config = LlamaConfig(
        vocab_size=spec.vocabulary,
        hidden_size=spec.width,
        intermediate_size=spec.feed_forward,
        num_hidden_layers=spec.n_layers,
        num_attention_heads=spec.n_heads,
        num_key_value_heads=spec.n_heads,
        max_position_embeddings=spec.context,
        # Differs from the 0.02 of large models: layers this narrow would hardly speak at first. On generated coin flips
        # (400 questions, D = 8, batches of 32) the 0.7M student answers 100 of 100 after one epoch; with 0.02 it still
        # guesses after four.
        initializer_range=spec.width**-0.5,
        tie_word_embeddings=True,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )
    tokenizer = train_tokenizer(texts, spec.vocabulary, ends_prompt=False)
    return DecoderStudent(_seeded(LlamaForCausalLM, config, seed), tokenizer, spec)


def build_encoder_decoder(spec: TinyT5, texts: Sequence[str], seed: int) -> EncoderDecoderStudent:
    """A T5 student with weights drawn from `seed`."""
    config = T5Config(
        vocab_size=spec.vocabulary,
        d_model=spec.width,
        d_kv=spec.width // spec.n_heads,
        d_ff=spec.feed_forward,
        num_layers=spec.n_layers,
        num_heads=spec.n_heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
        decoder_start_token_id=END_ID,
    )
    tokenizer = train_tokenizer(texts, spec.vocabulary, ends_prompt=True)
    return EncoderDecoderStudent(_seeded(T5ForConditionalGeneration, config, seed), tokenizer, spec)


def train_tokenizer(texts: Sequence[str], vocabulary: int, *, ends_prompt: bool) -> Any:
    """A byte-level BPE tokenizer; the same texts in the same order give the same one.

    Args:
        ends_prompt: put the end-of-text token behind a prompt, as T5's tokenizers do.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if ends_prompt:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, END_ID)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def _seeded(model_class: Any, config: Any, seed: int) -> Any:
    """A model with random weights, without moving anyone else's random stream."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config)
