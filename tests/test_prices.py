"""What tokens cost: the list, dated snapshots, prices of one's own."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.teacher.prices import PRICES, Price, as_of, price_of

LIST = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
MODELS = [(vendor, name) for vendor, values in LIST["vendors"].items() for name in values["models"]]


@pytest.mark.parametrize(("vendor", "model"), MODELS, ids=[name for _, name in MODELS])
def test_every_listed_model_has_a_price_a_source_and_a_day(vendor: str, model: str) -> None:
    price = price_of(model, None, "api")
    assert price is not None
    assert 0 < price.input <= price.output < 1000
    assert LIST["vendors"][vendor]["source"]
    assert date.fromisoformat(str(as_of(model))) <= LIST["as_of"]


def test_no_model_is_listed_twice() -> None:
    assert len({name for _, name in MODELS}) == len(MODELS)


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o-mini", Price(0.15, 0.6)),
        ("gpt-4o-mini-2024-07-18", Price(0.15, 0.6)),
        ("gpt-4o-2024-05-13", Price(5, 15)),  # dearer than the model it is a snapshot of, and listed itself
        ("gpt-4o-2024-11-20", Price(2.5, 10)),
        ("gpt-3.5-turbo-0125", Price(0.5, 1.5)),
        ("gpt-3.5-turbo-0613", Price(1.5, 2)),
        ("gpt-4.1-20250414", Price(2, 8)),
        ("gpt-4o-mini-search-preview", None),  # begins like one that is listed
        ("gpt-4o-mini-2024-07-18-ft", None),
        ("gpt-3.5-turbo-1306", None),  # no date
        ("gpt-4o-", None),
        ("-2024-07-18", None),
        ("openai/gpt-4o-mini", None),  # another seller's
        ("my-llama", None),
    ],
)
def test_the_price_of_a_model(model: str, price: Price | None) -> None:
    assert price_of(model, None, "api") == price


def test_a_batch_costs_half_where_the_vendor_says_so() -> None:
    assert price_of("gpt-4o-mini-2024-07-18", None, "batch") == Price(0.075, 0.3)
    assert price_of("deepseek-flash", None, "batch") is None
    assert price_of("gpt-3.5-turbo-instruct", None, "batch") is None


def test_prices_of_ones_own_go_first() -> None:
    assert price_of("gpt-4o-mini", {"input": 1, "output": 2}, "api") == Price(1, 2)
    assert price_of("my-llama", {"input": 0, "output": 0}, "api") == Price(0, 0)
    assert price_of("my-llama", {"input": 1, "output": 2}, "batch") == Price(1, 2)
    assert price_of("my-llama", {"input": 1, "output": 2, "batch": 0.5}, "batch") == Price(0.5, 1)
    assert price_of("my-llama", {"input": 1, "output": 2, "batch": 0.5}, "api") == Price(1, 2)


@pytest.mark.parametrize(
    ("prices", "line"),
    [
        ({"input": 1}, "teacher.prices.output: missing"),
        ({"output": 1}, "teacher.prices.input: missing"),
        ({}, "teacher.prices.input: missing"),
        ({"input": -1, "output": 2}, "teacher.prices.input=-1: expected US dollars"),
        ({"input": 1, "output": float("nan")}, "teacher.prices.output=nan: expected US dollars"),
        ({"input": 1, "output": "2"}, "teacher.prices.output=2: expected US dollars"),
        ({"input": 1, "output": True}, "teacher.prices.output=True: expected US dollars"),
        ({"input": 1, "output": 2, "batch": -1}, "teacher.prices.batch=-1: expected US dollars"),
        ({"input": 1, "output": 2, "cached": 1}, "teacher.prices.cached: no such key"),
    ],
)
def test_prices_that_are_none(prices: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        price_of("my-llama", prices, "api")


def test_what_tokens_cost() -> None:
    assert Price(0.15, 0.6).cost(83_000, 41_000) == pytest.approx(0.03705)


@given(prompt=st.integers(0, 10**9), completion=st.integers(0, 10**9), calls=st.integers(1, 100))
def test_many_calls_cost_as_much_as_their_sum(prompt: int, completion: int, calls: int) -> None:
    price = Price(0.15, 0.6)
    assert price.cost(prompt * calls, completion * calls) == pytest.approx(calls * price.cost(prompt, completion))
