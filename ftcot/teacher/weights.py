"""A checkpoint's weights, on a device: which one, in what precision, and what is said where they do not fit.

teacher.device=auto teacher.dtype=auto    ──>   cuda in bfloat16, as the checkpoint was saved; cpu in float32
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ftcot.errors import InputError, JobError
from ftcot.prompts import Family
from ftcot.teacher.local import KEY

transformers_logging.disable_progress_bar()  # our own bar says what is going on

_NO_MEMORY = re.compile("out of memory|can't allocate memory")
"""How MPS and a CPU say it."""


def pick_device(name: str) -> torch.device:
    """The device of `teacher.device`.

    Raises:
        InputError: it is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise InputError(f"teacher.device={name}: torch sees {n_gpus} such devices here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("teacher.device=mps: torch sees no such device here")
    return device


def load(folder: Path, family: Family, device: torch.device, dtype: str) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint folder; the model on the device.

    Raises:
        InputError: it cannot be loaded.
        JobError: it does not fit there.
    """
    wanted = "float32" if dtype == "auto" and device.type == "cpu" else dtype
    auto_class = AutoModelForCausalLM if family == "decoder" else AutoModelForSeq2SeqLM
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = auto_class.from_pretrained(folder, use_safetensors=True, trust_remote_code=False, dtype=wanted)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(f"{KEY}={folder}: cannot be loaded ({' '.join(str(error).split())})") from error
    return place(model, device, "auto"), tokenizer


def place(model: Any, device: torch.device, dtype: str) -> Any:
    """The model on a device.

    Args:
        dtype: `auto`: as it is.
    Raises:
        JobError: it does not fit there.
    """
    try:
        with out_of_memory():
            return model.to(device=device, dtype=None if dtype == "auto" else getattr(torch, dtype))
    except MemoryError as error:
        raise JobError(
            f"{KEY}: its weights do not fit into the memory of {device} ({error}); "
            "try teacher.dtype=bfloat16, or teacher=vllm with teacher.tensor_parallel_size"
        ) from None


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Within, a device that has no memory left raises a MemoryError, whatever the device."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not _NO_MEMORY.search(str(error)):
            raise
        cause = str(error).partition("\n")[0].partition(". ")[0]
    else:
        return
    # Outside of the clause: the error's traceback holds on to what was computed so far.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise MemoryError(cause)
