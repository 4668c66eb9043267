"""The fault table of docs/faults.md: one row, one test, with real processes.

Every test breaks something, runs the rest by the same command (or by ftcot.resume), and then `World.check` asserts: no
finished job was lost, run again or written to; nothing is corrupt; all is done; no stray file, no process left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ftcot.folder import read_status
from tests.command import is_gone, read, wait_for
from tests.faults import (
    TAUGHT,
    TRAINED,
    World,
    after_a_reboot,
    attempts,
    check_checkpoints,
    fill,
    same_result,
    seconds_until,
    small_disk,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds its processes in /proc"),
]

T = TypeVar("T")

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "world")
    yield world
    world.kill_all()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the training job that nobody disturbs."""
    world = World(tmp_path_factory.mktemp("undisturbed"))
    done = world(*TRAINED)
    assert done.returncode == 0, done.stderr
    [[folder]] = world.begun().values()
    return folder


# -- kill -9 -----------------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_its_job_one_attempt_and_the_sweep_goes_on(world: World, undisturbed: Path) -> None:
    words = ("-m", *TRAINED, "seed=0,1")
    process = world.start(*words)
    folder, worker = world.until_training(process)
    os.kill(worker, signal.SIGKILL)
    noticed = seconds_until(lambda: True if world.states()[0] == "failed" else None)
    print(f"noticed after {noticed} s")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "killed by SIGKILL" in out + error
    assert world.states() == ["failed", "complete"]
    check_checkpoints(folder)
    kept = world.finished()

    again = world(*words)
    assert again.returncode == 0, again.stderr
    assert "1 done already, 1 to run" in again.stdout
    world.check(done=2, kept=kept)
    assert attempts(folder) == 2
    assert "going on" in (folder / "log.txt").read_text()
    assert same_result(folder, undisturbed)


