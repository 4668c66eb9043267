"""A run folder from outside: frozen, filled, refused."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ftcot
from ftcot.errors import InputError
from ftcot.folder import began, check_space, fill, freeze, read_status, thaw
from ftcot.status import Status

Config = Callable[..., dict[str, Any]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_a_frozen_folder_holds_the_config_and_says_so(compose: Config, tmp_path: Path, durable: bool) -> None:
    config = compose("task=multiarith", "diversity=8")
    freeze(tmp_path / "run", config, "5f0c", durable=durable)
    assert thaw(tmp_path / "run") == config
    status = read_status(tmp_path / "run")
    assert time.time() - 60 < status.pop("began") <= time.time()
    assert status == {"schema": 1, "state": "frozen", "hash": "5f0c", "result_version": ftcot.RESULT_VERSION}
    assert names(tmp_path / "run") == ["job.yaml", "status.json"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_folder_that_is_frozen_again_keeps_what_it_knows(compose: Config, tmp_path: Path, durable: bool) -> None:
    freeze(tmp_path, compose(), "5f0c", durable=durable)
    began = read_status(tmp_path)["began"]
    Status(tmp_path).update(state="stopped", stages=["teach"])
    freeze(tmp_path, compose("until=curate"), "5f0c", durable=durable)
    assert thaw(tmp_path)["until"] == "curate"
    kept = {"schema": 1, "state": "stopped", "began": began, "hash": "5f0c", "stages": ["teach"]}
    kept["result_version"] = ftcot.RESULT_VERSION
    assert read_status(tmp_path) == kept


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(config=st.dictionaries(st.text(), values, max_size=4))
def test_what_is_frozen_is_thawed(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")
    freeze(folder, config, "5f0c", durable=False)
    assert thaw(folder) == config
    assert yaml.safe_load((folder / "job.yaml").read_text(encoding="utf-8")) == config


def test_a_run_began_when_it_was_first_frozen_whatever_becomes_of_its_files(compose: Config, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert began(home) is None
    freeze(home, compose(), "5f0c")
    first = began(home)
    assert first is not None
    Status(home).claim()
    freeze(home, compose("until=curate"), "5f0c")
    os.utime(home / "job.yaml", (0, 0))  # another machine's copy of it
    assert began(home) == first
    fill(home, tmp_path / "copy")
    assert began(tmp_path / "copy") == first


def test_a_run_of_a_sweep_began_with_the_sweep(compose: Config, tmp_path: Path) -> None:
    freeze(tmp_path / "0-5f0c", compose(), "5f0c")
    own = began(tmp_path / "0-5f0c")
    (tmp_path / "sweep.yaml").write_text("program: train.py\nmethod: grid\n")  # W&B's
    assert began(tmp_path / "0-5f0c") == own
    (tmp_path / "sweep.yaml").write_text("schema: 1\nbegan: 1790000000.25\n")
    assert began(tmp_path / "0-5f0c") == 1790000000.25
    (tmp_path / "sweep.yaml").write_text("began: [")
    with pytest.raises(InputError, match=r"sweep\.yaml: cannot be read"):
        began(tmp_path / "0-5f0c")


def test_a_filled_folder_has_everything_but_the_weights_which_it_points_to(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "deep" / "er" / "copy"
    (home / "student").mkdir(parents=True)
    for name in ("job.yaml", "log.txt", "predictions.jsonl", "score.json", "checkpoint.bin"):
        (home / name).write_text(name)
    Status(home).update(state="complete", hash="5f0c")
    for _ in range(2):  # again: as if a crash had come in between
        fill(home, folder)
    assert names(folder) == ["job.yaml", "log.txt", "predictions.jsonl", "score.json", "status.json", "student"]
    assert read_status(folder) == read_status(home) | {"reused_from": str(home)}
    assert (folder / "student").resolve() == home / "student"
    tmp_path.rename(moved := tmp_path.with_name(f"{tmp_path.name} moved"))
    assert (moved / "deep" / "er" / "copy" / "student").resolve() == moved / "home" / "student"
    moved.rename(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    (disk := tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_training_is_refused_where_its_checkpoints_do_not_fit(
    compose: Config, tmp_path: Path, small_disk: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    with (checkpoint / "model.safetensors").open("wb") as file:
        file.truncate(20_000_000)
    check_space(small_disk / "run", compose())
    local = {"student": {"checkpoint": str(checkpoint)}}
    with pytest.raises(InputError, match=r"run: 42 MB are free there and its checkpoints may need 80: free space, or"):
        check_space(small_disk / "run", compose() | local)
    check_space(small_disk / "run", compose("until=curate") | local)
    (small_disk / "other").write_bytes(bytes(20_000_000))
    with pytest.raises(InputError, match="22 MB are free there and its checkpoints may need 32"):
        check_space(small_disk / "run", compose())
