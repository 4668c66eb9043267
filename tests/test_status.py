"""status.json: what it counts over attempts, and who writes it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ftcot.status import Status


def spend(seconds: float = 0.02) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_stage_counts_its_attempts_up_to_what_they_last_wrote(tmp_path: Path) -> None:
    killed = Status(tmp_path)
    killed.begin("train")
    spend()
    killed.beat()
    known = Status(tmp_path)["seconds"]["train"]
    assert known >= 0.02
    spend()  # of which nobody hears

    stopped = Status(tmp_path)
    stopped.begin("train")
    assert stopped["seconds"]["train"] == pytest.approx(known, abs=0.005)
    spend()
    stopped.update(state="stopped")
    assert Status(tmp_path)["seconds"]["train"] >= known + 0.02

    last = Status(tmp_path)
    last.begin("train")
    last.finish("train")
    before = last["seconds"]["train"]
    spend()
    last.update(state="complete")
    assert Status(tmp_path)["seconds"]["train"] == before
    assert Status(tmp_path).stages == ("train",)


def test_device_seconds_are_those_of_all_devices_while_they_compute(tmp_path: Path) -> None:
    status = Status(tmp_path, devices=4)
    for stage in ("teach", "train"):
        status.begin(stage)
        spend()
        status.finish(stage)
    assert status["device_seconds"] == pytest.approx(4 * status["seconds"]["train"], abs=0.005)


def test_a_rank_above_the_first_writes_nothing(tmp_path: Path) -> None:
    Status(tmp_path).update(state="running")
    silent = Status(tmp_path, writes=False)
    silent.begin("train")
    silent.count({"examples": 3})
    silent.finish("train")
    assert (silent.stages, silent["counts"]) == (("train",), {"examples": 3})
    assert Status(tmp_path).stages == ()
