"""Small students of several architectures for the tests, random or briefly trained, and a decoder to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from ftcot.student import Encoded
from ftcot.student.decoder import DecoderStudent
from ftcot.student.encoder_decoder import EncoderDecoderStudent
from ftcot.student.language_model import LanguageModel
from ftcot.student.specs import Decoder, Limits, Tiny, TinyT5
from ftcot.student.tiny import train_tokenizer

TEXTS = [
    f"{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have? ### {a} + {b} = {a + b}. --> {a + b}"
    for name in ("Ann", "Ben", "Zoë")
    for thing in ("hats", "red balls", "apples")
    for a, b in ((6, 5), (31, 2), (7, 7))
]
"""Text that the tokenizers of the random students are trained on."""

PAIRS = [(text.partition("###")[0] + "###", text.partition("###")[2]) for text in TEXTS]

PROMPTS = [prompt for prompt, _ in PAIRS[::5]] + ["Ann", "How many? ###", "x" * 40, "Ben has 6 red balls. " * 4, "é😀"]
"""Ragged lengths, 1 to some 60 tokens."""

SIZES = ("gpt2", "llama", "opt", "neox", "qwen2", "t5", "bart")

DECODERS = ("gpt2", "llama", "grouped", "opt", "neox", "qwen2")
"""Those that take all pairs of a batch as one row; the heads of `grouped`, a Llama, share keys and values."""

SPREAD = 0.2
"""Standard deviation of the random weights: large enough for texts that vary."""


def random_student(kind: str, seed: int = 0, limits: Limits | None = None) -> LanguageModel:
    """A student of that architecture with random weights, dropout on where the architecture has any."""
    limits = limits or Limits(kind)
    if kind == "t5":
        return respread(TinyT5("t5", width=32, n_heads=2).load(TEXTS, seed), seed, 0.6)  # type: ignore[arg-type]
    if kind == "llama":
        return respread(Tiny("llama", width=32, n_layers=2, n_heads=2).load(TEXTS, seed), seed, SPREAD)  # type: ignore[arg-type]
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | ends
    torch.manual_seed(seed)
    model: Any
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=2, n_positions=128, **ends))
    elif kind == "opt":
        model = OPTForCausalLM(
            OPTConfig(vocab_size=512, ffn_dim=64, max_position_embeddings=128, word_embed_proj_dim=32, **size)
        )
    elif kind == "neox":
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(vocab_size=512, intermediate_size=64, max_position_embeddings=128, **size)
        )
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=512, intermediate_size=64, num_key_value_heads=1, **size))
    elif kind == "grouped":
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        config = LlamaConfig(vocab_size=512, intermediate_size=64, max_position_embeddings=128, **(size | heads))
        model = LlamaForCausalLM(config)
    elif kind == "bart":
        layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        config = BartConfig(vocab_size=512, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, **layers, **ends)
        config.max_position_embeddings, config.decoder_start_token_id, config.forced_eos_token_id = 128, 0, None
        tokenizer = train_tokenizer(TEXTS, 512, ends_prompt=True)
        return respread(EncoderDecoderStudent(BartForConditionalGeneration(config), tokenizer, limits), seed, SPREAD)
    else:
        raise ValueError(kind)
    return respread(DecoderStudent(model, train_tokenizer(TEXTS, 512, ends_prompt=False), limits), seed, SPREAD)


def respread(student: LanguageModel, seed: int, spread: float) -> LanguageModel:
    """The student with wider random weights: those of a fresh model let it repeat one token for ever."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, spread, generator=generator)
    return student


def still_student(kind: str, seed: int = 0) -> LanguageModel:
    """One without dropout whose gradients 32 bits can hold. T5 divides its attention by nothing: with weights as wide
    as those of `random_student` even the plain gradients of the same pairs together and alone differ by 1e-5."""
    student = random_student(kind, seed)
    if kind == "t5":
        respread(student, seed, SPREAD / 2)
    student.model.eval()
    return student


def trained_student(kind: str, steps: int = 80) -> LanguageModel:
    """A tiny student that has half learned PAIRS: it ends its texts, sooner or later."""
    spec = TinyT5("tiny-t5", width=64) if kind == "t5" else Tiny("tiny", width=64, n_layers=2)
    student: Any = spec.load(TEXTS, seed=1)
    pairs = [student.encode(*pair) for pair in PAIRS]
    batch, n_tokens = student.collate(pairs), sum(len(pair.target_ids) for pair in pairs)
    optimizer = torch.optim.AdamW(student.model.parameters(), lr=3e-3)
    for _ in range(steps):
        (student.loss(batch) / n_tokens).backward()
        optimizer.step()
        optimizer.zero_grad()
    return student  # type: ignore[no-any-return]


