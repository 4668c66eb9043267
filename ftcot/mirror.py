"""Send finished runs to Weights & Biases from what their folders hold: `python -m ftcot.mirror FOLDER...`.

    $ python -m ftcot.mirror multirun/2026-11-22/10-15-00-ab12
    0-5f0c12ab: https://wandb.ai/me/ftcot/runs/5f0c12ab...
    1-77aa01cd: W&B has this run already; --again replaces it

A FOLDER is a run folder, or that of a sweep, which stands for all its runs. For runs that were made with logger=csv or
without a network, and for a job that a sweep agent was given and that is done already. Each is the same run, with the
same id, as if it had been logged; only the points between epochs are missing, which no run folder keeps.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftcot.errors import FtcotError, InputError, JobError
from ftcot.files import read_json
from ftcot.folder import thaw
from ftcot.job import Job, build
from ftcot.logger import Mode, Wandb, logged_in
from ftcot.logger import build as build_logger
from ftcot.logger.metrics import Metrics
from ftcot.records import Prediction, Sample, Score, read_records
from ftcot.status import Status

if TYPE_CHECKING:
    from ftcot.logger.tracker import Resume, WandbRun

EXIT_CODES = {"complete": 0, "partial": 0, "failed": 1}
"""How W&B shows a run, by the state of its folder. In any other state it is not finished."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if a run could not be sent, 2 if it was wrong to ask."""
    options = _parser().parse_args(arguments)
    code = 0
    try:
        _refuse_no_login()
        for folder in [run for given in options.folder for run in _runs(given.absolute())]:
            try:
                print(f"{folder.name}: {mirror(folder, options)}", flush=True)
            except FtcotError as error:
                print(f"error: {folder}: {error}", file=sys.stderr, flush=True)
                code = max(code, 2 if isinstance(error, InputError) else 1)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ftcot.mirror", description="Send finished runs to Weights & Biases from their folders."
    )
    parser.add_argument("folder", type=Path, nargs="+", help="a run folder, or a sweep folder")
    parser.add_argument("--project", help="in W&B; else that of the run's config, or ftcot")
    parser.add_argument("--entity", help="user or team; else that of the run's config, or your default")
    parser.add_argument("--group", help="else that of the run's config, or the name of the sweep folder")
    parser.add_argument("--again", action="store_true", help="replace a run that W&B has already")
    return parser


def mirror(folder: Path, options: argparse.Namespace) -> str:
    """Send one run; returns where it is now.

    Raises:
        InputError: it is not a run folder, or not finished.
        JobError: W&B did not take it.
    """
    from ftcot.logger.tracker import first_line, start

    config = thaw(folder)
    status = Status(folder)
    if (state := status.get("state")) not in EXIT_CODES:
        raise InputError(f"not finished ({state or 'no status.json'}): run it first")
    job = build(config)
    settings = _settings(job, options)
    mode: Mode = "online" if settings.resolved() == "online" else "offline"
    # The run of a sweep agent is in W&B from the moment the agent gets it.
    resume: Resume | None = None if options.again else "allow" if os.environ.get("WANDB_SWEEP_ID") else "never"
    complaints: list[str] = []
    try:
        run = start(settings, job, folder, status, complaints.append, mode, resume)
    except Exception as error:
        if resume == "never" and "already exists" in str(error):
            return "W&B has this run already; --again replaces it"
        raise JobError(f"W&B: {first_line(error)}") from None
    _replay(run, job, folder)
    run.finish(EXIT_CODES[state])
    if run.lost:
        raise JobError("; ".join(complaints))
    place = run.url or "offline, in wandb/; `wandb sync` sends it"
    return "; ".join([place, *complaints])


def _replay(run: WandbRun, job: Job, folder: Path) -> None:
    for row in Metrics(folder).rows():
        epoch = {"epoch": row["epoch"]}
        run.log("epoch", epoch | {"loss": row["loss"]})
        known = ("step", "epoch", "loss", "tokens_per_second", "learning_rate")
        if evaluated := {key: value for key, value in row.items() if key not in known}:
            run.log("evaluation", epoch | evaluated)
    if (folder / "score.json").exists():
        score = Score.from_json(read_json(folder / "score.json"))
        said = read_records(folder / "predictions.jsonl", Prediction)
        last = [prediction for prediction in said if prediction.epoch == score.epoch and prediction.split == "test"]
        run.summarize(score, last, _samples(job))


def _samples(job: Job) -> tuple[Sample, ...]:
    try:
        return job.task.splits().test
    except InputError:  # the data is elsewhere by now: the table of predictions lacks the questions
        return ()


def _settings(job: Job, options: argparse.Namespace) -> Wandb:
    own = build_logger(job.logger)
    settings = own if isinstance(own, Wandb) else Wandb(project="ftcot")
    return replace(
        settings,
        project=options.project or settings.project,
        entity=options.entity or settings.entity,
        group=options.group or settings.group,
        mode="auto",
    )


def _runs(folder: Path) -> Iterator[Path]:
    """The run folder itself, or those of a sweep that are finished, in their order."""
    if (folder / "job.yaml").is_file():
        yield folder
        return
    runs = [path.parent for path in folder.glob("*/job.yaml")]
    if not runs:
        raise InputError(f"{folder}: neither a run folder nor a sweep folder (no job.yaml in it, or one level below)")
    for run in sorted(runs, key=lambda run: int(number) if (number := run.name.partition("-")[0]).isdigit() else 0):
        if Status(run).get("state") in EXIT_CODES:
            yield run
        else:
            print(f"{run.name}: not finished, left out", flush=True)


def _refuse_no_login() -> None:
    if not logged_in() and os.environ.get("WANDB_MODE") not in ("offline", "dryrun"):
        raise InputError("not logged in to W&B: run `wandb login`, or set WANDB_API_KEY")


if __name__ == "__main__":
    sys.exit(main())
