"""One job's life: reuse, going on, leases, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcot.jobs import Lease
from ftcot.launch import BusyError, Launch
from tests.command import ENDLESS, SMALL, Command, is_gone, read, wait_for


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_a_stage_that_is_done_is_reused_and_a_later_one_goes_on(ftcot: Command) -> None:
    assert ftcot(*SMALL, "until=teach", "hydra.run.dir=one").returncode == 0
    home = ftcot.cwd / "one"
    written = (home / "completions.jsonl").stat().st_mtime_ns
    later = ftcot(*SMALL, "until=curate")
    assert "goes on where it stopped" in later.stdout
    assert (home / "completions.jsonl").stat().st_mtime_ns == written
    assert read(home / "status.json")["stages"] == ["teach", "curate"]
    earlier = ftcot(*SMALL, "until=teach")
    assert f"reused from {home}" in earlier.stdout
    assert [entry["folder"] for entry in ftcot.entries()] == [str(home)]


def test_a_named_folder_is_filled_when_the_job_goes_on_elsewhere(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    done = ftcot(*SMALL, "until=curate", "hydra.run.dir=two")
    assert done.returncode == 0
    assert f"also in {ftcot.cwd / 'two'}" in done.stdout
    assert (ftcot.cwd / "two" / "examples.jsonl").read_text() == (ftcot.cwd / "one" / "examples.jsonl").read_text()


def test_a_job_whose_folder_is_gone_runs_anew(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    shutil.rmtree(ftcot.cwd / "one")
    done = ftcot(*SMALL, "until=teach", "hydra.run.dir=two")
    assert (done.returncode, "reused" in done.stdout) == (0, False)
    assert (ftcot.cwd / "two" / "completions.jsonl").exists()


def test_reuse_false_runs_anew_and_loses_nothing(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    done = ftcot(*SMALL, "until=teach", "hydra.run.dir=one", "reuse=false")
    assert (done.returncode, "reused" in done.stdout) == (0, False)
    assert (ftcot.cwd / "one.old1" / "completions.jsonl").exists()
    assert (ftcot.cwd / "one" / "completions.jsonl").exists()


def test_a_folder_with_another_job_is_refused_and_untouched(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    before = {path: path.read_bytes() for path in (ftcot.cwd / "one").iterdir()}
    done = ftcot(*SMALL, "until=teach", "hydra.run.dir=one", "seed=1")
    assert done.returncode == 2
    assert "one holds another job" in done.stderr
    assert {path: path.read_bytes() for path in (ftcot.cwd / "one").iterdir()} == before
    assert len(ftcot.entries()) == 1


def test_without_the_index_a_named_folder_still_goes_on(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    shutil.rmtree(ftcot.cache)
    done = ftcot(*SMALL, "until=curate", "hydra.run.dir=one")
    assert "goes on where it stopped" in done.stdout
    assert read(ftcot.cwd / "one" / "status.json")["stages"] == ["teach", "curate"]


def test_a_method_without_a_teacher_is_one_job_whatever_the_diversity(ftcot: Command) -> None:
    ftcot(*SMALL, "method=fine_tune", "until=curate")
    done = ftcot(*SMALL, "method=fine_tune", "until=curate", "diversity=16")
    assert "reused from" in done.stdout


def test_a_failed_job_says_why_and_goes_on_with_the_same_command(ftcot: Command) -> None:
    words = (*SMALL, "curation.filter=length", "curation.min_words=999", "until=curate", "hydra.run.dir=one")
    for _ in range(2):
        done = ftcot(*words)
        assert done.returncode == 1
        assert done.stderr.startswith("error: no training pair is left")
        assert "Traceback" not in done.stderr + done.stdout
        status = read(ftcot.cwd / "one" / "status.json")
        assert (status["state"], status["stages"]) == ("failed", ["teach"])
        assert status["cause"].startswith("no training pair is left")
        assert "Traceback" in (ftcot.cwd / "one" / "log.txt").read_text()
        assert ftcot.entries()[0]["lease"] is None


def test_two_commands_at_once_run_the_job_once(ftcot: Command) -> None:
    words = ("logger=none", "task.n_train=3000", "diversity=8", "until=teach")
    processes = [ftcot.start(*words) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    codes = sorted(process.returncode for process in processes)
    said = "".join(out + error for out, error in outputs)
    # The other one came while it ran, or when it was done.
    assert (codes == [0, 2] and "the same job is running" in said) or (codes == [0, 0] and "reused from" in said)
    folders = [path for path in (ftcot.cwd / "outputs").glob("*/*") if "reused_from" not in read(path / "status.json")]
    assert len(folders) == 1
    assert [entry["folder"] for entry in ftcot.entries()] == [str(folders[0])]


def test_a_running_job_is_not_started_again(ftcot: Command) -> None:
    process = ftcot.start(*ENDLESS)
    folder, _ = ftcot.until_running(process)
    before = ftcot.files()
    second = ftcot(*ENDLESS)
    assert second.returncode == 2
    assert f"pid {process.pid}, in {folder}" in second.stderr
    assert [name for name in ftcot.files() if "outputs" in name] == [name for name in before if "outputs" in name]
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGUSR2, 140)]
)
def test_a_stopped_launcher_stops_its_worker_and_says_how_to_go_on(
    ftcot: Command, number: signal.Signals, code: int
) -> None:
    process = ftcot.start(*ENDLESS)
    folder, worker = ftcot.until_running(process)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (code, f"stopped; the same command goes on from there ({folder})\n")
    assert is_gone(worker)
    assert read(folder / "status.json")["state"] == "stopped"
    assert (ftcot.entries()[0]["state"], ftcot.entries()[0]["lease"]) == ("stopped", None)


def test_ctrl_c_in_a_terminal_reaches_both_and_is_heeded_once(ftcot: Command) -> None:
    process = ftcot.start(*ENDLESS)
    folder, worker = ftcot.until_running(process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert is_gone(worker)
    assert read(folder / "status.json")["state"] == "stopped"


def test_a_worker_that_is_asked_to_stop_behind_the_launchers_back_counts_as_stopped(ftcot: Command) -> None:
    process = ftcot.start(*ENDLESS)
    folder, worker = ftcot.until_running(process)
    os.kill(worker, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (143, f"stopped; the same command goes on from there ({folder})\n")


def test_slurms_warning_queues_the_job_again_once_it_is_saved(ftcot: Command) -> None:
    scontrol = ftcot.cwd / "scontrol"
    scontrol.write_text(f'#!/bin/sh\ncp {ftcot.cwd}/outputs/*/*/status.json asked.json; echo "$@" > asked\n')
    scontrol.chmod(0o755)
    path = f"{ftcot.cwd}:{os.environ['PATH']}"
    process = ftcot.start(*ENDLESS, PATH=path, SLURM_JOB_ID="77")
    folder, _ = ftcot.until_running(process)
    os.kill(process.pid, signal.SIGUSR1)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 138
    assert error.endswith("SLURM job 77 is queued again and will go on\n")
    assert (ftcot.cwd / "asked").read_text() == "requeue 77\n"
    assert read(ftcot.cwd / "asked.json")["state"] == "stopped"
    assert ftcot.entries()[0]["lease"] is None
    # What it starts goes on; scancel, which sends SIGTERM, is no reason to queue it again.
    (ftcot.cwd / "asked").unlink()
    again = ftcot.start(*ENDLESS, PATH=path, SLURM_JOB_ID="77")
    assert ftcot.until_running(again)[0] == folder
    os.kill(again.pid, signal.SIGTERM)
    again.communicate(timeout=60)
    assert not (ftcot.cwd / "asked").exists()


def test_a_job_that_takes_too_long_fails_and_goes_on_with_more_time(ftcot: Command) -> None:
    done = ftcot(*ENDLESS, "timeout=4s")
    assert done.returncode == 1
    cause = "ran longer than timeout=4s; the same command goes on from its last checkpoint"
    [entry] = ftcot.entries()
    folder = Path(entry["folder"])
    assert done.stderr.endswith(f"failed: {cause}; see {folder / 'log.txt'}\n")
    status = read(folder / "status.json")
    assert (entry["state"], status["state"], status["cause"]) == ("failed", "failed", cause)
    again = ftcot.start(*ENDLESS, "timeout=1d")
    assert ftcot.until_running(again)[0] == folder
    os.kill(again.pid, signal.SIGINT)
    again.communicate(timeout=60)


def test_a_second_signal_ends_a_worker_that_does_not_heed_the_first(ftcot: Command) -> None:
    process = ftcot.start(*ENDLESS)
    folder, worker = ftcot.until_running(process)
    os.kill(worker, signal.SIGSTOP)  # as if deep in a library
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == f"stopped; the same command goes on from there ({folder})\n"
    assert is_gone(worker)
    assert read(folder / "status.json")["state"] == "stopped"


def test_who_was_thought_dead_does_not_take_the_lease_back(compose: Callable[..., dict[str, Any]]) -> None:
    config = compose(*SMALL)
    launch = Launch(config, "5f0c", Path(config["paths"]["cache"]).parent / "run")
    other = Lease(pid=1, boot="another", host="another", started="1", time=time.time())
    with launch.claim() as decision:
        launch.index.write("5f0c", decision.home, "running", other)
    entry = launch.index.read("5f0c")
    assert entry is not None
    assert entry.lease == other
    with pytest.raises(BusyError, match=r"the same job is running since .* on another"), launch.claim():
        pass


def test_a_killed_launcher_takes_its_worker_along_and_the_job_goes_on(ftcot: Command) -> None:
    process = ftcot.start(*ENDLESS)
    folder, worker = ftcot.until_running(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_for(lambda: is_gone(worker), seconds=20)
    assert ftcot.entries()[0]["lease"]["pid"] == process.pid  # nobody could give it back
    again = ftcot.start(*ENDLESS)
    assert ftcot.until_running(again)[0] == folder
    os.kill(again.pid, signal.SIGINT)
    out, _ = again.communicate(timeout=60)
    assert "goes on where it stopped" in out


def test_a_killed_worker_is_a_failed_job(ftcot: Command) -> None:
    process = ftcot.start(*ENDLESS)
    folder, worker = ftcot.until_running(process)
    os.kill(worker, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "failed: the worker was killed by SIGKILL" in error
    status = read(folder / "status.json")
    assert (status["state"], "SIGKILL" in status["cause"]) == ("failed", True)


def test_a_broken_checkpoint_is_refused_before_anything_is_left(ftcot: Command) -> None:
    broken = ftcot.cwd / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (broken / "pytorch_model.bin").write_bytes(b"pickle")
    before = ftcot.files()
    done = ftcot(*SMALL, "student=decoder", f"student.checkpoint={broken}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert ftcot.files() == before
