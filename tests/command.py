"""The real command line in a process of its own, for the tests of the launcher and the worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import ROOT

T = TypeVar("T")

SMALL = ("logger=none", "task.n_train=16", "task.n_test=8", "diversity=1")
"""A job whose teacher is done in no time."""

TRAINED = (*SMALL, "student=tiny-0.2m", "training.epochs=1", "training.truncation_limit=1")
TRAINED = (*TRAINED, "evaluation.max_new_tokens=8", "trainer=cpu")
"""A job that trains for a second (and imports torch for some more)."""

ENDLESS = ("logger=none", "task.n_train=20000", "diversity=64", "until=teach")
"""A job that is still at its first stage when a test wants to stop it, and needs no torch."""


@dataclass(frozen=True)
class Command:
    """`python -m ftcot.run` in a folder of its own, with a cache of its own."""

    cwd: Path

    @property
    def cache(self) -> Path:
        return self.cwd / "cache"

    @property
    def environment(self) -> dict[str, str]:
        own = {"FTCOT_CACHE": str(self.cache), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return {name: value for name, value in os.environ.items() if name != "FTCOT_DATA"} | own

    def __call__(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ftcot.run", *words],
            cwd=self.cwd,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ftcot.run", *words],
            cwd=self.cwd,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def files(self) -> list[str]:
        """Everything below the folder."""
        return sorted(str(path.relative_to(self.cwd)) for path in self.cwd.rglob("*"))

    def entries(self) -> list[dict[str, Any]]:
        """The job index."""
        return [json.loads(path.read_text()) for path in sorted((self.cache / "jobs").glob("*.json"))]

    def until_running(self, process: subprocess.Popen[str]) -> tuple[Path, int]:
        """Wait for the worker of the only job; returns its folder and process id."""

        def running() -> tuple[Path, int] | None:
            assert process.poll() is None, process.communicate()
            for entry in self.entries():
                status = read(Path(entry["folder"]) / "status.json")
                if status.get("state") == "running" and status.get("stage"):
                    return Path(entry["folder"]), status["pid"]
            return None

        return wait_for(running)


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def wait_for(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """What `look` finds, sooner or later."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def is_gone(pid: int) -> bool | None:
    """True once the process has ended; None before."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return True if state in "ZX" else None
