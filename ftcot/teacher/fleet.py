"""The servers that stand for one teacher, and how long they are put up with.

    Account(servers=[Server(127.0.0.1:8000, 64 at once), Server(127.0.0.1:8001, down)], requests=..., tokens=...)

Replicas share the work: the next request goes to the one with the fewest under way. One that cannot be connected to, or
gives nothing but errors, is left out and tried again later. What is learnt of them outlives one round of sending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftcot.teacher.address import Address
from ftcot.teacher.asks import Ask
from ftcot.teacher.pace import Bucket, Pace, Waits
from ftcot.teacher.tokens import Counter
from ftcot.teacher.wire import Dialect


@dataclass(frozen=True)
class Patience:
    """When to give up. Seconds, where nothing else is said."""

    attempts: int = 6
    """At one request."""
    timeout: float = 120.0
    """Of one request."""
    stage: float | None = None
    """Of all of them together."""
    drain: float = 10.0
    """For what is under way, when the work is to end at once: somebody wants to stop it, or its time is over."""
    down: float = 120.0
    """Without any server that can be connected to."""
    limited: float = 3600.0
    """Of nothing but rate limits."""
    in_a_row: int = 10
    """Asks that failed for good, one after the other."""
    waits: Waits = field(default_factory=Waits)


@dataclass(frozen=True)
class Request:
    """What all requests of a teacher have in common."""

    model: str
    chat: bool
    seed: int | None
    many: bool
    """Whether several draws may be asked for in one request."""
    extra: Mapping[str, Any]
    counter: Counter

    @property
    def path(self) -> str:
        return "/chat/completions" if self.chat else "/completions"


@dataclass(eq=False)
class Server:
    """One of the replicas."""

    address: Address
    pace: Pace
    dialect: Dialect = field(default_factory=Dialect)
    software: str | None = None
    """What it says of itself, and where it is."""


@dataclass(eq=False, slots=True)
class Work:
    """Draws of an ask that are yet to be had."""

    ask: Ask
    draws: tuple[int, ...]
    failures: int = 0
    slow: int = 0
    """Of the failures, those that were time-outs."""
    empty: int = 0
    """Replies without a word."""
    spent: Mapping[str, int] | None = None
    """What those cost."""


@dataclass(eq=False)
class Account:
    """All servers, and what they allow together."""

    servers: Sequence[Server]
    requests: Bucket
    tokens: Bucket
    metered: bool
    """Whether tokens are limited."""

    @property
    def hosts(self) -> str:
        """For people."""
        return ", ".join(server.address.host for server in self.servers)

    @property
    def down(self) -> int:
        """Servers that could not be connected to the last time."""
        return sum(server.pace.down for server in self.servers)

    def free(self, now: float) -> tuple[Server | None, float | None]:
        """The least busy server that may be asked at once; or else the moment to look again, where one is known."""
        limits = max(self.requests.ready(now), self.tokens.ready(now))
        if limits > now:
            return None, limits
        well = [server for server in self.servers if now >= server.pace.spared] or self.servers
        if free := [server for server in well if server.pace.has_room(now)]:
            return min(free, key=lambda server: server.pace.busy), None
        return None, min((server.pace.resume for server in self.servers if server.pace.resume > now), default=None)

    def words(self, under_way: int, now: float) -> str:
        """What is going on."""
        down = self.down
        words = [f"{down} of {len(self.servers)} servers down"] if down else []
        resume = min(server.pace.resume for server in self.servers)
        limited = resume > now + 1 and not down
        words.append(f"waiting {resume - now:.0f} s for the rate limit" if limited else f"{under_way} at once")
        return ", ".join(words)
