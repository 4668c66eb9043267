"""Where the figures of a run go: always metrics.csv, and Weights & Biases where the config says so.

    step,epoch,loss,tokens_per_second,learning_rate,accuracy
    41,1,2.1043,5210.3,0.0003,0.117
    82,2,1.7719,5188.9,0.0003,0.2

The one module that imports wandb, and only when a run is opened. W&B is a mirror: nothing is ever read back from it, so
a tracker that cannot be reached costs a line in the log and not the run.
"""

from __future__ import annotations

import csv
import io
import netrc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ftcot.errors import InputError
from ftcot.records import Score, write_atomic

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

    from ftcot.job import Job
    from ftcot.status import Status

COLUMNS = ("step", "epoch", "loss", "tokens_per_second", "learning_rate", "accuracy")
"""Of metrics.csv; what else an evaluation says comes after them."""

Mode = Literal["online", "offline", "disabled"]


@dataclass(frozen=True, slots=True)
class Csv:
    """metrics.csv alone."""


@dataclass(frozen=True, slots=True)
class Wandb:
    """Weights & Biases, beside metrics.csv."""

    project: str
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: str = "auto"
    """auto: what WANDB_MODE says; without it, online when logged in, else offline."""
    timeout: float = 30.0
    """Seconds to wait for the server, before going on offline."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        if self.mode not in ("auto", "online", "offline", "disabled"):
            raise InputError(f"logger.mode={self.mode!r}: expected auto, online, offline or disabled")
        if self.mode == "online" and not logged_in():
            raise InputError("logger.mode=online: not logged in to W&B; run `wandb login`, or set WANDB_API_KEY")

    def resolved(self) -> Mode:
        """What `mode` comes to in this environment. Never online without a login: wandb would ask for a key."""
        wanted = self.mode if self.mode != "auto" else os.environ.get("WANDB_MODE", "online")
        if wanted == "disabled":
            return "disabled"
        return "online" if wanted not in ("offline", "dryrun") and logged_in() else "offline"


def build(config: Mapping[str, Any]) -> Csv | Wandb:
    """The logger that a plain config names.

    Raises:
        InputError: another class, an argument it does not have, or online without a login.
    """
    arguments = dict(config)
    target = arguments.pop("_target_", None)
    kinds: dict[str, type[Csv | Wandb]] = {"ftcot.logger.Csv": Csv, "ftcot.logger.Wandb": Wandb}
    if target not in kinds:
        raise InputError(f"logger._target_={target}: expected one of {', '.join(kinds)}")
    try:
        return kinds[target](**arguments)
    except TypeError as error:
        raise InputError(f"logger: {str(error).rpartition('__init__() ')[2]}") from None


def logged_in() -> bool:
    """Whether this user can send to W&B without being asked for a key."""
    if os.environ.get("WANDB_API_KEY", "").strip() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for path in (Path(name).expanduser() for name in names):
        try:
            if path.is_file() and netrc.netrc(path).authenticators(host):
                return True
        except (netrc.NetrcParseError, OSError):
            continue
    return False


class RunLogger:
    """The figures of one run. Close it with `finish`."""

    def __init__(self, folder: Path, tracker: WandbLogger | None = None, notice: str | None = None) -> None:
        self.path = folder / "metrics.csv"
        self.notice = notice
        """What a person should know of where the figures go."""
        self._tracker = tracker
        self._rows = _read(self.path)

    def log_step(self, *, step: int, epoch: int, loss: float, tokens_per_second: float, learning_rate: float) -> None:
        """One optimiser step, for W&B's curves; metrics.csv keeps epochs."""
        values = {"loss": loss, "tokens_per_second": tokens_per_second, "learning_rate": learning_rate}
        self._track("train", {"step": step, "epoch": epoch} | values)

    def log_epoch(
        self,
        *,
        step: int,
        epoch: int,
        loss: float,
        tokens_per_second: float,
        learning_rate: float,
        metrics: Mapping[str, float],
    ) -> None:
        """One epoch, on the disk for good when this returns.

        Args:
            step: optimiser steps so far.
            loss: mean over the epoch's supervised tokens.
            metrics: of the evaluation; empty where none was due.
        """
        values = {"loss": loss, "tokens_per_second": tokens_per_second, "learning_rate": learning_rate}
        row = {"step": step, "epoch": epoch} | values | dict(metrics)
        self._rows.append({key: _text(value) for key, value in row.items()})
        self._write()
        self._track("epoch", {"epoch": epoch, "loss": loss})
        if metrics:
            self._track("evaluation", {"epoch": epoch} | dict(metrics))

    def rewind(self, epoch: int) -> None:
        """Forget the rows after `epoch`: a run that goes on from there writes them again."""
        kept = [row for row in self._rows if int(row["epoch"]) <= epoch]
        if len(kept) < len(self._rows):
            self._rows = kept
            self._write()

    def summarize(self, score: Score) -> None:
        """The result, where W&B shows one number a run."""
        if self._tracker is not None:
            summary = {"n": score.n, "epoch": score.epoch, "accuracy": score.accuracy}
            summary |= {"accuracy_low": score.interval[0], "accuracy_high": score.interval[1]}
            self._tracker.experiment.summary.update({f"score/{key}": value for key, value in summary.items()})

    def finish(self, exit_code: int) -> None:
        """Close the run. A job that failed must say so, or W&B shows it as finished."""
        if self._tracker is not None:
            tracker, self._tracker = self._tracker, None
            tracker.experiment.finish(exit_code=exit_code)

    def _track(self, phase: str, values: Mapping[str, float]) -> None:
        if self._tracker is not None:
            self._tracker.log_metrics({f"{phase}/{key}": value for key, value in values.items()})

    def _write(self) -> None:
        others = dict.fromkeys(key for row in self._rows for key in row if key not in COLUMNS)
        text = io.StringIO()
        writer = csv.DictWriter(text, [*COLUMNS, *others], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomic(self.path, text.getvalue())


@contextmanager
def open_logger(job: Job, folder: Path, status: Status, *, online: bool) -> Iterator[RunLogger]:
    """The logger of a job, finished with exit code 0, or 1 when what is inside raises.

    Args:
        online: False keeps to metrics.csv: nothing that is left to do has figures for a tracker.
    """
    settings = build(job.logger)
    logger = RunLogger(folder)
    if online and isinstance(settings, Wandb):
        name = f"{job.method.name} {job.task.name} {job.student.name} {status['hash'][:8]}"
        logger = open_wandb(settings, folder, run_id=status["hash"], name=name, config=job.config)
    exit_code = 1
    try:
        yield logger
        exit_code = 0
    finally:
        logger.finish(exit_code)


def open_wandb(settings: Wandb, folder: Path, *, run_id: str, name: str, config: Mapping[str, Any]) -> RunLogger:
    """A logger with a W&B run; without one where W&B is disabled, offline where its server does not answer.

    Args:
        run_id: the same for a job that goes on, so it goes on in the same W&B run.
        config: shown beside the run; values of the environment's secrets are blanked.
    """
    mode = settings.resolved()
    if mode == "disabled":
        return RunLogger(folder)
    try:
        tracker = _start(settings, folder, run_id, name, config, mode)
    except Exception as error:  # whatever a tracker raises, it is no reason to lose the run
        return _without_server(settings, folder, run_id, name, config, error)
    where = "offline, in wandb/; `wandb sync` sends it" if mode == "offline" else str(tracker.experiment.url)
    return RunLogger(folder, tracker, f"W&B: {where}")


def _without_server(
    settings: Wandb, folder: Path, run_id: str, name: str, config: Mapping[str, Any], cause: Exception
) -> RunLogger:
    """A logger whose W&B run is offline, or that has none where even that cannot be."""
    import wandb

    reason = (str(cause) or type(cause).__name__).splitlines()[0]
    wandb.teardown()  # its service still holds the run that could not be opened
    try:
        tracker = _start(settings, folder, run_id, name, config, "offline")
    except Exception:
        return RunLogger(folder, notice=f"W&B: no run could be opened ({reason}); going on with metrics.csv")
    return RunLogger(folder, tracker, f"W&B: no answer from its server ({reason}); going on offline")


def _start(settings: Wandb, folder: Path, run_id: str, name: str, config: Mapping[str, Any], mode: Mode) -> WandbLogger:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    run = wandb.init(
        project=settings.project,
        name=name,
        id=run_id,
        dir=folder,
        entity=settings.entity,
        group=settings.group,
        tags=list(settings.tags),
        config=without_secrets(config),
        mode=mode,
        # Offline there is nothing to resume, and wandb says so on each start.
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            init_timeout=settings.timeout,
        ),
    )
    # Each phase has its own axis: W&B drops what is logged behind the step it has reached.
    run.define_metric("train/step", hidden=True)
    run.define_metric("train/*", step_metric="train/step")
    for phase in ("epoch", "evaluation"):
        run.define_metric(f"{phase}/epoch", hidden=True)
        run.define_metric(f"{phase}/*", step_metric=f"{phase}/epoch")
    # Lightning's logger would open the run with an argument that wandb warns of, so it is given an open one.
    return WandbLogger(experiment=run)


def without_secrets(value: Any) -> Any:
    """`value` with every secret of the environment blanked, in case one found its way into a config."""
    return _blank(value, sorted(secrets(), key=len, reverse=True))  # one may hold another


def secrets() -> dict[str, str]:
    """The environment's keys, tokens and passwords, and the variable each is in."""
    endings = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
    return {text: name for name, text in os.environ.items() if name.upper().endswith(endings) and len(text) >= 8}


def _blank(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _blank(inner, hidden) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_blank(inner, hidden) for inner in value]
    if isinstance(value, str):
        for text in hidden:
            value = value.replace(text, "***")
    return value


def _read(path: Path) -> list[dict[str, str]]:
    """The rows that an earlier attempt left."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: text for key, text in row.items() if text} for row in rows]


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
