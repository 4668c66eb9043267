"""What a person sees: the plan before a job starts, and the result at its end. Plain text in a pipe.

fine_tune_cot on multiarith
  task       420 train, 180 test questions; a guess is right 0.0 % of the time
  teacher    text-davinci-002, D = 8 at T = 0.7
  student    gpt2-medium (hub)
  ...
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ftcot import published
from ftcot.files import read_json
from ftcot.job import Job
from ftcot.sample_study import RIGHT, RIGHT_BY_LUCK
from ftcot.task import Splits
from ftcot.teacher import Bill, Estimate
from ftcot.teacher.live import Live

MISTAKES = 3
"""Kinds of errors that the result names."""


def plan(console: Console, job: Job, splits: Splits, folder: Path, purchase: Estimate | None = None) -> None:
    """Say what is about to be done, before anything is spent.

    Args:
        purchase: what the teacher would have to buy; None where it asks nobody.
    """
    console.print(Text(f"{job.method.name} on {job.task.name}", style="bold"))
    for name, value in _plan(job, splits, folder, purchase):
        # No wrapping: in a pipe a line is a line.
        console.print(Text.assemble(f"  {name:<11}", value), soft_wrap=True)


def _plan(job: Job, splits: Splits, folder: Path, purchase: Estimate | None) -> list[tuple[str, str]]:
    sizes = [f"{len(splits.train)} train"]
    if splits.validation:
        sizes.append(f"{len(splits.validation)} validation")
    sizes.append(f"{len(splits.test)} test questions")
    chance = job.task.random_accuracy
    rows = [("task", ", ".join(sizes) + (f"; a guess is right {percent(chance)} of the time" if chance else ""))]
    if job.needs_teacher:
        rows.append(("teacher", f"{job.teacher.name}, {_diversity(job)}{_purchase(job, purchase)}"))
    # Without training its weights need not be at hand.
    rows.append(("student", job.student.describe() if "train" in job.stages else job.student.name))
    if job.method.trains:
        training = job.training
        rows.append(
            (
                "training",
                f"{training.epochs} epochs, batch {training.batch_size}, "
                f"{str(training.optimizer['_target_']).rpartition('.')[2]} lr {training.optimizer.get('lr')}"
                + (", LoRA" if training.lora else ""),
            )
        )
    most = job.evaluation.max_new_tokens
    limit = "up to half as long again as the longest rationale" if most == "auto" else f"up to {most} new tokens"
    every = f", every {job.training.evaluate_every} epochs" if job.training.evaluate_every > 1 else ", every epoch"
    rows.append(
        (
            "evaluation",
            f"greedy, {limit}, {job.evaluation.scorer} scorer" + (every if job.method.trains else ""),
        )
    )
    rows.append(("folder", place(folder)))
    return rows


def _diversity(job: Job) -> str:
    degree, temperature = job.diversity.degree, job.diversity.temperature
    return f"D = {degree} at T = {temperature:g}" if temperature else "one greedy rationale a question"


def _purchase(job: Job, purchase: Estimate | None) -> str:
    """`: 2,910 of 3,360 in the store, about $0.43 to buy (at most $1.20), budget $5`; empty where nothing is bought."""
    if purchase is None or not isinstance(job.teacher, Live):
        return ""
    words = f": {purchase.stored:,} of {purchase.wanted:,} in the store"
    if purchase.stored < purchase.wanted:
        words += f", {_to_buy(job.teacher, purchase)}"
    return words


def _to_buy(teacher: Live, purchase: Estimate) -> str:
    if teacher.price is None:
        tokens = purchase.prompt_tokens + purchase.completion_tokens
        words = f"about {short(tokens)} tokens to buy at an unknown price"
    elif purchase.max_usd == 0:
        words = f"{purchase.wanted - purchase.stored:,} to be made here"
    elif purchase.usd == purchase.max_usd:
        words = f"at most {money(purchase.max_usd)} to buy"
    else:
        words = f"about {money(purchase.usd)} to buy (at most {money(purchase.max_usd)})"
    if teacher.budget_usd is not None:
        words += f", budget {money(teacher.budget_usd)}"
    if teacher.budget_tokens is not None:
        words += f", budget {short(teacher.budget_tokens)} tokens"
    return words


def result(console: Console, folder: Path, config: Mapping[str, Any], n_train: int) -> None:
    """The table at the end of a job: its accuracy beside what it can be compared with."""
    score = read_json(folder / "score.json")
    trained = score["n_examples"] > 0
    note = f"{score['n']} test questions" + (f", last epoch ({score['epoch']})" if trained else "")
    rows = [
        ("", "accuracy", "95 % interval", ""),
        (f"student {score['student']}", percent(score["accuracy"]), interval(score["interval"]), note),
    ]
    chosen = (("best_on_validation", "chosen on validation"), ("best_on_test", "best on test (the paper's protocol)"))
    for key, words in chosen:
        if trained and (best := score[key]) is not None:
            note = f"epoch {best['epoch']}, {words}"
            rows.append(("", percent(best["accuracy"]), interval(best["interval"]), note))
    if score["random_accuracy"] is not None:
        rows.append(("random", percent(score["random_accuracy"]), "", "a guess"))
    if score["teacher_accuracy"] is not None:
        rows.append((f"teacher {score['teacher']}", percent(score["teacher_accuracy"]), "", "its own answers"))
    if (cell := _cell(config, score["teacher"], n_train)) is not None:
        rows.append(("published", percent(cell.accuracy), "", f"{cell.protocol} ({cell.figure})"))
    say = partial(console.print, soft_wrap=True, highlight=False)
    say()
    say(Text(f"{score['method']} on {score['task']}", style="bold"))
    for number, line in enumerate(columns(rows, right={1, 2})):
        say(Text(f"  {line}", style="bold" if number == 1 else ""))
    last = next(e for e in reversed(score["epochs"]) if e["split"] == "test" and e["epoch"] == score["epoch"])
    say(
        f"  scorers {_scorers(last['accuracies'])}; marker found {percent(last['format_rate'])}, "
        f"cut off {percent(last['truncation_rate'])}, answer somewhere {percent(last['contains_answer'])}"
    )
    if errors := mistakes(last.get("study", {})):
        say(f"  errors {errors}")
    say(f"  time {duration(sum(score['seconds'].values()))} ({_stages(score['seconds'])})")
    say(f"  folder {place(folder)}")


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The rows as aligned lines, without trailing spaces; `right` names the columns that are flushed right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def table(console: Console, rows: Sequence[Sequence[str]], right: Collection[int], key: int, indent: str = "") -> None:
    """Show rows in columns; on a terminal that is too narrow for them as paragraphs, in which nothing is cut off.

    Args:
        rows: the first one names the columns.
        right: columns that are flushed right.
        key: how many of the columns, from the left, say what a row is about.
    """
    lines = [indent + line for line in columns(rows, right)]
    if not console.is_terminal or max(map(len, lines)) <= console.width:
        for number, line in enumerate(lines):
            console.print(Text(line, style="" if number else "bold"), soft_wrap=True)
        return
    for row in rows[1:]:
        console.print(Text(indent + ", ".join(filter(None, row[:key])), style="bold"))
        named = zip(rows[0][key:], row[key:], strict=True)
        told = ", ".join(f"{name} {value}" for name, value in named if value)
        console.print(Padding(Text(told), (0, 0, 0, len(indent) + 2)))


def _cell(config: Mapping[str, Any], teacher: str | None, n_train: int) -> published.Published | None:
    # The paper's own questions and split only: a user's file may have any name.
    if not config["task"]["_target_"].endswith(".PaperTask") or config["task"]["split"] != "default":
        return None
    diversity = config["diversity"]
    return published.find(
        task=config["task"]["name"],
        method=config["method"]["name"],
        student=config["student"]["name"],
        teacher=teacher,
        degree=diversity["degree"],
        greedy=diversity["temperature"] == 0,
        train_size=n_train,
    )


def _scorers(accuracies: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(accuracy)}" for name, accuracy in accuracies.items())


def mistakes(rates: Mapping[str, float]) -> str:
    """`27.78 % wrong arithmetic; 7.22 % truncated; 4.44 % others`: the most frequent errors, as shares of all answers.

    Empty where nothing is wrong, or not known.

    Args:
        rates: of sample_study.KINDS.
    """
    wrong = [(kind, rate) for kind, rate in rates.items() if rate and kind not in RIGHT]
    wrong.sort(key=lambda each: -each[1])
    parts = [f"{percent(rate)} {kind}" for kind, rate in wrong[:MISTAKES]]
    if rest := sum(rate for _, rate in wrong[MISTAKES:]):
        parts.append(f"{percent(rest)} others")
    if lucky := rates.get(RIGHT_BY_LUCK):
        parts.append(f"{percent(lucky)} {RIGHT_BY_LUCK}")
    return "; ".join(parts)


def _stages(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {duration(value)}" for name, value in seconds.items() if value >= 0.05)


def place(folder: Path) -> str:
    """The folder as a user would type it: relative, where it is below the working directory."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def percent(fraction: float) -> str:
    """`53.33 %`."""
    return f"{100 * fraction:.2f} %"


