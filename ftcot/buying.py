"""What jobs would buy of live teachers and judges, and what that would cost. Nothing is sent.

         job          would be  completions  there  to buy  calls     tokens in  tokens out            cost
      0  diversity=1  new               420      0     420    840          274k        269k           $0.20
      1  diversity=4  new             1,680    420   1,260  1,680  772k to 823k        806k  $0.60 to $0.61
      2  diversity=8  new             3,360  1,680   1,680  2,100  1.0M to 1.1M        1.1M  $0.80 to $0.81
         all                          5,460  2,100   3,360  4,620  2.1M to 2.2M        2.2M  $1.60 to $1.62

A job is charged with what is neither in the store nor bought by a job above it. Where two figures stand, the first is
what is to be expected from the answers that the store has of this teacher, the second is the most it can be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from ftcot import display
from ftcot.checks import Checker, judge_of
from ftcot.expected import Asked
from ftcot.filters.judge import MAX_TOKENS, PROMPT
from ftcot.folder import began
from ftcot.teacher import Estimate, Planned
from ftcot.teacher.live import Live
from ftcot.teacher.prices import as_of
from ftcot.teacher.quote import quote_sayings

HEAD = ("", "job", "would be", "completions", "there", "to buy", "calls", "tokens in", "tokens out", "cost")

ROWS = 40
"""Jobs that are all shown; of more, those that would buy something."""

LONG = 512
"""Tokens of a rationale that is on record, at most, as far as what its judge costs goes."""


@dataclass(frozen=True)
class Purchase:
    """What a job would buy from somebody."""

    job: Asked
    seller: Live
    estimate: Estimate
    is_teachers: bool = True
    """Completions; False: a judge's verdicts on them."""


def show_purchases(console: Console, jobs: Sequence[Asked], checker: Checker) -> None:
    """Say what these jobs would buy, in this order, and what that would cost; of jobs that buy nothing, nothing.

    Raises:
        InputError: the store is damaged.
    """
    planned: Planned = {}
    several = len(jobs) > 1
    rows: list[tuple[str, ...]] = [HEAD]
    purchases: list[Purchase] = []
    left_out = 0
    for number, job in enumerate(jobs):
        teachers = _from_teacher(job, checker, planned)
        judges = _from_judge(job, planned)
        found = [purchase for purchase in (teachers, judges) if purchase is not None]
        purchases += found
        if not found or (len(jobs) > ROWS and not any(purchase.estimate.calls for purchase in found)):
            left_out += 1
            continue
        cells = ("",) * 7 if teachers is None else _cells(teachers.estimate)
        rows.append((str(number) if several else "", job.label, job.would_be, *cells))
        if judges is not None:
            rows.append(("", f"judged by {judges.seller.name}", "at most", *_cells(judges.estimate)))
    if not purchases:
        console.print("money  nothing is bought", soft_wrap=True, highlight=False)
        return
    if len(rows) > 2:
        everything = _sum([purchase.estimate for purchase in purchases])
        completions = [purchase.estimate for purchase in purchases if purchase.is_teachers]
        counts = _cells(_sum(completions))[:3] if completions else ("", "", "")
        rows.append(("", "all", "", *counts, *_cells(everything)[3:]))
    console.print("to be bought", style="bold")
    display.table(console, rows, right={0, 3, 4, 5, 6, 7, 8, 9}, key=2, indent="  ")

    def say(line: str) -> None:
        # On a terminal between words; in a pipe a line is a line.
        console.print(line, soft_wrap=not console.is_terminal, highlight=False, markup=False)

    if left_out:
        say(f"  {left_out} more jobs would buy nothing")
    for line in _notes(purchases, checker):
        say(line)


def _from_teacher(job: Asked, checker: Checker, planned: Planned) -> Purchase | None:
    """None: it would ask nobody that is to be paid, in money or in time."""
    teacher = job.checked.job.teacher
    if not job.checked.job.needs_teacher or not job.lacks("teach") or not isinstance(teacher, Live):
        return None
    return Purchase(job, teacher, checker.purchase(job.checked, planned))


def _from_judge(job: Asked, planned: Planned) -> Purchase | None:
    built = job.checked.job
    if (judge := judge_of(built)) is None or not job.lacks("curate"):
        return None
    prompt = built.curation.judge_prompt or PROMPT
    prompts = {sample.key: prompt.replace("{question}", sample.question) for sample in job.checked.splits.train}
    rationale = built.teacher.prompting.max_tokens if isinstance(built.teacher, Live) else LONG
    # Jobs share verdicts where they share completions, which is surely so where their teachers are the same.
    config = job.checked.config
    same = [config["teacher"], config["curation"]["judge"], built.diversity.temperature]
    purpose = f"judges {json.dumps(same, sort_keys=True)}"
    most = quote_sayings(judge, prompts, built.diversity.degree, rationale, MAX_TOKENS, purpose, planned)
    return Purchase(job, judge, most, is_teachers=False)


