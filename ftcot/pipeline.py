"""The straight line: one function of built parts, each stage leaving its result in the run folder.

    teach     completions.jsonl   what the teacher said, right and wrong, with verdicts
    curate    examples.jsonl      the pairs the student sees
    train     student/            weights and tokenizer; predictions.jsonl and metrics.csv grow by the epoch
    evaluate  score.json          the result

A stage reads what the one before wrote, so a run goes on wherever it was stopped, and `until` ends it anywhere.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ftcot import display
from ftcot import evaluate as evaluation
from ftcot.card import model_card
from ftcot.curation import curate as curate_completions
from ftcot.curation import judge, vanilla
from ftcot.filters import Context
from ftcot.folder import began
from ftcot.job import Job, Keep
from ftcot.prompts import DEMONSTRATION
from ftcot.ranks import Ranks
from ftcot.records import (
    Completion,
    Example,
    Prediction,
    Score,
    read_json,
    read_records,
    write_atomic,
    write_json,
    write_records,
)
from ftcot.running import Run, progress_bar
from ftcot.status import COMPUTING, Stage, Status
from ftcot.teacher import Bill, Progress, Session
from ftcot.teacher.live import Live
from ftcot.teacher.store import CompletionStore
from ftcot.testing import test, test_and_keep

if TYPE_CHECKING:
    from ftcot.logger import RunLogger
    from ftcot.student import Student


def run(job: Job, folder: Path, status: Status, console: Console, ranks: Ranks | None = None) -> Score | None:
    """Run every stage up to `job.until` that the folder does not hold yet.

    Args:
        ranks: all of them call this. They train and evaluate together; the first alone does the rest, and writes.
    Returns:
        The score, once the evaluate stage is done.
    Raises:
        Stop: asked to stop.
        JobError: it cannot go on; what the stages before left stays.
    """
    from ftcot.training.fit import clear

    ranks = ranks or Ranks()
    pending = ranks.share([stage for stage in job.stages if stage not in status.stages])
    with _logger(job, folder, status, console, pending, ranks) as logger:
        state = Run(job, folder, status, console, logger, ranks)
        for stage in pending:
            status.begin(stage)
            if ranks.first or stage in COMPUTING:
                STAGES[stage](state)
            ranks.wait()
            status.finish(stage)
            if stage == "train" and ranks.first:
                clear(folder)  # not before the stage counts as done: without its weights it would be trained again
    return Score.from_json(read_json(folder / "score.json")) if "evaluate" in job.stages else None


def _logger(
    job: Job, folder: Path, status: Status, console: Console, pending: Sequence[Stage], ranks: Ranks
) -> AbstractContextManager[RunLogger]:
    from ftcot.logger import Silent, open_logger

    if not ranks.first:
        return nullcontext(Silent())

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    return open_logger(job, folder, status, online=not set(COMPUTING).isdisjoint(pending), say=say)


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
    elif job.needs_teacher:
        completions = read_records(run.folder / "completions.jsonl", Completion)
        template = run.template if job.method.trains else DEMONSTRATION
        with progress_bar(run.console, "filtering") as report:
            context = Context(job.task, job.teacher, _session(run, report))
            curated = curate_completions(train, completions, template, job.diversity, job.curation, context)
    else:
        return
    write_records(run.folder / "examples.jsonl", curated.examples)
    run.status.count({"curation": curated.counts})
    if "judge_cost_usd" in curated.counts:
        run.status.update(judge_cost_usd=curated.counts["judge_cost_usd"])
    run.console.print(describe_curation(curated.counts), soft_wrap=True)


def train(run: Run) -> None:
    """The student, fine-tuned on the pairs and tested after every epoch that is due."""
    if not run.job.method.trains:
        return
    from ftcot.training.fit import check_truncation, fit

    job = run.job
    examples = read_records(run.folder / "examples.jsonl", Example)
    student = load(run, [e.prompt + e.completion for e in examples])
    encoded = [student.encode(example.prompt, example.completion) for example in examples]
    n_truncated = check_truncation(encoded, job.training)
    run.status.count({"examples": len(examples), "truncated": n_truncated, "parameters": student.n_parameters})
    run.console.print(
        f"{len(examples)} pairs, {student.n_parameters / 1e6:.2f}M parameters"
        + (f"; {n_truncated} pairs cut to fit" if n_truncated else ""),
        soft_wrap=True,
    )
    fitted = fit(
        student,
        encoded,
        job.training,
        job.trainer,
        seed=job.seed,
        folder=run.folder,
        evaluate=lambda epoch: test_and_keep(run, student, epoch),
        logger=run.logger,
        console=run.console,
        ranks=run.ranks,
    )
    run.status.count(
        {"supervised_tokens": fitted.supervised_tokens, "steps": fitted.steps, "training_seconds": fitted.seconds}
    )


def load(run: Run, texts: Sequence[str]) -> Student:
    """The student, on every rank. One rank of each machine goes first, so that what is downloaded is so once."""
    early = run.ranks.local == 0
    student = run.job.student.load(texts, run.job.seed) if early else None
    run.ranks.wait()
    return student or run.job.student.load(texts, run.job.seed)


def evaluate(run: Run) -> None:
    """The score of the run; students that are not trained are asked here."""
    job = run.job
    if not job.method.trains:
        from ftcot.training.trainer import pick_device

        student = load(run, _training_text(run))
        run.status.count({"parameters": student.n_parameters})
        student.model.to(pick_device(job.trainer, run.ranks.local)).eval()
        test(run, student, epoch=0)
    if not run.ranks.first:
        return
    predictions = read_records(run.predictions_file, Prediction)
    scores = evaluation.score(predictions)
    last = max(score.epoch for score in scores)
    reported = evaluation.select(scores, last)
    chosen = evaluation.best(scores, "validation")
    run.status.beat()  # which brings the time up to now
    counts = run.status.get("counts", {})
    score = Score(
        task=job.task.name,
        method=job.method.name,
        student=job.student.name,
        teacher=job.teacher.name if job.needs_teacher else None,
        scorer=job.evaluation.scorer,
        **evaluation.summary(reported),
        best_on_test=evaluation.summary(evaluation.best(scores, "test") or reported) if job.method.trains else None,
        best_on_validation=evaluation.summary(evaluation.select(scores, chosen.epoch)) if chosen else None,
        random_accuracy=job.task.random_accuracy,
        teacher_accuracy=run.status.get("teacher_accuracy"),
        n_examples=counts.get("examples", 0),
        seconds=run.status.get("seconds", {}),
        tokens={
            "supervised": counts.get("supervised_tokens", 0),
            "generated": sum(prediction.n_tokens for prediction in predictions),
            "teacher": counts.get("teacher_tokens", 0),
        },
        cost_usd=run.status.get("teacher_cost_usd") if job.needs_teacher else 0.0,
        epochs=tuple(asdict(score) for score in scores),
        devices=run.ranks.world,
        device_seconds=run.status.get("device_seconds", 0.0),
    )
    write_json(run.folder / "score.json", score.to_json())
    if job.method.trains:
        finish_weights(run, score)
    run.logger.summarize(score, [p for p in predictions if (p.epoch, p.split) == (last, "test")], run.splits.test)


def finish_weights(run: Run, score: Score) -> None:
    """Give the weights their card, or remove them where none are wanted."""
    if run.job.keep == "none":
        shutil.rmtree(run.weights, ignore_errors=True)
    kept = kept_weights(run, score)
    run.status.update(kept=kept)
    if kept != run.job.keep:
        run.console.print(f"keep={run.job.keep} was set too late for it: the weights are those of keep={kept}")
    if kept != "none":
        counts, versions = run.status.get("counts", {}), run.status.get("versions", {})
        config = {**run.job.config, "keep": kept}
        write_atomic(run.weights / "README.md", model_card(config, score, counts, versions))


def kept_weights(run: Run, score: Score) -> Keep:
    """Which weights there are. Not those that the job is to keep, where an earlier attempt was to keep others."""
    if not run.weights.is_dir():
        return "none"
    best = score.best_on_validation
    return "best" if run.job.keep == "best" and best and run.status.get("weights_of") == best["epoch"] else "last"


STAGES: Mapping[Stage, Callable[[Run], None]] = {
    "teach": teach,
    "curate": curate,
    "train": train,
    "evaluate": evaluate,
}


def _training_text(run: Run) -> list[str]:
    """What a student from scratch trains its tokenizer on when nothing is fine-tuned."""
    return [f"{sample.question} {sample.answer}" for sample in run.splits.train]


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