def test_one_killed_rank_of_two_ends_the_other_and_the_job_goes_on(world: World) -> None:
    words = (*TRAINED, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    process = world.start(*words)
    folder, _ = world.until_training(process)
    [rank] = world.processes(RANK="1")
    os.kill(rank, signal.SIGKILL)
    print(f"all ended after {seconds_until(lambda: None if world.processes() else True)} s")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "rank 1" in error
    assert "killed by SIGKILL" in error
    assert read_status(folder)["state"] == "failed"
    check_checkpoints(folder)

    again = world(*words)
    assert again.returncode == 0, again.stderr
    world.check(done=1)
    assert attempts(folder) == 2
    assert "going on" in (folder / "log.txt").read_text()
    assert read(folder / "score.json")["devices"] == 2


def test_a_killed_launcher_takes_its_worker_along_which_saves_first(world: World, undisturbed: Path) -> None:
    process = world.start(*TRAINED)
    folder, worker = world.until_training(process)
    os.kill(process.pid, signal.SIGKILL)
    print(f"the worker ended after {seconds_until(lambda: is_gone(worker))} s")
    process.communicate(timeout=60)
    assert read_status(folder)["state"] == "stopped"
    check_checkpoints(folder)

    again = world(*TRAINED)
    assert again.returncode == 0, again.stderr
    world.check(done=1)
    assert attempts(folder) == 2
    assert same_result(folder, undisturbed)


@pytest.mark.parametrize(
    ("launcher", "killed", "again"),
    [
        ((), "everything", "the same command"),
        ((), "the sweep alone", "ftcot.resume"),
        (JOBLIB, "everything", "ftcot.resume"),
        (JOBLIB, "the sweep alone", "the same command"),
    ],
    ids=["basic-everything", "basic-alone", "joblib-everything", "joblib-alone"],
)
def test_a_killed_sweep_has_lost_nothing_and_is_run_to_its_end(
    world: World, launcher: tuple[str, ...], killed: str, again: str
) -> None:
    words = ("-m", *TAUGHT, *launcher, "+teacher.fault=none,wait", "seed=0,1")
    process = world.start(*words)
    first = until(process, lambda: world.sweep)
    running = ["running", "running"] if launcher else ["running", "frozen"]
    until(process, lambda: world.states() == ["partial", "partial", *running])
    if killed == "everything":
        world.kill_all()
    else:
        os.kill(process.pid, signal.SIGKILL)
        print(f"{killed}: all ended after {seconds_until(lambda: None if world.processes() else True)} s")
    process.communicate(timeout=60)
    kept = world.finished()
    assert len(kept) == 2

    world.mend()
    done = world(*words) if again == "the same command" else world.resume(first)
    assert done.returncode == 0, done.stderr
    assert "2 done already, 2 to run" in done.stdout
    assert world.states() == ["partial"] * 4
    assert (world.sweep == first) is (again == "ftcot.resume")
    world.check(done=4, kept=kept)


def test_a_machine_that_goes_down_in_a_sweep_of_twelve_jobs_costs_what_was_running(world: World) -> None:
    process = world.start("-m", *TAUGHT, *JOBLIB, "+teacher.fault=none,wait", "seed=range(0,6)")
    running = ["partial"] * 6 + ["running"] * 2 + ["frozen"] * 4
    until(process, lambda: world.states() == running and len(world.begun()) == 8)
    world.kill_all()
    process.communicate()
    assert world.states() == running  # nobody was left to say more
    assert sum(entry["lease"] is not None for entry in world.entries()) == 2
    kept = world.finished()
    assert len(kept) == 6

    world.mend()
    done = world.resume(world.sweep, within=after_a_reboot(world.cwd / "package"))
    assert done.returncode == 0, done.stderr
    assert "6 done already, 6 to run" in done.stdout
    assert world.states() == ["partial"] * 12
    world.check(done=12, kept=kept)
    assert sorted(attempts(folder) for [folder] in world.begun().values()) == [1] * 10 + [2] * 2


# -- jobs that go wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["continue", "stop"])
def test_a_job_that_raises_is_told_and_costs_no_other_job(world: World, on_error: str) -> None:
    words = ("-m", *TAUGHT, f"on_error={on_error}", "+teacher.fault=none,raise", "seed=0,1")
    done = world(*words)
    assert done.returncode == 1
    states = ["partial", "partial", "failed", "failed" if on_error == "continue" else "frozen"]
    assert world.states() == states
    assert "ConnectionError: the server hung up" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    [failed, *_] = world.sweep.glob("2-*")
    assert "Traceback" in (failed / "log.txt").read_text()
    kept = world.finished()
    assert len(kept) == 2

    world.mend()
    again = world(*words)
    assert again.returncode == 0, again.stderr
    assert "2 done already, 2 to run" in again.stdout
    world.check(done=4, kept=kept)


def test_a_job_that_hangs_is_ended_after_its_timeout_even_if_it_heeds_no_signal(world: World) -> None:
    words = ("-m", *TAUGHT, *JOBLIB, "timeout=4", "+teacher.fault=wait,deaf,none", "seed=0")
    done = world(*words)
    assert done.returncode == 1
    assert world.states() == ["failed", "failed", "partial"]
    assert done.stdout.count("longer than timeout=4") + done.stderr.count("longer than timeout=4") >= 2
    kept = world.finished()
    assert len(kept) == 1

    world.mend()
    again = world(*words)
    assert again.returncode == 0, again.stderr
    assert "1 done already, 2 to run" in again.stdout
    world.check(done=3, kept=kept)


@pytest.mark.parametrize("room", ["too little for a checkpoint", "none at all"])
def test_a_disk_that_fills_while_a_checkpoint_is_written_costs_the_steps_since_the_one_before(
    world: World, undisturbed: Path, room: str
) -> None:
    with small_disk(world.cwd / "multirun", "4m") as disk:  # a checkpoint takes 2.4
        words = ("-m", *TRAINED, "seed=0", f"hydra.sweep.dir={disk / 'sweep'}")
        process = world.start(*words)
        folder, _ = world.until_training(process)
        if room == "none at all":
            fill(disk / "filler")
        out, error = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "disk full" in out + error
        check_checkpoints(folder)
        assert not list((folder / "checkpoints").glob("*.tmp"))
        if room == "too little for a checkpoint":
            assert "in save_checkpoint" in (folder / "log.txt").read_text()
            assert read_status(folder)["state"] == "failed"

        (disk / "filler").unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = world(*words)
        assert again.returncode == 0, again.stderr
        world.check(done=1)
        assert attempts(folder) == 2
        assert same_result(folder, undisturbed)


# -- two at once -------------------------------------------------------------------------------------------------


def test_the_same_sweep_started_twice_at_once_runs_each_job_once(world: World) -> None:
    words = ("-m", *TAUGHT, "+teacher.fault=wait", "seed=range(0,4)")
    processes = [world.start(*words) for _ in range(2)]
    sweeps = wait_for(lambda: found if len(found := ledgers(world)) == 2 else None)
    until(processes[0], lambda: any("running" in world.states(sweep) for sweep in sweeps))
    world.mend()
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    for sweep in sweeps:
        assert world.states(sweep) == ["partial"] * 4
    world.check(done=4)
    assert [attempts(folder) for [folder] in world.begun().values()] == [1] * 4
    stored = [line for path in world.cache.rglob("completions/**/*.jsonl") for line in path.read_text().splitlines()]
    assert len(stored) == 16  # the four jobs share them: 16 questions, one draw each


def ledgers(world: World) -> list[Path]:
    return [path.parent for path in (world.cwd / "multirun").glob("*/[0-9]*/sweep.jsonl")]


def until(process: subprocess.Popen[str], look: Callable[[], T]) -> T:
    """What `look` finds while the process lives."""

    def looked() -> T | None:
        assert process.poll() is None, process.communicate()
        try:
            return look() or None
        except ValueError:  # there is no sweep folder yet
            return None

    return wait_for(looked)
