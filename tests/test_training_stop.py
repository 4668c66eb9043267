"""A training that is asked to stop: when it does, what it leaves, and that nothing shows of it in the end."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ftcot import stop
from ftcot.logger import RunLogger
from ftcot.stop import Stop
from ftcot.student import Student
from ftcot.training.checkpoint import Position
from ftcot.training.fit import Fit
from tests.training_job import CPU, GROUPS, accuracy, build, of_questions, position, rows, settings, train, weights

EVERY_STEP = CPU | {"log_every_n_steps": 1}


pytestmark = pytest.mark.usefixtures("one_thread", "signals")


def again() -> None:
    """As a new process: nobody has asked yet."""
    stop._requests.number = None


@dataclass
class Bell(RunLogger):
    """A logger that keeps the steps it saw, and sends this process a signal at one of them."""

    folder: Path
    rings_at: int = 0
    number: int = signal.SIGTERM
    steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.folder)

    def log_step(self, **values: Any) -> None:
        self.steps.append(values["step"])
        if values["step"] == self.rings_at:
            signal.raise_signal(self.number)


def run(folder: Path, **more: Any) -> tuple[Fit, dict[str, Tensor]]:
    """Two epochs of six steps, with dropout; the first and the last are tested."""
    student, pairs = build()
    arguments: dict[str, Any] = {"trainer": EVERY_STEP, "evaluate": accuracy} | more
    fitted = train(student, pairs, folder, settings(epochs=2), **arguments)
    return fitted, weights(student)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, dict[str, Tensor], list[dict[str, str]]]:
    """The training that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    return *run(folder), rows(folder)


@pytest.mark.parametrize(
    ("rings_at", "left"),
    [
        (1, Position(0, 2)),  # asked at the end of step 1: seen by the step that follows
        (5, Position(0, 6)),  # the last of the epoch: its test is yet to come
        (6, Position(0, 6)),  # asked before the test, which is not begun
        (7, Position(1, 2)),
        (11, Position(1, 6)),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["SIGTERM", "SIGUSR1"])
def test_a_run_that_is_stopped_goes_on_as_if_nothing_had_been(
    tmp_path: Path, whole: Any, rings_at: int, left: Position, number: int
) -> None:
    bell = Bell(tmp_path, rings_at, number)
    with pytest.raises(Stop, match=signal.Signals(number).name):
        run(tmp_path, logger=bell)
    assert position(tmp_path) == left
    again()
    after = Bell(tmp_path)
    fitted, ended = run(tmp_path, logger=after)
    assert bell.steps + after.steps == list(range(1, 13))  # none twice, none left out
    assert ended.keys() == whole[1].keys()
    assert all(torch.equal(ended[name], whole[1][name]) for name in ended)
    assert rows(tmp_path) == whole[2]
    assert (fitted.steps, fitted.supervised_tokens) == (whole[0].steps, whole[0].supervised_tokens)


@pytest.mark.parametrize("dropout", [True, False])
def test_groups_go_on_within_an_epoch(tmp_path: Path, dropout: bool) -> None:
    """Steps by tokens, of questions with several rationales, in micro batches."""
    training = settings(epochs=2, **GROUPS, device_batch_tokens=90)

    def run(logger: Bell) -> dict[str, Tensor]:
        student, pairs = build(dropout=dropout)
        train(student, of_questions(pairs, 4), logger.folder, training, trainer=EVERY_STEP, logger=logger)
        return weights(student)

    expected = run(Bell(tmp_path / "whole"))
    first, second = Bell(tmp_path / "cut", rings_at=4), Bell(tmp_path / "cut")
    with pytest.raises(Stop):
        run(first)
    assert position(tmp_path / "cut") == Position(1, 2)
    again()
    ended = run(second)
    assert (first.steps, second.steps) == ([1, 2, 3, 4, 5], [6])
    assert all(torch.equal(ended[name], expected[name]) for name in expected)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_stopped_in_a_test_repeats_the_test_and_not_the_epoch(tmp_path: Path, whole: Any, epoch: int) -> None:
    def stopped(student: Student, now: int) -> Mapping[str, float]:
        if now == epoch:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("a test stops at once")
        return accuracy(student, now)

    with pytest.raises(Stop, match="SIGINT"):
        run(tmp_path, evaluate=stopped)
    assert position(tmp_path) == Position(epoch - 1, 6)
    again()
    after = Bell(tmp_path)
    tested: list[int] = []

    def count(student: Student, now: int) -> Mapping[str, float]:
        tested.append(now)
        return accuracy(student, now)

    _, ended = run(tmp_path, logger=after, evaluate=count)
    assert after.steps == list(range(6 * epoch + 1, 13))
    assert tested == list(range(epoch, 3))
    assert all(torch.equal(ended[name], whole[1][name]) for name in ended)
    assert rows(tmp_path) == whole[2]


def test_a_long_epoch_is_saved_from_time_to_time(tmp_path: Path, whole: Any) -> None:
    class Killed(BaseException):
        pass

    class Killer(Bell):
        def log_step(self, **values: Any) -> None:
            super().log_step(**values)
            if values["step"] == 5:
                raise Killed

    with pytest.raises(Killed):
        run(tmp_path, logger=Killer(tmp_path), trainer=EVERY_STEP | {"checkpoint_minutes": 1e-9})
    assert position(tmp_path) == Position(0, 4)
    fitted, ended = run(tmp_path)
    assert fitted.resumed_after == (0, 4)
    assert all(torch.equal(ended[name], whole[1][name]) for name in ended)


def test_a_shortened_epoch_that_is_stopped_gets_no_longer(tmp_path: Path) -> None:
    short = EVERY_STEP | {"limit_train_batches": 3}
    with pytest.raises(Stop):
        run(tmp_path, trainer=short, logger=Bell(tmp_path, rings_at=2))
    assert position(tmp_path) == Position(0, 3)
    again()
    after = Bell(tmp_path)
    assert run(tmp_path, trainer=short, logger=after)[0].steps == 6
    assert after.steps == [4, 5, 6]


def test_a_second_request_is_no_other(tmp_path: Path) -> None:
    class Twice(Bell):
        def log_step(self, **values: Any) -> None:
            super().log_step(**values)
            if values["step"] == self.rings_at:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stop, match="SIGTERM"):
        run(tmp_path, logger=Twice(tmp_path, rings_at=2))
    assert position(tmp_path) == Position(0, 3)
