"""Forked workers: like started ones in all that others see of them, and nothing is lost when the nursery is."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftcot import nursery
from ftcot.devices import Slot
from ftcot.nursery import Forked
from ftcot.process import Ended, run_worker
from ftcot.procfs import children, descendants
from tests.command import TRAINED, Command, is_gone, read, wait_for
from tests.conftest import ROOT

STUB = "tests.stub_worker"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs a stub that does what its first argument says; it comes from this process's nursery."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # It is another one for each test: none would find the nursery of the one before.
    monkeypatch.setattr(nursery, "OF_A_JOB", nursery.OF_A_JOB | {"PYTEST_CURRENT_TEST"})

    def forked(do: str, **options: Any) -> Ended:
        os.environ.pop(
            "PYTEST_CURRENT_TEST", None
        )  # other for each test: none would find the nursery of the one before
        (tmp_path / "do").write_text(do)
        (tmp_path / "ready.json").unlink(missing_ok=True)
        return run_worker(tmp_path, module=STUB, quiet=True, **{"forked": True, **options})

    return forked


@pytest.fixture(scope="module", autouse=True)
def _close_the_nursery() -> Iterator[None]:
    yield
    nursery.close()


def nursery_process() -> int | None:
    """The nursery of this process."""
    for pid in children(os.getpid()):
        if b"ftcot.warm" in Path(f"/proc/{pid}/cmdline").read_bytes() and pid == _known():
            return pid
    return None


def _known() -> int | None:
    here = nursery._open.get(os.getpid())
    return None if here is None else here.process.pid


def seen(folder: Path) -> dict[str, Any]:
    """What the stub saw."""
    return dict(read(folder / "ready.json"))


def test_it_ends_as_a_started_one_does(run: Callable[..., Ended], tmp_path: Path) -> None:
    assert run("done") == Ended(0, words="something on stderr")
    assert run("crashes") == Ended(-signal.SIGABRT, words="something on stderr")
    asked = run("heeds", stop=(tmp_path / "ready.json").exists)
    assert asked == Ended(128 + signal.SIGINT, signal.SIGINT, words="something on stderr")
    assert run("heeds", timeout=1.0).late
    assert nursery_process() is not None, "all of them came from one nursery"


def test_it_is_the_launchers_own_child_in_a_session_of_its_own(run: Callable[..., Ended], tmp_path: Path) -> None:
    facts: dict[str, Any] = {}

    def look() -> bool:
        if not (tmp_path / "ready.json").exists():
            return False
        pid = seen(tmp_path)["pid"]
        facts.update(child=pid in children(os.getpid()), born=children(nursery_process() or 0))
        return True

    run("heeds", stop=look)
    assert facts == {"child": True, "born": []}
    assert seen(tmp_path)["session"] == seen(tmp_path)["pid"]


def test_its_world_is_that_of_a_started_one(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_PORT", "29500")
    core = min(os.sched_getaffinity(0))
    worlds = []
    for forked in (True, False):
        for gpu, threads in (("0", "1"), ("1", "1"), ("1", "2")):
            slot = Slot({"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": threads}, frozenset({core}))
            assert run("done", slot=slot, forked=forked).code == 0
            worlds.append((seen(tmp_path)["environment"], seen(tmp_path)["cores"]))
    assert worlds[:3] == worlds[3:]
    assert worlds[2][0]["OMP_NUM_THREADS"] == "2"
    assert "MASTER_PORT" not in worlds[0][0]
    assert worlds[0][1] == [core]


def test_a_lock_is_the_workers_alone(run: Callable[..., Ended], tmp_path: Path) -> None:
    handle = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    free: list[bool] = []

    def try_it() -> bool:
        with (tmp_path / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def look() -> bool:
        if not (tmp_path / "ready.json").exists():
            return False
        if not free:
            os.close(handle)
            free.append(try_it())
        return True

    run("heeds", slot=Slot(handles=(handle,)), stop=look)
    assert free == [False]
    assert nursery_process() is not None
    assert try_it()


def test_a_worker_outlives_its_nursery_and_the_next_one_has_another(run: Callable[..., Ended], tmp_path: Path) -> None:
    killed: list[int] = []

    def look() -> bool:
        if not (tmp_path / "ready.json").exists():
            return False
        if not killed:
            killed.append(nursery_process() or 0)
            os.kill(killed[0], signal.SIGKILL)
        return True

    assert run("heeds", stop=look).code == 128 + signal.SIGINT
    assert run("done").code == 0
    assert nursery_process() not in (None, killed[0])


def test_a_nursery_that_dies_on_the_way_costs_no_job(run: Callable[..., Ended], tmp_path: Path) -> None:
    run("done")
    os.kill(nursery_process() or 0, signal.SIGSTOP)  # it answers no more
    threading.Timer(0.5, os.kill, (nursery_process(), signal.SIGKILL)).start()
    assert run("done").code == 0
    assert seen(tmp_path)["pid"] is not None


def test_a_request_to_stop_waits_for_no_nursery(run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    run("done")
    monkeypatch.setattr(nursery, "PATIENCE", 1e6)
    silent = nursery_process() or 0
    os.kill(silent, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    ended = run("heeds")
    assert (ended.code, ended.asked) == (128 + signal.SIGINT, signal.SIGINT)
    assert nursery_process() is None, "the silent one is gone"
    wait_for(lambda: is_gone(silent))


def test_a_nursery_that_cannot_begin_costs_no_job(run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    nursery.close()

    def fails(*arguments: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(nursery, "Nursery", fails)
    assert run("done").code == 0
    assert nursery_process() is None


def test_a_worker_that_is_not_the_launchers_does_nothing(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*arguments: Any) -> None:
        raise ChildProcessError

    monkeypatch.setattr(os, "waitid", lost)
    made: list[int] = []
    answer = nursery.receive

    def noted(line: Any) -> Any:
        message, handles = answer(line)
        made.append(message["pid"])
        return message, handles

    monkeypatch.setattr(nursery, "receive", noted)
    assert run("done").code == 0
    assert seen(tmp_path)["pid"] != made[0], "another one was started, and did the work"
    assert os.waitpid(made[0], 0)[1] == 1 << 8


def test_an_answer_that_nobody_waited_for_is_nobodys_worker(
    run: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("done")

    def leaves(*arguments: Any) -> None:
        raise KeyboardInterrupt

    answer = nursery.receive
    monkeypatch.setattr(nursery, "receive", leaves)
    with pytest.raises(KeyboardInterrupt):
        run("done")
    assert not (tmp_path / "ready.json").exists()
    monkeypatch.setattr(nursery, "receive", answer)
    assert run("done").code == 0


def test_it_can_be_switched_off(run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    nursery.close()
    monkeypatch.setenv(nursery.OFF, "0")
    assert run("done").code == 0
    assert nursery_process() is None


def test_a_signal_that_comes_before_its_handlers_waits_for_them(run: Callable[..., Ended], tmp_path: Path) -> None:
    started = tmp_path / "started"

    def ask() -> bool:
        if started.exists():
            (tmp_path / "asked").touch()
        return started.exists()

    assert run("late", stop=ask).code == 128 + signal.SIGINT


LAUNCHER = """
import sys
from pathlib import Path
from ftcot.process import run_worker
run_worker(Path(sys.argv[1]), module="tests.stub_worker", quiet=True, forked=True)
"""


def test_a_killed_launcher_takes_worker_and_nursery_along(tmp_path: Path) -> None:
    (tmp_path / "do").write_text("heeds")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=tmp_path, env=environment)
    wait_for(lambda: (tmp_path / "ready.json").exists() or None)
    family = descendants(launcher.pid)
    assert len(family) == 2
    assert seen(tmp_path)["pid"] in family
    launcher.kill()
    launcher.wait()
    for pid in family:
        wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


def test_a_forked_job_has_the_same_result(ftcot: Command) -> None:
    words = ("-m", *TRAINED, "seed=1,2")
    for name, switch in (("forked", "1"), ("started", "0")):
        done = ftcot(
            *words, f"hydra.sweep.dir={name}", f"paths.cache={ftcot.cwd / name}-cache", **{nursery.OFF: switch}
        )
        assert done.returncode == 0, done.stderr
    for job in (ftcot.cwd / "forked").glob("[01]-*"):
        other = next((ftcot.cwd / "started").glob(f"{job.name[:2]}*"))
        for file in ("predictions.jsonl", "examples.jsonl", "student/model.safetensors"):
            assert (job / file).read_bytes() == (other / file).read_bytes()


def test_a_handle_waits_and_tells_the_end() -> None:
    worker = Forked(os.posix_spawn(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)"], os.environ))
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.0)
    worker.send_signal(signal.SIGTERM)
    assert (worker.wait(), worker.wait(), worker.returncode) == (-15, -15, -15)
    worker.send_signal(signal.SIGTERM)  # whose number may be another's by now


def test_messages_go_as_they_are(tmp_path: Path) -> None:
    import socket

    one, other = socket.socketpair()
    message = {"environment": {"NAME": "ü\udcff" * 30000}, "parent": 1}
    with (tmp_path / "file").open("w") as file:
        threading.Thread(target=nursery.send, args=(one, message, [file.fileno()])).start()
        received, handles = nursery.receive(other)
    os.write(handles[0], b"here")
    assert received == json.loads(json.dumps(message)) == message
    assert (tmp_path / "file").read_text() == "here"
    one.close()
    with other, pytest.raises(EOFError):
        nursery.receive(other)
