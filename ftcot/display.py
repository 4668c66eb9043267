"""What a person sees: the plan before a job starts, and the result at its end. Plain text in a pipe.

fine_tune_cot on multiarith
  task       420 train, 180 test questions; a guess is right 0.0 % of the time
  teacher    text-davinci-002, D = 8 at T = 0.7
  student    gpt2-medium (hub)
  ...
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ftcot import published
from ftcot.job import Job
from ftcot.records import read_json
from ftcot.task import Splits


def plan(console: Console, job: Job, splits: Splits, folder: Path) -> None:
    """Say what is about to be done, before anything is spent."""
    console.print(Text(f"{job.method.name} on {job.task.name}", style="bold"))
    for name, value in _plan(job, splits, folder):
        # No wrapping: in a pipe a line is a line.
        console.print(Text.assemble(f"  {name:<11}", value), soft_wrap=True)


def _plan(job: Job, splits: Splits, folder: Path) -> list[tuple[str, str]]:
    sizes = [f"{len(splits.train)} train"]
    if splits.validation:
        sizes.append(f"{len(splits.validation)} validation")
    sizes.append(f"{len(splits.test)} test questions")
    chance = job.task.random_accuracy
    rows = [("task", ", ".join(sizes) + (f"; a guess is right {percent(chance)} of the time" if chance else ""))]
    if job.needs_teacher:
        rows.append(("teacher", f"{job.teacher.name}, {_diversity(job)}"))
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
    every = f", every {job.training.evaluate_every} epochs" if job.training.evaluate_every > 1 else ", every epoch"
    rows.append(
        (
            "evaluation",
            f"greedy, up to {job.evaluation.max_new_tokens} new tokens, {job.evaluation.scorer} scorer"
            + (every if job.method.trains else ""),
        )
    )
    rows.append(("folder", place(folder)))
    return rows


def _diversity(job: Job) -> str:
    degree, temperature = job.diversity.degree, job.diversity.temperature
    return f"D = {degree} at T = {temperature:g}" if temperature else "one greedy rationale a question"


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


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
