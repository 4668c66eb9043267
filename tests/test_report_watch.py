"""A report that keeps up with a sweep: made again when something happens, and for good when nothing runs any longer."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftcot.files import read_json, write_json
from ftcot.ledger import Ledger, member
from ftcot.report.making import Asked, make
from ftcot.report.watch import is_running, watch
from tests.conftest import ROOT
from tests.report_folders import make_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """One job is done, one runs, one failed."""
    folder = tmp_path / "sweep"
    make_sweep(folder, n_seeds=3, degrees=(2,), n_questions=10, states={1: "running", 2: "failed"})
    return folder


@pytest.fixture
def held(sweep: Path) -> Iterator[Callable[[], None]]:
    """The lock of the sweep, as its process holds it; what to call when that ends."""
    with (sweep / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def end(sweep: Path) -> None:
    """Let the running job end well, as far as its files tell."""
    [row] = [row for row in Ledger(sweep).states().values() if row["state"] == "running"]
    done = next(row for row in Ledger(sweep).states().values() if row["state"] == "complete")
    folder = sweep / row["folder"]
    for name in ("score.json", "predictions.jsonl"):
        (folder / name).write_bytes((sweep / done["folder"] / name).read_bytes())
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "complete"})
    Ledger(sweep).append(member(row).row(state="complete", action="new"))


def test_watching_sees_a_job_end_and_ends_with_the_sweep(sweep: Path, held: Callable[[], None]) -> None:
    seen: list[tuple[bool, int]] = []
    looks = iter(range(100))

    def made(running: bool) -> None:
        seen.append((running, len(make(Asked((sweep,))).found.runs)))

    def sleep(seconds: float) -> None:
        assert seconds == 7
        look = next(looks)
        if look == 2:
            end(sweep)
        if look == 4:
            held()

    watch([sweep], 7, made, sleep)
    # At first, when a job has ended, and at the end; nothing was made where nothing had happened.
    assert seen == [(True, 1), (True, 2), (False, 2)]


def test_what_does_not_run_is_made_once(sweep: Path) -> None:
    seen: list[bool] = []
    watch([sweep], 7, seen.append, lambda seconds: pytest.fail("nothing to wait for"))
    assert seen == [False]


def test_running_and_failed_jobs_are_told(sweep: Path) -> None:
    found = make(Asked((sweep,))).found
    assert found.sweeps[0].states == {"complete": 1, "failed": 1, "running": 1}
    assert [one.reason.partition(" (")[0] for one in found.skipped] == ["not finished", "failed"]


def test_a_sweep_runs_while_its_lock_is_held_or_a_heart_beats(sweep: Path, held: Callable[[], None]) -> None:
    assert is_running([sweep.parent])
    held()
    assert not is_running([sweep.parent])  # the heart of the running job stopped long ago
    [row] = [row for row in Ledger(sweep).states().values() if row["state"] == "running"]
    status = sweep / row["folder"] / "status.json"
    write_json(status, read_json(status) | {"heartbeat": time.time()})
    assert is_running([sweep.parent])


def test_an_epoch_of_a_running_job_is_something_that_happened(sweep: Path, held: Callable[[], None]) -> None:
    seen: list[bool] = []
    looks = iter(range(100))

    def sleep(seconds: float) -> None:
        look = next(looks)
        if look == 1:
            next(sweep.glob("1-*/metrics.csv")).write_text("step,epoch\n1,1\n2,2\n3,3\n")
        if look == 3:
            held()

    watch([sweep], 1, seen.append, sleep)
    assert seen == [True, True, False]


@pytest.mark.slow
def test_ctrl_c_ends_the_watch_in_a_line(sweep: Path, held: Callable[[], None]) -> None:
    words = [sys.executable, "-m", "ftcot.report", str(sweep), "--watch", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=ROOT, text=True, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        assert "1 run, 1 setting; 2 left out (1 complete, 1 failed, 1 running); page " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "stopped\n")
    assert (sweep / "report" / "index.html").exists()
