"""The straight line: one function of built parts, each stage leaving its result in the run folder.

    teach     completions.jsonl   what the teacher said, right and wrong, with verdicts
    curate    examples.jsonl      the pairs the student sees
    train     student/            weights and tokenizer; predictions.jsonl and metrics.csv grow by the epoch
    evaluate  score.json          the result

A stage reads what the one before wrote, so a run goes on wherever it was stopped, and `until` ends it anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ftcot import evaluate as evaluation
from ftcot.card import model_card
from ftcot.curation import curate as curate_completions
from ftcot.curation import judge, vanilla
from ftcot.errors import JobError
from ftcot.job import Job
from ftcot.prompts import DEMONSTRATION, Template
from ftcot.records import (
    Completion,
    EpochScore,
    Example,
    Prediction,
    Score,
    read_json,
    read_records,
    write_atomic,
    write_json,
    write_records,
)
from ftcot.status import Stage, Status
from ftcot.task import Splits
from ftcot.teacher.store import CompletionStore

if TYPE_CHECKING:
    from ftcot.logger import RunLogger
    from ftcot.student import Student


@dataclass
class Run:
    """A job in its folder."""

    job: Job
    folder: Path
    status: Status
    console: Console
    logger: RunLogger

    @cached_property
    def splits(self) -> Splits:
        return self.job.task.splits()

    @cached_property
    def template(self) -> Template:
        return self.job.method.template_for(self.job.student.family)

    @property
    def predictions_file(self) -> Path:
        return self.folder / "predictions.jsonl"


def run(job: Job, folder: Path, status: Status, console: Console) -> Score | None:
    """Run every stage up to `job.until` that the folder does not hold yet.

    Returns:
        The score, once the evaluate stage is done.
    Raises:
        JobError: it cannot go on; what the stages before left stays.
    """
    from ftcot.logger import open_logger
    from ftcot.training.fit import clear

    pending = [stage for stage in job.stages if stage not in status.stages]
    with open_logger(job, folder, status, online=bool({"train", "evaluate"} & set(pending))) as logger:
        state = Run(job, folder, status, console, logger)
        if logger.notice:
            console.print(logger.notice, soft_wrap=True, highlight=False)
        for stage in pending:
            status.update(stage=stage)
            started = time.monotonic()
            STAGES[stage](state)
            status.finish(stage, time.monotonic() - started)
            if stage == "train":
                clear(folder)  # not before the stage counts as done: without its weights it would be trained again
    return Score.from_json(read_json(folder / "score.json")) if "evaluate" in job.stages else None


def teach(run: Run) -> None:
    """The teacher's completions for the training questions, judged."""
    job, splits = run.job, run.splits
    run.status.count({"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)})
    if not job.needs_teacher:
        return
    store = CompletionStore(job.cache / "completions")
    with progress_bar(run.console, f"{job.teacher.name} answers") as report:
        completions = job.teacher.complete(job.task, splits.train, job.diversity, store, report)
    completions = judge(completions, splits.train, job.task.answer, job.curation.candidate)
    write_records(run.folder / "completions.jsonl", completions)
    accuracy = job.teacher.accuracy(job.task, splits, completions)
    tokens = sum(sum((completion.usage or {}).values()) for completion in completions)
    run.status.update(teacher_accuracy=accuracy)
    run.status.count({"completions": len(completions), "teacher_tokens": tokens})


def curate(run: Run) -> None:
    """The pairs the student is trained on, or shown."""
    job, train = run.job, run.splits.train
    if job.method.name == "fine_tune":
        curated = vanilla(train, run.template)
    elif job.needs_teacher:
        completions = read_records(run.folder / "completions.jsonl", Completion)
        template = run.template if job.method.trains else DEMONSTRATION
        curated = curate_completions(train, completions, template, job.diversity, job.curation)
    else:
        return
    write_records(run.folder / "examples.jsonl", curated.examples)
    run.status.count({"curation": curated.counts})
    run.console.print(describe_curation(curated.counts), soft_wrap=True)


def train(run: Run) -> None:
    """The student, fine-tuned on the pairs and tested after every epoch that is due."""
    if not run.job.method.trains:
        return
    from ftcot.training.fit import check_truncation, fit

    job = run.job
    examples = read_records(run.folder / "examples.jsonl", Example)
    student = job.student.load([e.prompt + e.completion for e in examples], job.seed)
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
        evaluate=lambda epoch: test(run, student, epoch),
        logger=run.logger,
        console=run.console,
    )
    student.save(run.folder / "student")
    run.status.count(
        {"supervised_tokens": fitted.supervised_tokens, "steps": fitted.steps, "training_seconds": fitted.seconds}
    )


def evaluate(run: Run) -> None:
    """The score of the run; students that are not trained are asked here."""
    started = time.monotonic()
    job, counts = run.job, run.status.get("counts", {})
    if not job.method.trains:
        from ftcot.training.trainer import pick_device

        student = job.student.load(_training_text(run), job.seed)
        run.status.count({"parameters": student.n_parameters})
        student.model.to(pick_device(job.trainer)).eval()
        test(run, student, epoch=0)
    predictions = read_records(run.predictions_file, Prediction)
    scores = evaluation.score(predictions)
    last = max(score.epoch for score in scores)
    reported = evaluation.select(scores, last)
    chosen = evaluation.best(scores, "validation")
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
        seconds=run.status.get("seconds", {}) | {"evaluate": round(time.monotonic() - started, 3)},
        tokens={
            "supervised": counts.get("supervised_tokens", 0),
            "generated": sum(prediction.n_tokens for prediction in predictions),
            "teacher": counts.get("teacher_tokens", 0),
        },
        cost_usd=None,
        epochs=tuple(asdict(score) for score in scores),
    )
    write_json(run.folder / "score.json", score.to_json())
    if (run.folder / "student").is_dir():
        card = model_card(job.config, score, run.status.get("counts", {}), run.status.get("versions", {}))
        write_atomic(run.folder / "student" / "README.md", card)
    run.logger.summarize(score)


