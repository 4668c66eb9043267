"""A sample of questions, whole: what is costly to find out about completions is found out about these.

    10,000,000 completions of 1,250,000 questions    10,000 completions of 1,250 questions are kept, all of each

Up to MOST completions all are kept. Beyond, the questions come first whose hash is lowest, as many as fit: so neither
the order in which completions come nor the machine decides which, and of no more than MOST is anything held.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar
from zlib import crc32

from ftcot.records import SampleKey

MOST = 10_000
"""Completions that are kept. They are of 1,250 questions where each has 8: the standard error of a mean is then 2.8 %
of the standard deviation between questions."""

Question = int | SampleKey

T = TypeVar("T")

_BITS = 10


class Sampled(Generic[T]):
    """What is kept of the completions of each question of the sample, and how many there were in all."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.n = 0
        """Completions, kept or not."""
        self.n_kept = 0
        self._kept: dict[Question, list[T]] = {}
        self._ranks: list[tuple[int, Question]] = []
        """Of those kept, the negative hash: a heap whose first is the next to go."""
        self._below = 1 << 32
        """Hashes that are kept."""
        self._seen: dict[tuple[object, ...], int] = {}
        """Of each 1,024 neighbouring questions, a bit for each that has come."""
        self._latest: Question | None = None
        self._takes_latest = False

    @property
    def questions(self) -> int:
        """Different ones, kept or not."""
        return sum(bits.bit_count() for bits in self._seen.values())

    @property
    def whole(self) -> bool:
        """Whether everything was kept."""
        return self.n == self.n_kept

    def takes(self, question: Question) -> bool:
        """Count a completion of this question. Whether it is of the sample, so that `add` is to follow."""
        self.n += 1
        if question != self._latest:
            self._latest = question
            self._mark(question)
            self._takes_latest = question in self._kept or _rank(question) < self._below
        return self._takes_latest and (self.n_kept < self.most or len(self._kept) > (question in self._kept))

    def add(self, question: Question, item: T) -> None:
        """Keep this of a completion that `takes` has just wanted."""
        if question not in self._kept:
            self._kept[question] = []
            heappush(self._ranks, (-_rank(question), question))
        self._kept[question].append(item)
        self.n_kept += 1
        while self.n_kept > self.most and len(self._kept) > 1:
            rank, gone = heappop(self._ranks)
            self._below = -rank
            self.n_kept -= len(self._kept.pop(gone))
            self._latest = None

    def __iter__(self) -> Iterator[list[T]]:
        """What is kept of each question of the sample."""
        return iter(self._kept.values())

    def _mark(self, question: Question) -> None:
        *of, index = question if isinstance(question, tuple) else (question,)
        block = (*of, int(index) >> _BITS)
        self._seen[block] = self._seen.get(block, 0) | 1 << (int(index) & (1 << _BITS) - 1)


def _rank(question: Question) -> int:
    return crc32(repr(question).encode("utf-8", "surrogatepass"))
