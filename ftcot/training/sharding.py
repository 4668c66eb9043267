"""A student in parts (trainer=fsdp): each rank keeps a share of weights, gradients and optimizer states.

    training      a block's weights are gathered when it is reached, and dropped again after it
    evaluation    `whole`: all weights are on every rank, so that ranks that generate need not wait for each other

That is what limits the size of a student: one device must hold its weights alone, and a share of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Spread a model over the ranks of a mesh, block by block; what is in no block goes with the model itself."""
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a transformer: what is in the outermost lists of modules."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


@contextmanager
def whole(model: Any) -> Iterator[None]:
    """Within, a model that is in parts has all its weights on each rank, and no rank needs another."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()
