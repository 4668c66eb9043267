"""Whether a config's values are of the kinds that its classes take, before anything is made of them.

    teacher.timeout=2m        Api.timeout: float       "teacher.timeout=2m: expected a number"
    teacher.budget_usd=null   budget_usd: float | None     fine

Only what a field's annotation plainly says is looked at: numbers, text, true and false, null, lists and mappings. What
has a type of its own (a Literal, a class) is left to the class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from hydra.utils import get_object

from ftcot.errors import InputError


class Kind(NamedTuple):
    """Values that an annotation stands for."""

    types: tuple[type, ...]
    """Exactly these: true is no whole number."""
    words: str


KINDS = {
    "int": Kind((int,), "a whole number"),
    "float": Kind((int, float), "a number"),
    "str": Kind((str,), "text"),
    "Path": Kind((str,), "text"),
    "bool": Kind((bool,), "true or false"),
    "Mapping": Kind((dict,), "{KEY: VALUE}"),
    "Sequence": Kind((list, tuple), "a list"),
    "None": Kind((type(None),), "null"),
}
"""By the name of the annotation, without what is in its brackets."""


def check_kinds(key: str, config: Mapping[str, Any]) -> None:
    """Refuse a value of another kind than the field of the dataclass that it is for.

    Args:
        key: where the config stands.
        config: resolved; with a `_target_` that is trusted.
    Raises:
        InputError: there is one; the line names its key.
    """
    made = get_object(str(config["_target_"]))
    if not is_dataclass(made):
        return
    for field in fields(made):
        value = config.get(field.name)
        if isinstance(value, Mapping) and "_target_" in value:
            check_kinds(f"{key}.{field.name}", value)
        elif field.name in config and (expected := _complaint(str(field.type), value)) is not None:
            quotes = f" (in quotes: \"'{value}'\")" if "text" in expected and isinstance(value, int | float) else ""
            raise InputError(f"{key}.{field.name}={_written(value)}: expected {expected}{quotes}")


def _complaint(annotation: str, value: Any) -> str | None:
    """What was expected in place of the value; None: nothing else."""
    names = [part.strip() for part in re.sub(r"\[.*\]", "", annotation).split("|")]
    if any(name not in KINDS for name in names):
        return None
    kinds = [KINDS[name] for name in names]
    if any(type(value) in kind.types for kind in kinds):
        return None
    return " or ".join(dict.fromkeys(kind.words for kind in kinds))


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
