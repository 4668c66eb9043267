"""Which rows of a store are meant, and which of them count.

    stored   a rationale (call 1 of 2), the whole completion (both calls), the same key again by a second job
    counted  the whole completion, once

Rows of one teacher and task that were asked for alike are a set: what jobs at one temperature, with one way of asking,
find. It is known by a hash of the parameters and of the way of asking, of which the completions tell.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from ftcot.completions.digests import Digests, digest
from ftcot.completions.rows import is_incomplete
from ftcot.errors import InputError
from ftcot.records import Completion
from ftcot.teacher import Progress, no_progress
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.store_folder import segments_in
from ftcot.teacher.store_lines import StoredRow, sha256

BLOCK = 1 << 22
"""Bytes read at once."""

SHOWN = 8
"""Digits of a set's hash that are shown, and are enough to name it."""

VARIANTS = ("style", "verbosity", "prompt", "system", "demonstrations")
"""What else tells how completions were asked for: no part of the parameters, as it is in the prompt."""

LABELS: Mapping[str, str] = {
    "temperature": "T = {}",
    "style": "{}",
    "verbosity": "verbosity {}",
    "prompt": "own prompt",
    "system": "own system message",
    "demonstrations": "own demonstrations",
    "max_tokens": "≤ {} tokens",
    "max_tokens_rationale": "≤ {} tokens",
    "skill": "skill {}",
    "part": "as {}",
}
"""What of a completion's `teacher` tells a person how it was made."""


@dataclass(frozen=True)
class Selection:
    """Rows of a store by teacher, task and set; None: all."""

    store: CompletionStore
    teacher: str | None = None
    task: str | None = None
    set: str | None = None
    """How the hash of the set begins."""

    def rows(self) -> Iterator[StoredRow]:
        """Every line, in the order of the store."""
        for row in self.store.scan(self.teacher, self.task):
            if self.set is None or set_of(row).startswith(self.set):
                yield row

    def n_lines(self) -> int:
        """Lines in all, of whatever set: how long a look through them takes."""
        folders = {self.store.folder(*place) for place in self.store.teachers() if self._has(*place)}
        return sum(count_lines(path) for folder in folders for path in segments_in(folder))

    def _has(self, teacher: str, task: str) -> bool:
        return self.teacher in (None, teacher) and self.task in (None, task)

    def check(self) -> None:
        """Refuse a name of which the store has nothing.

        Raises:
            InputError: it has nothing of it.
        """
        present = self.store.teachers()
        if not present:
            raise InputError(f"{self.store.root}: no completions are stored there (another cache: --cache FOLDER)")
        for option, name, place in (("--teacher", self.teacher, 0), ("--task", self.task, 1)):
            known = sorted({pair[place] for pair in present})
            if name is not None and name not in known:
                raise InputError(f"{option} {name}: nothing of it is in {self.store.root}; it has {', '.join(known)}")
        if not any(self._has(*place) for place in present):
            raise InputError(f"--teacher {self.teacher} --task {self.task}: nothing of both is in {self.store.root}")


@dataclass
class Count:
    """Rows that count, each once; what was left out is counted too."""

    selection: Selection
    incomplete: bool = False
    """Whether rationales without an answer count where the whole completion is not there."""
    n: int = 0
    """Rows that count."""
    repeated: int = 0
    """Lines with the key of another line."""
    left: int = 0
    """Rationales whose whole completion is not there, and that do not count."""
    _first: dict[bytes, str] = field(default_factory=dict)
    """Of keys that several lines have: when the first of them was stored. (Its place may change: a merge.)"""
    _alone: set[bytes] = field(default_factory=set)
    """Rationales without a whole completion."""

    def look(self, report: Progress = no_progress) -> None:
        """Go through the rows once."""
        total = self.selection.n_lines()
        seen, halves, wholes = Digests(), Digests(), Digests()
        repeated: set[bytes] = set()
        n_halves = 0
        for done, row in enumerate(self.selection.rows(), start=1):
            name = digest(*row.key)
            if not seen.add(name):
                self.repeated += 1
                repeated.add(name)
            else:
                half = is_incomplete(row.completion)
                n_halves += half
                (halves if half else wholes).add(_said(row))
            if done % 1000 == 0:
                report(done, total, "looking through")
        self._alone = {said for said in halves if said not in wholes}
        self.left = 0 if self.incomplete else len(self._alone)
        if repeated:
            for row in self.selection.rows():
                if (name := digest(*row.key)) in repeated:
                    self._first[name] = min(row.stored, self._first.get(name, row.stored))
        self.n = len(seen) - n_halves + (len(self._alone) if self.incomplete else 0)

    def rows(self) -> Iterator[StoredRow]:
        """Those that count, after `look`."""
        taken: set[bytes] = set()
        for row in self.selection.rows():
            if self._first and (name := digest(*row.key)) in self._first:
                if name in taken or row.stored != self._first[name]:
                    continue
                taken.add(name)
            if not is_incomplete(row.completion) or (self.incomplete and _said(row) in self._alone):
                yield row


def set_of(row: StoredRow) -> str:
    """The hash of the set that a row is of."""
    told = row.completion.teacher
    return _hashed(row.key.parameters_sha256, tuple(str(told.get(name) or "") for name in VARIANTS))


@lru_cache(1024)
def _hashed(parameters_sha256: str, variant: tuple[str, ...]) -> str:
    return sha256("/".join((parameters_sha256, *variant))) if any(variant) else parameters_sha256


def count_lines(path: Path) -> int:
    """Lines of a file; none of a segment that was merged with others meanwhile."""
    try:
        with cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))
    except FileNotFoundError:
        return 0


def how(completions: Iterable[Completion]) -> str:
    """How they were made, as far as they tell: `T = 0.7, zero_shot_cot, ≤ 128 tokens`."""
    told: dict[str, list[Any]] = {}
    for completion in completions:
        for name, value in completion.teacher.items():
            if name in LABELS and value is not None and value not in told.setdefault(name, []):
                told[name].append(value)
    shown = []
    for name, label in LABELS.items():
        if (values := told.get(name)) and values != ["normal"]:
            shown.append(label.format(" or ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values[:3])))
    return ", ".join(dict.fromkeys(shown)) or "not recorded"


def _said(row: StoredRow) -> bytes:
    """What a rationale and the completion made of it have in common."""
    key = row.key
    return digest(key.teacher, key.sample, key.prompt_sha256, key.draw, row.completion.rationale)
