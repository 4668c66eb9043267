"""Leases: no draw is two living jobs', and none stays a dead one's."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.teacher import lease_file
from ftcot.teacher.lease_file import Draw
from ftcot.teacher.leases import Leases
from ftcot.teacher.store import CompletionStore


def draws(*samples: int, degree: int = 2, version: int = 1) -> list[Draw]:
    return [(("multiarith", version, sample), draw) for sample in samples for draw in range(degree)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "davinci" / "multiarith" / "5f0c.leases"


def job(path: Path, **times: float) -> Leases:
    return Leases(path, "multiarith", **times)


@contextmanager
def another_process(path: Path, items: list[Draw]) -> Iterator[subprocess.Popen[str]]:
    """One that holds the items for as long as it lives."""
    program = f"""
import time
from pathlib import Path
from ftcot.teacher.leases import Leases
with Leases(Path({str(path)!r}), "multiarith") as mine:
    print(len(mine.take({items!r})), flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{len(items)}\n"
            yield process
        finally:
            process.kill()


def held_elsewhere(leases: Leases, items: Collection[Draw]) -> bool:
    """Whether any of the items is another living job's."""
    return not leases.held().isdisjoint(items)


def test_what_one_job_took_another_does_not_get(path: Path) -> None:
    with job(path) as one, job(path) as other:
        assert one.take(draws(1, 2)) == draws(1, 2)
        assert other.take(draws(2, 3)) == draws(3)
        assert one.take(draws(2, 3)) == draws(2)
        assert held_elsewhere(other, draws(1))
        assert not held_elsewhere(other, draws(3, 4))
        assert held_elsewhere(one, draws(3, 4))


def test_what_living_others_hold_can_be_counted(path: Path) -> None:
    with job(path) as one, job(path) as other:
        assert one.held() == set()
        one.take(draws(1, 2))
        other.take(draws(3, version=-2))
        assert one.held() == set(draws(3, version=-2))
        assert other.held() == set(draws(1, 2))


def test_what_is_given_back_can_be_taken(path: Path) -> None:
    with job(path) as one, job(path) as other:
        one.take(draws(1, 2))
        one.release(draws(1, 7))
        assert other.take(draws(1, 2)) == draws(1)
        assert held_elsewhere(one, draws(1))


def test_leaving_gives_everything_back_and_leaves_nothing_behind(path: Path) -> None:
    with job(path) as one:
        one.take(draws(1, 2))
        assert path.exists()
    assert list(path.parent.iterdir()) == []
    with job(path) as other:
        assert other.take(draws(1, 2)) == draws(1, 2)


def test_looking_creates_nothing(path: Path) -> None:
    with job(path) as one:
        assert one.take([]) == []
        assert not held_elsewhere(one, draws(1))
        one.release(draws(1))
    assert not path.parent.exists()


def test_a_store_keeps_teachers_tasks_and_parameters_apart(tmp_path: Path) -> None:
    store = CompletionStore(tmp_path)
    with store.leases("davinci", "multiarith", {"temperature": 0}) as one:
        one.take(draws(1))
        for other in (("Davinci", "multiarith", {"temperature": 0}), ("davinci", "multiarith", {"temperature": 0.7})):
            assert not held_elsewhere(store.leases(*other), draws(1))
        assert held_elsewhere(store.leases("davinci", "multiarith", {"temperature": 0.0}), draws(1))
    assert store.teachers() == []


def test_draws_are_written_as_ranges(path: Path) -> None:
    with job(path) as one:
        one.take([*draws(0, *range(2, 6), 9, degree=8), (("multiarith", 1, 8), 7), *draws(3, version=2)])
        (entry,) = json.loads(path.read_text()).values()
    assert entry["draws"] == {"1": {"0-7": "0,2-5,9", "7": "8"}, "2": {"0-1": "3"}}


items = st.tuples(st.tuples(st.just("multiarith"), st.integers(1, 2), st.integers(0, 30)), st.integers(0, 9))


@given(held=st.sets(items), asked=st.sets(items))
@settings(max_examples=100, deadline=None)
def test_any_draws_are_held_exactly(
    tmp_path_factory: pytest.TempPathFactory, held: set[Draw], asked: set[Draw]
) -> None:
    path = tmp_path_factory.mktemp("leases") / "x.leases"
    with job(path) as one, job(path) as other:
        one.take(held)
        assert set(other.take(asked)) == asked - held
        assert held_elsewhere(one, held | asked) == bool(asked - held)


# Dead jobs.


def test_a_killed_jobs_leases_are_free_at_once(path: Path) -> None:
    with job(path) as mine:
        with another_process(path, draws(1, 2)) as holder:
            assert mine.take(draws(1, 2, 3)) == draws(3)
            assert held_elsewhere(mine, draws(1))
            holder.kill()
            holder.wait()
            assert not held_elsewhere(mine, draws(1))
            assert mine.take(draws(1, 2)) == draws(1, 2)


def test_a_job_that_was_killed_between_two_others_holds_nothing(path: Path) -> None:
    with another_process(path, draws(1)) as first, another_process(path, draws(2)) as second, job(path) as mine:
        second.kill()
        second.wait()
        assert mine.take(draws(1, 2)) == draws(2)
        assert first.poll() is None


def elsewhere(path: Path, items: list[Draw], beat: int = 1) -> None:
    """The entry of a job on another machine, whose processes cannot be looked up from here."""
    with job(path) as one:
        one.take(items)
        (entry,) = json.loads(path.read_text()).values()
    path.write_text(json.dumps({"b81d": entry | {"host": "node7", "boot": "9c1d", "pid": 1, "beat": beat}}))


def test_a_job_elsewhere_loses_its_leases_when_it_falls_silent(path: Path) -> None:
    mine = job(path, lifetime=0.3)
    elsewhere(path, draws(1))
    began = time.monotonic()
    assert mine.take(draws(1, 2)) == draws(2)
    while held_elsewhere(mine, draws(1)):
        time.sleep(0.02)
    assert time.monotonic() - began >= 0.3
    assert mine.take(draws(1)) == draws(1)


def test_a_job_elsewhere_keeps_its_leases_while_it_beats(path: Path) -> None:
    mine = job(path, lifetime=0.3)
    for beat in range(8):
        elsewhere(path, draws(1), beat)
        assert mine.take(draws(1)) == []
        time.sleep(0.1)


def test_its_clock_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = job(path)
    elsewhere(path, draws(1))
    for now in (0.0, 1e12):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert mine.take(draws(1)) == []


def test_a_working_job_renews_its_leases(path: Path) -> None:
    with job(path, renewal=0.05) as one:
        one.take(draws(1))
        watching = job(path, lifetime=0.5)
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            assert held_elsewhere(watching, draws(1))
            time.sleep(0.05)


def test_a_job_that_was_stopped_for_long_learns_what_it_lost(path: Path) -> None:
    one, other = job(path, lifetime=0.1), job(path, lifetime=0.1)
    with other:
        one.take(draws(1, 2))
        assert held_elsewhere(other, draws(1))
        time.sleep(0.15)
        assert other.take(draws(1)) == draws(1)
        assert one.still(draws(1, 2)) == []  # nor what nobody holds: whoever had it since may have made it
        assert one.take(draws(1, 2)) == draws(2)
        assert one.still(draws(1, 2)) == draws(2)


def test_a_job_that_was_stopped_for_long_and_not_missed_keeps_what_it_has(path: Path) -> None:
    one, other = job(path, lifetime=0.1), job(path, lifetime=0.1)
    one.take(draws(1, 2))
    time.sleep(0.15)
    assert one.still(draws(1)) == draws(1)
    assert other.take(draws(2, 3)) == draws(3)


@pytest.mark.parametrize("first", ["take", "release", "renew"])
def test_a_job_that_was_taken_for_dead_does_not_come_back_with_what_it_had(path: Path, first: str) -> None:
    with job(path, lifetime=0.2, renewal=0.05 if first == "renew" else 60) as one, job(path, lifetime=0.2) as other:
        one.take(draws(1, 2))
        with one._lock:  # its thread waits, as when the process is stopped
            assert held_elsewhere(other, draws(1))
            time.sleep(0.25)
            assert other.take(draws(1)) == draws(1)
            other.release(draws(1))  # which are stored by now
        if first == "take":
            assert one.take(draws(3)) == draws(3)
        elif first == "release":
            one.release(draws(2))
        else:
            time.sleep(0.15)
        assert one.still(draws(1, 2)) == []


def test_everything_is_given_back_at_once_and_more_can_be_taken(path: Path) -> None:
    with job(path) as one, job(path) as other:
        one.take(draws(1, 2))
        one.release_all()
        assert other.take(draws(1)) == draws(1)
        assert one.take(draws(1, 2)) == draws(2)


def test_the_copy_of_a_forked_process_gives_nothing_back(path: Path) -> None:
    with job(path) as one:
        one.take(draws(1))
        child = multiprocessing.get_context("fork").Process(target=one.__exit__, args=(None, None, None))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert held_elsewhere(job(path), draws(1))


# Files that do not do what they should.


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"b81d": {"pid"', id="torn"),
        pytest.param("\x00\x00", id="zeros"),
        pytest.param("[1, 2]", id="a list"),
        pytest.param('{"b81d": 3}', id="no entry"),
        pytest.param('{"b81d": {"pid": 1}}', id="half an entry"),
        pytest.param(
            '{"b81d": {"pid": 1, "host": "a", "boot": "", "started": "", "beat": 1, "draws": {"1": "x"}}}', id="x"
        ),
        pytest.param('{"b81d": {"pid": "1", "host": "a", "boot": "", "started": "", "beat": 1, "draws": 7}}', id="7"),
    ],
)
def test_a_damaged_file_holds_nobody_up(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with job(path) as one:
        assert one.take(draws(1)) == draws(1)
        assert held_elsewhere(job(path), draws(1))
    assert not path.exists()


def test_the_end_of_a_longer_list_does_not_disturb(path: Path) -> None:
    """A process killed between writing a shorter list and cutting the file leaves it."""
    with job(path) as one:
        one.take(draws(1))
        with path.open("a") as file:
            file.write('0,2-5,9"}}}}\n')
        assert held_elsewhere(job(path), draws(1))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_the_work_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with job(path) as one, job(path) as other:
        assert one.take(draws(1)) == draws(1)
        assert other.take(draws(1, 2)) == draws(2)


def test_a_folder_that_cannot_be_written_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with job(tmp_path / "file" / "x.leases") as one:
        assert one.take(draws(1)) == draws(1)
        assert not held_elsewhere(one, draws(1))


def test_a_full_disk_holds_nobody_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with job(path) as one:
        assert one.take(draws(1)) == draws(1)


def test_a_job_that_was_stopped_while_it_held_the_file_blocks_for_a_moment_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_file, "PATIENCE", 0.1)
    with another_process(path, draws(1)), path.open("r+") as file, job(path) as mine:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert mine.take(draws(1, 2)) == draws(2)
        assert held_elsewhere(mine, draws(1))


