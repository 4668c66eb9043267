"""Training with LoRA: small matrices beside the frozen weights, folded into them at the end.

    {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}    ->  0.9M of 135M parameters trained

peft replaces the layers inside the student's own model, so everything that holds the model goes on as before; folded
in, they leave a plain model that transformers loads without peft.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftcot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftcot.student import Student


@contextmanager
def adapted(student: Student, arguments: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside, the student trains LoRA layers only; after, they are part of its weights. None changes nothing.

    Raises:
        InputError: peft is missing, or refuses the arguments (`training.lora`).
    """
    if arguments is None:
        yield
        return
    try:
        import peft
    except ModuleNotFoundError:
        raise InputError("training.lora: peft is not installed; pip install 'ftcot[lora]'") from None

    kind = peft.TaskType.CAUSAL_LM if student.family == "decoder" else peft.TaskType.SEQ_2_SEQ_LM
    # GPT-2 keeps its weights the other way round, in Conv1D layers; peft warns unless it is told.
    transposed = any(type(module).__name__ == "Conv1D" for module in student.model.modules())
    try:
        config = peft.LoraConfig(task_type=kind, fan_in_fan_out=transposed, **arguments)
        # Not get_peft_model: the wrapper it adds is not needed here, and asks the model for a deprecated property.
        adapter = peft.LoraModel(student.model, config, "default")
    except (TypeError, ValueError) as error:
        raise InputError(f"training.lora: {error}".splitlines()[0]) from None
    try:
        yield
    finally:
        adapter.merge_and_unload()


@contextmanager
def merged(student: Student) -> Iterator[None]:
    """Inside, the student is plain, the LoRA layers it may train folded in; after, it trains on as before."""
    trained = student.model
    layers = [name for name, module in trained.named_modules() if hasattr(module, "get_base_layer")]
    if not layers:
        yield
        return
    plain = copy.deepcopy(trained)
    for name in layers:
        layer: Any = plain.get_submodule(name)
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(plain.get_submodule(parent), last, layer.get_base_layer())
    student.model = plain
    try:
        yield
    finally:
        student.model = trained
