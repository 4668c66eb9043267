"""Tests of an epoch that go on while the next one is trained: nothing of a run shows it, however it ends."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from ftcot import stop
from ftcot.errors import JobError
from ftcot.files import read_json
from ftcot.hashes import FileHashes
from ftcot.jobs import job_hash
from ftcot.logger import RunLogger
from ftcot.ranks import Ranks
from ftcot.stop import Stop
from ftcot.student import Student
from ftcot.training.checkpoint import Position
from ftcot.training.fit import Fit
from ftcot.training.pending import Pending, Snapshot
from ftcot.training.room import Room, copied
from tests.faults import TRAINED, World, check_checkpoints, same_result
from tests.training_job import CPU, TEXTS, build, position, rows, same, settings, train, weights

pytestmark = pytest.mark.usefixtures("one_thread", "signals")

EVERY_STEP = CPU | {"log_every_n_steps": 1}

EPOCHS = 4

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": "all-linear"}


class Killed(BaseException):
    """As sudden as an exception can be."""


@dataclass
class Test:
    """A test of an epoch: what the student says and how large its weights are, and which threads asked."""

    __test__ = False

    said: dict[int, list[str]] = field(default_factory=dict)
    threads: dict[int, bool] = field(default_factory=dict)
    """By epoch: whether it was another thread than that which trains."""

    def __call__(self, student: Student, epoch: int) -> Mapping[str, float]:
        prompts = [prompt for prompt, _ in TEXTS[:3]]
        texts = [one.text for one in student.generate(prompts, max_new_tokens=8)]
        self.said[epoch] = texts
        self.threads[epoch] = threading.current_thread() is not threading.main_thread()
        return {"accuracy": float(sum(p.detach().double().abs().sum() for p in student.model.parameters()))}


@dataclass
class Log(RunLogger):
    """A logger that does something at some steps: `at[5]()` after the fifth."""

    folder: Path
    at: Mapping[int, Callable[[], object]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.folder)

    def log_step(self, **values: Any) -> None:
        self.seen.append(f"step {values['step']}")
        self.at.get(values["step"], lambda: None)()

    def log_epoch(self, **values: Any) -> None:
        self.seen.append(f"epoch {values['epoch']} at step {values['step']}")
        super().log_epoch(**values)


def run(
    folder: Path, *, overlap: bool = True, dropout: bool = True, lora: bool = False, **more: Any
) -> tuple[Fit, dict[str, Tensor]]:
    """Four epochs of six steps; dropout, in a T5."""
    student, pairs = build(dropout=dropout)
    arguments: dict[str, Any] = {"trainer": EVERY_STEP, "evaluate": Test(), "overlap": overlap} | more
    training = settings(epochs=EPOCHS, lora=LORA if lora else None)
    fitted = train(student, pairs, folder, training, **arguments)
    return fitted, weights(student)


@dataclass
class Gate:
    """A test that does not end before it is let."""

    inner: Callable[[Student, int], Mapping[str, float]]
    epoch: int
    begun: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    def __call__(self, student: Student, epoch: int) -> Mapping[str, float]:
        if epoch == self.epoch:
            self.begun.set()
            assert self.open.wait(60)
        return self.inner(student, epoch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Test, dict[str, Tensor], list[dict[str, str]]]:
    """The same training, testing in turns."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    test = Test()
    _, ended = run(folder, overlap=False, evaluate=test)
    assert test.threads == dict.fromkeys(range(1, EPOCHS + 1), False)
    return test, ended, rows(folder)


# -- the same run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dropout", "lora"), [(True, False), (False, False), (True, True), (False, True)])
def test_weights_answers_and_metrics_are_those_of_a_run_that_tests_in_turns(
    tmp_path: Path, dropout: bool, lora: bool
) -> None:
    if lora:
        pytest.importorskip("peft")
    tests, ended = [], []
    for overlap in (False, True):
        tests.append(Test())
        folder = tmp_path / str(overlap)
        _, after = run(folder, overlap=overlap, dropout=dropout, lora=lora, evaluate=tests[-1])
        ended.append(after)
    assert tests[0].said == tests[1].said
    assert same(ended[0], ended[1])
    assert rows(tmp_path / "False") == rows(tmp_path / "True")
    assert tests[1].threads == {1: True, 2: True, 3: True, 4: False}  # after the last epoch nothing is left to train


