"""A student is tested: asked every question, its answers kept, its weights too where they are the ones to keep.

predictions.jsonl   {"sample_index": 17, "split": "test", "epoch": 3, "text": " 32 + 42 = 74 ... --> 39", ...}
student/            after the last epoch, or the best one so far on validation
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftcot import evaluate as evaluation
from ftcot.errors import JobError
from ftcot.job import Job
from ftcot.records import EpochScore, Example, Prediction, read_records, write_records
from ftcot.running import Run, progress_bar
from ftcot.sample_study import key

if TYPE_CHECKING:
    from ftcot.student import Student


MANY_CUT = 0.02
"""Share of the answers that may run into their limit without a word about it."""


def test_and_keep(run: Run, student: Student, epoch: int, *, beside: bool) -> Mapping[str, float]:
    """Test the student after an epoch, and write its weights where they are the ones to keep, as far as is known.

    Args:
        beside: the next epoch is trained meanwhile.
    """
    from ftcot.training.lora import merged

    metrics = test(run, student, epoch, beside=beside)
    if run.ranks.first and is_kept(run, epoch):
        with merged(student):
            student.save(run.weights)
        run.status.update(weights_of=epoch)
    return metrics


def is_kept(run: Run, epoch: int) -> bool:
    """Whether the job, if it ended now, would keep the weights of this epoch, which has just been tested."""
    if run.job.keep != "best":
        return epoch == run.job.training.epochs  # `none`: they go once the job is evaluated
    best = evaluation.best(evaluation.score(read_records(run.predictions_file, Prediction)), "validation")
    return best is not None and best.epoch == epoch


def test(run: Run, student: Student, epoch: int, *, beside: bool) -> Mapping[str, float]:
    """Ask the student every test (and validation) question and keep what it says.

    Args:
        beside: an epoch is trained meanwhile, and has the bar.
    Returns:
        Accuracy and rates by split, for the logger.
    """
    splits = run.splits
    samples = (*splits.validation, *splits.test)
    began = time.monotonic()
    with progress_bar(run.console, f"epoch {epoch} test" if epoch else "test", bar=not beside) as report:
        predictions = evaluation.predict(
            student,
            run.template,
            run.job.task.answer,
            samples,
            run.evaluation,
            epoch=epoch,
            demonstrations=_demonstrations(run),
            progress=report,
            ranks=run.ranks,
        )
    refuse_unasked(predictions, run.job)
    before = run.status.get("counts", {}).get("testing_seconds", 0.0)
    run.status.count({"testing_seconds": round(before + time.monotonic() - began, 3)})
    if run.ranks.first:
        keep_predictions(run.predictions_file, predictions, epoch)
    metrics: dict[str, float] = {}
    for score in evaluation.score(predictions):
        prefix = "" if score.split == "test" else f"{score.split}_"
        metrics |= _metrics(score, prefix)
        if score.split == "test" and epoch in (0, run.job.training.epochs):
            _warn_of_cuts(run, score)
    return metrics


def _warn_of_cuts(run: Run, score: EpochScore) -> None:
    """Say where many answers were ended by the limit: whoever is never done is wrong, but some might have got there."""
    if score.truncation_rate > MANY_CUT:
        cut = f"{100 * score.truncation_rate:.1f} % of the answers were cut off"
        limit = f"evaluation.max_new_tokens={run.evaluation.max_new_tokens}"
        run.console.print(f"{cut} at {limit}", soft_wrap=True, highlight=False)


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
    studied = {} if prefix else {f"study_{key(kind)}": rate for kind, rate in score.study.items()}
    return {f"{prefix}{name}": getattr(score, name) for name in names} | studied


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
