"""Leases: which job makes which draws at the moment, so that no two jobs make, or pay for, the same one.

    ROOT/TEACHER/TASK/5f0c….leases, one file for all jobs that want the same teacher, task and parameters:

    {"b81d…": {"pid": 4242, "boot": "9c1d…", "host": "node7", "started": "8812345", "beat": 3,
               "draws": {"1": {"0-7": "0,2-5,9", "4-7": "8"}}}}

The job b81d… makes draws 0 to 7 of the samples 0, 2, 3, 4, 5 and 9 of the task's version 1, and draws 4 to 7 of
sample 8. A job raises its `beat` every 15 seconds. It is taken for dead when its process is gone (where that can be
looked up: on the same machine), or when a job that watches it has seen the same beat for 60 seconds of its own clock:
no clock of one machine is ever compared with another's.

A lease saves work and guards nothing. Where the file cannot be written or locked, work may be done twice, and of two
completions with one key the first stored counts.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from ftcot.procfs import is_alive, start_of
from ftcot.status import boot_id
from ftcot.teacher.lease_file import Draw, from_ranges, locked, to_ranges

LIFETIME = 60.0
"""Seconds without a beat after which a holder is taken for dead."""

RENEWAL = 15.0
"""Seconds between two beats."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One that goes on while the machine sleeps, where there is one."""


class Leases:
    """This job's leases on draws of one teacher, task and parameters. Safe to use from several threads.

    A context manager: within it a thread renews what was taken, and on leaving all of it is given back.
    """

    def __init__(self, path: Path, task: str, *, lifetime: float = LIFETIME, renewal: float = RENEWAL) -> None:
        self.path, self.task = path, task
        self.lifetime, self.renewal = lifetime, renewal
        self._id = secrets.token_hex(8)
        self._pid = os.getpid()
        self._mine: set[Draw] = set()
        self._beat, self._beaten = 0, 0.0
        self._seen: dict[str, tuple[Any, float]] = {}
        self._known: dict[str, tuple[Any, frozenset[Draw]]] = {}
        """What others hold, as it stands in the file and as it was read: one who waits for a batch looks at a hundred
        thousand draws again and again."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._within = False
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._within = True
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._pid:  # the copy in a forked process: they are its parent's
            return
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        self.release_all()

    def take(self, items: Iterable[Draw]) -> list[Draw]:
        """Those of the items that are this job's from now on: all that no other living job holds.

        Look the store up after this, not only before: who held one of them until now may just have stored it.
        """
        wanted = list(items)
        if not wanted:
            return []
        with self._lock, locked(self.path, create=True) as holders:
            self._find_out(holders)
            held = self._held(holders)
            taken = [item for item in wanted if not any(item in others for others in held)]
            self._mine.update(taken)
            self._enter(holders)
            if self._within and self._renewing is None:
                self._renewing = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._renewing.start()
        return taken

    def release(self, items: Collection[Draw]) -> None:
        """Give these back: they are stored, or given up."""
        with self._lock:
            if self._mine.isdisjoint(items):
                return
            self._mine.difference_update(items)
            with locked(self.path) as holders:
                self._find_out(holders)
                self._enter(holders)

    def release_all(self) -> None:
        """Give back whatever is left; more can be taken afterwards."""
        with self._lock:
            left = list(self._mine)
        self.release(left)

    def still(self, items: Collection[Draw]) -> list[Draw]:
        """Those of the items that are this job's still: one that was stopped for long may have lost them."""
        with self._lock:
            if self._is_overdue():
                with locked(self.path, create=True) as holders:
                    self._find_out(holders)
                    self._enter(holders)
            return [item for item in items if item in self._mine]

    def held(self) -> set[Draw]:
        """What other living jobs hold."""
        with self._lock, locked(self.path) as holders:
            return set().union(*self._held(holders))

    def _renew(self) -> None:
        while not self._ended.wait(self.renewal):
            with self._lock, locked(self.path, create=bool(self._mine)) as holders:
                self._find_out(holders)
                # Of those who could not lock the file, too.
                self._mine.difference_update(*self._held(holders))
                self._enter(holders)

    def _find_out(self, holders: Mapping[str, Any]) -> None:
        """Whoever took this process for dead has removed its entry, and may have made all that it held."""
        if self._is_overdue() and self._id not in holders:
            self._mine.clear()

    def _is_overdue(self) -> bool:
        """Whether somebody may have taken this process for dead."""
        return bool(self._mine) and time.clock_gettime(_CLOCK) - self._beaten > self.lifetime / 2

    def _enter(self, holders: dict[str, Any]) -> None:
        """Set this job's entry."""
        holders.pop(self._id, None)
        self._beaten = time.clock_gettime(_CLOCK)
        if self._mine:
            self._beat += 1
            me = {"pid": self._pid, "boot": boot_id(), "host": socket.gethostname(), "started": start_of(self._pid)}
            holders[self._id] = me | {"beat": self._beat, "draws": to_ranges(self._mine)}

    def _held(self, holders: dict[str, Any]) -> list[frozenset[Draw]]:
        """What each other living job holds; the entries of dead ones are removed."""
        before, self._known = self._known, {}
        for name in [name for name in holders if name != self._id]:
            try:
                if self._is_gone(name, holders[name]):
                    del holders[name]
                    continue
                told = holders[name]["draws"]
                if name not in before or before[name][0] != told:
                    before[name] = (told, frozenset(from_ranges(self.task, told)))
                self._known[name] = before[name]
            except (AttributeError, KeyError, TypeError, ValueError):  # not an entry: nobody can be waited for
                del holders[name]
        return [draws for _, draws in self._known.values()]

    def _is_gone(self, name: str, holder: Mapping[str, Any]) -> bool:
        here, boot = socket.gethostname(), boot_id()
        if holder["host"] == here and holder["boot"] == boot and not is_alive(holder["pid"], holder["started"]):
            return True
        beat, now = holder["beat"], time.monotonic()
        seen, since = self._seen.get(name, (None, now))
        if seen != beat:
            since = now
        self._seen[name] = (beat, since)
        return now - since >= self.lifetime