def test_the_test_sees_the_weights_of_its_epoch_however_far_training_is(tmp_path: Path, whole: Any) -> None:
    test = Test()
    gate = Gate(test, 2)

    def open_late() -> None:
        assert gate.begun.wait(60)
        gate.open.set()

    log = Log(tmp_path, {17: open_late})  # the last but one step of epoch 3
    run(tmp_path, evaluate=gate, logger=log)
    assert rows(tmp_path) == whole[2]
    assert test.said == whole[0].said
    at = log.seen.index("epoch 2 at step 12")
    assert log.seen.index("step 17") < at < log.seen.index("epoch 3 at step 18")
    assert [line for line in log.seen if line.startswith("epoch")] == [
        f"epoch {e} at step {6 * e}" for e in range(1, 5)
    ]


def test_no_checkpoint_is_written_while_a_test_is_pending(tmp_path: Path) -> None:
    found: list[list[str]] = []

    def look() -> None:
        found.append(sorted(path.name[:23] for path in (tmp_path / "checkpoints").iterdir()))

    gate = Gate(Test(), 1)

    def open_now() -> None:
        look()
        gate.open.set()

    at = dict.fromkeys(range(7, 11), look) | {11: open_now}
    run(tmp_path, evaluate=gate, logger=Log(tmp_path, at), trainer=EVERY_STEP | {"checkpoint_minutes": 1e-9})
    assert found == [["epoch-0000-step-000006-"]] * 5


def test_epochs_that_are_not_due_are_not_tested(tmp_path: Path) -> None:
    test = Test()
    student, pairs = build()
    train(student, pairs, tmp_path, settings(epochs=5, evaluate_every=2), evaluate=test, overlap=True)
    assert test.threads == {2: True, 4: True, 5: False}
    assert [bool(row["accuracy"]) for row in rows(tmp_path)] == [False, True, False, True, True]


def test_a_test_longer_than_an_epoch_is_waited_for(tmp_path: Path, whole: Any) -> None:
    gate = Gate(Test(), 1)
    log = Log(tmp_path, {12: lambda: threading.Timer(0.3, gate.open.set).start()})
    fitted, ended = run(tmp_path, evaluate=gate, logger=log)
    assert log.seen.index("epoch 1 at step 6") > log.seen.index("step 12")
    assert same(ended, whole[1])
    assert fitted.overlapped > 0


def test_the_time_of_a_test_beside_training_is_told(tmp_path: Path) -> None:
    assert run(tmp_path / "beside")[0].overlapped > 0
    assert run(tmp_path / "in turns", overlap=False)[0].overlapped == 0


# -- runs that end early ---------------------------------------------------------------------------------------------


def going_on(folder: Path, whole: Any, after: tuple[int, int], tested: list[int]) -> None:
    """Go on, and assert that it began where it should, tested what it had to and ended as the undisturbed run."""
    stop._requests.number = None  # as a new process: nobody has asked yet
    test = Test()
    fitted, ended = run(folder, evaluate=test)
    assert fitted.resumed_after == after
    assert sorted(test.said) == tested
    assert test.said == {epoch: whole[0].said[epoch] for epoch in tested}
    assert same(ended, whole[1])
    assert rows(folder) == whole[2]


@pytest.fixture
def pending(monkeypatch: pytest.MonkeyPatch) -> list[Pending]:
    """The tests that have been begun."""
    begun: list[Pending] = []
    begin = Pending.__init__

    def note(self: Pending, *arguments: Any) -> None:
        begin(self, *arguments)
        begun.append(self)

    monkeypatch.setattr(Pending, "__init__", note)
    return begun


@pytest.mark.parametrize("step", [1, 7, 9, 12, 13, 18])
def test_a_run_killed_while_a_test_is_pending_tests_again(tmp_path: Path, whole: Any, step: int) -> None:
    epoch = (step - 1) // 6

    def held(student: Student, now: int) -> Mapping[str, float]:
        metrics = test(student, now)
        while now == epoch:  # until it is dropped
            student.generate([TEXTS[0][0]], max_new_tokens=1)
        return metrics

    def kill() -> None:
        raise Killed

    test = Test()
    with pytest.raises(Killed):
        run(tmp_path, evaluate=held, logger=Log(tmp_path, {step: kill}))
    if epoch == 0:
        assert not (tmp_path / "checkpoints").exists()
        going_on(tmp_path, whole, (0, 0), [1, 2, 3, 4])
    else:
        assert position(tmp_path) == Position(epoch - 1, 6)
        going_on(tmp_path, whole, (epoch - 1, 6), list(range(epoch, EPOCHS + 1)))


