"""Slots: which GPUs and cores a job is given beside others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ftcot import devices
from ftcot.devices import Memory, Slot, gpu_memory, gpu_share, ranks_here, slot, visible_gpus
from ftcot.errors import InputError
from tests.command import wait_for
from tests.conftest import ROOT

ONE_EACH: dict[str, Any] = {"gpus": "auto", "jobs_per_gpu": 1, "threads": "auto"}
TWO_EACH = ONE_EACH | {"jobs_per_gpu": 2}
AUTO = ONE_EACH | {"jobs_per_gpu": "auto"}
GIB = 2**30


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with two GPUs, as far as its environment says, and a folder for temporary files of its own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("OMP_NUM_THREADS")
    yield
    monkeypatch.undo()
    tempfile.tempdir = None


def gpus(mine: Slot) -> str:
    return mine.environment["CUDA_VISIBLE_DEVICES"]


class Asked:
    """Says stop when it is asked for the second time: by then the slot has been looked for, and was not free."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bool:
        self.times += 1
        return self.times > 1


def is_free(settings: dict[str, Any] = ONE_EACH, needed: int = 1) -> bool:
    with slot(settings, needed=needed, accelerator="gpu", stop=Asked()) as mine:
        return gpus(mine) != ""


@pytest.mark.parametrize(
    ("visible", "ids"),
    [("0,1", ("0", "1")), ("3", ("3",)), ("", ()), ("-1", ()), ("GPU-1f, GPU-2e", ("GPU-1f", "GPU-2e"))],
)
def test_the_visible_gpus_are_those_of_the_environment(
    visible: str, ids: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == ids


@pytest.mark.parametrize(
    ("trainer", "ranks"),
    [
        ({"accelerator": "cpu", "devices": 2}, 2),
        ({"accelerator": "cpu", "devices": "auto"}, 1),
        ({"accelerator": "auto", "devices": "auto"}, 2),
        ({"accelerator": "gpu", "devices": [0, 3, 5]}, 3),
        ({"accelerator": "gpu", "devices": "4"}, 4),
        ({}, 1),
    ],
    ids=str,
)
def test_a_job_has_a_rank_a_device(trainer: dict[str, Any], ranks: int) -> None:
    assert ranks_here(trainer) == ranks


def test_no_device_is_no_number_of_devices() -> None:
    with pytest.raises(InputError, match=r"^trainer\.devices=0: expected 1 or more"):
        ranks_here({"devices": 0})


def test_two_jobs_never_share_a_gpu() -> None:
    with slot(ONE_EACH, accelerator="gpu") as first, slot(ONE_EACH, accelerator="auto") as second:
        assert {gpus(first), gpus(second)} == {"0", "1"}
        assert not is_free()
    assert is_free()


def test_a_job_of_two_gpus_waits_for_both_and_holds_none_meanwhile() -> None:
    with slot(ONE_EACH, accelerator="gpu"):
        assert not is_free(needed=2)
        assert is_free()
    with slot(ONE_EACH, needed=2, accelerator="gpu") as both:
        assert gpus(both) == "0,1"
        assert not is_free()


def test_jobs_share_a_gpu_when_told_to_the_emptiest_first() -> None:
    with ExitStack() as stack:
        taken = [gpus(stack.enter_context(slot(TWO_EACH, accelerator="gpu"))) for _ in range(4)]
        assert taken == ["0", "1", "0", "1"]
        assert not is_free(TWO_EACH)


@pytest.fixture
def gpus_of_80_gib(monkeypatch: pytest.MonkeyPatch) -> dict[str, Memory]:
    """What nvidia-smi says of two of them, 32 cores beside them."""
    known = {gpu: Memory(80 * GIB, 79 * GIB) for gpu in ("0", "1", "GPU-1f")}
    monkeypatch.setattr(devices, "gpu_memory", lambda: known)
    monkeypatch.setattr(devices, "own_cores", lambda: list(range(32)))
    return known


@pytest.mark.parametrize(
    ("settings", "gib", "needed", "jobs"),
    [
        (AUTO, 2, 1, 8),  # of the cores, a GPU's half have 2 each
        (AUTO | {"threads": 4}, 2, 1, 4),
        (AUTO, 14.3, 1, 5),
        (AUTO, 31.6, 1, 2),
        (AUTO, 40, 1, 1),
        (AUTO, 200, 1, 1),
        (AUTO, None, 1, 1),
        (AUTO, 2, 2, 1),
        (TWO_EACH, 40, 1, 2),
        (ONE_EACH | {"jobs_per_gpu": 16}, None, 2, 16),
    ],
    ids=str,
)
def test_a_gpu_has_as_many_jobs_as_fit(
    gpus_of_80_gib: dict[str, Memory], settings: dict[str, Any], gib: float | None, needed: int, jobs: int
) -> None:
    share = gpu_share(settings, None if gib is None else int(gib * GIB), ("0", "1"), needed)
    assert int(1 / share + 1e-6) == jobs


def test_gpus_of_which_nothing_is_known_are_not_shared(gpus_of_80_gib: dict[str, Memory]) -> None:
    assert gpu_share(AUTO, GIB, ("MIG-77aa",)) == 1
    assert gpu_share(AUTO, GIB, ("GPU-1f",)) < 1
    gpus_of_80_gib.clear()
    assert gpu_share(AUTO, GIB, ("0", "1")) == 1


def of(gib: float) -> Callable[[], int]:
    return lambda: int(gib * GIB)


def test_jobs_of_all_sizes_share_what_they_fit_into(gpus_of_80_gib: dict[str, Memory]) -> None:
    settings = AUTO | {"gpus": ["0"]}
    with ExitStack() as stack:

        def take(gib: float) -> str:
            return gpus(stack.enter_context(slot(settings, accelerator="gpu", footprint=of(gib), stop=Asked())))

        assert [take(gib) for gib in (30, 14, 14, 14)] == ["0", "0", "0", "0"]  # 72 of 73.6
        assert [take(gib) for gib in (14, 30)] == ["", ""]
        assert not is_free(settings | {"jobs_per_gpu": 1})
    with slot(settings, accelerator="gpu", footprint=of(60)) as large:
        assert (gpus(large), large.shared) == ("0", True)
        assert not is_free(settings | {"jobs_per_gpu": 2})
    with slot(settings, accelerator="gpu") as unknown:
        assert (gpus(unknown), unknown.shared) == ("0", False)
        with slot(settings, accelerator="gpu", footprint=of(2), stop=Asked()) as other:
            assert gpus(other) == ""


def test_a_gpu_that_others_fill_is_not_shared(gpus_of_80_gib: dict[str, Memory]) -> None:
    settings = AUTO | {"gpus": ["0"]}
    gpus_of_80_gib["0"] = Memory(80 * GIB, 10 * GIB)  # by whom, we do not know
    with slot(settings, accelerator="gpu", footprint=of(14)) as first:
        assert gpus(first) == "0"  # as without sharing: nobody looked then either
        for gib, there in ((14, ""), (8, "0")):
            with slot(settings, accelerator="gpu", footprint=of(gib), stop=Asked()) as other:
                assert gpus(other) == there


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 16), min_size=1, max_size=12), st.randoms())
def test_shares_of_a_gpu_never_add_up_to_more_than_it(numbers: list[int], random: Random) -> None:
    held: list[tuple[float, ExitStack]] = []
    with ExitStack() as everything:
        for number in numbers:
            if held and random.random() < 0.3:
                held.pop(random.randrange(len(held)))[1].close()
            stack = everything.enter_context(ExitStack())
            settings = ONE_EACH | {"gpus": ["0"], "jobs_per_gpu": number}
            mine = stack.enter_context(slot(settings, accelerator="gpu", stop=Asked()))
            fits = sum(share for share, _ in held) + 1 / number <= 1 + 1e-6
            assert (gpus(mine) == "0") is fits
            if fits:
                held.append((1 / number, stack))


