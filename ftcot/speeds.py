"""How fast students train and answer: learned from earlier runs, or from a probe where there is none.

    Use(student=gpt2-medium, device="NVIDIA H100 80GB HBM3", precision="bf16-mixed", batch 8, tests of 16384 tokens)
    Speed(train=41200.0 tokens a second, decode=2310.0 tokens a second, startup=14.2 s, density={"multiarith": 0.27})

Answers are as many at a time as there is room for, so what an answer takes is its tokens over those written a second.
Earlier runs are those of the job index: whoever shares paths.cache shares them. They win over probes, as they are real.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ftcot.errors import InputError
from ftcot.evaluate import Evaluation
from ftcot.files import read_json
from ftcot.folder import read_status, thaw
from ftcot.prompts import Method

RECENT = 5
"""Runs that are looked at for each speed: the last ones."""

SEARCHED = 500
"""Entries of the job index that are looked at, the last ones."""

NEVER_ENDS = 0.02
"""Share of a trained student's answers that run on to the limit, where no earlier run says better."""


MICRO = ("device_batch_size", "device_batch_tokens")
"""Settings of what goes through the model at once."""


@dataclass(frozen=True)
class Use:
    """What a speed depends on."""

    student: str
    """Its config, as JSON."""
    device: str
    """What the job computes on (hardware.py)."""
    precision: str
    training: str
    """Batches and LoRA, as JSON; empty where nothing is trained."""
    batch: int
    """Tokens of prompts and answers that are under way together."""

    @classmethod
    def of(cls, config: Mapping[str, Any], device: str, *, trains: bool) -> Use:
        """The use that a job's config makes of its student."""
        student = {key: value for key, value in config["student"].items() if key != "cache"}
        training = {
            key: config["training"].get(key) for key in ("batch_size", "batch_by", "group_size", *MICRO, "lora")
        }
        return cls(
            json.dumps(student, sort_keys=True),
            device,
            str(config["trainer"].get("precision", "32-true")) if trains else "",
            json.dumps(training, sort_keys=True) if trains else "",
            config["evaluation"]["batch_tokens"],
        )

    @property
    def name(self) -> str:
        """Of the student."""
        return str(json.loads(self.student)["name"])

    @property
    def trained(self) -> tuple[str, str, str, str]:
        """What the speed of training depends on."""
        return (self.student, self.device, self.precision, self.training)

    @property
    def tested(self) -> tuple[str, str, int]:
        """What the speed of answering depends on."""
        return (self.student, self.device, self.batch)


@dataclass(frozen=True)
class Answers:
    """How long a student's answers are."""

    tokens: float
    """Mean, of a call."""
    endless: float
    """Share of them that the limit ends."""


@dataclass(frozen=True)
class Speed:
    """How fast a student is."""

    train: float | None = None
    """Tokens of pairs (prompt and target) a second."""
    decode: float | None = None
    """Tokens of answers a second."""
    startup: float = 0.0
    """Seconds until it trains or answers: libraries, weights."""
    density: Mapping[str, float] = field(default_factory=dict)
    """Tokens a character, by task."""
    overlap: float = 0.0
    """Share of the time of tests in which training goes on."""


@dataclass(frozen=True)
class Told:
    """What one earlier run tells."""

    use: Use
    task: str
    method: str
    limit: int
    speed: Speed
    answers: Answers


@dataclass
class Earlier:
    """What the earlier runs tell, newest first."""

    runs: Sequence[Told] = ()

    def speed(self, use: Use) -> tuple[Speed, int]:
        """The medians of the last runs like this one, and how many there are."""
        trained = [run for run in self.runs if use.training and run.use.trained == use.trained][:RECENT]
        tested = [run for run in self.runs if run.use.tested == use.tested][:RECENT]
        alike = trained or tested
        speed = Speed(
            _median(run.speed.train for run in trained),
            _median(run.speed.decode for run in tested),
            _median(run.speed.startup for run in alike) or 0.0,
            self._density(use),
            _median(run.speed.overlap for run in trained) or 0.0,
        )
        return speed, len(alike)

    def _density(self, use: Use) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for run in self.runs:
            if run.use.student == use.student:
                for task, density in run.speed.density.items():
                    found.setdefault(task, []).append(density)
        return {task: median(values[:RECENT]) for task, values in found.items()}

    def answers(self, use: Use, task: str, method: str, limit: int) -> Answers | None:
        """How long the answers of this student to this task were; None where nobody knows."""
        alike = [
            run.answers
            for run in self.runs
            if (run.use.student, run.task, run.method, run.limit) == (use.student, task, method, limit)
        ][:RECENT]
        if not alike:
            return None
        return Answers(median(one.tokens for one in alike), median(one.endless for one in alike))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def read_earlier(index: Path, students: Iterable[str]) -> Earlier:
    """What the finished runs of these students tell.

    Args:
        index: `paths.cache/jobs`.
        students: their names.
    """
    names, runs = set(students), []
    for folder in _folders(index):
        with suppress(InputError, KeyError, TypeError, ValueError, ZeroDivisionError):  # of another version, or damaged
            if (run := _told(folder, names)) is not None:
                runs.append(run)
    return Earlier(runs)


def _folders(index: Path) -> Iterable[Path]:
    """The folders of the jobs that ended last, newest first."""
    try:
        with os.scandir(index) as found:
            entries = sorted(((e.stat().st_mtime, e.path) for e in found if e.name.endswith(".json")), reverse=True)
    except OSError:
        return
    for _, path in entries[:SEARCHED]:
        with suppress(InputError, KeyError, TypeError):
            row = read_json(Path(path))
            if row["state"] == "complete":
                yield Path(row["folder"])


def _told(folder: Path, names: set[str]) -> Told | None:
    status = read_status(folder)
    counts = status.get("counts", {})
    if "computed_on" not in status or not counts.get("testing_seconds"):
        return None
    score = read_json(folder / "score.json")
    if score["student"] not in names:
        return None
    config = thaw(folder)
    trains = counts.get("steps", 0) > 0
    limit = Evaluation(max_new_tokens=config["evaluation"]["max_new_tokens"]).limit()  # as it is expected beforehand
    use = Use.of(config, status["computed_on"], trains=trains)
    stage = status["seconds"]["train" if trains else "evaluate"]
    training, testing = counts.get("training_seconds", 0.0), counts["testing_seconds"]
    overlapped = min(testing, counts.get("overlapped_seconds", 0.0))
    method = {key: value for key, value in config["method"].items() if key != "_target_"}
    calls = 1 if Method(**method).template_for("decoder").answer_prompt is None else 2
    tests = [Answers(epoch["mean_tokens"] / calls, epoch["truncation_rate"]) for epoch in score["epochs"]]
    written = sum(epoch["n"] * epoch["mean_tokens"] for epoch in score["epochs"])
    density = {}
    if trains:
        density[score["task"]] = counts["pair_tokens"] / counts["pair_characters"]
    # Steps, not epochs: the trainer may make epochs shorter.
    epochs = counts["steps"] * config["training"]["batch_size"] / counts["examples"] if trains else 0.0
    speed = Speed(
        counts["pair_tokens"] * min(epochs, config["training"]["epochs"]) / training if trains else None,
        written / testing,
        max(0.0, stage - training - (testing - overlapped)),
        density,
        overlapped / testing,
    )
    mean = Answers(sum(one.tokens for one in tests) / len(tests), sum(one.endless for one in tests) / len(tests))
    return Told(use, score["task"], score["method"], limit, speed, mean)
