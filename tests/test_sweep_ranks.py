"""A sweep whose jobs have several ranks each."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcot.ledger import Ledger
from tests.command import TRAINED, Command
from tests.sweeps import states, workers

RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.mark.slow
def test_two_jobs_of_two_ranks_are_two_folders_and_two_runs(tmp_path: Path) -> None:
    """Nothing is written elsewhere: no sweep of a rank's own, no run of W&B's in the working directory."""
    ftcot = Command(tmp_path)
    jobs = [word for word in TRAINED if not word.startswith(("trainer=", "logger="))]
    done = ftcot("-m", *jobs, *RANKS, "logger=wandb", "seed=0,1", "hydra.sweep.dir=mine", WANDB_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    mine = tmp_path / "mine"
    assert states(mine) == ["complete", "complete"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mine"]
    rows = Ledger(mine).states()
    assert {path.name for path in mine.iterdir() if path.is_dir()} == {row["folder"] for row in rows.values()}
    assert len(workers(mine)) == 2
    runs = list(mine.rglob("*.wandb"))
    assert len(runs) == 2
    assert {path.relative_to(mine).parts[0] for path in runs} == {row["folder"] for row in rows.values()}
    for row in rows.values():
        assert row["device_seconds"] > row["seconds"]  # two devices
