"""A job of a sweep that shares its GPU: where that is too much, it is run once more, alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ftcot import devices, handoff
from ftcot.brake import Brake
from ftcot.devices import Memory, Slot
from ftcot.folder import freeze
from ftcot.handoff import RunFrozen
from ftcot.ledger import Ledger, Member
from ftcot.outcome import Outcome

JOB = Member(0, "5f0c12ab" * 8, ("seed=0",))

GIB = 2**30


@dataclass
class Launches:
    """In place of a job's launch: what becomes of it, by whether it shares its GPU."""

    folder: Path
    becomes: dict[bool, tuple[str, str | None]]
    shared: list[bool] = field(default_factory=list)

    def __call__(self, *arguments: Any) -> Launches:
        return self

    @contextmanager
    def claim(self) -> Iterator[Any]:
        yield Outcome("new", "frozen", self.folder, self.folder)

    def run(self, decision: Any, *, slot: Slot, **_: Any) -> Outcome:
        self.shared.append(slot.shared)
        state, cause = self.becomes[slot.shared]
        return Outcome("new", state, self.folder, self.folder, cause)


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Callable[..., dict[str, Any]]) -> Iterator[Any]:
    """Runs the one job of a sweep on a machine with a GPU of 80 GiB."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(devices, "gpu_memory", lambda: {"0": Memory(80 * GIB, 80 * GIB)})
    monkeypatch.setattr(devices, "own_cores", lambda: list(range(8)))
    sweep = tmp_path / "sweep"

    def run(words: list[str], **becomes: Any) -> tuple[list[bool], list[str], list[int]]:
        target = sweep / JOB.name
        freeze(target, compose("trainer=auto", *words), JOB.hash)
        Ledger(sweep).append(JOB.row(state="frozen"))
        launches = Launches(target, {name == "shared": outcome for name, outcome in becomes.items()})
        monkeypatch.setattr(handoff, "Launch", launches)
        RunFrozen(sweep, 4, None, None, stop_on_error=True)(OmegaConf.create({"name": JOB.name}))
        rows = list(Ledger(sweep).news())
        assert Brake(sweep).holds() is (rows[-1]["state"] == "failed")
        return launches.shared, [row["state"] for row in rows], [row.get("attempt", 0) for row in rows]

    yield run
    monkeypatch.undo()
    tempfile.tempdir = None


FULL = ("failed", "out of memory: try a smaller training.device_batch_size")


def test_a_job_that_runs_out_of_memory_beside_others_goes_on_alone(swept: Any) -> None:
    shared, states, attempts = swept(["student=tiny"], shared=FULL, alone=("complete", None))
    assert shared == [True, False]
    assert states == ["frozen", "running", "preempted", "running", "complete"]
    assert attempts == [0, 1, 1, 2, 2]


def test_alone_it_fails(swept: Any) -> None:
    assert swept(["student=tiny"], shared=FULL, alone=FULL)[1][-1] == "failed"


@pytest.mark.parametrize(
    ("words", "shared", "cause"),
    [
        (["student=tiny"], True, "the loss is nan"),
        (["student=tiny", "devices.jobs_per_gpu=1"], False, FULL[1]),
        (["student=gpt2"], False, FULL[1]),  # which is not here, so nobody knows how large it is
    ],
    ids=["another cause", "alone", "unknown"],
)
def test_other_failures_are_failures(swept: Any, words: list[str], shared: bool, cause: str) -> None:
    told = swept(words, shared=("failed", cause), alone=("failed", cause))
    assert told[:2] == ([shared], ["frozen", "running", "failed"])
