"""Speeds of students that are timed for want of an earlier run: asked of a process of their own, and kept.

    CACHE/probes.json
    {"schema": 1, "probes": [{"use": {"student": "...", "device": "1 thread of ...", ...}, "torch": "2.13.0",
                              "speed": {"train": 3120.4, "decode": 41.7, "startup": 6.1, "density": {...}}}]}

The launcher stays free of torch: `python -m ftcot.probe` has it. A file that is damaged is made anew.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from ftcot.errors import InputError
from ftcot.files import read_json, write_json
from ftcot.process import LAUNCHER_PID, OTHERS, describe_death
from ftcot.procfs import kill_tree
from ftcot.records import SCHEMA
from ftcot.speeds import Speed, Use

PATIENCE = 300.0
"""Seconds for one student, its libraries included: it takes some ten, on a machine that is busy far more."""


@dataclass(frozen=True)
class Request:
    """A student to be timed."""

    use: Use
    config: Mapping[str, Any]
    """Of a job that uses it so."""
    texts: Mapping[str, Sequence[tuple[str, str]]]
    """Some training pairs, by task."""
    prompts: Sequence[str]
    environment: Mapping[str, str]
    """What the job's process would have set."""


class Probes:
    """What has been timed, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.unkept: str | None = None
        """Why what was timed last could not be kept."""
        self._torch = importlib.metadata.version("torch")

    def find(self, use: Use) -> Speed | None:
        """The speed, if it is known; where nothing is trained, that of answering is enough."""
        alike = [
            speed for known, speed in self._read() if known == use or (not use.training and known.tested == use.tested)
        ]
        return alike[0] if alike else None

    def add(self, use: Use, speed: Speed) -> None:
        """Keep a speed, where the file can be written."""
        rows = [(known, old) for known, old in self._read() if known != use] + [(use, speed)]
        probes = [{"use": asdict(known), "torch": self._torch, "speed": asdict(old)} for known, old in rows]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.file, {"schema": SCHEMA, "probes": probes})
        except OSError as error:
            self.unkept = f"{self.file}: {error.strerror}"

    def _read(self) -> list[tuple[Use, Speed]]:
        """All that hold for this torch; nothing where the file is missing or damaged."""
        try:
            rows = read_json(self.file)["probes"]
            return [(Use(**row["use"]), _speed(row["speed"])) for row in rows if row["torch"] == self._torch]
        except (InputError, KeyError, TypeError, ValueError):
            return []


def _speed(row: Mapping[str, Any]) -> Speed:
    density = {str(task): float(value) for task, value in row["density"].items()}
    train, decode = (None if row[key] is None else float(row[key]) for key in ("train", "decode"))
    return Speed(train, decode, float(row["startup"]), density)


def probe(requests: Sequence[Request], told: Callable[[int, Speed | str], None]) -> None:
    """Time these students, one after the other.

    Args:
        told: called with the number of each and its speed, or why there is none. What it raises ends the work.
    """
    groups: dict[str, list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(json.dumps(request.environment, sort_keys=True), []).append(number)
    for left in groups.values():
        while left:
            cause = _process([requests[number] for number in left], partial(_next, left, told))
            if left:  # the one that the worker died of; the rest get another
                _next(left, told, cause)


def _next(left: list[int], told: Callable[[int, Speed | str], None], answer: Speed | str) -> None:
    """Pass on the answer for the first one that is left."""
    told(left.pop(0), answer)


def _process(requests: Sequence[Request], heard: Callable[[Speed | str], None]) -> str:
    """Run one worker, which answers in order; returns why it has not answered more."""
    environment = {name: value for name, value in os.environ.items() if name not in OTHERS}
    environment |= {**requests[0].environment, LAUNCHER_PID: str(os.getpid())}
    asked = [{"config": r.config, "texts": r.texts, "prompts": r.prompts} for r in requests]
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as errors:
        stdin.write(json.dumps(asked, default=str).encode())
        stdin.seek(0)
        worker = subprocess.Popen(
            [sys.executable, "-m", "ftcot.probe"], env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            assert worker.stdout is not None
            if not _listen(worker.stdout, heard):
                return f"it takes longer than {PATIENCE:.0f} seconds"
            code = worker.wait()
            errors.seek(0)
            return describe_death(code, errors.read().decode(errors="replace").strip())
        finally:  # Ctrl-C too: nobody waits for what it would say
            kill_tree(worker.pid)
            worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()


def _listen(pipe: IO[bytes], heard: Callable[[Speed | str], None]) -> bool:
    """Hear the worker out; False: an answer did not come in time."""
    rest, end = b"", time.monotonic() + PATIENCE
    while True:
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        if not (data := os.read(pipe.fileno(), 65536)):
            return True
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            row = json.loads(line)
            heard(_speed(row["speed"]) if "speed" in row else str(row["error"]))
            end = time.monotonic() + PATIENCE
