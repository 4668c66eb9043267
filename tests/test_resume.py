"""Going on with a sweep from its folder alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from ftcot.ledger import Ledger
from tests.command import Command
from tests.sweeps import CURATED, ENDLESS, LONG, kill, resume, rows, states, until_running, workers


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_a_sweep_that_was_killed_with_everything_goes_on(ftcot: Command) -> None:
    mine = ftcot.cwd / "mine"
    process = ftcot.start("-m", *CURATED, "task.n_train=16,6000", "diversity=1,64", "hydra.sweep.dir=mine")
    until_running(process, mine, jobs=2)  # the first is done
    kill(process)
    assert states(mine) == ["partial", "running", "frozen", "frozen"]
    before = len(workers(mine))
    for path in mine.glob("*/job.yaml"):  # a smaller job, for the test's sake: nothing looks at the command again
        job = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(job | {"task": job["task"] | {"n_train": 32}}))

    done = resume(ftcot, "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sweep of 4 jobs: 1 done already, 3 to run" in done.stdout
    assert "job 1 goes on (attempt 2)" in done.stdout
    assert states(mine) == ["partial"] * 4
    assert len(workers(mine)) == before + 3
    assert [row["number"] for row in rows(mine, "interrupted")] == [1]
    assert not (ftcot.cwd / "multirun").exists()

    again = resume(ftcot, "mine")
    assert (again.returncode, "4 done already, 0 to run" in again.stdout) == (0, True)
    assert len(workers(mine)) == before + 3


def test_a_stopped_sweep_goes_on_with_another_launcher(ftcot: Command) -> None:
    process = ftcot.start("-m", *LONG, "seed=0,1", "hydra.sweep.dir=mine")
    mine = ftcot.cwd / "mine"
    until_running(process, mine)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    done = resume(ftcot, mine, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert states(mine) == ["partial", "partial"]
    assert "job 0 goes on (attempt 2)" in done.stdout


def test_what_is_done_is_not_run_again_whatever_reuse_says(ftcot: Command) -> None:
    words = ("-m", *CURATED, "curation.filter=length", "curation.min_words=1,999,2", "hydra.sweep.dir=mine")
    assert ftcot(*words, "reuse=false").returncode == 1
    mine = ftcot.cwd / "mine"
    assert states(mine) == ["partial", "failed", "partial"]
    done = resume(ftcot, "mine")
    assert done.returncode == 1
    assert "job 1 goes on (attempt 2)" in done.stdout
    assert [row["attempt"] for _, row in sorted(Ledger(mine).states().items())] == [1, 2, 1]
    assert sorted(path.name for path in mine.iterdir() if ".old" in path.name) == []


def test_the_launcher_of_the_sweep_is_remembered(ftcot: Command) -> None:
    words = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "on_error=stop")
    ftcot("-m", *CURATED, "curation.filter=length", "curation.min_words=999,998", "hydra.sweep.dir=mine", *words)
    mine = ftcot.cwd / "mine"
    assert states(mine) == ["failed", "frozen"]
    done = resume(ftcot, "mine")
    assert done.returncode == 1
    assert states(mine) == ["failed", "frozen"]  # on_error=stop, too
    done = resume(ftcot, "mine", "on_error=continue")
    assert states(mine) == ["failed", "failed"]
    assert "2 of 2 jobs failed" in done.stderr


def test_a_sweep_that_runs_is_left_alone(ftcot: Command) -> None:
    process = ftcot.start("-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=mine")
    until_running(process, ftcot.cwd / "mine")
    done = resume(ftcot, "mine")
    assert done.returncode == 2
    assert "this sweep is running now" in done.stderr
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert states(ftcot.cwd / "mine") == ["stopped", "frozen"]


def test_a_folder_that_is_no_sweep_is_refused_in_one_line(ftcot: Command) -> None:
    ftcot("-m", *CURATED, "seed=0", "hydra.sweep.dir=mine")
    [job] = [path for path in (ftcot.cwd / "mine").iterdir() if path.is_dir()]
    (ftcot.cwd / "old").mkdir()
    (ftcot.cwd / "old" / "sweep.yaml").write_text("overrides: []\n")
    for words, line in [
        (["nowhere"], "nowhere: no such folder"),
        (["cache"], "cache: not a sweep folder, it has no sweep.yaml"),
        ([str(job)], f"it is a run of the sweep {job.parent}"),
        (["old"], "written by another version of ftcot"),
        (["mine", "seed=3"], "seed=3: the jobs are frozen; only hydra/launcher"),
        (["mine", "hydra/launcher=jobilb"], "hydra/launcher=jobilb: no such option"),
    ]:
        done = resume(ftcot, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert line in done.stderr
        assert done.stderr.count("\n") == 1


def test_help_says_how(ftcot: Command) -> None:
    done = resume(ftcot, "--help")
    assert done.returncode == 0
    assert "python -m ftcot.resume" in done.stdout
