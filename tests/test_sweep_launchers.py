"""Hydra's launchers: real sweeps through each, their settings, and what becomes of a job when their processes die."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.launchers import Launcher, refuse_missing
from ftcot.ledger import Ledger
from ftcot.procfs import descendants
from tests.command import Command, is_gone, wait_for
from tests.sweeps import CURATED, ENDLESS, LONG, rows, states, until_running, workers

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SUBMITIT = ("hydra/launcher=submitit_local",)


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def launcher(*words: str) -> Launcher:
    master: DictConfig = Composer(conf_dir()).compose(words)
    return Launcher.of(master, words)


def process_of(sweep: int, words: str) -> int:
    """A living process of the sweep whose command line has these words."""

    def find() -> int | None:
        for pid in descendants(sweep):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            except OSError:
                continue
            if words in command:
                return pid
        return None

    return wait_for(find)


# -- real sweeps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(JOBLIB, id="joblib"),
        pytest.param(SUBMITIT, id="submitit_local"),
        pytest.param(("hydra/launcher=ray",), id="ray", marks=pytest.mark.slow),
    ],
)
def test_two_jobs_run_side_by_side_and_leave_nothing_elsewhere(ftcot: Command, words: tuple[str, ...]) -> None:
    done = ftcot("-m", *CURATED, "seed=0,1", "hydra.sweep.dir=mine", *words)
    assert (done.returncode, done.stderr) == (0, "")
    mine = ftcot.cwd / "mine"
    assert states(mine) == ["partial", "partial"]
    assert len(workers(mine)) == 2
    jobs = [row["folder"] for row in Ledger(mine).states().values()]
    assert {path.name for path in mine.iterdir()} - {".submitit"} == {".lock", "sweep.jsonl", "sweep.yaml", *jobs}
    assert sorted(path.name for path in ftcot.cwd.iterdir()) == ["cache", "mine"]
    again = ftcot("-m", *CURATED, "seed=0,1", *words)
    assert "2 done already, 0 to run" in again.stdout


@pytest.mark.parametrize("words", [pytest.param(JOBLIB, id="joblib"), pytest.param(SUBMITIT, id="submitit_local")])
def test_ctrl_c_stops_the_jobs_of_every_process(ftcot: Command, words: tuple[str, ...]) -> None:
    process = ftcot.start("-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=mine", *words)
    until_running(process, ftcot.cwd / "mine", jobs=2)
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's, to the whole group
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert states(ftcot.cwd / "mine") == ["stopped", "stopped"]
    for pid in started:
        wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "victim"),
    [pytest.param(JOBLIB, "LokyProcess", id="joblib"), pytest.param(SUBMITIT, "submitit.core._submit", id="submitit")],
)
def test_a_launchers_process_that_is_killed_costs_no_job(ftcot: Command, words: tuple[str, ...], victim: str) -> None:
    """submitit waits 15 seconds for a result that will not come; joblib kills its other processes."""
    process = ftcot.start("-m", *LONG, "seed=0,1,2", "hydra.sweep.dir=mine", *words)
    mine = ftcot.cwd / "mine"
    until_running(process, mine, jobs=2)
    os.kill(process_of(process.pid, victim), signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "interrupted: the process that ran it is gone" in error
    assert "; going on with what is left" in error
    assert states(mine) == ["partial"] * 3
    assert len(rows(mine, "partial")) == 3


def test_the_jobs_of_a_killed_sweep_end_with_it(ftcot: Command) -> None:
    process = ftcot.start("-m", *ENDLESS, "seed=0,1,2", "hydra.sweep.dir=mine", *JOBLIB)
    until_running(process, ftcot.cwd / "mine", jobs=2)
    started = [pid for pid in descendants(process.pid) if b"resource_tracker" not in _command(pid)]
    process.kill()
    process.communicate()
    for pid in started:
        wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
    assert states(ftcot.cwd / "mine") == ["stopped", "stopped", "frozen"]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
def test_a_preempted_job_saves_before_submitit_queues_it_again(ftcot: Command) -> None:
    process = ftcot.start("-m", *LONG, "seed=0", "hydra.sweep.dir=mine", *SUBMITIT)
    mine = ftcot.cwd / "mine"
    until_running(process, mine)
    os.kill(process_of(process.pid, "submitit.core._submit"), signal.SIGUSR2)  # as SLURM does
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    known = [row["state"] for row in Ledger(mine).news()]
    assert known == ["frozen", "running", "preempted", "running", "partial"]
    assert "job 0 goes on (attempt 2)" in out
    [log] = mine.glob(".submitit/*/*_log.out")
    assert log.read_text().index("Calling checkpoint method") < log.read_text().index("Requeued job")


# -- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("hydra/launcher=joblib", "joblib"),
        ("hydra/launcher=submitit_slurm", "submitit"),
        ("hydra/launcher=ray", "ray"),
        ("hydra/sweeper=optuna", "optuna"),
    ],
)
def test_a_plugin_that_is_missing_is_named_with_its_extra(words: str, extra: str, tmp_path: Path) -> None:
    command = Command(tmp_path)
    (tmp_path / "site").mkdir()
    # An interpreter without Hydra's plugins, which are one namespace package.
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.modules['hydra_plugins'] = None\n")
    path = f"{tmp_path / 'site'}{os.pathsep}{command.environment['PYTHONPATH']}"
    done = command("-m", *CURATED, "seed=0,1", words, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {words}: not installed; pip install 'ftcot[{extra}]'\n"


def test_a_plugin_that_is_there_is_not_refused() -> None:
    refuse_missing(["hydra/launcher=joblib", "seed=0,1", "hydra/sweeper=optuna"])


@pytest.mark.parametrize(
    ("words", "n_jobs", "side_by_side"),
    [
        pytest.param((), 9, 1, id="basic"),
        pytest.param(JOBLIB, 9, 2, id="joblib"),
        pytest.param(JOBLIB, 1, 1, id="fewer jobs than processes"),
        pytest.param(SUBMITIT, 9, 9, id="submitit_local starts all at once"),
    ],
)
def test_side_by_side(words: tuple[str, ...], n_jobs: int, side_by_side: int) -> None:
    assert launcher(*words).side_by_side(n_jobs) == side_by_side


def test_one_task_starts_the_ranks_of_a_machine() -> None:
    with pytest.raises(InputError, match=r"hydra\.launcher\.tasks_per_node=2: expected 1; .*trainer\.devices=2"):
        launcher(*SUBMITIT, "hydra.launcher.tasks_per_node=2")


def test_the_launcher_gives_as_many_machines_as_a_job_needs() -> None:
    configs: list[dict[str, Any]] = [{"trainer": {"num_nodes": 2}}]
    with pytest.raises(InputError, match=r"trainer\.num_nodes=2, but hydra\.launcher\.nodes=1"):
        launcher(*SUBMITIT).check(configs)
    launcher().check(configs)  # no launcher of machines


@pytest.mark.parametrize("n_jobs", ["0", "null", "two"])
def test_joblib_needs_a_number_of_jobs(n_jobs: str) -> None:
    with pytest.raises(InputError, match=r"n_jobs"):
        launcher("hydra/launcher=joblib", f"hydra.launcher.n_jobs={n_jobs}")


def test_a_launcher_is_known_by_its_class_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "mine.yaml").write_text("defaults: [submitit_local]\n")
    master = Composer(conf_dir(), extra=tmp_path).compose(["hydra/launcher=mine"])
    mine = Launcher.of(master, ["hydra/launcher=mine"])
    assert (mine.name, mine.kind, mine.is_local) == ("mine", "submitit_local", True)


def test_slurm_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="no srun here"):
        launcher("hydra/launcher=submitit_slurm")