def test_nvidia_smi_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-1f, 81559, 80994'\necho '1, GPU-2e, 81559, 12'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu_memory()["1"] == gpu_memory()["GPU-2e"] == Memory(81559 * 2**20, 12 * 2**20)
    tool.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert gpu_memory() == {}


def test_who_shares_does_not_share_with_one_who_does_not() -> None:
    with slot(ONE_EACH, accelerator="gpu") as alone:
        with slot(TWO_EACH, accelerator="gpu") as one, slot(TWO_EACH, accelerator="gpu") as other:
            assert (gpus(alone), gpus(one), gpus(other)) == ("0", "1", "1")
            assert not is_free(ONE_EACH)


def test_a_list_of_gpus_is_all_there_is() -> None:
    settings = ONE_EACH | {"gpus": [1]}
    with slot(settings, accelerator="gpu") as mine:
        assert gpus(mine) == "1"
        assert not is_free(settings)
    with pytest.raises(InputError, match=r"trainer\.devices=2: this machine shows 1 GPUs; see devices\.gpus"):
        with slot(settings, needed=2, accelerator="gpu"):
            pass


def test_a_slot_that_is_given_back_goes_to_one_who_waits() -> None:
    taken: list[str] = []

    def wait() -> None:
        with slot(ONE_EACH, needed=2, accelerator="gpu") as mine:
            taken.append(gpus(mine))

    thread = threading.Thread(target=wait)
    with slot(ONE_EACH, needed=2, accelerator="gpu"):
        thread.start()
        assert taken == []
    thread.join(timeout=20)
    assert taken == ["0,1"]


