"""The generated tasks as their option files have them, and their answers found in ways of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from tests.conftest import ROOT

CONF = ROOT / "conf"
TASKS = (
    "coin_flip",
    "last_letter_concatenation",
    "tracking_shuffled_objects",
    "date_understanding",
    "multi_step_arithmetic",
)
each_task = pytest.mark.parametrize("name", TASKS)


def build(name: str, **changes: Any) -> Any:
    """The task as its option file has it, with changes."""
    config: Any = OmegaConf.to_container(OmegaConf.load(CONF / "task" / "generated" / f"{name}.yaml"))
    del config["defaults"]
    return get_class(config.pop("_target_"))(**config | changes)


# Answers, found again from the text alone and in other ways than the task does.


def solve_coin_flip(question: str) -> str:
    return "yes" if question.count(" flips ") % 2 == 0 else "no"


def solve_last_letters(question: str) -> str:
    return "".join(word[-1] for word in question.partition(": ")[2].rstrip(".").split(", "))


def solve_arithmetic(question: str) -> str:
    _, _, rest = question.partition("Start with ")
    start, _, rest = rest.partition(". Then ")
    expression = start
    for step in rest.partition(". What")[0].split(", "):
        expression = f"({expression} {step.replace('x', '*')})"
    return str(eval(expression))  # our own text of digits and signs


def solve_tracking(question: str) -> str:
    story, _, choices = question.partition(" Answer choices: ")
    first, *swaps, asked = [part.strip() for part in story.rstrip("?").split(".")]
    held = dict(part.split(" has a ") for part in first.split(", "))
    for swap in swaps:
        one, _, other = swap.removesuffix(" swap").partition(" and ")
        held[one], held[other] = held[other], held[one]
    name = asked.removeprefix("What does ").removesuffix(" have")
    return choices[choices.index(f") {held[name]}") - 1]


def solve_date(question: str) -> str:
    """Day by day with the calendar; for days and weeks."""
    story, _, choices = question.partition(" Answer choices: ")
    today, *events, _ = story.split(". ")
    month, day, year = map(int, today.removeprefix("Today is ").split("/"))
    when = date(year, month, day)
    for event in events:
        _, _, _, number, unit, side, *_ = event.split()
        days = int(number) * (7 if unit.startswith("week") else 1)
        when += timedelta(days=days if side == "after" else -days)
    return choices[choices.index(when.strftime(") %m/%d/%Y")) - 1]


SOLVERS: dict[str, Callable[[str], str]] = dict(
    zip(TASKS, (solve_coin_flip, solve_last_letters, solve_tracking, solve_date, solve_arithmetic), strict=True)
)
