"""Job hash, job index and lease."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir, freeze
from ftcot.errors import InputError
from ftcot.files import write_atomic, write_json
from ftcot.hashes import FileHashes
from ftcot.jobs import JobIndex, Lease, job_hash
from ftcot.procfs import is_alive
from ftcot.records import to_line
from tests.conftest import ROOT

OLD = 1_700_000_000


def config_in(folder: Path, **changes: Any) -> dict[str, Any]:
    """A config as it would be with the data and the cache in `folder`."""
    config: dict[str, Any] = {
        "task": {"folder": f"{folder}/data", "test_path": f"{folder}/data/task.json", "train_size": None},
        "teacher": {"path": f"{folder}/data/recorded/x.jsonl"},
        "student": {"checkpoint": f"{folder}/models/gpt2"},
        "trainer": {"precision": "32-true", "devices": 1, "accelerator": "cpu"},
        "training": {"batch_size": 8},
        "logger": {"project": "a"},
        "paths": {"data": f"{folder}/data", "cache": f"{folder}/cache"},
        "seed": 0,
        "until": "evaluate",
        "reuse": True,
    }
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            config[part][name] = value
        else:
            config[part] = value
    return config


def files_in(folder: Path, recorded: str = "{}\n", weights: str = "w") -> dict[str, list[Path]]:
    """The files of that config."""
    contents = {"data/task.json": "[]", "data/recorded/x.jsonl": recorded, "models/gpt2/model.safetensors": weights}
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (OLD, OLD))
    return {
        "task": [folder / "data/task.json"],
        "teacher": [folder / "data/recorded/x.jsonl"],
        "student": [folder / "models/gpt2"],
    }


def hash_of(folder: Path, *, recorded: str = "{}\n", weights: str = "w", **changes: Any) -> str:
    files = files_in(folder, recorded, weights)
    return job_hash(config_in(folder, **changes), files, FileHashes(folder / "no" / "hashes.json"))


def test_two_users_with_their_data_in_different_folders_share_a_hash(tmp_path: Path) -> None:
    assert hash_of(tmp_path / "ann") == hash_of(tmp_path / "deep" / "er" / "bob")


@pytest.mark.parametrize(
    "changes",
    [{"until": "curate"}, {"reuse": False}, {"logger": None}, {"trainer__devices": 4}, {"trainer__accelerator": "gpu"}],
    ids=str,
)
def test_what_changes_no_result_changes_no_hash(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert hash_of(tmp_path) == hash_of(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"trainer__precision": "bf16-mixed"},
        {"training__batch_size": 4},
        {"task__train_size": 8},
        {"student__checkpoint": "org/gpt2"},
        {"recorded": "{}\n{}\n"},
        {"weights": "v"},
    ],
    ids=str,
)
def test_what_may_change_a_result_changes_the_hash(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert hash_of(tmp_path) != hash_of(tmp_path, **changes)


def test_exchanged_files_change_the_hash(tmp_path: Path) -> None:
    one, two = tmp_path / "train.json", tmp_path / "test.json"
    hashes = FileHashes(tmp_path / "hashes.json")
    one.write_text("1")
    two.write_text("2")
    before = job_hash({}, {"task": [one, two]}, hashes)
    one.write_text("2")
    two.write_text("1")
    assert job_hash({}, {"task": [one, two]}, hashes) != before


def test_data_inside_the_cache_changes_no_hash(tmp_path: Path) -> None:
    def hash_with(data: Path) -> str:
        file = data / "task.json"
        write_atomic(file, "[]")
        paths = {"data": str(data), "cache": str(tmp_path / "cache")}
        config = {"task": {"folder": str(data)}, "student": {"cache": paths["cache"]}, "paths": paths}
        return job_hash(config, {"task": [file]}, FileHashes(tmp_path / "hashes.json"))

    assert hash_with(tmp_path / "data") == hash_with(tmp_path / "cache" / "data")


def test_files_that_change_places_change_the_hash(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "sums.jsonl", tmp_path / "b" / "sums.jsonl"
    for path in (one, two):
        path.parent.mkdir()
        path.write_text(path.parent.name)
    hashes = FileHashes(tmp_path / "hashes.json")
    there, back = (
        job_hash({"task": {"path": str(train), "test_path": str(test)}}, {"task": [train, test]}, hashes)
        for train, test in ((one, two), (two, one))
    )
    assert there != back


def test_the_authors_few_shot_prompt_is_part_of_the_hash(tmp_path: Path) -> None:
    data = tmp_path / "data"
    questions = ({"sample_index": i, "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(600))
    write_atomic(data / "datasets" / "multiarith.jsonl", "".join(map(to_line, questions)))
    overrides = ["task=multiarith", "method=few_shot_cot", f"paths.data={data}", f"paths.cache={tmp_path / 'cache'}"]

    def hash_with(text: str) -> str:
        write_json(data / "few_shot_cot_prompts.json", {"multiarith": {"prompt": text, "sample_indices": [0]}})
        config = freeze(Composer(conf_dir()).compose(overrides))
        return Checker(FileHashes(tmp_path / "hashes.json")).check(config).hash

    assert hash_with("Q: 1 + 1?") == hash_with("Q: 1 + 1?") != hash_with("Q: 2 + 2?")


REACHING: dict[str, Any] = {
    "base_url": "http://127.0.0.1:8000/v1",
    "key_variable": "MY_KEY",
    "concurrency": 8,
    "requests_per_minute": 60,
    "timeout": 5,
    "attempts": 2,
    "n": 1,
    "budget_usd": 1.5,
    "prices": {"input": 1, "output": 2},
}


def live(**changes: Any) -> dict[str, Any]:
    return dict.fromkeys(REACHING) | {"model": "m", "top_p": 1.0} | changes


def test_how_a_teacher_is_reached_and_what_it_may_cost_change_no_hash(tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path / "hashes.json")
    for name, value in REACHING.items():
        assert job_hash({"teacher": live(**{name: value})}, {}, hashes) == job_hash({"teacher": live()}, {}, hashes)
        judged = {"curation": {"filter": "judge", "judge": live(**{name: value})}}
        assert job_hash(judged, {}, hashes) == job_hash({"curation": {"filter": "judge", "judge": live()}}, {}, hashes)


@pytest.mark.parametrize("changes", [{"model": "other"}, {"top_p": 0.9}, {"name": "mine"}], ids=str)
def test_what_a_teacher_says_changes_the_hash(tmp_path: Path, changes: dict[str, Any]) -> None:
    hashes = FileHashes(tmp_path / "hashes.json")
    assert job_hash({"teacher": live(**changes)}, {}, hashes) != job_hash({"teacher": live()}, {}, hashes)


def test_the_result_version_is_part_of_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_of(tmp_path)
    monkeypatch.setattr("ftcot.RESULT_VERSION", 99)
    assert hash_of(tmp_path) != before


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
parts = st.dictionaries(st.sampled_from("abcdef"), scalars, min_size=1)


@given(parts)
def test_the_order_of_keys_does_not_matter(part: dict[str, Any]) -> None:
    hashes = FileHashes(Path("/nowhere/hashes.json"))
    turned = dict(reversed(part.items()))
    assert job_hash({"task": part}, {}, hashes) == job_hash({"task": turned}, {}, hashes)


def test_a_hash_of_a_file_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path, cache = tmp_path / "data.json", tmp_path / "cache" / "hashes.json"
    path.write_text("one")
    os.utime(path, (OLD, OLD))
    hashes = FileHashes(cache)
    first = hashes.sha256(path)
    assert not cache.exists()
    hashes.save()
    assert json.loads(cache.read_text())["files"][str(path)][2] == first
    path.write_text("two")
    os.utime(path, (OLD, OLD))  # same size and time: the cache cannot know
    assert FileHashes(cache).sha256(path) == first
    os.utime(path, (OLD + 1, OLD + 1))
    assert FileHashes(cache).sha256(path) != first


def test_a_file_that_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("one")
    hashes = FileHashes(tmp_path / "hashes.json")
    hashes.sha256(path)
    hashes.save()
    assert not (tmp_path / "hashes.json").exists()


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"schema": 1}', '{"schema": 99, "files": {}}'])
def test_a_damaged_cache_of_hashes_is_made_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "hashes.json").write_text(damaged)
    path = tmp_path / "data.json"
    path.write_text("one")
    assert FileHashes(tmp_path / "hashes.json").sha256(path)[:8] == "7692c3ad"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        FileHashes(tmp_path / "hashes.json").sha256(tmp_path / "gone.json")


# -- lease -------------------------------------------------------------------------------------------------------


def test_the_lease_of_a_living_process_holds(tmp_path: Path) -> None:
    index = JobIndex(tmp_path)
    index.write("h", tmp_path / "run", "running", Lease.mine())
    entry = index.read("h")
    assert entry is not None
    assert f"pid {os.getpid()}" in str(entry.runner())


def test_the_lease_of_a_dead_process_does_not_hold(tmp_path: Path) -> None:
    code = "from ftcot.jobs import *; JobIndex(Path('.')).write('h', Path('run'), 'running', Lease.mine())"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    entry = JobIndex(tmp_path).read("h")
    assert entry is not None
    assert entry.lease is not None
    assert entry.lease.here
    assert entry.runner() is None


def test_a_later_process_of_the_same_number_is_not_the_holder() -> None:
    mine = Lease.mine()
    assert is_alive(mine.pid, mine.started)
    assert not is_alive(mine.pid, "1")


def lease_elsewhere(age: float) -> Lease:
    return Lease(pid=1, boot="another", host="another", started="1", time=time.time() - age)


@pytest.mark.parametrize(
    ("lease_age", "beat_age", "holds"), [(5, None, True), (5000, 5, True), (5000, 500, False), (5000, None, False)]
)
def test_on_another_machine_the_heartbeat_counts(
    tmp_path: Path, lease_age: float, beat_age: float | None, holds: bool
) -> None:
    if beat_age is not None:
        write_json(tmp_path / "run" / "status.json", {"state": "running", "heartbeat": time.time() - beat_age})
    index = JobIndex(tmp_path)
    index.write("h", tmp_path / "run", "running", lease_elsewhere(lease_age))
    entry = index.read("h")
    assert entry is not None
    assert (entry.runner() is not None) is holds


@pytest.mark.parametrize(
    ("state", "beat_age", "holds"),
    [("stopped", 3, False), ("failed", 3, False), ("running", 3, True), ("stopped", 50, True), ("frozen", 3, True)],
)
def test_on_another_machine_a_worker_that_has_ended_holds_nothing(
    tmp_path: Path, state: str, beat_age: float, holds: bool
) -> None:
    # The lease was taken 5 seconds ago; a status from before it is an earlier attempt's.
    write_json(tmp_path / "run" / "status.json", {"state": state, "heartbeat": time.time() - beat_age})
    JobIndex(tmp_path).write("h", tmp_path / "run", "running", lease_elsewhere(age=5))
    entry = JobIndex(tmp_path).read("h")
    assert entry is not None
    assert (entry.runner() is not None) is holds


def test_a_machine_that_was_started_anew_holds_nothing(tmp_path: Path) -> None:
    lease = replace(Lease.mine(), boot="the one before")
    write_json(tmp_path / "run" / "status.json", {"state": "running", "heartbeat": time.time(), "boot": lease.boot})
    JobIndex(tmp_path).write("h", tmp_path / "run", "running", lease)
    entry = JobIndex(tmp_path).read("h")
    assert entry is not None
    assert entry.runner() is None


@pytest.mark.parametrize("damaged", ["", "[]", "{", "{}", '{"hash": "h", "folder": "f", "state": "s", "lease": {}}'])
def test_a_damaged_entry_counts_as_none(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "h.json").write_text(damaged)
    assert JobIndex(tmp_path).read("h") is None


def test_reading_the_index_creates_nothing(tmp_path: Path) -> None:
    assert JobIndex(tmp_path / "jobs").read("h") is None
    assert list(tmp_path.iterdir()) == []
