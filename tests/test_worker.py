"""The worker: what it says, how it ends, what it leaves."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftcot.compose import Composer, conf_dir
from ftcot.compose import freeze as freeze_config
from ftcot.errors import InputError, JobError, cause_of
from ftcot.folder import freeze
from ftcot.log import Log
from tests.command import SMALL, Command, read, wait_for
from tests.conftest import ROOT


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def worker(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftcot.worker", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_folder_gets_one_line(tmp_path: Path) -> None:
    for words in ((), (str(tmp_path),), (str(tmp_path / "gone"),), ("one", "two")):
        done = worker(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[1, 2]", "a: [", "\t"])
def test_a_damaged_job_gets_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    done = worker(str(tmp_path))
    assert done.returncode == 2
    assert "job.yaml" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_is_all_a_worker_needs(ftcot: Command) -> None:
    assert ftcot(*SMALL, "until=curate", "hydra.run.dir=one").returncode == 0
    folder = ftcot.cwd / "one"
    (folder / "examples.jsonl").unlink()
    status = read(folder / "status.json")
    assert status["versions"].keys() >= {"ftcot", "python", "torch", "transformers"}
    (folder / "status.json").write_text(json.dumps(status | {"stages": ["teach"], "state": "failed"}))
    done = worker(str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert read(folder / "status.json")["state"] == "partial"
    assert (folder / "examples.jsonl").exists()


def test_a_worker_whose_launcher_is_gone_does_not_start(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    before = (ftcot.cwd / "one" / "status.json").read_bytes()
    done = worker(str(ftcot.cwd / "one"), FTCOT_LAUNCHER_PID="1")
    assert done.returncode == 143
    assert (ftcot.cwd / "one" / "status.json").read_bytes() == before


def test_a_job_yaml_that_was_tampered_with_calls_nothing(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    job = ftcot.cwd / "one" / "job.yaml"
    job.write_text(job.read_text().replace("ftcot.teacher.procedural.Procedural", "os.getcwd"))
    done = worker(str(ftcot.cwd / "one"))
    assert done.returncode != 0
    assert "not trusted" in done.stderr


LONG = [
    *("logger=none", "task=generated/coin_flip", "task.n_flips=2", "task.n_train=100", "task.n_test=8"),
    *("diversity='8'", "student=tiny-t5", "student.width=32", "training.epochs=2", "training.batch_size=8"),
    "evaluation.max_new_tokens=8",
]
"""A job with dropout, and a hundred steps in an epoch."""

OFTEN = "trainer.checkpoint_minutes=0.002"
"""So that a checkpoint tells that it is amid an epoch."""


def frozen(folder: Path) -> Path:
    """A run folder of LONG."""
    config = Composer(conf_dir()).compose([f"paths.cache={folder.parent / 'cache'}", *LONG, "trainer=cpu", OFTEN])
    freeze(folder, freeze_config(config), "0" * 64)
    return folder


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    folder, whole = frozen(tmp_path / "cut"), frozen(tmp_path / "whole")
    command = [sys.executable, "-m", "ftcot.worker", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: next((folder / "checkpoints").glob("epoch-0001-step-*"), None))
        process.send_signal(signal.SIGUSR2)
        process.communicate()
    assert process.returncode == 128 + signal.SIGUSR2
    status = read(folder / "status.json")
    assert (status["state"], status["cause"]) == ("stopped", "stopped by SIGUSR2")
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert checkpoint.name.startswith("epoch-0001-step-")
    done = worker(str(folder))
    assert done.returncode == 0, done.stderr
    assert "going on in epoch 2 after step " in done.stdout
    assert worker(str(whole)).returncode == 0
    for name in ("student/model.safetensors", "predictions.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_library_that_breaks_when_it_is_left_does_not_make_a_failure_of_a_stop() -> None:
    code = """
