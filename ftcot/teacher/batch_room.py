"""How many tokens may be under way, where a server limits them: told by the config or by the server, or found out.

teacher.max_tokens_enqueued=2000000                                  never more
"Enqueued token limit reached ... Limit: 2,000,000 enqueued tokens"  never more from now on
the same without a number                                            half as many, and more once it has them
"""

from __future__ import annotations

import re
import time

RARELY = 20
"""Times `poll_seconds`: how long to wait where nothing happens, at most."""


class Room:
    """Of one account, as far as one job knows."""

    def __init__(self, limit: int | None, poll_seconds: float) -> None:
        self._limit, self._poll = limit, poll_seconds
        self._smaller: int | None = None
        self._pause, self._until = poll_seconds, 0.0

    def left(self, under_way: int) -> float:
        """Tokens that the next batch may have."""
        limits = [limit for limit in (self._limit, self._smaller) if limit is not None]
        return min(limits) - under_way if limits else float("inf")

    def seconds(self) -> float:
        """Until the server is to be asked again; 0 where it can be now."""
        return max(0.0, self._until - time.monotonic())

    def is_full(self, told: float | None = None) -> None:
        """The server takes no batch for now.

        Args:
            told: seconds that it wants to be left alone.
        """
        self._until = time.monotonic() + (self._pause if told is None else told)
        self._pause = min(2 * self._pause, self._poll * RARELY)

    def refused(self, message: str, tokens: int, *, alone: bool) -> None:
        """A batch was too much.

        Args:
            message: in small letters.
            tokens: of the batch.
            alone: nothing else of ours was under way: others fill the queue, or the server counts in its own way.
        """
        if found := re.search(r"limit: *(\d[\d,]*)", message):
            told = int(found[1].replace(",", ""))
            self._limit = told if self._limit is None else min(told, self._limit)
        if alone:
            self._smaller = max(1, tokens // 2)
        self.is_full()

    def takes(self, tokens: int) -> None:
        """So many are under way, and the server did not mind."""
        if tokens:
            self._pause = self._poll
        if self._smaller is not None:
            self._smaller = max(self._smaller, 2 * tokens)

    def is_free(self) -> None:
        """A batch has ended."""
        self._until = 0.0