def _cells(cost: Estimate) -> tuple[str, ...]:
    counts = (cost.wanted, cost.stored, cost.wanted - cost.stored, cost.calls)
    tokens = ((cost.prompt_tokens, cost.max_prompt_tokens), (cost.completion_tokens, cost.max_completion_tokens))
    return (
        *(f"{count:,}" for count in counts),
        *(display.between(*map(display.short, pair)) for pair in tokens),
        display.between(display.money(cost.usd), display.money(cost.max_usd)),
    )


def _sum(costs: Sequence[Estimate]) -> Estimate:
    """Together; of unknown cost if one of them is."""

    def total(name: str) -> Any:
        values = [getattr(cost, name) for cost in costs]
        return None if None in values else sum(values)

    counts = ("wanted", "stored", "calls", "prompt_tokens", "max_prompt_tokens", "completion_tokens")
    return Estimate(**{name: total(name) for name in (*counts, "max_completion_tokens", "usd", "max_usd")})


def _notes(purchases: Sequence[Purchase], checker: Checker) -> Iterator[str]:
    """What is to be known of each seller that something would be bought from."""
    sold: dict[str, list[Purchase]] = {}
    for purchase in purchases:
        if purchase.estimate.calls:
            sold.setdefault(purchase.seller.name, []).append(purchase)
    for name, bought in sold.items():
        seller, total = bought[0].seller, _sum([purchase.estimate for purchase in bought])
        words = [f"tokens {' or '.join(sorted({purchase.estimate.counted for purchase in bought}))}", _price(seller)]
        if seller.several_draws and any(purchase.job.checked.job.diversity.degree > 1 for purchase in bought):
            words.append("one call asks for all missing draws of a question")
        if total.completion_tokens == total.max_completion_tokens:
            words.append("none of its answers to these questions is stored, so they count as long as they may be")
        yield f"{name}: {'; '.join(words)}"
        yield from (f"{name}: {line}" for line in _budgets(bought, total, checker))
        if (lack := seller.lack()) is not None:
            yield f"a run would be refused: {lack}"


def _price(seller: Live) -> str:
    price = seller.price
    if price is None:
        return "price unknown, teacher.prices={input: ..., output: ...} says it (US dollars for a million tokens)"
    if price.input == price.output == 0:
        return "they cost nothing"
    source = "teacher.prices" if seller.prices is not None else f"prices.yaml, {as_of(seller.model)}"
    return f"a million cost {display.money(price.input)} in, {display.money(price.output)} out ({source})"


def _budgets(bought: Sequence[Purchase], total: Estimate, checker: Checker) -> Iterator[str]:
    """Whether the seller's budgets would last."""
    sellers = [purchase.seller for purchase in bought]
    teaches = any(purchase.seller is purchase.job.checked.job.teacher for purchase in bought)
    place = "teacher" if teaches else "curation.judge"
    spent_usd, spent_tokens = 0.0, 0
    since = [at for purchase in bought if (at := began(purchase.job.decision.home)) is not None]
    if since:
        spent = checker.store(bought[0].job.checked).spent(sellers[0].name, min(since))
        spent_usd, spent_tokens = spent.usd, spent.prompt + spent.completion
    usd = [seller.budget_usd for seller in sellers if seller.budget_usd is not None]
    if usd and total.usd is not None and total.max_usd is not None:
        yield _verdict(f"{place}.budget_usd", min(usd), spent_usd, total.usd, total.max_usd, display.money)
    if tokens := [seller.budget_tokens for seller in sellers if seller.budget_tokens is not None]:
        expected = total.prompt_tokens + total.completion_tokens
        most = total.max_prompt_tokens + total.max_completion_tokens
        yield _verdict(f"{place}.budget_tokens", min(tokens), spent_tokens, expected, most, display.short)


def _verdict(key: str, limit: float, spent: float, expected: float, most: float, words: Callable[[float], str]) -> str:
    said = f"{key}={limit}" + (f", of which {words(spent)} are spent," if spent else "")
    if spent + most <= limit:
        return f"{said} is enough"
    if spent + expected <= limit:
        return f"{said} is enough for what is expected ({words(expected)}), not for the most ({words(most)})"
    return f"{said} would stop it on the way to {words(expected)}; what is bought until then is kept"
