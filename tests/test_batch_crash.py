"""Jobs with teacher=batch that are killed, at every step and at any moment, and jobs side by side: real processes."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftcot.errors import JobError
from ftcot.teacher import Diversity, Session, batch_client, batch_results, purchase
from ftcot.teacher.batch import Batch
from ftcot.teacher.store import CompletionStore
from tests.batch_server import BatchServer, Call, Cut, Spoil, batch_server
from tests.generated_tasks import build

pytestmark = pytest.mark.filterwarnings("error")

TASK = build("coin_flip", n_flips=2, n_train=6, n_test=4)
SAMPLES = TASK.splits().train


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    import openai  # once, before the processes are forked

    assert openai
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(batch_client, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(batch_client, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(batch_client, "LOOK", 0.01)
    monkeypatch.setattr(purchase, "POLL", 0.02)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with batch_server(polls=2) as server:
        yield server


def complete(server: BatchServer, root: Path, degree: int = 2, **more: Any) -> list[str]:
    """What a job gets: its answers' texts."""
    teacher = Batch(**{"model": "m", "base_url": server.url, "poll_seconds": 0.005} | more)
    session = Session(CompletionStore(root))
    completions = teacher.complete(TASK, SAMPLES, Diversity(degree, 0.7), session)
    assert [(row.sample_key, row.draw) for row in completions] == [(s.key, d) for s in SAMPLES for d in range(degree)]
    return [row.answer_text or "" for row in completions]


def start(work: Callable[[], Any]) -> int:
    """A process that does this and ends well or badly; its number."""
    if pid := os.fork():
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(1)
    os._exit(0)


