"""The worker as a process: what it is given, how it is stopped, what is told of its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ftcot import process
from ftcot.devices import Slot
from ftcot.durations import seconds
from ftcot.errors import InputError
from ftcot.outcome import conclude
from ftcot.process import Ended, run_worker
from ftcot.status import Status
from tests.command import is_gone, read, wait_for
from tests.conftest import ROOT

STUB = "tests.stub_worker"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a run folder whose worker does this."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def made(do: str) -> Path:
        (tmp_path / "do").write_text(do)
        return tmp_path

    return made


def ready(folder: Path) -> dict[str, Any] | None:
    return read(folder / "ready.json") or None


def when(look: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as there is something to see."""

    def wait_and_act() -> None:
        wait_for(look)
        act()

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (None, None),
        (90, 90.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("30s", 30.0),
        ("90m", 5400.0),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
    ],
)
def test_a_timeout_is_seconds_or_a_time(written: object, value: float | None) -> None:
    assert seconds(written) == value


@pytest.mark.parametrize("written", [0, -5, "soon", "2 weeks", "1h30", True, "", "nan", [3]])
def test_a_timeout_that_is_no_time_is_refused(written: object) -> None:
    with pytest.raises(InputError, match=r"^timeout=.*: expected seconds, or a time such as 90m, 2h or 1d$"):
        seconds(written)


def test_a_worker_keeps_to_its_slot(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("WANDB_SERVICE", "of another process")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    core = min(os.sched_getaffinity(0))
    slot = Slot({"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "2"}, frozenset({core}))
    home = folder("done")
    assert run_worker(home, module=STUB, slot=slot) == Ended(0)
    seen = read(home / "ready.json")
    assert seen["cores"] == [core]
    assert (seen["environment"]["CUDA_VISIBLE_DEVICES"], seen["environment"]["OMP_NUM_THREADS"]) == ("3", "2")
    assert not {"MASTER_PORT", "TORCHELASTIC_RUN_ID", "WANDB_SERVICE"} & seen["environment"].keys()


def test_a_quiet_worker_is_neither_seen_nor_reached_by_the_terminal(
    folder: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    home = folder("done")
    ended = run_worker(home, module=STUB, quiet=True)
    assert (ended.code, ended.words) == (0, "something on stderr")
    assert capfd.readouterr() == ("", "")
    assert read(home / "ready.json")["session"] != os.getsid(0)
    run_worker(home, module=STUB)
    assert capfd.readouterr() == ("something on stdout\n", "something on stderr\n")
    assert read(home / "ready.json")["session"] == os.getsid(0)


def test_a_worker_that_could_not_write_its_log_leaves_its_last_words_there(folder: Callable[[str], Path]) -> None:
    home = folder("done")
    Status(home).update(state="frozen")
    ended = run_worker(home, module="tests.no_such_worker", quiet=True)
    state, cause, said = conclude(home, ended, said=False)
    assert (state, said) == ("failed", False)
    assert str(cause).endswith("No module named tests.no_such_worker")
    assert str(cause) in (home / "log.txt").read_text()
    assert read(home / "status.json")["cause"] == cause


def test_a_native_crash_is_told_by_its_signal_and_its_words(folder: Callable[[str], Path]) -> None:
    home = folder("crashes")
    Status(home).update(state="running")
    ended = run_worker(home, module=STUB, quiet=True)
    assert ended.code == -signal.SIGABRT
    assert conclude(home, ended, said=False) == ("failed", "the worker was killed by SIGABRT", False)
    assert "something on stderr" in (home / "log.txt").read_text()


def test_a_worker_that_stopped_and_was_then_killed_keeps_its_word(tmp_path: Path) -> None:
    Status(tmp_path).update(state="stopped", cause="stopped by SIGUSR2")
    ended = Ended(-signal.SIGINT, asked=signal.SIGUSR2)
    assert conclude(tmp_path, ended, said=True) == ("stopped", "stopped by SIGUSR2", True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_every_stop_signal_reaches_the_worker_as_it_is(folder: Callable[[str], Path], number: signal.Signals) -> None:
    home = folder("heeds")
    before = signal.getsignal(number)
    when(lambda: ready(home), send(number))
    assert run_worker(home, module=STUB) == Ended(128 + number, number)
    assert signal.getsignal(number) is before


def test_a_signal_that_comes_too_early_is_heeded_later(folder: Callable[[str], Path]) -> None:
    home = folder("late")

    def ask() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        (home / "asked").touch()

    when(lambda: (home / "started").exists() or None, ask)
    assert run_worker(home, module=STUB).code == 128 + signal.SIGUSR1


def test_the_second_signal_ends_it_at_once_with_all_it_started(folder: Callable[[str], Path]) -> None:
    home = folder("stubborn")

    def ask_twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    when(lambda: ready(home), ask_twice)
    ended = run_worker(home, module=STUB)
    assert (ended.code, ended.asked) == (-signal.SIGKILL, signal.SIGINT)
    wait_for(lambda: is_gone(read(home / "ready.json")["child"]))


def test_a_caller_can_ask_without_a_signal(folder: Callable[[str], Path]) -> None:
    home = folder("heeds")
    ended = run_worker(home, module=STUB, stop=lambda: ready(home) is not None)
    assert ended == Ended(128 + signal.SIGINT, signal.SIGINT)


def test_a_handler_of_the_callers_own_stays_and_its_error_ends_the_worker(folder: Callable[[str], Path]) -> None:
    class Preempted(BaseException):
        pass

    def handle(number: int, frame: FrameType | None) -> None:
        raise Preempted

    home = folder("heeds")
    before = signal.signal(signal.SIGUSR2, handle)
    try:
        when(lambda: ready(home), send(signal.SIGUSR2))
        with pytest.raises(Preempted):
            run_worker(home, module=STUB, stop=lambda: False)
        assert is_gone(read(home / "ready.json")["pid"])
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_worker_that_heeds_its_timeout_may_save(folder: Callable[[str], Path]) -> None:
    home = folder("heeds")
    Status(home).update(state="running")
    ended = run_worker(home, module=STUB, timeout=3.0)
    assert (ended.code, ended.asked, ended.late) == (128 + signal.SIGTERM, None, True)
    cause = "ran longer than timeout=2h; the same command goes on from its last checkpoint"
    assert conclude(home, ended, said=True, timeout="2h") == ("failed", cause, False)
    assert read(home / "status.json")["cause"] == cause


def test_a_worker_that_does_not_is_killed_with_all_it_started(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.5)
    home = folder("stubborn")
    ended = run_worker(home, module=STUB, timeout=6.0)
    assert (ended.code, ended.late) == (-signal.SIGKILL, True)
    wait_for(lambda: is_gone(read(home / "ready.json")["child"]))
