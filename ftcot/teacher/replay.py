"""The replay teacher: completions that were recorded, so that nobody needs a key to train on them.

    teacher=replay task=multiarith                            the paper's own: 420 questions, one greedy rationale each
    teacher=replay task=multiarith diversity=8                2574 right ones of 8 draws at T = 0.7
    teacher=replay teacher.path=mine.jsonl                    a file of one's own

Without `teacher.path`, these places in the data folder are tried, NAME being `teacher.name`; each may end in `.gz`.
At temperature 0 (`diversity=greedy`) the first that is there is read:

    reasoning_teacher/completion_data/B_NAME__C_zs_cot/D_TASK.json     right and wrong
    recorded/NAME-paper/TASK.jsonl                                     right and wrong
    recorded/NAME-paper/TASK.correct_only.jsonl
    reasoning_teacher/finetune_data/P_openai/F_zs_cot_TASK.jsonl       (text-davinci-002; F_zs_cot_NAME_TASK for others)
    recorded/NAME/TASK.jsonl, recorded/NAME/TASK.correct_only.jsonl

At temperature 0.7 (`t70`; other temperatures likewise), the first that holds the degree D asked for:

    recorded/NAME-t70/TASK.jsonl
    reasoning_teacher/finetune_data/P_openai/F_zs_cot_t70_TASK_Daug.jsonl
    recorded/NAME-t70/TASK.Nshot.jsonl                                 if the training questions are among its N
    reasoning_teacher/finetune_data/P_openai/F_zs_cot_t70_TASK_Nshot_Daug.jsonl    likewise

So a job with `task.train_size=128 diversity=8` trains on a subset of what the full job trains on, and one with
`diversity=64`, which was recorded for 128 questions only, works too. Differs: the authors' N-shot files lack a few
rows of their full files (410 pairs against 419 for MultiArith, 32 questions, D = 16); to train on exactly those, name
the file with `teacher.path`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.answers import candidate
from ftcot.errors import InputError
from ftcot.records import Completion, Sample
from ftcot.teacher import Diversity, Estimate, Planned, Session
from ftcot.teacher.matching import Known
from ftcot.teacher.recordings import Recording, in_random_order, read_recording

if TYPE_CHECKING:
    from ftcot.task import Splits, Task
    from ftcot.teacher.store import CompletionStore

READER = 1
"""Raised when a recording would be read into other completions than before; part of their key in the store."""

FINE_TUNING = "reasoning_teacher/finetune_data/P_openai"
PAPERS_TEACHER = "text-davinci-002"
"""The authors' file names leave it out."""


