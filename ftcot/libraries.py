"""The heavy libraries of a worker, imported once and without what they look for but no job needs.

    torch, transformers, pytorch_lightning     3.8 s of one core, 4,053 modules
    `prepare()`                                2.3 s, 3,151 modules: no matplotlib, no scipy

torchmetrics, which Lightning imports, plots where matplotlib is installed; transformers matches boxes in pictures where
scipy is. A student does neither.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, PackageNotFoundError
from typing import Any

UNUSED = ("matplotlib", "scienceplots", "scipy", "sklearn", "boto3", "torchvision", "pandas")
"""What the libraries import where it is installed, though a language model never makes use of it."""


def prepare(*, trains: bool = True) -> None:
    """Import torch, transformers and, for a job that trains, pytorch_lightning. Once they are here, this is nothing.

    What is left out of them stays left out of them (torchmetrics cannot plot in this process); anybody else may import
    it afterwards as ever.
    """
    with _uncollected():
        importlib.import_module("torch._dynamo")  # which the first step of an optimizer would import
        with absent(*UNUSED):
            importlib.import_module("transformers.modeling_utils")
            if trains:
                importlib.import_module("pytorch_lightning")
            _forget(UNUSED)


def settle() -> None:
    """Count what there is as lasting: nobody looks it through for garbage again, here or in a process forked off."""
    gc.collect()
    gc.freeze()


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """Within this, packages look as if they were not installed, but for those that are imported already."""
    hidden = [name for name in packages if name not in sys.modules]
    before = Distribution.__dict__["from_name"]

    def from_name(kind: type[Distribution], name: str) -> Distribution:
        if name in hidden:
            raise PackageNotFoundError(name)
        return before.__get__(None, kind)(name)  # type: ignore[no-any-return]

    # None is Python's own sign for a module that is not to be found.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    setattr(Distribution, "from_name", classmethod(from_name))  # noqa: B010  # mypy knows it as what it was
    try:
        yield
    finally:
        setattr(Distribution, "from_name", before)  # noqa: B010
        for name in hidden:
            if name in sys.modules and sys.modules[name] is None:
                del sys.modules[name]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Within this, nobody looks for garbage: importing makes hardly any, and looking takes a quarter of the time.

    Afterwards what there is counts as lasting, and is not looked through again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _forget(packages: tuple[str, ...]) -> None:
    """Have transformers ask again for a package, once somebody wants to know."""
    known: Any = importlib.import_module("transformers.utils.import_utils")
    for name in packages:
        question: Any = getattr(known, f"is_{name}_available", None)
        if hasattr(question, "cache_clear"):
            question.cache_clear()
