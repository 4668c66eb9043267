"""What a model's tokens cost.

    gpt-4o-mini-2024-07-18   ──>   gpt-4o-mini in prices.yaml   ──>   Price(input=0.15, output=0.6)
    83,000 tokens of prompts and 41,000 of completions cost 0.083 x 0.15 + 0.041 x 0.60 = $0.037

Prices are US dollars for a million tokens. A model that nobody gave a price has none: its cost is not known, never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ftcot.errors import InputError

PRICES = Path(__file__).with_name("prices.yaml")

Kind = Literal["api", "batch"]
"""How a server is asked: a request at a time, or a batch of them within a day."""

_DATE = re.compile(r"(?P<model>.+)-(\d{4}-\d\d-\d\d|20\d{6}|(0[1-9]|1[0-2])([0-2]\d|3[01]))")
"""A dated snapshot, in one of the three ways that vendors write dates: -2024-07-18, -20241022, -0125."""

_KEYS = ("input", "output", "batch")


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input: float
    output: float

    def cost(self, prompt: int, completion: int) -> float:
        """Of so many tokens, in US dollars."""
        return (prompt * self.input + completion * self.output) / 1e6


FREE = Price(0.0, 0.0)
"""Of a model on a machine of one's own: its time is not counted."""


def price_of(model: str, prices: Mapping[str, float] | None, kind: Kind) -> Price | None:
    """What the model's tokens cost; None where nobody says.

    Args:
        prices: of the config, which go before those of prices.yaml: input, output, and perhaps batch, by which both
            are multiplied for kind `batch`. Without it they are taken to be those of the batch.
    Raises:
        InputError: prices of the config that are none.
    """
    if prices is not None:
        check_prices(prices)
        return _price(prices, prices.get("batch", 1.0) if kind == "batch" else 1.0)
    row = _row(model)
    if row is None or (kind == "batch" and row["batch"] is None):
        return None
    return _price(row, row["batch"] if kind == "batch" else 1.0)


def as_of(model: str) -> str | None:
    """The day of the model's price in prices.yaml, `2026-10-14`; None where it has none."""
    row = _row(model)
    return None if row is None else str(row["as_of"])


def check_prices(prices: Mapping[str, Any]) -> None:
    """Refuse prices of the config that are none.

    Raises:
        InputError: one is missing, unknown, negative or no number; the line names its key.
    """
    for key, value in prices.items():
        if key not in _KEYS:
            raise InputError(f"teacher.prices.{key}: no such key; teacher.prices has {', '.join(_KEYS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise InputError(f"teacher.prices.{key}={value}: expected US dollars for a million tokens, 0 or more")
    for key in ("input", "output"):
        if key not in prices:
            raise InputError(f"teacher.prices.{key}: missing; expected teacher.prices={{input: 2.5, output: 10}}")


def _row(model: str) -> dict[str, Any] | None:
    listed = _listed()
    match = _DATE.fullmatch(model)
    return listed.get(model) or (listed.get(match["model"]) if match else None)


def _price(row: Mapping[str, float], factor: float) -> Price:
    return Price(row["input"] * factor, row["output"] * factor)


@cache
def _listed() -> dict[str, dict[str, Any]]:
    vendors = yaml.safe_load(PRICES.read_text(encoding="utf-8"))["vendors"].values()
    return {
        name: {"batch": vendor.get("batch"), "as_of": vendor["as_of"]} | row
        for vendor in vendors
        for name, row in vendor["models"].items()
    }
