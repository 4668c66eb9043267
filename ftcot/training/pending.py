"""A test that goes on while the next epoch is trained.

    steps of epoch 3 | checkpoint | copy | steps of epoch 4 ...            | log, close 3 | checkpoint | copy | ...
                                         | the copy is tested, in a thread |

The thread works with a student of its own, so neither sees the other; of the random numbers of training it draws none.
It tests and nothing else: logs and checkpoints stay with the thread that trains, which looks for it after each step.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ftcot.student import Student

Evaluate = Callable[[Student, int], Mapping[str, float]]
"""Tests a student after an epoch, counted from 1, and returns what to log. A run that ends before all of that is on the
disk tests that epoch again; its steps are not repeated."""


class Snapshot:
    """A student that is as another one was. It is made once, and then brought up to date in place."""

    def __init__(self, student: Student) -> None:
        self._trained = student.model
        # What is not trained (all but LoRA's layers) stays as it is, and one of it is enough.
        shared: dict[int, Any] = {id(p): p for p in student.model.parameters() if not p.requires_grad}
        self.student = copy.deepcopy(student, shared)

    @torch.no_grad()
    def take(self) -> Student:
        """The student as it is now."""
        pairs = zip(self.student.model.parameters(), self._trained.parameters(), strict=True)
        changing = [(mine, theirs) for mine, theirs in pairs if mine is not theirs]
        torch._foreach_copy_([mine for mine, _ in changing], [theirs for _, theirs in changing])
        return self.student


class _Dropped(BaseException):
    """The result is not wanted any more."""


class Pending:
    """A test in a thread of its own, begun at once."""

    def __init__(self, evaluate: Evaluate, student: Student, epoch: int) -> None:
        self.epoch = epoch
        self.seconds = 0.0
        """The test took, once it is done."""
        self._began = time.monotonic()
        self._metrics: Mapping[str, float] = {}
        self._error: BaseException | None = None
        self._dropped, self._done = threading.Event(), threading.Event()
        # A daemon: where this process is to end at once, it does not wait for a test.
        self._thread = threading.Thread(
            target=self._run, args=(evaluate, student, _stream(student), torch.get_num_threads()), daemon=True
        )
        self._thread.start()

    def _run(self, evaluate: Evaluate, student: Student, stream: Any, threads: int) -> None:
        # Every way through a transformer begins in an embedding.
        embeddings = [module for module in student.model.modules() if isinstance(module, nn.Embedding)]
        hooks = [module.register_forward_pre_hook(self._heed) for module in embeddings]
        try:
            torch.set_num_threads(threads)  # which is a thread's own
            with _on(stream):
                self._metrics = evaluate(student, self.epoch)
        except BaseException as error:
            self._error = error
        finally:
            for hook in hooks:
                hook.remove()
            self.seconds = time.monotonic() - self._began
            self._done.set()

    def _heed(self, *_: object) -> None:
        if self._dropped.is_set():
            raise _Dropped

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it is done."""
        return self._done.wait(seconds)

    def result(self) -> Mapping[str, float]:
        """What it found, once it is done.

        Raises:
            BaseException: what the test raised.
        """
        if self._error is not None:
            raise self._error
        return self._metrics

    def drop(self) -> None:
        """End it as soon as may be, and forget what it found: returns when the thread is gone."""
        self._dropped.set()
        self._thread.join()


def _stream(student: Student) -> Any:
    """A stream of the GPU's that goes on from what is asked of it so far; None without one."""
    device = next(student.model.parameters()).device
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


@contextmanager
def _on(stream: Any) -> Iterator[None]:
    """Within, the GPU works on the stream; after, all that was asked of it is done."""
    if stream is None:
        yield
        return
    with torch.cuda.device(stream.device), torch.cuda.stream(stream):
        yield
        stream.synchronize()
