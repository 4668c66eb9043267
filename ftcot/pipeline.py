"""The straight line: one function of built parts, each stage leaving its result in the run folder.

    teach     completions.jsonl   what the teacher said, right and wrong, with verdicts
    curate    examples.jsonl      the pairs the student sees
    train     student/            weights and tokenizer; predictions.jsonl and metrics.csv grow by the epoch
    evaluate  score.json          the result

A stage reads what the one before wrote, so a run goes on wherever it was stopped, and `until` ends it anywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ftcot import evaluate as evaluation
from ftcot import libraries
from ftcot.card import model_card
from ftcot.files import read_json, write_atomic, write_json
from ftcot.hardware import describe
from ftcot.job import Job, Keep
from ftcot.malloc import keep_freed
from ftcot.ranks import Ranks
from ftcot.records import Example, Prediction, Score, read_records
from ftcot.running import Run
from ftcot.status import COMPUTING, Stage, Status
from ftcot.teaching import curate, teach
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


def train(run: Run) -> None:
    """The student, fine-tuned on the pairs and tested after every epoch that is due."""
    if not run.job.method.trains:
        return
    from ftcot.training.fit import check_truncation, fit

    job = run.job
    examples = read_records(run.folder / "examples.jsonl", Example)
    student = load(run, [e.prompt + e.completion for e in examples])
    encoded = student.encode_all([(example.prompt, example.completion) for example in examples])
    n_truncated = check_truncation(encoded, job.training)
    run.longest = max((len(pair.target_ids) for pair in encoded), default=None)
    run.status.count({"examples": len(examples), "truncated": n_truncated, "parameters": student.n_parameters})
    run.status.count(
        {
            "pair_tokens": sum(len(pair.prompt_ids) + len(pair.target_ids) for pair in encoded),
            "pair_characters": sum(len(example.prompt) + len(example.completion) for example in examples),
        }
    )
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
        evaluate=lambda tested, epoch: test_and_keep(run, tested, epoch, beside=tested is not student),
        logger=run.logger,
        console=run.console,
        ranks=run.ranks,
        overlap=job.evaluation.overlap,
    )
    run.status.count(
        {
            "supervised_tokens": fitted.supervised_tokens,
            "steps": fitted.steps,
            "training_seconds": fitted.seconds,
            "overlapped_seconds": round(fitted.overlapped, 3),
        }
    )


def load(run: Run, texts: Sequence[str]) -> Student:
    """The student, on every rank. One rank of each machine goes first, so that what is downloaded is so once."""
    libraries.prepare(trains=run.job.method.trains)
    keep_freed()
    run.status.update(computed_on=describe(run.job.trainer, run.ranks.world))
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
        test(run, student, epoch=0, beside=False)
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
        cost_usd=_cost(run) if job.needs_teacher else 0.0,
        epochs=tuple(asdict(score) for score in scores),
        devices=run.ranks.world,
        device_seconds=run.status.get("device_seconds", 0.0),
        diversity=counts.get("curation", {}).get("diversity"),
    )
    write_json(run.folder / "score.json", score.to_json())
    if job.method.trains:
        finish_weights(run, score)
    run.logger.summarize(score, [p for p in predictions if (p.epoch, p.split) == (last, "test")], run.splits.test)


def _cost(run: Run) -> float | None:
    """What the teacher's words and a judge's cost; None where one of them is not known."""
    costs = [run.status.get(key, 0.0) for key in ("teacher_cost_usd", "judge_cost_usd")]
    return None if None in costs else sum(costs)


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
