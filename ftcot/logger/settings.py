"""What the config says of the logger, and what this environment makes of it.

{"_target_": "ftcot.logger.Wandb", "project": "ftcot", "mode": "auto", ...}   ──>   Wandb(project="ftcot", ...)
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ftcot.errors import InputError

Mode = Literal["online", "offline", "disabled"]

MAX_ROWS = 10_000
"""Rows of a table that W&B shows."""


@dataclass(frozen=True, slots=True)
class Csv:
    """metrics.csv alone."""


@dataclass(frozen=True, slots=True)
class Wandb:
    """Weights & Biases, beside metrics.csv."""

    project: str
    entity: str | None = None
    group: str | None = None
    """None: the sweep the job belongs to, if it does."""
    tags: tuple[str, ...] = ()
    """Beside those of the job: task, student, teacher, D."""
    mode: str = "auto"
    """auto: what WANDB_MODE says; without it, online when logged in, else offline."""
    timeout: float = 30.0
    """Seconds to wait for the server, before going on offline; and at the end of the job, before leaving the rest."""
    table_rows: int = 100
    """Predictions in the table; 0 for none."""
    upload_model: bool = False
    """Send the trained student to W&B; else it is a reference to the run folder."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        if self.mode not in ("auto", "online", "offline", "disabled"):
            raise InputError(f"logger.mode={self.mode!r}: expected auto, online, offline or disabled")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float) or self.timeout <= 0:
            raise InputError(f"logger.timeout={self.timeout!r}: expected seconds, more than 0")
        if isinstance(self.table_rows, bool) or not isinstance(self.table_rows, int):
            raise InputError(f"logger.table_rows={self.table_rows!r}: expected a whole number")
        if not 0 <= self.table_rows <= MAX_ROWS:
            raise InputError(f"logger.table_rows={self.table_rows}: expected 0 to {MAX_ROWS}, which is what W&B shows")
        if not isinstance(self.upload_model, bool):
            raise InputError(f"logger.upload_model={self.upload_model!r}: expected true or false")
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


def run_id(job_hash: str) -> str:
    """The id of the job's W&B run: its hash, so that a job that goes on does so in the same run.

    Under a W&B agent the one that the sweep has given out; the sweep would not know any other.
    """
    assigned = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
    return assigned or job_hash