HOLDER = """
import subprocess, sys, time
from ftcot.devices import slot
with slot({"jobs_per_gpu": 1}, needed=2, accelerator="gpu") as mine:
    if sys.argv[1] == "worker":
        worker = subprocess.Popen(["sleep", "1000"], pass_fds=mine.handles)
        print(worker.pid, flush=True)
    print("held", flush=True)
    time.sleep(1000)
"""


def holder(kind: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Another process that holds both GPUs, and what it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = []
    while (line := process.stdout.readline().strip()) != "held":
        said.append(line)
    return process, said


def test_another_process_holds_its_gpus_until_it_is_killed() -> None:
    process, _ = holder("alone")
    assert not is_free()
    process.kill()
    process.communicate()
    assert is_free()


def test_a_worker_holds_them_a_moment_longer_than_its_launcher() -> None:
    process, [worker] = holder("worker")
    process.kill()
    process.wait()
    assert not is_free()
    os.kill(int(worker), 9)
    wait_for(lambda: is_free() or None)
    process.communicate()


# -- cores -------------------------------------------------------------------------------------------------------

cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")


@cores
def test_jobs_side_by_side_share_out_the_cores() -> None:
    all_cores = os.sched_getaffinity(0)
    with slot(ONE_EACH, side_by_side=2, accelerator="cpu") as one:
        with slot(ONE_EACH, side_by_side=2, accelerator="cpu") as two:
            assert not one.cores & two.cores
            assert one.cores | two.cores <= all_cores
            assert len(one.cores) == len(two.cores) == len(all_cores) // 2
            assert one.environment["OMP_NUM_THREADS"] == str(len(all_cores) // 2)
            # Another sweep: its jobs run all the same.
            with slot(ONE_EACH, side_by_side=2, accelerator="cpu") as late:
                assert late.cores == frozenset()


def test_a_job_alone_has_all_cores_and_its_ranks_share_them() -> None:
    n = len(os.sched_getaffinity(0))
    with slot(ONE_EACH, accelerator="cpu") as mine:
        assert (mine.cores, mine.environment) == (frozenset(), {"OMP_NUM_THREADS": str(n)})
    with slot(ONE_EACH, needed=2, accelerator="cpu") as mine:
        assert mine.environment == {"OMP_NUM_THREADS": str(max(1, n // 2))}


def test_the_config_says_how_many_threads_and_the_environment_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    with slot(ONE_EACH | {"threads": 7}, accelerator="cpu") as mine:
        assert mine.environment["OMP_NUM_THREADS"] == "7"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with slot(ONE_EACH, accelerator="cpu") as mine:
        assert mine.environment["OMP_NUM_THREADS"] == "1"
