"""The W&B run of one job: the one module that imports wandb, and only when a run is opened.

    train/loss, epoch/loss, evaluation/accuracy, each over its own axis      while the job trains
    score/accuracy and its neighbours, two tables, lineage by reference      when it is scored
    exit code 0 done, 1 failed; preempted, with 128 + signal, where the job was asked to stop and will go on

Nothing that W&B does may end a job, or hold it up for more than a minute: what it raises becomes one line.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftcot.errors import InputError
from ftcot.logger import facts, lineage
from ftcot.logger.lineage import Lineage
from ftcot.logger.settings import Mode, Wandb, run_id
from ftcot.records import Prediction, Sample, Score
from ftcot.redact import without_secrets

if TYPE_CHECKING:
    import wandb

    from ftcot.job import Job
    from ftcot.status import Status

Say = Callable[[str], None]
"""Puts a line before the user, and into log.txt."""

Resume = Literal["allow", "never"]

PHASES = {"train": "step", "epoch": "epoch", "evaluation": "epoch"}
"""What is logged as `PHASE/KEY`, and the key of its axis. W&B drops what is logged behind the one step it counts."""

UPLOAD_TIMEOUT = 3600.0
"""Seconds that weights have to reach W&B, with logger.upload_model."""

_DATA_DIR = "WANDB_DATA_DIR"
_USERS_DATA_DIR = os.environ.get(_DATA_DIR)


def open_run(settings: Wandb, job: Job, folder: Path, status: Status, say: Say) -> WandbRun | None:
    """The job's W&B run; offline where the server does not answer, None where W&B is disabled or cannot be had."""
    mode = settings.resolved()
    if mode == "disabled":
        return None
    try:
        run = start(settings, job, folder, status, say, mode)
    except Exception as error:  # whatever a tracker raises, it is no reason to lose the run
        return _without_server(settings, job, folder, status, say, first_line(error))
    say(f"W&B: {'offline, in wandb/; `wandb sync` sends it' if mode == 'offline' else run.url}")
    return run


def _without_server(settings: Wandb, job: Job, folder: Path, status: Status, say: Say, reason: str) -> WandbRun | None:
    try:
        import wandb

        wandb.teardown()  # its service still holds the run that could not be opened
        run = start(settings, job, folder, status, say, "offline")
    except Exception:
        say(f"W&B: no run could be opened ({reason}); going on with metrics.csv")
        return None
    say(f"W&B: no answer from its server ({reason}); going on offline")
    return run


def start(
    settings: Wandb, job: Job, folder: Path, status: Status, say: Say, mode: Mode, resume: Resume | None = "allow"
) -> WandbRun:
    """Open the job's W&B run.

    Args:
        resume: what becomes of a run that W&B has under this id: it goes on (offline, `wandb sync` will see to that),
            it is an error (never), or it is replaced (None).
    Raises:
        Exception: whatever wandb raises.
    """
    # Else under the home directory, where an offline run that is moved to another machine would not find its tables.
    os.environ[_DATA_DIR] = _USERS_DATA_DIR or str(folder / "wandb")
    import wandb

    # What wandb says of itself goes to its own log; what a user needs to know is said here.
    wandb.setup(wandb.Settings(silent=True))
    # Its tables leave a folder to the interpreter's end, which would tell of it on the screen.
    warnings.filterwarnings("ignore", "Implicitly cleaning up <TemporaryDirectory", ResourceWarning)
    job_hash = status["hash"]
    run = wandb.init(
        project=settings.project,
        entity=settings.entity,
        id=run_id(job_hash),
        name=facts.name(job, job_hash),
        group=settings.group or sweep_of(folder),
        job_type=job.method.name,
        tags=list(facts.tags(job, settings.tags)),
        config=facts.config(job, status.get("counts", {})),
        dir=folder,
        mode=mode,
        resume=resume,
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            init_timeout=settings.timeout,
            finish_timeout=UPLOAD_TIMEOUT if settings.upload_model else settings.timeout,
            finish_timeout_raises=True,
        ),
    )
    for phase, axis in PHASES.items():
        run.define_metric(f"{phase}/{axis}", hidden=True)
        run.define_metric(f"{phase}/*", step_metric=f"{phase}/{axis}")
    return WandbRun(run, settings, job, folder, status, say)