@dataclass(frozen=True)
class Replay:
    """A teacher whose completions are on disk."""

    name: str
    """Of the teacher that was recorded; empty: the paper's default teacher, or the name of the file `path`."""
    folder: str | Path | None
    """The data folder."""
    path: str | Path | None = None
    """A recording of one's own choice; None looks in the data folder."""
    draw_order: str = "recorded"
    """`random`: serve degrees that were not recorded too, from those that were."""

    def __post_init__(self) -> None:
        if not self.name:
            own = None if self.path is None else Path(self.path).name.partition(".")[0]
            object.__setattr__(self, "name", own or PAPERS_TEACHER)
        if self.draw_order not in ("recorded", "random"):
            raise InputError(f"teacher.draw_order={self.draw_order}: expected recorded or random")

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        """See Teacher; reads the recording."""
        return self._recording(task, splits, diversity).correct_only

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        """The recordings that may be read: which of several serves a degree shows when they are read."""
        found = self._found(task, diversity)
        return tuple(found[:1] if diversity.temperature == 0 else found)

    def complete(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, session: Session
    ) -> list[Completion]:
        """See Teacher; samples whose recording kept no completion have none."""
        store = session.store
        recording = self._recording(task, task.splits(), diversity)
        order = {sample.sample_index: place for place, sample in enumerate(samples)}
        asked = _asked(recording, samples, diversity)
        parameters = self.parameters(recording)
        stored = {_row(c) for c in store.rows(self.name, task.name, parameters)}
        missing = [self.signed(c, recording, diversity) for c in asked if _row(c) not in stored]
        store.put(self.name, parameters, missing)
        rows = {_row(c) for c in asked}
        completions = [c for c in store.rows(self.name, task.name, parameters) if _row(c) in rows]
        session.progress(len(samples), len(samples))
        return sorted(completions, key=lambda completion: order[completion.sample_index])

    def look(self, task: Task, samples: Sequence[Sample], diversity: Diversity) -> list[Completion]:
        """What `complete` will give for these samples, in the recording's order; nothing is stored."""
        return _asked(self._recording(task, task.splits(), diversity), samples, diversity)

    def reach(self) -> None:
        """There is nothing to reach."""

    def estimate(
        self, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, planned: Planned
    ) -> Estimate:
        """What is on record costs nothing more."""
        wanted = len(samples) * diversity.degree
        return Estimate(wanted=wanted, stored=wanted)

    def accuracy(self, task: Task, splits: Splits, completions: Sequence[Completion]) -> float | None:
        """Over all recorded completions of all samples, of every split.

        Source: METHOD section 3. The first candidate of the answer text counts: that gives the five accuracies of
        Table 1 that can be checked here to two decimals; the last candidate would give MultiArith 79.42, not 78.79.
        """
        if not completions or any(completion.correct_only for completion in completions):
            return None
        temperature = completions[0].teacher.get("temperature") or 0
        degree = 1 + max(completion.draw or 0 for completion in completions)
        recording = self._recording(task, splits, Diversity(degree, temperature))
        answers = {index: sample.answer for index, sample in Known.of(task, splits).samples.items()}
        verdicts = [
            bool(c.correct)
            if c.answer_text is None
            else candidate(task.answer, c.answer_text, answers[c.sample_index], "first").correct
            for c in recording.completions
        ]
        return sum(verdicts) / len(verdicts)

    def cost(self, completions: Sequence[Completion]) -> float | None:
        """Not known: what somebody paid for a recording is not in it."""
        return None

    def parameters(self, recording: Recording) -> dict[str, Any]:
        """What its completions are known by in the store, beside their prompts."""
        return {
            "reader": READER,
            "recording_sha256": hashlib.sha256(recording.path.read_bytes()).hexdigest(),
            "depends_on": recording.depends_on,
        }

    def signed(self, completion: Completion, recording: Recording, diversity: Diversity) -> Completion:
        """With what the job knows of the teacher, where the recording does not say it."""
        told = {name: value for name, value in completion.teacher.items() if value is not None}
        known = {"name": self.name, "temperature": diversity.temperature}
        return replace(completion, teacher=known | told | {"recording": recording.path.name})

    def _recording(self, task: Task, splits: Splits, diversity: Diversity) -> Recording:
        """The recording that serves this job."""
        found = self._found(task, diversity)
        if not found:
            raise InputError(self._nothing_found(task, diversity))
        known = Known.of(task, splits)
        recordings = []
        for path in found if diversity.temperature else found[:1]:
            recording = read_recording(path, known, diversity.degree)
            _check_temperature(recording, diversity)
            if self.draw_order == "random" and not recording.holds(diversity.degree):
                recording = in_random_order(recording)
            if recording.holds(diversity.degree) and (self.path is not None or _covers(recording, splits)):
                _check_training(recording, splits, diversity)
                return recording
            recordings.append(recording)
        raise InputError(self._degree_missing(task, diversity, recordings))

    def _found(self, task: Task, diversity: Diversity) -> list[Path]:
        """The recordings that are there, in the order in which they are tried."""
        if self.path is not None:
            path = Path(self.path).expanduser()
            if not path.is_file():
                raise InputError(f"teacher.path={self.path}: no such file")
            return [path]
        if self.folder is None or not task.files():
            return []
        folder = Path(self.folder).expanduser()
        return [path for place in self._places(task.name, diversity) for path in _glob(folder, place)]

    def _places(self, task: str, diversity: Diversity) -> list[str]:
        """Patterns of the paths that are tried, as the module's text lists them, without `.gz`."""
        if diversity.temperature == 0:
            own = "" if self.name == PAPERS_TEACHER else f"{self.name}_"
            return [
                f"reasoning_teacher/completion_data/B_{self.name}__C_zs_cot/D_{task}.json",
                f"recorded/{self.name}-paper/{task}.jsonl",
                f"recorded/{self.name}-paper/{task}.correct_only.jsonl",
                f"{FINE_TUNING}/F_zs_cot_{own}{task}.jsonl",
                f"recorded/{self.name}/{task}.jsonl",
                f"recorded/{self.name}/{task}.correct_only.jsonl",
            ]
        drawn = f"t{round(100 * diversity.temperature)}"
        places = [f"recorded/{self.name}-{drawn}/{task}.jsonl", f"recorded/{self.name}-{drawn}/{task}.*shot.jsonl"]
        if self.name == PAPERS_TEACHER:
            authors = f"{FINE_TUNING}/F_zs_cot_{drawn}_{task}"
            places.insert(1, f"{authors}_{diversity.degree}aug.jsonl")
            places.append(f"{authors}_*shot_{diversity.degree}aug.jsonl")
        return places

    def _nothing_found(self, task: Task, diversity: Diversity) -> str:
        asked = f"teacher=replay: no recording of {self.name} for {task.name} at temperature {diversity.temperature:g}"
        if not task.files():
            return f"{asked}: the questions of this task are generated; use teacher=procedural, or teacher.path=FILE"
        if getattr(task, "path", None) is not None:
            return (
                f"{asked}; give a file of your own with teacher.path=FILE, a line of it like "
                '{"sample_index": 0, "rationale": "2 + 2 = 4.", "answer_text": "4"}; or take method=fine_tune'
            )
        if self.folder is None:
            return f"{asked}: no data folder; set paths.data (FTCOT_DATA), or name a file with teacher.path=FILE"
        folder = Path(self.folder).expanduser()
        looked = ", ".join(self._places(task.name, diversity))
        where = f"{folder} (looked for {looked}; each also as .gz)" if folder.is_dir() else f"{folder}: no such folder"
        others = sorted({path.parent.name for path in folder.glob(f"recorded/*/{task.name}.*")})
        hint = f"; recorded/ has {task.name} in {', '.join(others)}" if others else ""
        return (
            f"{asked} in {where}{hint}. Point paths.data (FTCOT_DATA) at a folder that has one, name a file with "
            "teacher.path=FILE, or take another diversity, teacher.name or teacher"
        )

    def _degree_missing(self, task: Task, diversity: Diversity, recordings: Sequence[Recording]) -> str:
        asked = f"diversity={diversity.degree}: {self.name}'s recording of {task.name}"
        held = [f"holds {_draws(r)} a question ({r.path})" for r in recordings if not r.holds(diversity.degree)]
        small = [n for r in recordings if r.holds(diversity.degree) and (n := _shots(r.path)) is not None]
        ways = ["take a diversity that was recorded"]
        if small:
            held.append(f"so many were drawn for {max(small)} questions only")
            ways.append(f"add task.train_size={max(small)}")
        if any(r.degrees and diversity.degree < max(r.degrees) for r in recordings):
            ways.append("give its draws a random order with teacher.draw_order=random")
        return f"{asked} {', '.join(held)}: {', or '.join(ways)}"


