"""How far each draw of an order is: one byte for each, and a few words on those that are under way.

    missing ──> under way ──> stored, or given up

A draw goes by two names: (sample, draw), as the store knows it, and its number in the order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ftcot.records import Completion
from ftcot.teacher.asks import Turn
from ftcot.teacher.budget import Tokens
from ftcot.teacher.orders import Draw

MISSING, STORED, GIVEN_UP = range(3)


@dataclass(slots=True)
class UnderWay:
    """A draw that a backend has been asked for."""

    number: int
    turns: tuple[Turn, ...]
    """Of the first call."""
    promised: Tokens
    """What it may still take."""
    said: Completion | None = None
    """The rationale, where it is stored and the answer is asked for."""


class Draws:
    """All draws of an order. Safe to use from several threads."""

    def __init__(self, n: int) -> None:
        self._lock = threading.Lock()
        self._states = bytearray(n)
        self._n = [n, 0, 0]
        self._under_way: dict[Draw, UnderWay] = {}

    def __len__(self) -> int:
        return len(self._states)

    @property
    def n_missing(self) -> int:
        """Those under way among them."""
        return self._n[MISSING]

    @property
    def n_stored(self) -> int:
        return self._n[STORED]

    @property
    def n_given_up(self) -> int:
        return self._n[GIVEN_UP]

    def missing(self) -> Iterator[int]:
        """The numbers of those that are missing, as they are when it comes to them."""
        return (number for number, state in enumerate(self._states) if state == MISSING)

    def found(self, numbers: Iterable[int]) -> None:
        """The store has these."""
        with self._lock:
            for number in numbers:
                self._set(number, STORED)

    def open(self, draw: Draw, under_way: UnderWay) -> None:
        """It is asked for."""
        with self._lock:
            self._under_way[draw] = under_way

    def under_way(self, draw: Draw) -> UnderWay | None:
        """What is known of it; None where it is not under way."""
        return self._under_way.get(draw)

    def all_under_way(self) -> list[Draw]:
        with self._lock:
            return list(self._under_way)

    def close(self, draw: Draw, state: int) -> Tokens:
        """It is under way no more; what it had been promised still."""
        with self._lock:
            if (closed := self._under_way.pop(draw, None)) is None:
                return Tokens()
            self._set(closed.number, state)
            return closed.promised

    def _set(self, number: int, state: int) -> None:
        self._n[self._states[number]] -= 1
        self._states[number] = state
        self._n[state] += 1
