"""The first two stages of a run: what the teacher says, and which of it the student is shown.

teach     completions.jsonl   what the teacher said, right and wrong, with verdicts
curate    examples.jsonl      the pairs the student sees

kept 2,574 of 3,360 completions (786 wrong answer); 5.9 of 8 rationales a question differ; 46 of 420 questions ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ftcot import display
from ftcot.curation import Curating, OutOfOrderError, judge, vanilla
from ftcot.filters import Context
from ftcot.folder import began
from ftcot.prompts import DEMONSTRATION
from ftcot.records import Completion, stream_records, write_records
from ftcot.running import Run, progress_bar
from ftcot.teacher import Bill, Progress, Session
from ftcot.teacher.live import Live
from ftcot.teacher.store import CompletionStore


def teach(run: Run) -> None:
    """The teacher's completions for the training questions, judged."""
    job, splits = run.job, run.splits
    run.status.count({"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)})
    if not job.needs_teacher:
        return
    with progress_bar(run.console, f"{job.teacher.name} answers") as report:
        session = _session(run, report)
        try:
            completions = job.teacher.complete(job.task, splits.train, job.diversity, session)
        finally:
            _count_bought(run, session.bill)
    if isinstance(job.teacher, Live):
        run.console.print(display.bill(session.bill, len(completions)), soft_wrap=True)
    completions = judge(completions, splits.train, job.task.answer, job.curation.candidate)
    write_records(run.folder / "completions.jsonl", completions)
    accuracy = job.teacher.accuracy(job.task, splits, completions)
    usages = (completion.usage or {} for completion in completions)
    tokens = sum(usage.get("prompt", 0) + usage.get("completion", 0) for usage in usages)  # the rest is a part of these
    run.status.update(teacher_accuracy=accuracy, teacher_cost_usd=job.teacher.cost(completions))
    run.status.count({"completions": len(completions), "teacher_tokens": tokens})


def _count_bought(run: Run, bill: Bill) -> None:
    """Add to what earlier attempts have bought."""
    if not isinstance(run.job.teacher, Live):
        return
    counts = run.status.get("counts", {})
    spent = counts.get("teacher_spent_usd", 0.0)
    run.status.count(
        {
            "teacher_bought": counts.get("teacher_bought", 0) + bill.completions,
            "teacher_spent_usd": None if bill.unpriced or spent is None else round(spent + bill.usd, 9),
        }
    )


def _session(run: Run, report: Progress) -> Session:
    store = CompletionStore(run.job.cache / "completions")
    return Session(store, report, run.console.print, began(run.folder) or time.time())


def curate(run: Run) -> None:
    """The pairs the student is trained on, or shown."""
    job, train = run.job, run.splits.train
    if job.method.name == "fine_tune":
        curated = vanilla(train, run.template)
        write_records(run.folder / "examples.jsonl", curated.examples)
        counts = curated.counts
    elif job.needs_teacher:
        counts = _from_completions(run)
    else:
        return
    run.status.count({"curation": counts})
    if "judge_cost_usd" in counts:
        run.status.update(judge_cost_usd=counts["judge_cost_usd"])
    run.console.print(describe_curation(counts), soft_wrap=True)


def _from_completions(run: Run) -> Mapping[str, Any]:
    """Write the pairs that are made of the teacher's completions; returns what is counted of them.

    Both files are read and written a line at a time, as the teachers' completions come by sample.
    """
    job, train = run.job, run.splits.train
    template = run.template if job.method.trains else DEMONSTRATION
    with progress_bar(run.console, "filtering") as report:
        context = Context(job.task, job.teacher, _session(run, report))

        def stored() -> Iterator[Completion]:
            return stream_records(run.folder / "completions.jsonl", Completion)

        def curating() -> Curating:
            return Curating({s.key: s for s in train}, template, job.diversity, job.curation, context)

        try:
            way = curating()
            write_records(run.folder / "examples.jsonl", way.examples(stored()))
        except OutOfOrderError:  # a file of somebody's own
            way = curating()
            write_records(run.folder / "examples.jsonl", way.examples(way.arranged(stored())))
        return way.counts()


def describe_curation(counts: Mapping[str, Any]) -> str:
    """`kept 2,574 of 3,360 completions (786 wrong answer); 5.9 of 8 rationales a question differ; 46 of 420 ...`."""
    if "completions" not in counts:
        return f"{counts['kept']:,} pairs from {counts['questions']:,} questions"
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in counts["dropped"].items())
    text = f"kept {counts['kept']:,} of {counts['completions']:,} completions" + (f" ({dropped})" if dropped else "")
    answered = counts["questions"] - counts["questions_unanswered"]
    if counts["completions"] > answered:
        mean = round(counts["completions"] / answered, 1)
        text += f"; {counts['effective_diversity']:.1f} of {mean:g} rationales a question differ"
    text += f"; {counts['questions_without']:,} of {counts['questions']:,} questions have none"
    unanswered = counts["questions_unanswered"]
    return text + (f", {unanswered:,} of them no completion at all" if unanswered else "")
