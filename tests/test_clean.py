"""Freeing what nothing needs, and nothing else: real runs, a running one, links and sweeps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftcot.ledger import Ledger
from tests.command import ENDLESS, TRAINED, Command, read

HOUR = 3600


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, the same again in a folder of its own, and a sweep of that job and another one."""
    ftcot = Command(tmp_path_factory.mktemp("world"))
    assert ftcot(*TRAINED, "hydra.run.dir=first").returncode == 0
    assert ftcot(*TRAINED, "hydra.run.dir=again").returncode == 0
    assert ftcot("-m", *TRAINED, "seed=0,1", "hydra.sweep.dir=sweep").returncode == 0
    return ftcot.cwd


@pytest.fixture
def world(original: Path, tmp_path: Path) -> Command:
    """A copy of it, which knows itself by its own place."""
    here = tmp_path / "world"
    shutil.copytree(original, here, symlinks=True)
    for path in [*here.rglob("*.json"), *here.rglob("*.jsonl"), *here.rglob("*.yaml")]:
        if not path.is_symlink() and str(original) in (text := path.read_text()):
            path.write_text(text.replace(str(original), str(here)))
    return Command(here)


def clean(ftcot: Command, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftcot.clean", *words],
        cwd=ftcot.cwd,
        env=ftcot.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def put(path: Path, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0" * 1000)
    touch(path, age)
    return path


def touch(path: Path, age: float) -> None:
    then = time.time() - age
    os.utime(path, (then, then))


FOLDERS = ("first", "again", "sweep", "cache")


def test_what_is_needed_stays(world: Command) -> None:
    before = world.files()
    done = clean(world, *FOLDERS, "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing to free\n", "")
    assert world.files() == before


def test_it_is_shown_first_and_freed_when_told(world: Command) -> None:
    first = world.cwd / "first"
    needed = world.files()
    put(first / "checkpoints" / "epoch-0001-5f0c81d2a9e4b730.ckpt")
    put(first / "wandb" / "offline-run-20261122_101500-5f0c" / "run-5f0c.wandb.synced")
    put(first / ".score.json.k3x_81ab", age=2 * HOUR)
    put(world.cache / "jobs" / ".5f0c.json.k3x_81ab", age=2 * HOUR)
    stays = [
        put(first / ".status.json.k3x_81ab"),  # somebody may be writing it
        put(first / "wandb" / "offline-run-20261122_111500-5f0c" / "run-5f0c.wandb"),
        put(world.cache / "completions" / "t" / ".s.jsonl.k3x_81ab", age=2 * HOUR),
        put(first / "notes.old1"),
    ]
    before = world.files()
    shown = clean(world, *FOLDERS)
    assert (shown.returncode, shown.stderr, world.files()) == (0, "", before)
    for line in (
        "1.0 kB  checkpoints of a finished run  first/checkpoints",
        "1.0 kB  W&B has it                     first/wandb/offline-run-20261122_101500-5f0c",
        "1.0 kB  half-written                   first/.score.json.k3x_81ab",
        "1.0 kB  half-written                   cache/jobs/.5f0c.json.k3x_81ab",
        "4.0 kB in 4 places; --yes frees them",
    ):
        assert line in shown.stdout
    done = clean(world, *FOLDERS, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "freed 4.0 kB in 4 of 4 places" in done.stdout
    left = {str(path.relative_to(world.cwd)) for path in stays}
    assert {name for name in world.files() if (world.cwd / name).is_file()} == {
        *left,
        *(name for name in needed if (world.cwd / name).is_file()),
    }
    assert clean(world, *FOLDERS).stdout == "nothing to free\n"


def test_weights_stay_as_long_as_anything_leads_to_them(world: Command) -> None:
    first = world.cwd / "first"
    [entry] = [row for row in world.entries() if row["folder"] == str(first)]
    (world.cache / "jobs" / f"{entry['hash']}.json").unlink()
    assert "nothing to free" in clean(world, *FOLDERS).stdout  # a link and a sweep do
    shutil.rmtree(world.cwd / "sweep")
    assert "nothing to free" in clean(world, *FOLDERS[:2]).stdout  # a link does
    shutil.rmtree(world.cwd / "again")
    done = clean(world, "first", "--yes")
    assert "weights that no index entry, sweep or link leads to  first/student" in done.stdout
    assert not (first / "student").exists()
    assert (first / "predictions.jsonl").exists()
    assert (first / "score.json").exists()


def test_weights_stay_where_the_index_cannot_be_seen(world: Command) -> None:
    shutil.rmtree(world.cwd / "sweep")
    shutil.rmtree(world.cwd / "again")
    world.cache.rename(world.cwd / "not-mounted")
    assert clean(world, "first").stdout == "nothing to free\n"


def test_weights_of_finished_runs_go_with_their_links_but_for_the_best_of_a_sweep(world: Command) -> None:
    accuracies = {number: row["accuracy"] for number, row in Ledger(world.cwd / "sweep").states().items()}
    rows = Ledger(world.cwd / "sweep").states()
    own = world.cwd / "sweep" / rows[1]["folder"] / "student"
    linked = [world.cwd / "again" / "student", world.cwd / "sweep" / rows[0]["folder"] / "student"]
    assert own.is_dir()
    assert all(link.is_symlink() for link in linked)
    # Job 0 of the sweep was reused from the first run: if it is the best, that run's weights are what stays.
    for best in (0, 1):
        Ledger(world.cwd / "sweep").append(rows[best] | {"accuracy": 1.0 + best})
        shown = clean(world, *FOLDERS, "--weights").stdout
        assert ("first/student (and 2 links to it)" in shown) == (best == 1), accuracies
        assert (f"sweep/{rows[1]['folder']}/student" in shown) == (best == 0)
    assert clean(world, *FOLDERS, "--weights", "--yes").returncode == 0
    assert own.is_dir()
    assert not (world.cwd / "first" / "student").exists()
    assert not any(link.is_symlink() for link in linked)
    # What is done stays done, without its weights.
    again = world(*TRAINED, "hydra.run.dir=again")
    assert "reused from" in again.stdout


def test_of_a_run_that_was_moved_aside_the_results_stay(world: Command) -> None:
    aside = world.cwd / "first.old1"
    (world.cwd / "first").rename(aside)
    put(aside / "checkpoints" / "epoch-0001.ckpt")
    shutil.rmtree(world.cwd / "sweep")
    done = clean(world, "first.old1", "--yes")
    assert "weights of a run that was moved aside      first.old1/student" in done.stdout
    assert "checkpoints of a run that was moved aside  first.old1/checkpoints" in done.stdout
    left = {path.name for path in aside.iterdir()}
    assert {"score.json", "predictions.jsonl", "completions.jsonl", "job.yaml", "log.txt"} <= left
    assert not {"student", "checkpoints"} & left


@pytest.mark.parametrize("state", ["stopped", "failed", "partial"])
def test_a_run_that_can_go_on_keeps_its_checkpoints(world: Command, state: str) -> None:
    status = world.cwd / "first" / "status.json"
    status.write_text(status.read_text().replace('"state": "complete"', f'"state": "{state}"'))
    put(world.cwd / "first" / "checkpoints" / "epoch-0001.ckpt")
    assert clean(world, *FOLDERS, "--weights").stdout.count("first/") == 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Command, Path]]:
    ftcot = Command(tmp_path)
    process = ftcot.start(*ENDLESS)
    folder, _ = ftcot.until_running(process)
    yield ftcot, folder
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_nothing_of_a_running_job_is_freed(running: tuple[Command, Path]) -> None:
    ftcot, folder = running
    planted = [
        put(folder / "checkpoints" / "epoch-0001.ckpt"),
        put(folder / "student" / "model.safetensors"),
        put(folder / ".log.txt.k3x_81ab", age=2 * HOUR),
        put(folder / "wandb" / "offline-run-1" / "run-1.wandb.synced"),
    ]
    assert clean(ftcot, "--yes", "--weights").stdout == "nothing to free\n"
    # Not even where its lease cannot be seen: the worker's own word counts.
    for entry in (ftcot.cache / "jobs").glob("*.json"):
        entry.unlink()
    assert read(folder / "status.json")["state"] == "running"
    assert clean(ftcot, "--yes", "--weights").stdout == "nothing to free\n"
    assert all(path.exists() for path in planted)


def test_a_sweep_folder_that_was_never_ready(world: Command) -> None:
    dead, young = world.cwd / ".mine.5f0c12ab", world.cwd / ".mine.77aa01cd"
    for stage in (dead, young):
        put(stage / "0-5f0c12ab" / "job.yaml")
    for path in (dead / "0-5f0c12ab" / "job.yaml", dead / "0-5f0c12ab", dead):
        touch(path, 2 * HOUR)
    other = put(world.cwd / ".theirs.12345678" / "letter.txt", age=2 * HOUR).parent
    touch(other, 2 * HOUR)
    done = clean(world, ".", "--yes")
    assert "a sweep that was never ready  .mine.5f0c12ab" in done.stdout
    assert (dead.exists(), young.exists(), other.exists()) == (False, True, True)


def test_index_entries_of_folders_that_are_gone(world: Command) -> None:
    shutil.rmtree(world.cwd / "first")
    done = clean(world, "cache", "--yes")
    assert done.stdout.count("index entry of a folder that is gone") == 1
    assert str(world.cwd / "first") not in [entry["folder"] for entry in world.entries()]


def test_only_what_has_rested_long_enough(world: Command) -> None:
    put(world.cwd / "first" / "checkpoints" / "epoch-0001.ckpt")
    assert clean(world, "first", "--older-than", "30d").stdout == "nothing to free\n"
    touch(world.cwd / "first" / "status.json", 31 * 24 * HOUR)
    assert "first/checkpoints" in clean(world, "first", "--older-than", "30d").stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "error: nowhere: no such folder\n"),
        (["--older-than", "long"], "error: --older-than long: expected a time such as 30d, 12h or 90m\n"),
    ],
)
def test_wrong_input(tmp_path: Path, words: list[str], line: str) -> None:
    done = clean(Command(tmp_path), *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_help_tells_what_can_go(tmp_path: Path) -> None:
    done = clean(Command(tmp_path), "--help")
    assert done.returncode == 0
    assert "Never: anything of a run that is running" in done.stdout