class WandbRun:
    """A job's W&B run while it is open."""

    def __init__(self, run: wandb.Run, settings: Wandb, job: Job, folder: Path, status: Status, say: Say) -> None:
        self._run, self._settings, self._job, self._folder, self._status = run, settings, job, folder, status
        self._say = say
        self.lost = False
        """Something could not be sent. The next thing could not either, after another wait, so it is not tried."""

    @property
    def url(self) -> str:
        """Where a browser finds it; empty offline."""
        return str(self._run.url or "")

    def log(self, phase: str, values: Mapping[str, float]) -> None:
        """One point of each curve of a phase; `values` holds the phase's axis."""
        self._send("a point", lambda: self._run.log({f"{phase}/{key}": value for key, value in values.items()}))

    def summarize(self, score: Score, predictions: Sequence[Prediction], samples: Sequence[Sample]) -> None:
        """The result: one number a key, tables, and what the run was made from."""
        known = facts.facts(self._job, self._status.get("counts", {}))
        self._send("the summary", lambda: self._log_summary(score, known))
        self._send("the tables", lambda: self._log_tables(score, known, predictions, samples))
        self._send("the lineage", lambda: self._log_lineage(known | {"accuracy": score.accuracy}))

    def finish(self, exit_code: int) -> None:
        """Close the run, waiting for what is under way no longer than `logger.timeout`.

        Args:
            exit_code: above 128 (stopped by a signal) the run counts as preempted: not done, and a sweep gives it out
                again.
        """
        import wandb

        try:
            if exit_code > 128:
                self._run.mark_preempting()
            self._run.finish(exit_code=exit_code)
        except Exception as error:
            self._give_up("the rest", error)
        if self.lost:
            with suppress(Exception):  # now, or the interpreter's end would wait and complain once more
                wandb.teardown()

    def _send(self, what: str, send: Callable[[], object]) -> None:
        if not self.lost:
            try:
                send()
            except Exception as error:  # the job is worth more than its mirror
                self._give_up(what, error)

    def _give_up(self, what: str, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            late = isinstance(error, TimeoutError)
            reason = f"not done within {self._settings.timeout:g} s" if late else first_line(error)
            later = f"python -m ftcot.mirror --again {self._folder}"
            self._say(f"W&B: {what} could not be sent ({reason}); once that is mended, `{later}` sends all of it")

    def _log_summary(self, score: Score, known: Mapping[str, Any]) -> None:
        self._run.config.update({facts.JOB: dict(known)}, allow_val_change=True)
        self._run.summary.update(facts.summary(score, self._job.config["keep"]))

    def _log_tables(
        self, score: Score, known: Mapping[str, Any], predictions: Sequence[Prediction], samples: Sequence[Sample]
    ) -> None:
        self._run.log({facts.RESULT: _table(facts.RESULT_COLUMNS, [facts.result_row(score, known)])})
        if rows := facts.prediction_rows(predictions, samples, self._settings.table_rows):
            self._run.log({facts.PREDICTIONS: _table(facts.PREDICTION_COLUMNS, rows)})

    def _log_lineage(self, outcome: Mapping[str, Any]) -> None:
        try:
            sources = lineage.inputs(self._job)
        except InputError as error:  # the data of a run that is sent later may be elsewhere by then
            self._say(f"W&B: no lineage of what the run used ({error})")
            sources = []
        for source in sources:
            # `use_artifact` waits for the server, and refuses to work offline.
            self._run._log_artifact(_artifact(source), is_user_created=True, use_after_commit=True)
        if (student := lineage.trained(self._job, self._folder, self._status["hash"], outcome)) is not None:
            self._run.log_artifact(_artifact(student, upload=self._settings.upload_model))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> wandb.Table:
    import wandb

    return wandb.Table(columns=list(columns), data=without_secrets(rows), allow_mixed_types=True)


def _artifact(source: Lineage, *, upload: bool = False) -> wandb.Artifact:
    import wandb

    artifact = wandb.Artifact(source.name, source.kind, metadata=without_secrets(source.metadata))
    for name, uri in source.references.items():
        local = uri.startswith("file:")
        if upload and local:
            # Not copied to a staging folder first: weights are large, and nobody changes them any more.
            artifact.add_file(str(lineage.local_path(uri)), name, policy="immutable", skip_cache=True)
        else:
            artifact.add_reference(uri, name, checksum=local)  # others would be asked over the network
    return artifact


def sweep_of(folder: Path) -> str | None:
    """The name of the sweep folder that a run folder lies in."""
    return folder.parent.name if (folder.parent / "sweep.jsonl").is_file() else None


def first_line(error: Exception) -> str:
    """What wandb complains of, without the advice below it."""
    return (str(error) or type(error).__name__).splitlines()[0]
