"""Training: the settings. `ftcot.training.fit` holds the LightningModule, the LightningDataModule and the loop.

This module is free of torch, so that the launcher can read and refuse settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ftcot.errors import InputError


@dataclass(frozen=True)
class Training:
    """How a student is trained. Source of the defaults in conf/training/paper.yaml: METHOD section 7."""

    epochs: int
    batch_size: int
    """Pairs in one optimiser step, over all devices and accumulation steps."""
    optimizer: Mapping[str, Any]
    """`_target_` (torch.optim.*) and its arguments; built by the worker."""
    batch_by: Literal["pairs", "tokens"] = "pairs"
    """What steps have the same number of: pairs, or supervised tokens, and then batch_size pairs on average."""
    group_size: int = 1
    """Rationales of a question that stay together in a step, so that the question is computed once for them; 1: pairs
    are shuffled uniformly. More make a step cheaper, and of fewer questions: students from scratch learnt much less
    (bench/RESULTS.md)."""
    device_batch_size: int | None = None
    """Pairs that go through the model at once; None: those of a step."""
    device_batch_tokens: int | None = None
    """Most tokens that go through the model at once, where that is more than a pair, a prompt counted for each of its
    pairs and padding not; None: those of a step."""
    warmup: float = 0.0
    """Fraction of all steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What the learning rate does after the warm-up."""
    gradient_clip: float | None = None
    """Largest global norm of the gradient."""
    evaluate_every: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    truncation_limit: float = 0.01
    """Largest share of pairs that may be cut to fit; above it the job stops."""
    liger: bool = False
    """Whether a GPU computes norms and gated feed-forwards with liger-kernel's kernels."""
    lora: Mapping[str, Any] | None = None
    """Arguments of peft.LoraConfig; None trains every weight."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "group_size", "device_batch_tokens", "evaluate_every"):
            if (value := getattr(self, name)) is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"training.{name}={value}: expected 1 or more")
        micro = self.device_batch_size
        if micro is not None and (micro < 1 or self.batch_size % micro):
            raise InputError(
                f"training.device_batch_size={micro} does not divide training.batch_size={self.batch_size}"
            )
        if micro is not None and self.device_batch_tokens is not None:
            raise InputError("training.device_batch_size and training.device_batch_tokens: give one of them")
        if self.batch_by not in ("pairs", "tokens"):
            raise InputError(f"training.batch_by={self.batch_by!r}: expected pairs or tokens")
        if (rate := self.optimizer.get("lr")) is not None and not rate >= 0:
            raise InputError(f"training.optimizer.lr={rate}: expected 0 or more")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"training.warmup={self.warmup}: expected a fraction between 0 and 1")
        if not 0 <= self.truncation_limit <= 1:
            raise InputError(f"training.truncation_limit={self.truncation_limit}: expected a fraction between 0 and 1")
        if self.gradient_clip is not None and self.gradient_clip <= 0:
            raise InputError(f"training.gradient_clip={self.gradient_clip}: expected more than 0, or null")
        target = str(self.optimizer.get("_target_"))
        if not re.fullmatch(r"torch\.optim\.[A-Z]\w*", target):
            raise InputError(f"training.optimizer._target_={target}: expected an optimizer of torch.optim")
        if not isinstance(self.optimizer.get("lr"), int | float):
            raise InputError(f"training.optimizer.lr={self.optimizer.get('lr')}: expected a number")
        if self.schedule not in ("constant", "linear", "cosine"):
            raise InputError(f"training.schedule={self.schedule!r}: expected constant, linear or cosine")
