"""The same arithmetic in fewer passes over memory.

NewGELUActivation    0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))), eight passes
nn.GELU("tanh")      the same function in one: steps of GPT-2 on a CPU took 0.79 to 0.99 of the time
nn.Dropout           on a CPU a slow draw for each number; dropout.py has a quicker one
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.activations import NewGELUActivation

from ftcot.errors import InputError
from ftcot.student.dropout import Dropout


def fuse(model: nn.Module) -> None:
    """Replace the parts of a model that there is a quicker way for. Its config and its weights stay as they are."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(parent, name, nn.GELU(approximate="tanh"))
            elif type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))


def use_liger(model: Any) -> None:
    """Give a model on a GPU the kernels of liger-kernel: norms, rotary positions and gated feed-forwards in one pass
    each. The loss stays ours (head.py). Unverified: no GPU was at hand.

    Raises:
        InputError: liger-kernel is missing, or knows no such model.
    """
    try:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN
    except ImportError:
        raise InputError("training.liger: liger-kernel is not installed; pip install 'ftcot[liger]'") from None
    if (apply := MODEL_TYPE_TO_APPLY_LIGER_FN.get(model.config.model_type)) is None:
        raise InputError(f"training.liger: liger-kernel has none for {model.config.model_type}; training.liger=false")
    apply(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