STAGES: Mapping[Stage, Callable[[Run], None]] = {
    "teach": teach,
    "curate": curate,
    "train": train,
    "evaluate": evaluate,
}


def test(run: Run, student: Student, epoch: int) -> Mapping[str, float]:
    """Ask the student every test (and validation) question and keep what it says.

    Returns:
        Accuracy and rates by split, for the logger.
    """
    splits = run.splits
    samples = (*splits.validation, *splits.test)
    with progress_bar(run.console, f"epoch {epoch} test" if epoch else "test") as report:
        predictions = evaluation.predict(
            student,
            run.template,
            run.job.task.answer,
            samples,
            run.job.evaluation,
            epoch=epoch,
            demonstrations=_demonstrations(run),
            progress=report,
        )
    refuse_unasked(predictions, run.job)
    keep_predictions(run.predictions_file, predictions, epoch)
    metrics: dict[str, float] = {}
    for score in evaluation.score(predictions):
        prefix = "" if score.split == "test" else f"{score.split}_"
        metrics |= _metrics(score, prefix)
    return metrics


def refuse_unasked(predictions: Sequence[Prediction], job: Job) -> None:
    """Refuse to score a student that most prompts left no room to answer: an accuracy of it would mean nothing.

    Raises:
        JobError: more than `training.truncation_limit` of the prompts fill the student's context.
    """
    n = sum(prediction.n_tokens == 0 for prediction in predictions)
    if n > job.training.truncation_limit * len(predictions):
        hint = "fewer demonstrations (method.n_demonstrations), or " if job.method.name == "few_shot_cot" else ""
        raise JobError(
            f"{n} of {len(predictions)} prompts fill the context of {job.student.name}, so it could not answer: "
            f"take {hint}a student with a longer context"
        )


def keep_predictions(path: Path, predictions: list[Prediction], epoch: int) -> None:
    """Add one epoch's predictions; an epoch that is repeated after a crash replaces what it left.

    The file is written anew and whole each time: a line torn by a full disk would stop the run from going on.
    """
    before = read_records(path, Prediction) if path.exists() else []
    write_records(path, [*(p for p in before if p.epoch < epoch), *predictions])


def _metrics(score: EpochScore, prefix: str) -> dict[str, float]:
    names = ("accuracy", "contains_answer", "format_rate", "truncation_rate", "mean_tokens")
    return {f"{prefix}{name}": getattr(score, name) for name in names}


def _demonstrations(run: Run) -> str:
    job = run.job
    if job.method.name != "few_shot_cot":
        return ""
    if (ready := job.task.demonstrations()) is not None:
        return ready.text
    examples = read_records(run.folder / "examples.jsonl", Example)
    first = {example.sample_index: example for example in reversed(examples)}
    shown = [first[index] for index in sorted(first)][: job.method.n_demonstrations]
    return "\n".join(example.prompt + example.completion for example in shown)


def _training_text(run: Run) -> list[str]:
    """What a student from scratch trains its tokenizer on when nothing is fine-tuned."""
    return [f"{sample.question} {sample.answer}" for sample in run.splits.train]


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing in a pipe; yields what to call with (done, total)."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar_task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(bar_task, completed=done, total=total)


def describe_curation(counts: Mapping[str, Any]) -> str:
    """`kept 323 of 420 completions (97 wrong answer); 97 of 420 questions have none`."""
    if "completions" not in counts:
        return f"{counts['kept']} pairs from {counts['questions']} questions"
    dropped = ", ".join(f"{n} {reason}" for reason, n in counts["dropped"].items())
    text = f"kept {counts['kept']} of {counts['completions']} completions" + (f" ({dropped})" if dropped else "")
    text += f"; {counts['questions_without']} of {counts['questions']} questions have none"
    unanswered = counts["questions_unanswered"]
    return text + (f", {unanswered} of them no completion at all" if unanswered else "")