def end_of(pid: int) -> int:
    """With 0 if it went well, -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(server: BatchServer, root: Path, degree: int = 2, *, clean: bool = True) -> None:
    """Everything was bought, nothing twice, and nothing is left of the batches.

    Args:
        clean: no process died between keeping the last replies of a batch and noting so.
    """
    answers = complete(server, root, degree)
    assert len(set(answers)) == len(answers) == len(SAMPLES) * degree
    assert server.bought_twice == {}
    assert sum(server.sold.values()) == 2 * len(answers)
    assert list(root.rglob("*.plan")) == [] or not clean


def end_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("round_", [0, 1], ids=["rationales", "answers"])
@pytest.mark.parametrize("step", ["upload", "create", "retrieve", "content"])
def test_a_job_killed_at_a_step_is_gone_on_with(
    server: BatchServer, tmp_path: Path, step: Any, round_: int, after: bool
) -> None:
    pids: list[int] = []
    kill = Call(lambda: os.kill(pids[0], signal.SIGKILL), after)
    server.fault(step, *[None] * (3 * round_ if step == "retrieve" else round_), kill)
    pids.append(start(lambda: complete(server, tmp_path)))
    assert end_of(pids[0]) == -signal.SIGKILL
    check(server, tmp_path)
    assert len(server.batches) == 2


@pytest.mark.parametrize("puts", [1, 2, 3, 5])
def test_a_job_killed_while_it_keeps_replies_is_gone_on_with(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    monkeypatch.setattr(batch_results, "CHUNK", 4)
    put, done = CompletionStore.put, []

    def put_and_die(store: CompletionStore, *args: Any) -> None:
        put(store, *args)
        done.append(args)
        if len(done) == puts:
            end_itself()

    def work() -> None:
        monkeypatch.setattr(CompletionStore, "put", put_and_die)
        complete(server, tmp_path)

    assert end_of(start(work)) == -signal.SIGKILL
    check(server, tmp_path, clean=False)


@pytest.mark.parametrize("name", ["make", "has_file", "has_batch", "settle"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_job_killed_around_a_record_of_its_batch_is_gone_on_with(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: bool
) -> None:
    from ftcot.teacher import batch_rounds
    from ftcot.teacher.batch_state import Plan

    where: Any = batch_rounds if name == "make" else Plan
    step = getattr(where, name)

    def step_and_die(*args: Any, **more: Any) -> None:
        if after:
            step(*args, **more)
        end_itself()

    def work() -> None:
        monkeypatch.setattr(where, name, step_and_die)
        complete(server, tmp_path)

    assert end_of(start(work)) == -signal.SIGKILL
    check(server, tmp_path, clean=name != "settle")
    assert len(server.batches) == 2


def test_a_job_killed_when_the_server_made_a_batch_and_cut_the_connection_is_gone_on_with(
    server: BatchServer, tmp_path: Path
) -> None:
    server.fault("create", Cut(after=True))
    pids: list[int] = []
    server.fault("list", Call(lambda: os.kill(pids[0], signal.SIGKILL), after=False))
    pids.append(start(lambda: complete(server, tmp_path)))
    assert end_of(pids[0]) == -signal.SIGKILL
    check(server, tmp_path)
    assert len(server.batches) == 2


@pytest.mark.parametrize("seed", range(3))
def test_killed_five_times_at_any_moment_nothing_is_lost_and_nothing_bought_twice(
    server: BatchServer, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(5):
        pid = start(lambda: complete(server, tmp_path, max_requests=4))
        time.sleep(chance.uniform(0.0, 0.25))
        os.kill(pid, signal.SIGKILL)
        end_of(pid)
    check(server, tmp_path, clean=False)


def test_of_two_jobs_at_once_one_buys_and_both_have_it(server: BatchServer, tmp_path: Path) -> None:
    pids = [start(lambda: complete(server, tmp_path)) for _ in range(2)]
    assert [end_of(pid) for pid in pids] == [0, 0]
    check(server, tmp_path)
    assert len(server.batches) == 2


def test_jobs_of_several_degrees_buy_each_draw_once(server: BatchServer, tmp_path: Path) -> None:
    pids = [start(lambda degree=degree: complete(server, tmp_path, degree)) for degree in (1 + 1, 3, 4)]
    assert [end_of(pid) for pid in pids] == [0, 0, 0]
    check(server, tmp_path, 4)


def test_the_batches_of_a_dead_job_are_shared_by_those_that_come_after_it(server: BatchServer, tmp_path: Path) -> None:
    server.held = True
    pid = start(lambda: complete(server, tmp_path, 4))
    while not server.calls["retrieve"]:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    end_of(pid)
    server.held = False
    pids = [start(lambda degree=degree: complete(server, tmp_path, degree)) for degree in (2, 4, 3)]
    assert [end_of(pid) for pid in pids] == [0, 0, 0]
    check(server, tmp_path, 4)


def test_a_batch_that_expires_while_its_job_is_dead_is_collected_and_the_rest_asked_again(
    server: BatchServer, tmp_path: Path
) -> None:
    server.held = True
    server.spoil(Spoil(end="expired", finished=2))
    pid = start(lambda: complete(server, tmp_path))
    while not server.calls["retrieve"]:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    end_of(pid)
    server.held = False
    check(server, tmp_path)
    assert sorted(map(len, server.requests)) == [
        6,
        8,
        8,
    ]  # second: four answers and what was not come to


def test_what_cannot_be_had_is_said_and_the_same_command_asks_for_it_again(server: BatchServer, tmp_path: Path) -> None:
    prompt = f"Q: {SAMPLES[3].question}"
    failing = (500, {"message": "overloaded"})
    server.ruling = lambda body: failing if body["messages"][0]["content"].startswith(prompt) else None
    with pytest.raises(JobError, match=r"2 of 12 completions could not be had .*500: overloaded"):
        complete(server, tmp_path)
    server.ruling = lambda body: None
    check(server, tmp_path)


def test_a_job_with_everything_in_the_store_asks_no_server(server: BatchServer, tmp_path: Path) -> None:
    check(server, tmp_path)
    calls = dict(server.calls)
    complete(server, tmp_path, 1 + 1)
    assert server.calls == calls
