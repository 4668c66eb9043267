"""Sweeps that share work, and sweeps that are stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ftcot.ledger import Ledger
from tests.command import Command, is_gone, wait_for
from tests.sweeps import ENDLESS, LONG, rows, states, until_running, workers


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


# -- two at once -------------------------------------------------------------------------------------------------


def test_two_sweeps_at_once_share_the_work(ftcot: Command) -> None:
    """Each job runs once in all, and each sweep ends with all results."""
    words = ("-m", *LONG, "task.n_train=200", "seed=0,1,2,3")
    both = [ftcot.start(*words, f"hydra.sweep.dir={name}") for name in ("one", "two")]
    for process in both:
        _, error = process.communicate(timeout=120)
        assert (process.returncode, error) == (0, "")
    one, two = ftcot.cwd / "one", ftcot.cwd / "two"
    assert states(one) == states(two) == ["partial"] * 4
    assert len(workers(one, two)) == 4
    actions = [[row["action"] for _, row in sorted(Ledger(folder).states().items())] for folder in (one, two)]
    assert {frozenset(pair) for pair in zip(*actions, strict=True)} == {frozenset({"new", "reused"})}


def test_a_job_whose_other_sweep_died_is_run(ftcot: Command) -> None:
    first = ftcot.start("-m", *LONG, "seed=0", "hydra.sweep.dir=one")
    until_running(first, ftcot.cwd / "one")
    second = ftcot.start("-m", *LONG, "seed=0", "hydra.sweep.dir=two")
    two = ftcot.cwd / "two"
    wait_for(lambda: ((two / "sweep.jsonl").exists() and rows(two, "elsewhere")) or None)
    first.kill()
    first.communicate()
    _, error = second.communicate(timeout=120)
    assert (second.returncode, error) == (0, "")
    assert states(two) == ["partial"]


def test_a_sweep_folder_is_run_by_one_at_a_time(ftcot: Command) -> None:
    words = ("-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=mine")
    process = ftcot.start(*words)
    until_running(process, ftcot.cwd / "mine")
    before = (ftcot.cwd / "mine" / "sweep.jsonl").read_text()
    second = ftcot(*words)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "this sweep is running now" in second.stderr
    assert (ftcot.cwd / "mine" / "sweep.jsonl").read_text() == before
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)


# -- stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_starts_no_further_job(ftcot: Command, number: signal.Signals, code: int) -> None:
    process = ftcot.start("-m", *ENDLESS, "seed=0,1")
    folder, worker = ftcot.until_running(process)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopping: running jobs save a checkpoint first" in error
    assert "stopped, 2 of 2 jobs are not done; the same command runs what is missing" in error
    assert is_gone(worker)
    assert states(folder.parent) == ["stopped", "frozen"]


def test_a_terminals_ctrl_c_reaches_only_the_sweep(ftcot: Command) -> None:
    """It goes to every process of the foreground group."""
    process = ftcot.start("-m", *ENDLESS, "seed=0,1")
    folder, _ = ftcot.until_running(process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert states(folder.parent) == ["stopped", "frozen"]


def test_the_second_ctrl_c_ends_a_worker_that_does_not_heed_the_first(ftcot: Command) -> None:
    process = ftcot.start("-m", *ENDLESS, "seed=0,1")
    folder, worker = ftcot.until_running(process)
    os.kill(worker, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGINT)
    wait_for(lambda: (folder.parent / "stop").exists() or None)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    wait_for(lambda: is_gone(worker))
    assert states(folder.parent) == ["stopped", "frozen"]
