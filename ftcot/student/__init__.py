"""Students: the small models that are fine-tuned and tested.

Two layers. A *spec* (`Decoder`, `EncoderDecoder`, `Tiny`, ...) is what the config names: frozen, free of torch, able
to say whether its checkpoint can be had. `spec.load()` gives the *student*: model and tokenizer, able to encode,
compute a loss and generate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ftcot.prompts import Family

if TYPE_CHECKING:
    from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one training pair. Prompt and target are tokenised apart, so no token spans both."""

    prompt_ids: tuple[int, ...]
    """(P,), as at inference."""
    target_ids: tuple[int, ...]
    """(T,), ending in exactly one end-of-text token."""
    truncated: bool
    """Something was cut off to fit the limits."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What a student wrote after one prompt."""

    text: str
    """Without the prompt, special tokens and the stop phrase (and what follows it)."""
    truncated: bool
    """It ended because of max_new_tokens (or the model's context), not at end-of-text or the stop phrase."""
    n_tokens: int
    """New tokens, the end-of-text token included."""


class StudentSpec(Protocol):
    """What the config says of a student."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> Family: ...

    def check(self) -> None:
        """Refuse, within 20 seconds and without torch, a checkpoint that cannot be had or is not safetensors.

        Raises:
            InputError: it cannot.
        """
        ...

    def files(self) -> tuple[Path, ...]:
        """Local files the weights come from; none for a hub id."""
        ...

    def commit(self) -> str | None:
        """The version of a hub id that is loaded, as `main` moves on; None where `files` say what is."""
        ...

    def describe(self) -> str:
        """For the plan: `tiny (from scratch, 0.7M parameters)`, `gpt2 (hub)`."""
        ...

    def load(self, texts: Sequence[str], seed: int) -> Student:
        """Model and tokenizer on the CPU in training mode.

        Args:
            texts: the training text; a student from scratch trains its tokenizer on it.
            seed: of the initial weights, where there are any to draw.
        """
        ...


class Student(Protocol):
    """A model with its tokenizer."""

    model: nn.Module
    family: Family

    @property
    def n_parameters(self) -> int: ...

    def encode(self, prompt: str, completion: str) -> Encoded: ...

    def collate(self, batch: Sequence[Encoded]) -> dict[str, Tensor]:
        """Tensors for `loss`; labels are -100 wherever nothing is supervised."""
        ...

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum (not mean) of the loss over supervised tokens, and their number. Both 0-d."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int,
        stop: str | None = None,
        progress: Progress | None = None,
    ) -> list[Generation]:
        """Greedy continuations, in the order of the prompts; batched by length inside. Leaves the mode as it was."""
        ...

    def batches(self, prompts: Sequence[str], *, max_new_tokens: int, batch_size: int) -> list[list[int]]:
        """Which prompts `generate` puts together, by their number. Given some whole batches, it makes the same ones."""
        ...

    def save(self, folder: Path, card: str | None = None) -> None:
        """Write weights (safetensors), tokenizer and model card, loadable by plain transformers."""
        ...
