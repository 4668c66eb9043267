"""Which machine this is, and how the machines of a job meet."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ftcot import rendezvous
from ftcot.errors import InputError, JobError
from ftcot.nodes import Node, address, here, interface, requeue, route_to
from ftcot.procfs import children
from ftcot.rendezvous import FILE, Ending, Guest, Host, Meeting, Peer, Place
from tests.command import SMALL, Command, is_gone, read, wait_for

T = TypeVar("T")


@pytest.fixture(autouse=True)
def nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SLURM", "SUBMITIT", "FTCOT_NODE", "FTCOT_ADDRESS")):
            monkeypatch.delenv(name)


def trainer(devices: int, num_nodes: int = 1) -> dict[str, Any]:
    return {"accelerator": "cpu", "devices": devices, "num_nodes": num_nodes}


STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "node"),
    [
        pytest.param({}, 1, 1, Node(0, 1, 1), id="one machine"),
        pytest.param({}, 4, 1, Node(0, 1, 4), id="several ranks"),
        pytest.param({"FTCOT_NODE_RANK": "1"}, 4, 2, Node(1, 2, 4), id="by hand"),
        pytest.param(STEP | {"SLURM_NODEID": "1"}, 4, 2, Node(1, 2, 4), id="srun"),
        pytest.param(STEP | {"SLURM_NODEID": "1"}, 4, 1, Node(0, 1, 4), id="a job of one machine among many"),
        pytest.param(BATCH, 4, 1, Node(0, 1, 4), id="a batch script is one process"),
        pytest.param({"SLURM_NTASKS_PER_NODE": "4"}, 1, 1, Node(0, 1, 1), id="tasks without ranks"),
    ],
)
def test_a_machine_knows_its_place(
    environment: dict[str, str], devices: int, num_nodes: int, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert here(trainer(devices, num_nodes)) == node


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "line"),
    [
        pytest.param({}, 1, 2, "which machine is this? Start the same command on each", id="nobody says"),
        pytest.param(BATCH, 1, 2, "which machine is this?", id="a batch script runs on one"),
        pytest.param({"FTCOT_NODE_RANK": "2"}, 1, 2, "FTCOT_NODE_RANK=2: expected 0 to 1", id="too high"),
        pytest.param({"FTCOT_NODE_RANK": "one"}, 1, 2, "FTCOT_NODE_RANK=one: expected 0 to 1", id="no number"),
        pytest.param(STEP, 1, 3, "trainer.num_nodes=3, but srun started this on 2", id="another number"),
        pytest.param(
            STEP | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
            1,
            2,
            "SLURM starts 2 tasks on a machine, but ftcot starts the ranks of a machine itself",
            id="two tasks",
        ),
        pytest.param(
            {"SLURM_NTASKS_PER_NODE": "4"},
            4,
            1,
            "--ntasks-per-node=1, hydra.launcher.tasks_per_node=1",
            id="four tasks",
        ),
        pytest.param({}, 1, 0, "trainer.num_nodes=0: expected 1 or more", id="none"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    environment: dict[str, str], devices: int, num_nodes: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as error:
        here(trainer(devices, num_nodes))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_the_address_is_the_one_that_was_said_or_one_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTCOT_ADDRESS", "127.0.0.1")
    assert address() == "127.0.0.1"
    monkeypatch.setenv("FTCOT_ADDRESS", "no such host")
    with pytest.raises(InputError, match="FTCOT_ADDRESS=no such host: no address"):
        address()


def test_an_interface_is_found_by_its_address() -> None:
    assert route_to("127.0.0.1") == "127.0.0.1"
    assert interface("127.0.0.1") == "lo"
    assert interface("203.0.113.77") is None


def test_slurm_is_asked_to_queue_a_preempted_job_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert requeue(signal.SIGUSR1) is None  # not under SLURM
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert requeue(signal.SIGTERM) is None  # scancel
    assert requeue(signal.SIGUSR1) == "SLURM job 77 is queued again and will go on"
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert requeue(signal.SIGUSR1) is None  # the first machine does it
    monkeypatch.setenv("SLURM_PROCID", "0")
    scontrol.write_text("#!/bin/sh\necho not allowed >&2; exit 1\n")
    assert requeue(signal.SIGUSR1) == "SLURM job 77 could not be queued again: not allowed"
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert requeue(signal.SIGUSR1) is None  # it does so itself


# -- meeting -----------------------------------------------------------------------------------------------------


class Later:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: object = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            self.result = call()
        except Exception as error:
            self.result = error

    def get(self) -> object:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.result


@contextmanager
def host(folder: Path, count: int = 2, ranks: int = 2) -> Iterator[Host]:
    with Host(Node(0, count, ranks), folder, "127.0.0.1") as meeting:
        yield meeting


def guest(folder: Path, index: int = 1, count: int = 2, ranks: int = 2) -> Guest:
    place = Place.read(folder)
    assert place is not None
    return Guest(Node(index, count, ranks), place)


def heard(meeting: Meeting) -> Callable[[], Peer | None]:
    """What a meeting that is watched has heard last."""
    said: list[Peer] = []
    meeting.watch(said.append)
    return lambda: said[-1] if said else None


def test_machines_meet_and_tell_each_other_how_they_ended(tmp_path: Path) -> None:
    with host(tmp_path, count=3) as first:
        port = Later(first.gather)
        with guest(tmp_path, 1, 3) as second, guest(tmp_path, 2, 3) as third:
            assert {port.get(), second.gather(), third.gather()} == {port.get()}
            by_first, by_second = heard(first), heard(second)
            third.tell(Ending(1, "rank 5: out of memory"))
            assert wait_for(by_first).name == "machine 3 of 3"
            assert first.cause(0) == "rank 5: out of memory"
            first.tell(Ending(1, "rank 5: out of memory"))
            wait_for(by_second)
            assert second.cause(0) == "rank 5: out of memory"
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_is_gone_is_noticed(tmp_path: Path) -> None:
    with host(tmp_path) as first:
        port = Later(first.gather)
        with guest(tmp_path) as second:
            second.gather()
            port.get()
            noticed = heard(first)
        assert wait_for(noticed).ended == Ending(-1, "machine 2 of 2 is gone")
        assert first.cause(0) == "machine 2 of 2 is gone"


def test_one_that_was_done_before_it_left_is_not_missed(tmp_path: Path) -> None:
    with host(tmp_path) as first:
        port = Later(first.gather)
        with guest(tmp_path) as second:
            second.gather()
            port.get()
            noticed = heard(first)
            second.tell(Ending(0))
        assert wait_for(noticed).ended == Ending(0)
        assert first.cause(0) is None


def test_who_only_looks_or_is_of_another_job_is_not_counted(tmp_path: Path) -> None:
    with host(tmp_path) as first:
        port = Later(first.gather)
        assert first.place.is_open()
        stale = Place(first.place.address, first.place.port, "of an attempt before")
        gone = pytest.raises(JobError, match="the first machine is gone, or runs another job")
        with Guest(Node(1, 2, 2), stale) as other, gone:
            other.gather()
        with socket.create_connection((first.place.address, first.place.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\n")
            with guest(tmp_path) as second:
                assert second.gather() == port.get()


@pytest.mark.parametrize(
    ("index", "ranks", "line"),
    [
        (0, 2, "machine 1 of 3 is there already: give each machine its own FTCOT_NODE_RANK"),
        (1, 2, "machine 2 of 3 is there already"),
        (2, 4, "machine 3 of 3 has 4 devices, the first one 2: say trainer.devices=N"),
    ],
)
def test_a_machine_that_does_not_fit_is_told_why(tmp_path: Path, index: int, ranks: int, line: str) -> None:
    with host(tmp_path, count=3) as first:
        port = Later(first.gather)
        with guest(tmp_path, 1, 3):
            with guest(tmp_path, index, 3, ranks) as wrong, pytest.raises(JobError, match=line):
                wrong.gather()
            with guest(tmp_path, 2, 3) as third:
                assert third.gather() == port.get()


def test_a_machine_that_came_went_and_came_again_is_one(tmp_path: Path) -> None:
    with host(tmp_path, count=3) as first:
        port = Later(first.gather)
        with guest(tmp_path, 1, 3):
            pass
        with guest(tmp_path, 1, 3), guest(tmp_path, 2, 3) as third:
            assert third.gather() == port.get()


def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.1)
    with host(tmp_path) as first, pytest.raises(JobError, match="machine 2 of 2 did not come in"):
        first.gather()


def test_what_a_killed_machine_left_behind_is_not_joined(tmp_path: Path) -> None:
    with host(tmp_path) as first:
        text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text)
    place = Place.read(tmp_path)
    assert place == first.place
    assert not first.place.is_open()
    with pytest.raises(JobError, match="the first machine is gone"):
        guest(tmp_path)
    (tmp_path / FILE).write_text("{}")
    assert Place.read(tmp_path) is None


# -- the command -------------------------------------------------------------------------------------------------


def test_without_a_place_the_command_says_how_to_give_it_one(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    done = ftcot(*SMALL, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "trainer.num_nodes=2: which machine is this?" in done.stderr
    assert ftcot.files() == []


MACHINES = [*SMALL, "hydra.run.dir=one", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1"]
MACHINES += ["trainer.num_nodes=2"]


def start(ftcot: Command, index: int, *words: str) -> subprocess.Popen[str]:
    """The command on one of two machines."""
    return ftcot.start(*MACHINES, *words, FTCOT_NODE_RANK=str(index), FTCOT_ADDRESS="127.0.0.1")


def test_a_machine_that_waits_for_the_others_can_be_stopped(tmp_path: Path) -> None:
    first = start(Command(tmp_path), 0)
    wait_for(lambda: Place.read(tmp_path / "one"))
    [agent] = children(first.pid)
    first.send_signal(signal.SIGTERM)
    _, error = first.communicate(timeout=60)
    assert (first.returncode, error.count("stopped; the same command goes on")) == (143, 1)
    assert is_gone(agent)
    assert read(tmp_path / "one" / "status.json")["state"] == "stopped"
    assert not (tmp_path / "one" / FILE).exists()


def test_a_machine_does_not_wait_for_a_job_that_has_ended(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    first = start(ftcot, 0)
    wait_for(lambda: Place.read(tmp_path / "one"))
    (tmp_path / "one" / FILE).unlink()  # or the file system of this machine does not show it yet
    second = start(ftcot, 1)
    assert second.stdout is not None
    assert "takes part" in second.stdout.readline()
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    _, error = second.communicate(timeout=60)
    assert second.returncode == 1
    assert error == "error: machine 2 of 2: the first machine ended the job before this one could join it\n"


@pytest.mark.slow
def test_two_machines_run_one_job_by_the_same_command(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    second, first = start(ftcot, 1, "until=curate"), start(ftcot, 0, "until=curate")
    told = [machine.communicate(timeout=100) for machine in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), told
    assert "machine 1 of 2: waits for the others" in told[0][0]
    assert told[1][0] == "machine 2 of 2: takes part once the first one runs this job\n"
    assert read(tmp_path / "one" / "status.json")["state"] == "partial"
    assert not (tmp_path / "one" / FILE).exists()
    # Once it is done, either command finds it so.
    again = start(ftcot, 1, "until=curate")
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert "reused from" in said


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_machine_that_is_killed_ends_the_other(tmp_path: Path, victim: int) -> None:
    ftcot = Command(tmp_path)
    words = ("task.n_train=20000", "task.n_test=8", "diversity=64", "until=teach")
    machines = [start(ftcot, index, *words) for index in (0, 1)]
    wait_for(lambda: read(tmp_path / "one" / "status.json").get("stage"))
    [agent] = wait_for(lambda: children(machines[victim].pid) or None)
    [rank] = wait_for(lambda: children(agent) or None)
    for pid in (machines[victim].pid, agent, rank):
        os.kill(pid, signal.SIGKILL)
    said = [machine.communicate(timeout=90)[1] for machine in machines]
    assert machines[1 - victim].returncode == 1
    assert f"machine {victim + 1} of 2 is gone" in said[1 - victim]
    if victim == 1:
        assert read(tmp_path / "one" / "status.json")["cause"] == "machine 2 of 2 is gone"