def test_a_file_that_cannot_be_read_for_a_moment_does_not_end_the_renewing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS: the file was removed elsewhere between opening and reading."""

    def stale(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    with job(path, renewal=0.02) as one:
        one.take(draws(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", stale)
            time.sleep(0.1)
            assert one.take(draws(2)) == draws(2)
        watching = job(path, lifetime=0.3)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert held_elsewhere(watching, draws(1))
            time.sleep(0.02)


# Many at once.


def _take_each(path: Path, n: int, ready: Any, told: Any) -> None:
    with job(path) as mine:
        ready.wait()
        taken = []
        for sample in range(n):
            taken += mine.take(draws(sample, degree=1))
        told.put(taken)
        ready.wait()


def test_many_processes_at_once_share_the_draws(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, told = context.Barrier(4), context.Queue()
    jobs = [context.Process(target=_take_each, args=(path, 100, ready, told)) for _ in range(4)]
    for process in jobs:
        process.start()
    taken = [item for _ in jobs for item in told.get()]
    for process in jobs:
        process.join()
    assert sorted(taken) == draws(*range(100), degree=1)
    assert not path.exists()


def test_the_file_coming_and_going_lets_nobody_in_twice(path: Path) -> None:
    """Whoever gives back last removes the file, on whose lock another may be waiting."""
    inside, most = 0, 0
    guard = threading.Lock()

    def come_and_go() -> None:
        nonlocal inside, most
        for _ in range(60):
            with job(path) as mine:
                if mine.take(draws(1, degree=1)):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.0005)
                    with guard:
                        inside -= 1

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_stopped_process_elsewhere_in_time_is_not_waited_for(path: Path) -> None:
    """It lives, but does nothing: as one whose machine took it off the processor for good."""
    with another_process(path, draws(1)) as holder, job(path, lifetime=0.3) as mine:
        holder.send_signal(signal.SIGSTOP)
        assert mine.take(draws(1)) == []
        time.sleep(0.35)
        assert mine.take(draws(1)) == draws(1)