@pytest.mark.parametrize("step", [7, 8, 13, 20, 24])
def test_a_run_killed_after_a_test_does_not_repeat_it(
    tmp_path: Path, whole: Any, step: int, pending: list[Pending]
) -> None:
    def until_done() -> None:
        assert pending[-1].wait(60)

    def kill() -> None:
        raise Killed

    at = dict.fromkeys((7, 13, 19), until_done) | {step: kill}
    with pytest.raises(Killed):
        run(tmp_path, logger=Log(tmp_path, at))
    epoch, into = divmod(step - 1, 6)
    # A test that is done is seen after the next step.
    left = (epoch - 1, 6) if into == 0 else (epoch, 0)
    assert position(tmp_path) == left
    going_on(tmp_path, whole, left, list(range(left[0] + 1, EPOCHS + 1)))


@pytest.mark.parametrize(("step", "number"), [(7, signal.SIGTERM), (9, signal.SIGINT), (12, signal.SIGTERM)])
def test_a_run_stopped_while_a_test_is_pending_drops_it_and_tests_again(
    tmp_path: Path, whole: Any, step: int, number: int
) -> None:
    begun = threading.Event()
    last: list[Student] = []

    def endless(student: Student, epoch: int) -> Mapping[str, float]:
        while epoch == 1:
            last[:] = [student]
            student.generate([TEXTS[0][0]], max_new_tokens=4)
            begun.set()
        return {}

    def ring() -> None:
        assert begun.wait(60)
        signal.raise_signal(number)

    with pytest.raises(Stop, match=signal.Signals(number).name):
        run(tmp_path, evaluate=endless, logger=Log(tmp_path, {step: ring}))
    assert position(tmp_path) == Position(0, 6)
    assert not any(module._forward_pre_hooks for module in last[0].model.modules())
    going_on(tmp_path, whole, (0, 6), [1, 2, 3, 4])


def test_a_run_stopped_once_its_test_is_done_saves_where_it_is(
    tmp_path: Path, whole: Any, pending: list[Pending]
) -> None:
    def ring() -> None:
        assert pending[-1].wait(60)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stop):
        run(tmp_path, logger=Log(tmp_path, {8: ring}))
    assert position(tmp_path) == Position(1, 3)
    going_on(tmp_path, whole, (1, 3), [2, 3, 4])


@pytest.mark.parametrize(
    ("epoch", "error"),
    [(1, JobError("the context is full")), (3, OSError(28, "No space left on device")), (3, Killed()), (4, Killed())],
)
def test_what_a_test_raises_ends_the_run_as_it_is(tmp_path: Path, whole: Any, epoch: int, error: BaseException) -> None:
    def fails(student: Student, now: int) -> Mapping[str, float]:
        if now == epoch:
            raise error
        return Test()(student, now)

    with pytest.raises(type(error)) as caught:
        run(tmp_path, evaluate=fails)
    assert caught.value is error
    assert position(tmp_path) == Position(epoch - 1, 6)
    going_on(tmp_path, whole, (epoch - 1, 6), list(range(epoch, EPOCHS + 1)))


def test_a_loss_that_is_not_finite_ends_a_test_that_is_pending(tmp_path: Path) -> None:
    student, pairs = build()
    threads = threading.active_count()

    def poison(tested: Student, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            next(student.model.parameters()).fill_(float("nan"))
        while True:
            tested.generate([TEXTS[0][0]], max_new_tokens=4)

    with pytest.raises(JobError, match="the loss is nan in epoch 2"):
        train(student, pairs, tmp_path, settings(epochs=3), evaluate=poison, overlap=True)
    assert position(tmp_path) == Position(0, 6)
    assert threading.active_count() == threads


# -- the copy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [True, False], ids=["t5", "llama"])
def test_a_copy_is_as_the_student_was_and_stays_so(dropout: bool) -> None:
    student, _ = build(dropout=dropout)
    before = weights(student)
    snapshot = Snapshot(student)
    copy = snapshot.take()
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.add_(1)
    assert same(weights(copy), before)
    assert snapshot.take() is copy
    assert same(weights(copy), weights(student))
    assert copy.n_parameters == student.n_parameters  # what is shared within it is shared again


def test_of_a_student_that_learns_a_part_only_that_is_copied() -> None:
    student, _ = build()
    frozen = next(student.model.parameters())
    frozen.requires_grad_(False)
    copy = Snapshot(student).take()
    pairs = list(zip(copy.model.parameters(), student.model.parameters(), strict=True))
    assert [mine is theirs for mine, theirs in pairs] == [True] + [False] * (len(pairs) - 1)
    assert copied(student.model) == 4 * (student.n_parameters - frozen.numel())


# -- when ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "world", "there"),
    [(True, 1, True), (False, 1, False), ("auto", 1, False), (True, 2, False), ("auto", 2, False)],
)
def test_on_cpus_a_test_goes_beside_training_only_where_it_is_told_to(asked: Any, world: int, there: bool) -> None:
    student, _ = build()
    assert Room(asked, Ranks(world=world)).is_there(student.model) is there


