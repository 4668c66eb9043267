"""A student that is only to be timed: its size and tokenizer count, not its weights.

    student=gpt2-large, nothing of it cached     config.json and tokenizer (2 MB) from the hub, random weights (774M)

Nothing is kept: what has to be fetched goes to a temporary folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ftcot.errors import InputError, cause_of
from ftcot.student import Student, StudentSpec
from ftcot.student.specs import Pretrained, SmolLM2

SMALL = ("*.json", "*.model", "*.txt")
"""Files of a checkpoint that say what it is; the weights are none of them."""


def blank(spec: StudentSpec, texts: Sequence[str]) -> Student:
    """A student as large as that of the spec.

    Raises:
        InputError: not even its config can be had.
    """
    if isinstance(spec, SmolLM2) and (package := spec.packaged) is not None:
        from ftcot.student.smollm2 import unpacked

        if spec.cache is None or not unpacked(package, Path(spec.cache)).is_dir():
            spec = replace(spec, cache=None)  # in memory: to keep what is unpacked is the runs' business
        return spec.load(texts, 0)
    if not isinstance(spec, Pretrained):
        return spec.load(texts, 0)
    assert spec.checkpoint is not None
    from ftcot.student.decoder import DecoderStudent
    from ftcot.student.encoder_decoder import EncoderDecoderStudent

    kind = DecoderStudent if spec.family == "decoder" else EncoderDecoderStudent
    with tempfile.TemporaryDirectory(prefix="ftcot-") as place:
        try:
            return kind.untrained(_described(spec.checkpoint, spec.revision, Path(place)), spec)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(
                f"student.checkpoint={spec.checkpoint}: no config to be had ({cause_of(error)})"
            ) from error


def _described(checkpoint: str, revision: str | None, place: Path) -> Path:
    """A folder with the config and the tokenizer of a checkpoint.

    Args:
        place: for what has to be fetched.
    Raises:
        OSError: the hub cannot be asked.
    """
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    if (folder := Path(checkpoint).expanduser()).is_dir():
        return folder
    if isinstance(cached := try_to_load_from_cache(checkpoint, "config.json", revision=revision), str):
        return Path(cached).parent
    return Path(
        snapshot_download(
            checkpoint, revision=revision, allow_patterns=list(SMALL), ignore_patterns=["*/*"], cache_dir=place
        )
    )
