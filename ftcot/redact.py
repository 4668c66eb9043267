"""The secrets that the environment holds, and values with them taken out.

{"url": "https://x/?key=sk-4f..."}   ──>   {"url": "https://x/?key=***"}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def secrets() -> dict[str, str]:
    """The environment's keys, tokens and passwords, and the variable each is in."""
    endings = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
    # Values are looked at where the name fits: this is asked for every reply of a server.
    names = [name for name in os.environ if name.upper().endswith(endings)]
    return {text: name for name in names if len(text := os.environ.get(name, "")) >= 8}


def without_secrets(value: Any, *more: str) -> Any:
    """`value` with every secret of the environment blanked, and `more`, in case one found its way into it."""
    return _blank(value, sorted({*secrets(), *more}, key=len, reverse=True))  # one may hold another


def _blank(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _blank(inner, hidden) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_blank(inner, hidden) for inner in value]
    if isinstance(value, str):
        for text in hidden:
            value = value.replace(text, "***")
    return value
