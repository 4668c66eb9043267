"""A world of its own for each fault: folders, processes and jobs that a test can break, and what must hold afterwards.

world = World(tmp_path)                    everything that ftcot may write to lies below tmp_path
sweep = world.start("-m", *TAUGHT, ...)    real processes, found again by a mark in their environment
world.kill_all()                           what a power cut leaves: locks and leases as they were
world.check(done=4)                        no process, no stray file, nothing corrupt, each job in one folder
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open

from ftcot.folder import read_status
from ftcot.ledger import Ledger
from tests.command import SMALL, Command, is_gone, read, wait_for
from tests.conftest import ROOT

TEACHER = '''
"""A user's own teacher, which does not always answer. Once `mended` stands beside it, it does."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ftcot.teacher.procedural import Procedural


@dataclass(frozen=True)
class Faulty(Procedural):
    fault: str = "none"

    def complete(self, *arguments):
        mended = Path(__file__).with_name("mended")
        if self.fault == "raise" and not mended.exists():
            raise ConnectionError("the server hung up")
        if self.fault == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self.fault != "none" and not mended.exists():
            time.sleep(0.02)
        return super().complete(*arguments)
'''

TAUGHT: tuple[str, ...] = (*SMALL, "until=curate", "allow=[faulty]", "teacher._target_=faulty.Faulty")
"""A job that needs no torch: about a second. With `+teacher.fault=wait` it goes on when the teacher is mended."""

TRAINED: tuple[str, ...] = (
    "logger=none",
    "trainer=cpu",
    "student=tiny-0.2m",
    "task.n_train=64",
    "task.n_test=8",
    "diversity=2",
)
TRAINED = (*TRAINED, "training.epochs=4", "training.evaluate_every=2", "training.truncation_limit=1")
TRAINED = (*TRAINED, "evaluation.max_new_tokens=8")
"""A job that trains for some seconds, long enough to be killed in it; 128 pairs."""

MARK = "FTCOT_TEST_WORLD"

OWN = {"cache", "home", "multirun", "outputs", "package", "tmp"}
"""What there may be in a world."""

TEMPORARY = ("ftcot-slots-", "torchinductor_")
"""What there may be in its folder for temporary files: locks on devices, and an empty folder that torch makes."""


@dataclass(frozen=True)
class Finished:
    """A job that is done, as it was found."""

    folder: Path
    attempts: int
    contents: tuple[tuple[str, str], ...]
    """Names and digests of its files."""


@dataclass(frozen=True)
class World(Command):
    """A command line whose every file lies below one folder."""

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "package"):
            (self.cwd / name).mkdir(parents=True, exist_ok=True)
        (self.cwd / "package" / "faulty.py").write_text(TEACHER)

    @property
    def environment(self) -> dict[str, str]:
        package = self.cwd / "package"
        own = {"HOME": self.cwd / "home", "TMPDIR": self.cwd / "tmp", "PYTHONPATH": f"{ROOT}{os.pathsep}{package}"}
        own |= {MARK: self.cwd, "PYTHONDONTWRITEBYTECODE": "1", "JOBLIB_TEMP_FOLDER": self.cwd / "tmp"}
        return super().environment | {name: str(value) for name, value in own.items()}

    def mend(self) -> None:
        """Let the teacher answer from now on."""
        (self.cwd / "package" / "mended").touch()

    def resume(self, sweep: Path, *words: str, within: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """`python -m ftcot.resume`, started by the command `within`, if any."""
        command = [*within, sys.executable, "-m", "ftcot.resume", str(sweep), *words]
        return subprocess.run(
            command, cwd=self.cwd, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    # -- processes -----------------------------------------------------------------------------------------------

    def processes(self, **variables: str) -> list[int]:
        """Those of this world that live; only those with these environment variables."""
        wanted = {f"{name}={value}".encode() for name, value in (variables | {MARK: str(self.cwd)}).items()}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted <= set((folder / "environ").read_bytes().split(b"\0")) and not is_gone(int(folder.name)):
                    found.append(int(folder.name))
        return found

    def kill_all(self) -> None:
        """Kill everything at one moment, as when the power goes: nobody gives back a lock or a lease."""
        while victims := self.processes():
            for number in (signal.SIGSTOP, signal.SIGKILL):  # first all are halted, so that none sees another one die
                for pid in victims:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            for pid in victims:
                wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]

    def until_training(self, process: subprocess.Popen[str]) -> tuple[Path, int]:
        """Wait until a job has a checkpoint and trains on; returns its folder and its worker (or first rank)."""

        def training() -> tuple[Path, int] | None:
            assert process.poll() is None, process.communicate()
            for entry in self.entries():
                folder = Path(entry["folder"])
                status = read(folder / "status.json")
                if status.get("state") == "running" and any(folder.glob("checkpoints/*.ckpt")):
                    return folder, int(status["pid"])
            return None

        return wait_for(training)

    # -- what is there -------------------------------------------------------------------------------------------

    @property
    def sweep(self) -> Path:
        """The newest sweep folder."""
        return max((self.cwd / "multirun").glob("*/[0-9]*"), key=lambda path: path.stat().st_ctime_ns)

    def states(self, sweep: Path | None = None) -> list[str]:
        """What the ledger says of each job."""
        rows = Ledger(sweep or self.sweep).states()
        return [rows[number]["state"] for number in sorted(rows)]

    def begun(self) -> dict[str, list[Path]]:
        """The folders in which a worker has begun, by job hash."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.cwd.rglob("status.json")):
            status = read_status(path.parent)
            if "reused_from" not in status and attempts(path.parent):
                found.setdefault(str(status["hash"]), []).append(path.parent)
        return found

    def finished(self) -> dict[str, Finished]:
        """The jobs that are done, by hash."""
        return {
            job: Finished(folder, attempts(folder), contents(folder))
            for job, folders in self.begun().items()
            for folder in folders
            if read_status(folder)["state"] in ("complete", "partial")
        }

    # -- what must hold ------------------------------------------------------------------------------------------

    def check(self, *, done: int, kept: dict[str, Finished] | None = None) -> None:
        """Assert what must hold after every fault, once the rest has been run.

        Args:
            done: jobs that are done; there is no other.
            kept: those that were done when the fault happened.
        """
        wait_for(lambda: None if self.processes() else True)
        assert {path.name for path in self.cwd.iterdir()} <= OWN
        assert not list((self.cwd / "home").rglob("*"))
        assert all(path.name.startswith(TEMPORARY) for path in (self.cwd / "tmp").iterdir())
        for path in [*self.cwd.rglob("*.json"), *self.cwd.rglob("*.jsonl"), *self.cwd.rglob("*.yaml")]:
            check_text(path)
        begun = self.begun()
        assert {job: len(folders) for job, folders in begun.items()} == dict.fromkeys(begun, 1)
        finished = self.finished()
        assert len(finished) == len(begun) == done
        for job in finished.values():
            check_run(job.folder)
        for entry in self.entries():
            assert entry["lease"] is None
            assert entry["state"] in ("complete", "partial")
        assert {job: finished[job] for job in kept or {}} == (kept or {})  # not lost, not run again, not written to


def attempts(folder: Path) -> int:
    """How often a worker has begun with the job of this folder."""
    lines = (folder / "log.txt").read_text().splitlines() if (folder / "log.txt").exists() else []
    return sum(" worker " in line and line.endswith("──") for line in lines)


def contents(folder: Path) -> tuple[tuple[str, str], ...]:
    """Names and digests of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)


def check_text(path: Path) -> None:
    """Assert that a JSON, JSONL or YAML file can be read from its first line to its last."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        assert text == "" or text.endswith("\n"), path
        for line in text.splitlines():
            json.loads(line)
    else:
        assert (json.loads if path.suffix == ".json" else yaml.safe_load)(text) is not None, path


def check_run(folder: Path) -> None:
    """Assert that a run that is done has all it should have, once."""
    status = read_status(folder)
    assert status["stages"] == ["teach", "curate", "train", "evaluate"][: len(status["stages"])]
    assert status["cause"] is None
    if status["state"] == "partial":
        assert (folder / "examples.jsonl").exists()
        return
    assert not (folder / "checkpoints").exists()
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    asked = Counter((row["epoch"], row["split"], row["sample_index"]) for row in rows)
    assert set(asked.values()) == {1}
    score = read(folder / "score.json")
    assert len({epoch for epoch, *_ in asked}) * score["n"] == len(rows)
    with safe_open(folder / "student" / "model.safetensors", "numpy") as weights:
        assert all(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118  # it is no mapping


def check_checkpoints(folder: Path) -> None:
    """Assert that every checkpoint is what its name says that was written, and that there is one."""
    found = list((folder / "checkpoints").glob("*.ckpt"))
    assert found
    for path in found:
        assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.rpartition("-")[2])


def same_result(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights and predictions, bit for bit."""
    names = ("student/model.safetensors", "predictions.jsonl")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def seconds_until(look: Any) -> float:
    """How long it takes until `look` finds something."""
    began = time.monotonic()
    wait_for(look)
    return round(time.monotonic() - began, 1)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own at `folder`; skips where the system does not let us."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not is_root() or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take all the room that is left on a disk."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def after_a_reboot(folder: Path) -> tuple[str, ...]:
    """A command to run others in, for which the machine has been started anew: what the kernel calls this boot is
    another name there. Empty where the system does not let us."""
    boot = folder / "boot_id"
    boot.write_text("00000000-0000-4000-8000-000000000000\n")
    script = f'mount --bind "{boot}" /proc/sys/kernel/random/boot_id && exec "$@"'
    within = ("unshare", "--mount", "sh", "-c", script, "sh")
    tried = subprocess.run([*within, "true"], capture_output=True, check=False) if is_root() else None
    return within if tried is not None and tried.returncode == 0 else ()