def plain_loss(student: LanguageModel, pairs: Sequence[Encoded]) -> Tensor:
    """The loss as anyone would write it: rows padded here, the model alone, all logits, and labels that say which
    count. Nothing of ours has a part in it but the ids of the pairs."""

    def rows(*texts: Sequence[int], fill: int = 0) -> Tensor:
        return pad_sequence([torch.tensor(text) for text in texts], batch_first=True, padding_value=fill)

    if student.family == "decoder":
        texts = [(*pair.prompt_ids, *pair.target_ids) for pair in pairs]
        labels = rows(*((*[-100] * len(pair.prompt_ids), *pair.target_ids) for pair in pairs), fill=-100)[:, 1:]
        inputs = {"input_ids": rows(*texts), "attention_mask": rows(*([1] * len(text) for text in texts))}
        logits = student.model(**inputs).logits[:, :-1]
    else:
        start = student.model.config.decoder_start_token_id
        labels = rows(*(pair.target_ids for pair in pairs), fill=-100)
        inputs = {
            "input_ids": rows(*(pair.prompt_ids for pair in pairs)),
            "attention_mask": rows(*([1] * len(pair.prompt_ids) for pair in pairs)),
            "decoder_input_ids": rows(*((start, *pair.target_ids[:-1]) for pair in pairs)),
            "decoder_attention_mask": rows(*([1] * len(pair.target_ids) for pair in pairs)),
        }
        logits = student.model(**inputs).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


def gradients(student: LanguageModel, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    """The gradient of the sum of some losses, each gone back through before the next is made."""
    student.model.zero_grad()
    for loss in losses:
        loss.backward()
    return {name: p.grad.clone() for name, p in student.model.named_parameters() if p.grad is not None}


def assert_same_gradients(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], relative: float = 1e-5) -> None:
    """Each parameter's gradient, by its norm. The true gradient of some is zero (a bias of keys moves all products of
    a query alike), so what rounding leaves of it is compared with the whole gradient."""
    assert found.keys() == expected.keys()
    whole = torch.stack([tensor.norm() for tensor in expected.values()]).norm()
    for name, tensor in expected.items():
        error, size = float((found[name] - tensor).norm()), float(tensor.norm())
        assert error <= relative * size + 1e-7 * float(whole), f"{name}: {error:.2g} of {size:.2g}"


def stories260k(models_dir: Path, **limits: int) -> LanguageModel:
    """The real Llama of 260,032 parameters, trained on children's stories."""
    return Decoder("stories260k", checkpoint=str(models_dir / "stories260k"), **limits).load([], 0)  # type: ignore[return-value, arg-type]


def gpt2_with_real_tokenizer(models_dir: Path) -> LanguageModel:
    """A random GPT-2 with the real tokenizer, whose padding is its end-of-text token."""
    tokenizer = AutoTokenizer.from_pretrained(models_dir / "gpt2-tokenizer")
    torch.manual_seed(0)
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=256)
    return respread(DecoderStudent(GPT2LMHeadModel(config), tokenizer, Limits("gpt2")), 0, SPREAD)


@torch.no_grad()
def greedy_by_hand(student: LanguageModel, prompt: str, n_new: int) -> tuple[list[int], list[float]]:
    """New tokens of one prompt by whole forward passes, without cache, padding or mask, until end-of-text.

    Returns:
        The tokens, and at each step the gap between the two best logits.
    """
    student.model.eval()
    row = student._prompt(prompt)
    new: list[int] = []
    gaps: list[float] = []
    while len(new) < n_new and (not new or new[-1] != student.end_of_text):
        if student.family == "decoder":
            logits = student.model(torch.tensor([row + new])).logits
        else:
            start = student.model.config.decoder_start_token_id
            logits = student.model(torch.tensor([row]), decoder_input_ids=torch.tensor([[start, *new]])).logits
        best = logits[0, -1].topk(2)
        new.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
    return new, gaps


def agree(student: LanguageModel, prompts: Sequence[str], n_new: int, *budgets: int) -> int:
    """Assert that batched generation writes what `greedy_by_hand` does, wherever the choice was clear.

    Returns:
        How many texts were compared to their end.
    """
    whole = 0
    batched = [student.generate(prompts, max_new_tokens=n_new, batch_tokens=size) for size in budgets]
    for prompt, *generations in zip(prompts, *batched, strict=True):
        tokens, gaps = greedy_by_hand(student, prompt, n_new)
        clear = next((i for i, gap in enumerate(gaps) if gap <= 1e-4), len(tokens))
        whole += clear == len(tokens)
        for generation in generations:
            if clear == len(tokens):
                assert generation.text == student._text(tokens), prompt
                assert generation.n_tokens == len(tokens)
                assert generation.truncated == (tokens[-1] != student.end_of_text)
            else:
                assert generation.text.startswith(student._text(tokens[:clear]).rstrip("\N{REPLACEMENT CHARACTER}"))
    return whole
