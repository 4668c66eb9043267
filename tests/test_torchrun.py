"""Several ranks of one job: how they start, how they end, and that none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftcot.procfs import children
from tests.command import ENDLESS, SMALL, TRAINED, Command, is_gone, read, wait_for

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


@dataclass
class Running:
    """A job of two ranks at its first stage, which takes longer than any test."""

    launcher: subprocess.Popen[str]
    agent: int
    ranks: tuple[int, int]
    folder: Path

    @classmethod
    def start(cls, ftcot: Command) -> Running:
        launcher = ftcot.start(*ENDLESS, *TWO)
        folder, first = ftcot.until_running(launcher)
        [agent] = children(launcher.pid)
        [second] = wait_for(lambda: [rank for rank in children(agent) if rank != first] or None)
        return cls(launcher, agent, (first, second), folder)

    def end(self) -> str:
        """What it says on stderr; returns when nothing of it is left."""
        _, said = self.launcher.communicate(timeout=60)
        for pid in (self.agent, *self.ranks):
            wait_for(lambda pid=pid: is_gone(pid), seconds=30)  # type: ignore[misc]
        return said


def test_two_ranks_are_one_job_in_one_folder(ftcot: Command) -> None:
    done = ftcot(*SMALL, *TWO, "until=curate", "hydra.run.dir=one")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("kept 16 of 16 completions") == 1
    log = (ftcot.cwd / "one" / "log.txt").read_text()
    assert log.count(" worker ") == 1
    assert read(ftcot.cwd / "one" / "status.json")["state"] == "partial"
    assert sorted(path.name for path in ftcot.cwd.iterdir()) == ["cache", "one"]
    # One rank or two: the same job.
    assert "reused from" in ftcot(*SMALL, "until=curate", "trainer=cpu").stdout


@pytest.mark.parametrize(
    ("victim", "cause"),
    [
        (lambda job: job.ranks[1], "rank 1: the worker was killed by SIGKILL (often: the machine ran out of memory)"),
        (lambda job: job.ranks[0], "rank 0: the worker was killed by SIGKILL (often: the machine ran out of memory)"),
        (lambda job: job.agent, "the worker was killed by SIGKILL (often: the machine ran out of memory)"),
    ],
    ids=["rank 1", "rank 0", "agent"],
)
def test_who_is_killed_takes_the_others_along_and_is_named(
    ftcot: Command, victim: Callable[[Running], int], cause: str
) -> None:
    job = Running.start(ftcot)
    os.kill(victim(job), signal.SIGKILL)
    said = job.end()
    assert job.launcher.returncode == 1
    assert cause in said
    status = read(job.folder / "status.json")
    assert (status["state"], status["cause"]) == ("failed", cause)
    assert (ftcot.entries()[0]["state"], ftcot.entries()[0]["lease"]) == ("failed", None)


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_rank_and_the_job_goes_on(ftcot: Command) -> None:
    job = Running.start(ftcot)
    job.launcher.kill()
    job.end()
    again = Running.start(ftcot)
    assert again.folder == job.folder
    again.launcher.send_signal(signal.SIGINT)
    again.end()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_launcher_stops_all_ranks(ftcot: Command, number: signal.Signals) -> None:
    job = Running.start(ftcot)
    job.launcher.send_signal(number)
    assert job.end() == f"stopped; the same command goes on from there ({job.folder})\n"
    assert job.launcher.returncode == 128 + number
    status = read(job.folder / "status.json")
    assert (status["state"], status["cause"]) == ("stopped", f"stopped by {number.name}")


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_stops_all_ranks(ftcot: Command) -> None:
    job = Running.start(ftcot)
    os.killpg(job.launcher.pid, signal.SIGINT)
    assert job.end() == f"stopped; the same command goes on from there ({job.folder})\n"
    assert job.launcher.returncode == 130


@pytest.mark.slow
def test_the_second_time_all_ranks_end_at_once(ftcot: Command) -> None:
    job = Running.start(ftcot)
    os.kill(job.ranks[1], signal.SIGSTOP)  # as if deep in a library
    job.launcher.send_signal(signal.SIGINT)
    job.launcher.send_signal(signal.SIGTERM)
    assert job.end().endswith(f"stopped; the same command goes on from there ({job.folder})\n")
    assert job.launcher.returncode == 130


def test_the_last_words_of_a_rank_without_a_screen_are_the_cause(ftcot: Command) -> None:
    # As if a library of one machine's GPUs were missing: a rank that ends before any code of ours runs.
    broken = 'import os, sys\nif os.environ.get("RANK") == "1":\n    sys.stderr.write("libcuda.so.1: cannot open\\n")\n'
    (ftcot.cwd / "sitecustomize.py").write_text(broken + "    sys.stderr.flush()\n    os._exit(1)\n")
    done = ftcot(*SMALL, *TWO, "until=teach", PYTHONPATH=f"{ftcot.cwd}:{ftcot.environment['PYTHONPATH']}")
    assert done.returncode == 1
    assert "error: rank 1: libcuda.so.1: cannot open\n" in done.stderr
    [entry] = ftcot.entries()
    assert read(Path(entry["folder"]) / "status.json")["cause"] == "rank 1: libcuda.so.1: cannot open"
    assert "── stderr of rank 1 ──\nlibcuda.so.1: cannot open\n" in (Path(entry["folder"]) / "log.txt").read_text()


@pytest.mark.slow
def test_wrong_input_is_refused_as_by_one_rank(ftcot: Command) -> None:
    broken = ftcot.cwd / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (broken / "pytorch_model.bin").write_bytes(b"pickle")
    before = ftcot.files()
    done = ftcot(*SMALL, *TWO, "student=decoder", f"student.checkpoint={broken}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert ftcot.files() == before


@pytest.mark.slow
def test_two_ranks_train_one_student(ftcot: Command) -> None:
    done = ftcot(*TRAINED, *TWO, "hydra.run.dir=one")
    assert done.returncode == 0, done.stderr
    assert read(ftcot.cwd / "one" / "status.json")["state"] == "complete"
    assert read(ftcot.cwd / "one" / "score.json")["devices"] == 2
