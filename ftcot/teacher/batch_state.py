"""Batches on disk: what each one asks and how far it got, written down before every step that costs.

    STORE/TEACHER/TASK/batches/4f1c09ab2e77.plan    what it asks; complete before anything is sent
                               4f1c09ab2e77.json    {"file": "file-AbC", "batch": "batch_XyZ", "settled": []}

A plan is a head and a line for each request; the third request's id is 4f1c09ab2e77-2:

    {"server": "https://api.openai.com/v1", "made": 1795341300.2, "tokens": 1740000}
    {"sample": ["multiarith", 1, 17], "draws": [0, 1, 2, 3], "part": "rationale", "asked": "9c1e..."}

    planned     no .json yet: nothing was sent, or a file that no batch was made of
    uploaded    a file: the server may have made a batch of it that we were not told of
    created     a batch: whoever is asked for one of its draws waits for it
    settled     of a draw: it was delivered, or asked for anew. A plan whose every draw is settled is removed.

The maker holds a lock on the plan until it knows the batch, so that a plan without one, if it can be locked, is a dead
process's. From then on any process may read and settle it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import NamedTuple

from ftcot.errors import InputError, JobError
from ftcot.files import sync_folder, write_json
from ftcot.records import SampleKey, to_line
from ftcot.teacher.asks import Part

Draw = tuple[int, int]
"""A request's number in its plan, and the draw."""


class Row(NamedTuple):
    """One request."""

    sample: SampleKey
    draws: tuple[int, ...]
    """In the order of the reply's choices."""
    part: Part
    asked: str
    """Hash of everything that is asked but the number of draws and the seed of each."""


@dataclass
class Plan:
    """A batch, as far as it got."""

    path: Path
    server: str
    rows: Sequence[Row]
    made: float
    """Seconds since 1970."""
    tokens: int
    """Enqueued by it, by our own estimate."""
    file: str | None = None
    batch: str | None = None
    settled: set[Draw] = field(default_factory=set)
    _lock: BufferedRandom | None = None

    @property
    def id(self) -> str:
        return self.path.stem

    def number(self, custom_id: object) -> int | None:
        """The request with this id; None if it is not of this plan."""
        plan, _, number = custom_id.rpartition("-") if isinstance(custom_id, str) else ("", "", "")
        ours = plan == self.id and number.isdecimal() and number.isascii() and int(number) < len(self.rows)
        return int(number) if ours and number == str(int(number)) else None

    def has_file(self, file: str) -> None:
        """The server has its requests; durable when this returns."""
        self.file = file
        self._save()

    def has_batch(self, batch: str) -> None:
        """The server works on it; durable when this returns, and others may read it from now on."""
        self.batch = batch
        self._save()
        self.unlock()

    def settle(self, draws: Collection[Draw]) -> None:
        """These need the plan no more; it goes with the last of them."""
        if not self.lock(wait=True):
            return  # another process settled the last of them
        try:
            self.settled |= set(draws)
            if len(self.settled) == sum(len(row.draws) for row in self.rows):
                self._remove()
            else:
                self._save()
        finally:
            self.unlock()

    def drop(self) -> None:
        """Forget it: nothing was bought by it. The caller holds the lock."""
        self._remove()
        self.unlock()

    def lock(self, *, wait: bool = False) -> bool:
        """Be the only one that changes it; False if another process is, or it is gone."""
        if self._lock is not None:
            return True
        try:
            handle = self.path.open("r+b")
        except FileNotFoundError:
            return False
        if not _lock(handle, wait=wait) or os.fstat(handle.fileno()).st_nlink == 0:
            handle.close()
            return False
        self._lock = handle
        self._read_state()  # whoever held it may have come further
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _state(self) -> Path:
        return self.path.with_suffix(".json")

    def _save(self) -> None:
        state = {"file": self.file, "batch": self.batch, "settled": sorted(self.settled)}
        try:
            write_json(self._state, state)
            sync_folder(self.path.parent)
        except OSError as error:
            raise JobError(f"{self._state}: cannot be written ({error.strerror or error})") from None

    def _read_state(self) -> None:
        try:
            state = json.loads(self._state.read_text())
            self.file, self.batch = state["file"], state["batch"]
            self.settled |= {(number, draw) for number, draw in state["settled"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._state}: the state of a batch cannot be read ({error}); {REPAIR}") from None

    def _remove(self) -> None:
        self._state.unlink(missing_ok=True)  # first: a plan without a state is one that nothing was sent of
        self.path.unlink(missing_ok=True)


REPAIR = "restore the file, or delete it and the one beside it to have what it holds bought again"


def new_id() -> str:
    """Of a plan."""
    return secrets.token_hex(6)


def custom_id(plan: str, number: int) -> str:
    """What a server calls a request of a plan."""
    return f"{plan}-{number}"


def make(folder: Path, name: str, server: str, rows: Sequence[Row], tokens: int) -> Plan:
    """Write a plan down; it is durable, and locked, when this returns.

    Args:
        name: by new_id.
    Raises:
        JobError: it cannot be written.
    """
    path = folder / f"{name}.plan"
    made = time.time()
    head = {"server": server, "made": made, "tokens": tokens}
    unfinished = path.with_suffix(".new")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = unfinished.open("x+b")
        _lock(handle, wait=True)
        handle.writelines(to_line(line).encode() for line in (head, *(row._asdict() for row in rows)))
        handle.flush()
        os.fsync(handle.fileno())
        unfinished.rename(path)  # the lock goes with it
        for changed in (folder, folder.parent, folder.parent.parent):
            sync_folder(changed)
    except OSError as error:
        raise JobError(f"{path}: cannot be written ({error.strerror or error})") from None
    return Plan(path, server, rows, made, tokens, _lock=handle)


def load(folder: Path, known: Container[str] = ()) -> list[Plan]:
    """The plans of a folder but for those whose ids are known, the oldest first.

    Raises:
        InputError: one is damaged.
    """
    plans = []
    for path in folder.glob("*.plan"):
        if path.stem in known:
            continue
        try:
            head, *rows = [json.loads(line) for line in path.read_text().splitlines()]
            read = [Row(_sample(row["sample"]), tuple(row["draws"]), row["part"], row["asked"]) for row in rows]
            plan = Plan(path, head["server"], read, head["made"], head["tokens"])
        except FileNotFoundError:
            continue  # another process settled it meanwhile
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: the plan of a batch cannot be read ({error}); {REPAIR}") from None
        plan._read_state()
        plans.append(plan)
    return sorted(plans, key=lambda plan: plan.made)


def _sample(values: Sequence[object]) -> SampleKey:
    task, version, index = values
    if not isinstance(task, str) or not isinstance(version, int) or not isinstance(index, int):
        raise TypeError(f"{values} is no sample")
    return (task, version, index)


def _lock(handle: BufferedRandom, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # This file system has no locks. Two processes that take up the same dead process's plan at one moment could
        # then both ask for its draws; the leases stand against that.
        return True
    return True