import os, signal
from pathlib import Path
from ftcot import stop, worker
from ftcot.status import Status
stop.listen()
try:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        {}["half made"]
except BaseException as error:
    print(type(error).__name__, worker._end_of(error, Status(Path())))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "KeyError (143, 'stopped by SIGTERM')\n"


def test_a_rank_above_the_first_leaves_its_cause_for_the_agent(ftcot: Command) -> None:
    ftcot(*SMALL, "until=teach", "hydra.run.dir=one")
    folder = ftcot.cwd / "one"
    job = folder / "job.yaml"
    job.write_text(job.read_text().replace("ftcot.teacher.procedural.Procedural", "os.getcwd"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rank = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    done = worker(str(folder), **rank, TORCHELASTIC_ERROR_FILE=str(ftcot.cwd / "error.json"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "not trusted" in read(ftcot.cwd / "error.json")["message"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def chained(error: BaseException, cause: BaseException) -> BaseException:
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "disk full (/data/x): free space and start"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk full: free space and start the same command again"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk full: free space"),
        (chained(ValueError("cannot save"), OSError(errno.ENOSPC, "No space")), "disk full: free space"),
        (MemoryError(), "out of memory: try a smaller training.device_batch_size"),
        (JobError("the loss is\nnot finite"), "the loss is not finite"),
        (InputError("seed=-1: expected more"), "seed=-1: expected more"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_cause_is_one_line(error: BaseException, cause: str) -> None:
    assert cause_of(error).startswith(cause)
    assert "\n" not in cause_of(error)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own at `folder`; skips where the system does not let us."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not is_root() or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def n_stored(ftcot: Command) -> int:
    segments = (ftcot.cache / "completions").rglob("*.jsonl")
    return sum(len(path.read_text().splitlines()) for path in segments)


def test_a_full_disk_fails_the_job_and_room_lets_it_go_on(ftcot: Command) -> None:
    words = ("logger=none", "task.n_train=400", "diversity=8", "until=curate")
    with small_disk(ftcot.cwd / "disk", "900k") as disk:
        named = f"hydra.run.dir={disk / 'run'}"
        done = ftcot(*words, named)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "error: disk full" in done.stderr
        assert "free space and start the same command again" in done.stderr
        assert "Traceback" not in done.stderr
        assert n_stored(ftcot) == 3200
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = ftcot(*words, named)
        assert again.returncode == 0, again.stderr
        assert read(disk / "run" / "status.json")["state"] == "partial"
        assert (
            sum(len(path.read_text().splitlines()) for path in (ftcot.cache / "completions").rglob("*.jsonl")) == 3200
        )


# -- log.txt -----------------------------------------------------------------------------------------------------


def test_the_log_holds_what_the_screen_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Log(tmp_path / "log.txt", "test") as log:
        log.console.print("[bold]kept 3 of 4[/bold]")
        print("a library speaks")
        print("half\rwhole", file=sys.stderr)
        print("\x1b[31mred\x1b[0m")
        logging.getLogger("some.library").warning("only in the log")
        warnings.warn("only in the log too", UserWarning, stacklevel=1)
    shown = capsys.readouterr()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0].endswith(" test ──")
    assert lines[1:5] == ["kept 3 of 4", "a library speaks", "whole", "red"]
    assert any("only in the log" in line for line in lines)
    assert any("only in the log too" in line for line in lines)
    assert "only in the log" not in shown.out + shown.err
    assert "kept 3 of 4\na library speaks" in shown.out


def test_moving_bars_stay_out_of_the_log(tmp_path: Path) -> None:
    from rich.progress import Progress

    with Log(tmp_path / "log.txt", "test") as log:
        with Progress(console=log.console) as bar:
            for _ in bar.track(range(3), description="answering"):
                log.console.print("a line between")
    lines = (tmp_path / "log.txt").read_text().splitlines()[1:]
    assert [line for line in lines if line.strip()] == ["a line between"] * 3
