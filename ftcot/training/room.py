"""Whether the test of an epoch may go on beside the next epoch's steps.

    evaluation.overlap: auto     on one GPU, once a test that had it to itself has shown that both fit in its memory
                        true     always, if one rank trains
                        false    never

On CPU cores a test takes from training what it gets, so `auto` lets it wait there. Ranks that test meet, as they do in
each step, and two conversations at once would mix: several ranks train and test in turns, whatever is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from ftcot.ranks import Ranks

Overlap = bool | Literal["auto"]

SPARE = 1.5
"""What a later test may take, as a multiple of the measured one: its answers may be longer."""


class Room:
    """Says whether a test may go on beside training."""

    def __init__(self, asked: Overlap, ranks: Ranks) -> None:
        self._answer: bool | None = None if asked == "auto" and ranks.alone else asked is True and ranks.alone

    def is_there(self, model: Any) -> bool:
        """Whether it may, as far as is known."""
        return bool(self._known(model))

    def _known(self, model: Any) -> bool | None:
        """The answer; None: it is to be measured."""
        return False if self._answer is None and _device(model).type != "cuda" else self._answer

    @contextmanager
    def measuring(self, model: Any, *, trained: bool) -> Iterator[None]:
        """Within, a test has the device to itself; after, the answer is known.

        Args:
            trained: steps have been made, so that training has taken of the memory what it takes.
        """
        if self._known(model) is not None or not trained:
            yield
            return
        device = _device(model)
        before, training = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield
        tested = torch.cuda.max_memory_allocated(device) - before
        free, _ = torch.cuda.mem_get_info(device)
        # What the test took and left is kept for training, which does not need it.
        free += torch.cuda.memory_reserved(device) - training
        self._answer = copied(model) + SPARE * tested <= free


def _device(model: Any) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


def copied(model: Any) -> int:
    """Bytes of a copy of what is trained of a model."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