def interval(bounds: Sequence[float]) -> str:
    """`[46.05, 60.48]`, in percent."""
    return f"[{100 * bounds[0]:.2f}, {100 * bounds[1]:.2f}]"


def bill(bought: Bill, n: int) -> str:
    """`450 of 3,360 completions bought for $0.43 (210k tokens), 2,910 were in the store`.

    Args:
        bought: by a live teacher for a job.
        n: completions that it has given.
    """
    if not bought.tokens:
        return f"all {n:,} completions were in the store"
    price = "at an unknown price" if bought.unpriced else f"for {money(bought.usd)}"
    words = f"{bought.completions:,} of {n:,} completions bought {price} ({short(bought.tokens)} tokens)"
    there = n - bought.completions
    return words + (f", {there:,} were in the store" if there else "")


def money(usd: float | None) -> str:
    """`$1,204.50`, `$5`, `$0.43`, `$0.0012`; of an unknown price `unknown`."""
    if usd is None:
        return "unknown"
    if usd >= 0.095 or usd == 0:
        return f"${usd:,.2f}".removesuffix(".00")
    usd = float(f"{usd:.1e}")  # two digits count
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"


def short(count: float) -> str:
    """`840`, `61k`, `1.2M`, with two or three digits of it."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.{0 if count >= 9.95 * size else 1}f}{letter}"
    return f"{count:.0f}"


def between(low: str, high: str) -> str:
    """`61k to 214k`, or `61k` where both are the same."""
    return low if low == high else f"{low} to {high}"


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
