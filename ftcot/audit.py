"""Leak audit of a task: `python -m ftcot.audit multiarith`, or of a file: `python -m ftcot.audit my.jsonl`.

    overlap               test questions  share
    same text             5 of 180        3%
    same but for numbers  77 of 180       43%

    same but for numbers
      test   3: The school cafeteria ordered 42 red apples and 7 green apples for students lunches. ...
      train 45: The school cafeteria ordered 33 red apples and 23 green apples for students lunches. ...

Exit code 0 whatever it finds, 2 for wrong input. What counts as an overlap: ftcot/task/audit.py.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ftcot.answers import Text
from ftcot.errors import InputError
from ftcot.records import Sample
from ftcot.task import Task
from ftcot.task.audit import audit
from ftcot.task.file import file_task
from ftcot.task.paper import BENCHMARKS, PaperTask

LABELS = {"exact": "same text", "numbers": "same but for numbers", "context": "same context"}
"""How each kind of overlap is called in the table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the audit and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ftcot.audit", description="Which test questions overlap training questions, and in what way."
    )
    parser.add_argument("task", help=f"a file of your own, or one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--split", default="default", help="default, template or clean")
    parser.add_argument("--data", help="the data folder; else that of conf/config.yaml's paths.data")
    parser.add_argument("--examples", type=int, default=2, help="overlaps to show of each kind")
    # In the words of ftcot.run too: task=multiarith task.split=clean.
    words = [word.removeprefix("task=") for word in (sys.argv[1:] if arguments is None else arguments)]
    given = parser.parse_args([word.replace("task.split=", "--split=", 1) for word in words])
    try:
        task = _task(given.task, given.split, given.data)
        report(task, given.split, given.examples, _overrides(given.task, given.data))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def report(task: Task, split: str, n_examples: int, overrides: str) -> None:
    """Print what overlaps in `task`, and the command that avoids it (`overrides` name the task to ftcot.run)."""
    # Imported here: wrong input then answers without waiting for rich.
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    parts = task.splits()
    samples = {sample.sample_index: sample for sample in (*parts.train, *parts.test)}
    found = audit(*({sample.sample_index: sample.question for sample in half} for half in (parts.train, parts.test)))
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{task.name}, split {split}: {len(parts.train)} training and {len(parts.test)} test questions\n")
    table = Table("overlap", "test questions", "share", box=SIMPLE if console.is_terminal else None)
    for kind, overlaps in found.items():
        table.add_row(LABELS[kind], f"{len(overlaps)} of {len(parts.test)}", f"{len(overlaps) / len(parts.test):.1%}")
    console.print(table)
    shown: set[int] = set()
    for kind, overlaps in found.items():
        for overlap in [overlap for overlap in overlaps if overlap.test not in shown][:n_examples]:
            shown.add(overlap.test)
            console.print(f"\n{LABELS[kind]}")
            for index in (overlap.test, overlap.train):
                console.print(f"  {_quoted(samples[index])}", markup=False)
    if shown and split != "clean":
        console.print(f"\nWithout these overlaps: python -m ftcot.run {overrides} task.split=clean", markup=False)


def _data_folder() -> Path:
    """paths.data as conf/config.yaml has it."""
    from ftcot.compose import Composer, conf_dir, freeze  # with Hydra, which a file of one's own does not need

    return Path(freeze(Composer(conf_dir()).compose([]))["paths"]["data"])


def _overrides(asked: str, data: str | None) -> str:
    words = [f"task={asked}"] if asked in BENCHMARKS else ["task=jsonl", f"task.path={asked}"]
    if data is not None and asked in BENCHMARKS:
        words.append(f"paths.data={data}")
    return shlex.join(words)


def _task(asked: str, split: str, data: str | None) -> Task:
    if asked in BENCHMARKS:
        folder = _data_folder() if data is None else Path(data)
        return PaperTask(asked, Text(), folder, split=split)  # type: ignore[arg-type]
    if Path(asked).exists():
        # An audit looks at the questions: any answer will do.
        return file_task(path=asked, answer="text", split=split)
    raise InputError(f"{asked}: neither a file nor one of {', '.join(BENCHMARKS)}")


def _quoted(sample: Sample, width: int = 150) -> str:
    text = " ".join(sample.question.split())
    return f"{sample.split:5} {sample.sample_index}: {text if len(text) <= width else text[: width - 3] + '...'}"


if __name__ == "__main__":
    sys.exit(main())
