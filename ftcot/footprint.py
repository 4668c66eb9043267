"""How much of a GPU's memory a job takes at most: an estimate from its config, before anything is loaded.

    student=gpt2, training=paper         Shape(parameters=124M, width=768, layers=12, vocabulary=50257)     11.5 GiB
    student=ORG/NAME, not yet downloaded                                                                    not known

    peak = CUDA itself + weights, gradients and AdamW's two averages + what a step keeps for its backward pass
           + what a test keeps of its answers

What the estimate cannot know, the lengths of the texts, it takes to be as long as they may be. So it is too high rather
than too low. No torch here: launchers ask it, to know how many jobs a GPU has room for.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.job import Job
from ftcot.student.checkpoint import read_config
from ftcot.student.specs import FromScratch, Limits, Pretrained

GIB = 2**30

CUDA = 1.25 * GIB
"""A CUDA context with PyTorch's kernels and cuBLAS's work space."""

KEPT = 17
"""Numbers a token and layer that a backward pass needs, as a multiple of the width. Source: Korthikanti et al. 2022
(arXiv 2205.05198), section 4.1: 34 bytes in 16 bits; attention's own share is not kept by the kernels PyTorch takes."""

LOGITS = 3
"""Copies of a step's logits: they, their softmax and the gradient."""

LORA_INPUTS = 24
"""Rows and columns of a layer's matrices together, as a multiple of the width: what LoRA's rank is multiplied by."""


@dataclass(frozen=True)
class Shape:
    """What of a student takes memory."""

    parameters: int
    width: int
    layers: int
    """Of encoder and decoder together."""
    vocabulary: int
    context: int | None
    """Most tokens it has positions for; None: any number."""


def footprint(job: Job) -> int | None:
    """Bytes of GPU memory that a job takes at most, on each of its GPUs; None where its student's size is not known."""
    if (shape := shape_of(job.student)) is None:
        return None
    mixed = job.trainer.get("precision") == "bf16-mixed"
    weights = (6 if mixed else 4) * shape.parameters  # with a copy in 16 bits
    tested = _answers(job, shape)
    if not job.method.trains:
        return math.ceil(CUDA + weights + tested)
    lora = job.training.lora
    learning = shape.parameters
    if lora is not None:
        learning = min(learning, int(lora.get("r", 8)) * LORA_INPUTS * shape.width * shape.layers)
    state = weights + 12 * learning
    step = _step(job, shape, 3 if mixed else 4)
    if job.evaluation.overlap is False:
        return math.ceil(CUDA + state + max(step, tested))
    return math.ceil(CUDA + state + step + 4 * learning + tested)


def _step(job: Job, shape: Shape, size: int) -> float:
    """Bytes that what goes through the model at once keeps until the backward pass.

    Args:
        size: of a number, in bytes; with mixed precision some have 2 and some 4.
    """
    training, student = job.training, job.student
    assert isinstance(student, Limits)  # as its shape is known
    target, pair = student.max_target_tokens, student.max_prompt_tokens + student.max_target_tokens
    pair = min(pair, shape.context or pair)
    tokens = pair * (training.device_batch_size or training.batch_size)
    if training.device_batch_tokens is not None:
        tokens = min(tokens, max(pair, training.device_batch_tokens))
    supervised = tokens * min(target, pair) / pair
    return tokens * shape.layers * KEPT * shape.width * size + LOGITS * 4 * supervised * shape.vocabulary


def _answers(job: Job, shape: Shape) -> float:
    """Bytes of the keys and values of answers that are under way together; twice, as they are copied when rows leave.
    Beside them a layer's own numbers."""
    return 4 * job.evaluation.batch_tokens * shape.width * (2 * 2 * shape.layers + KEPT)


def shape_of(student: Any) -> Shape | None:
    """The shape of a student from scratch, or of a checkpoint that is here; None of others."""
    if isinstance(student, FromScratch):
        encoder = 2 if student.family == "encoder_decoder" else 1
        context = getattr(student, "context", None)
        return Shape(student.n_parameters, student.width, encoder * student.n_layers, student.vocabulary, context)
    if not isinstance(student, Pretrained):
        return None
    try:
        folder = student.find().folder
        return None if folder is None else _shape_in(folder)
    except (InputError, OSError, KeyError, TypeError, ValueError, struct.error):
        return None


def _shape_in(folder: Path) -> Shape:
    """The shape of a checkpoint in a folder.

    Raises:
        KeyError: its config uses other words.
    """
    config = read_config(folder)
    layers = _of(config, "num_hidden_layers", "n_layer", "num_layers", "encoder_layers")
    layers += config.get("num_decoder_layers") or config.get("decoder_layers") or 0
    return Shape(
        parameters=sum(_parameters(file) for file in folder.glob("*.safetensors")),
        width=_of(config, "hidden_size", "n_embd", "d_model"),
        layers=layers,
        vocabulary=_of(config, "vocab_size"),
        context=config.get("max_position_embeddings") or config.get("n_positions"),
    )


def _of(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if isinstance(value := config.get(name), int):
            return value
    raise KeyError(names[0])


def _parameters(file: Path) -> int:
    """Numbers in a safetensors file, from its header."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
