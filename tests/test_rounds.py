"""Rounds of a sweep: what is not done is tried again, but not for ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from ftcot.errors import JobError
from ftcot.launchers import Launcher
from ftcot.ledger import Ledger, Member
from ftcot.rounds import Rounds
from ftcot.table import Board


class Idle:
    """A launcher that runs nothing, as on a cluster whose nodes lack ftcot."""

    name = "idle"

    def launch(self, folder: Path, names: Sequence[str], **how: Any) -> None:
        """Nothing."""

    def submitted(self, folder: Path) -> set[str]:
        return set()


def test_a_launcher_that_runs_nothing_is_asked_once(tmp_path: Path) -> None:
    job = Member(0, "5f0c12ab" * 8, ())
    Ledger(tmp_path).append(job.row(state="frozen"))
    board = Board(Console(quiet=True), tmp_path, [job])
    rounds = Rounds(tmp_path, cast(Launcher, Idle()), board, tmp_path, stop_on_error=False)
    with pytest.raises(JobError, match="hydra/launcher=idle: it is done, but no job has begun"):
        rounds.run([job])