def _glob(folder: Path, pattern: str) -> list[Path]:
    """The files of this pattern; of one and its `.gz` the plain one; those for fewest questions first."""
    escaped = re.sub(r"([\[\]?])", r"[\1]", pattern)
    found = {path.with_name(path.name.removesuffix(".gz")): path for path in folder.glob(f"{escaped}.gz")}
    found |= {path: path for path in folder.glob(escaped)}
    return [found[name] for name in sorted(found, key=lambda name: (_shots(name) or 0, name))]


def _shots(path: Path) -> int | None:
    """Of how many training questions the file is, where that is not all of them."""
    shots = re.search(r"[._](\d+)shot", path.name)
    return int(shots[1]) if shots else None


def _covers(recording: Recording, splits: Splits) -> bool:
    """Whether the training questions can be among those the file is of.

    It shows only the questions with a right completion; the training questions it does not show have to fit into
    the rest of its N.
    """
    n = _shots(recording.path)
    if n is None:
        return True
    shown = {completion.sample_index for completion in recording.completions}
    return len(shown | {sample.sample_index for sample in splits.train}) <= n


def _asked(recording: Recording, samples: Sequence[Sample], diversity: Diversity) -> list[Completion]:
    """The first draws of these samples."""
    indices = {sample.sample_index for sample in samples}
    return [c for c in recording.completions if c.sample_index in indices and diversity.selects(c)]


def _check_temperature(recording: Recording, diversity: Diversity) -> None:
    recorded = recording.temperature
    if recorded is None or recorded == diversity.temperature:
        return
    degrees = ",".join(map(str, recording.degrees or [recording.n_draws]))
    instead = "greedy" if recorded == 0 else degrees
    raise InputError(
        f"{recording.path}: recorded at temperature {recorded:g}, and the job asks for {diversity.temperature:g}; "
        f"give diversity={instead}"
    )


def _check_training(recording: Recording, splits: Splits, diversity: Diversity) -> None:
    train = {sample.sample_index for sample in splits.train}
    if not any(c.sample_index in train and diversity.selects(c) for c in recording.completions):
        raise InputError(
            f"{recording.path}: holds no completion of any of the {len(train)} training questions; "
            "name another recording with teacher.path=FILE"
        )


def _draws(recording: Recording) -> str:
    *most, last = map(str, recording.degrees or [recording.n_draws])
    return f"{', '.join(most)} or {last} draws" if most else f"{last} draw{'s' * (last != '1')}"


def _row(completion: Completion) -> tuple[int, int | None, int | None]:
    """What tells the completions of one recording apart."""
    index = completion.completion_index if completion.draw is None else None
    return (completion.sample_index, completion.draw, index)
