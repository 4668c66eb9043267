"""Students: the small models that are fine-tuned and tested.

Two layers. A *spec* (`Decoder`, `EncoderDecoder`, `Tiny`, ...) is what the config names: frozen, free of torch, able
to say whether its checkpoint can be had. `spec.load()` gives the *student*: model and tokenizer, able to encode,
compute a loss and generate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from ftcot.prompts import Family

if TYPE_CHECKING:
    from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""

BATCH_TOKENS = 16384
"""Of prompts and answers that a student has under way together, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one training pair. Prompt and target are tokenised apart, so no token spans both."""

    prompt_ids: tuple[int, ...]
    """(P,), as at inference."""
    target_ids: tuple[int, ...]
    """(T,), ending in exactly one end-of-text token."""
    truncated: bool
    """Something was cut off to fit the limits."""


class Batch(Protocol):
    """Pairs that go through the model at once, as tensors of the student's own making."""

    def to(self, device: Any) -> Self:
        """The same on a device."""
        ...


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

    def encode_all(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
        """What `encode` makes of each pair, in less time."""
        ...

    def collate(self, batch: Sequence[Encoded], *, supervised: bool = True) -> Batch:
        """What `loss` takes of some pairs. Those that go on from the same prompt share the work on it.

        Args:
            supervised: False: of their targets nothing counts.
        """
        ...

    def loss(self, batch: Batch) -> Tensor:
        """Sum (not mean) of the loss over the tokens of all targets, 0-d."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_tokens: int = BATCH_TOKENS,
        stop: str | None = None,
        progress: Progress | None = None,
    ) -> list[Generation]:
        """Greedy continuations, in the order of the prompts. Leaves the mode as it was.

        Args:
            batch_tokens: of prompts and answers that are under way together; one prompt always is.
        """
        ...

    def save(self, folder: Path, card: str | None = None) -> None:
        """Write weights (safetensors), tokenizer and model card, loadable by plain transformers."""
        ...