def test_a_test_that_has_a_cpu_to_itself_is_not_measured() -> None:
    student, _ = build()
    room = Room("auto", Ranks())
    with room.measuring(student.model, trained=True):
        pass
    assert not room.is_there(student.model)


@pytest.mark.parametrize(("free", "there"), [(1000, True), (300, False)])
def test_on_a_gpu_there_is_room_if_a_copy_and_one_and_a_half_tests_fit(
    free: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training has taken 600 MiB, a test 200 more, of which 100 were to spare in what training had."""
    mib = 2**20
    student, _ = build()
    reserved = iter([600 * mib, 700 * mib])
    monkeypatch.setattr("ftcot.training.room._device", lambda model: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 500 * mib)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: next(reserved))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 700 * mib)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((free - 100) * mib, 80_000 * mib))
    room = Room("auto", Ranks())
    with room.measuring(student.model, trained=False):  # gone on at an epoch's end: training has taken nothing yet
        pass
    assert not room.is_there(student.model)
    with room.measuring(student.model, trained=True):
        pass
    assert room.is_there(student.model) is there


def test_a_terminal_shows_the_line_of_an_epoch_above_the_bar_of_the_next(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    run(tmp_path, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert [text.count(f"epoch {epoch}/4  loss") for epoch in range(1, 5)] == [1, 1, 1, 1]


def test_a_job_is_the_same_job_however_it_is_tested(compose: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    hashes = {
        job_hash(compose(f"evaluation.overlap={overlap}"), {}, FileHashes(tmp_path / "hashes.json"))
        for overlap in ("auto", "true", "false")
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("student", ["tiny-0.2m", "tiny-t5"])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_predictions_weights_and_score_are_the_same_files(
    pipeline_run: Callable[..., Path], student: str, keep: str
) -> None:
    words = [
        *("task=generated/coin_flip", "task.n_flips=2", "task.n_train=32", "task.n_test=10", "task.validation_size=6"),
        *("diversity='2'", f"student={student}", "student.width=32", "training.epochs=4", "training.batch_size=8"),
        *("evaluation.max_new_tokens=12", "trainer=cpu", f"keep={keep}", "training.truncation_limit=1"),
    ]
    in_turns, beside = (pipeline_run(*words, f"evaluation.overlap={o}", name=o) for o in ("false", "true"))
    for name in ("predictions.jsonl", "student/model.safetensors"):
        assert (in_turns / name).read_bytes() == (beside / name).read_bytes()
    clock = {"seconds": None, "device_seconds": None}
    assert read_json(in_turns / "score.json") | clock == read_json(beside / "score.json") | clock
    assert read_json(beside / "status.json")["counts"]["overlapped_seconds"] > 0
    assert read_json(in_turns / "status.json")["counts"]["overlapped_seconds"] == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds its processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_ended_somewhere_goes_on_and_ends_as_one_that_tests_in_turns(
    tmp_path: Path, number: int
) -> None:
    undisturbed, world = World(tmp_path / "undisturbed"), World(tmp_path / "world")
    assert undisturbed(*TRAINED, "evaluation.overlap=false").returncode == 0
    [[whole]] = undisturbed.begun().values()
    words = (*TRAINED, "evaluation.overlap=true")
    process = world.start(*words)
    try:
        folder, worker = world.until_training(process)
        os.kill(worker, number)
        process.communicate(timeout=120)
        check_checkpoints(folder)
        again = world(*words)
        assert again.returncode == 0, again.stderr
        world.check(done=1)
        assert "going on" in (folder / "log.txt").read_text()
        assert same_result(folder, whole)
    finally:
        world.kill_all()
