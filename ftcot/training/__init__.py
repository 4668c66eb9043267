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
    device_batch_size: int | None = None
    """Pairs that go through the model at once; None: batch_size."""
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
    lora: Mapping[str, Any] | None = None
    """Arguments of peft.LoraConfig; None trains every weight."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name}={getattr(self, name)}: expected 1 or more")
        micro = self.device_batch_size
        if micro is not None and (micro < 1 or self.batch_size % micro):
            raise InputError(
                f"training.device_batch_size={micro} does not divide training.batch_size={self.batch_size}"
            )
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
