"""How fast a server is asked: as many requests at once as it takes, and none while it wants to be left alone.

    8, 16, 32, 64 ...      at once, twice as many after each round of answers, then one more a round
    answers take far longer than the quickest did           no more at once: the server makes them wait
    429 (too many)         half as many, and nothing is sent for as long as the server says, or else 1 s, 2 s, 4 s ...
    time-outs pile up      half as many
    nothing but errors     one; and none while there are replicas that answer

Like TCP's: of the requests that were under way together, one alone counts against the server. Times are seconds of
a clock that only goes forward; nothing here looks at one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

FIRST = 8
"""Requests at once, to begin with."""

PILED_UP = 0.25
"""Share of the last requests, roughly sixteen, that may time out before fewer are sent at once."""

FAR_LONGER = 8.0
"""Times the quickest answers' time. A server with a batch of its own is slower when it is full, by less than that; one
that takes requests one by one is not asked for hundreds, which would only time out."""

MOMENT = 0.05
"""Seconds, below which an answer's time says nothing of the server."""

SAME = 3
"""Storms of 429s, one after the other, in which a server's own word for how long to wait is taken. One that says 0 s
and goes on refusing would be asked as fast as it refuses."""

IN_A_ROW = 8
"""Errors without an answer between them, from which on a server is spared. One that fails at once is always the least
busy, so that it would get nearly all requests."""

BURST = 5.0
"""Seconds' worth of an account's limit that may be used at once."""


@dataclass(frozen=True)
class Waits:
    """How long to wait where a server does not say. Seconds."""

    first: float = 1.0
    """After a first failure; twice as long after each further one."""
    longest: float = 60.0
    longest_told: float = 3600.0
    """A server that wants more is looked up again after this."""

    def after(self, failures: int, chance: random.Random) -> float:
        """With full jitter: those that failed together do not come back together."""
        return chance.uniform(0, min(self.longest, self.first * 2.0 ** min(failures - 1, 30)))

    def cool(self, storms: int, chance: random.Random) -> float:
        """For the whole queue: not shorter than half the time, since nobody goes first."""
        return min(self.longest, self.first * 2.0 ** min(storms - 1, 30)) * chance.uniform(0.5, 1)


@dataclass
class Pace:
    """Of one server."""

    most: int
    """Requests at once, at most."""
    waits: Waits = field(default_factory=Waits)
    chance: random.Random = field(default_factory=random.Random)
    busy: int = 0
    """Requests under way."""
    resume: float = 0.0
    """Nothing is to be sent before."""
    spared: float = 0.0
    """Nothing is to be sent before, if another server can be asked."""

    def __post_init__(self) -> None:
        self.limit = float(min(FIRST, self.most))
        self._steady = float(self.most)  # from here on one more a round
        self._narrowed = self._full = float("-inf")
        self._storms = self._failures = self._errors = self._rests = 0
        self._strain = 0.0
        self._time, self._quickest, self._quickest_at = 0.0, float("inf"), 0.0

    def has_room(self, now: float) -> bool:
        """Whether one more may be sent."""
        if self.busy >= int(self.limit):
            self._full = now
            return False
        return now >= self.resume

    def answered(self, sent: float, now: float) -> None:
        """An answer came to what was sent then."""
        self._time += (now - sent - self._time) / (8 if self._time else 1)
        if (time := max(self._time, MOMENT)) <= self._quickest:
            self._quickest, self._quickest_at = time, self.limit
        elif self.limit <= self._quickest_at:
            self._quickest += (time - self._quickest) / 16  # no more are sent than then: it is slower for other reasons
        self._strain -= self._strain / 16
        self._errors = self._rests = 0
        if sent > self._narrowed:
            self._storms = 0
        crowded = self._time > FAR_LONGER * self._quickest
        if sent <= self._full and not crowded:  # what is not used need not grow
            self.limit = min(self.most, self.limit + (1 if self.limit < self._steady else 1 / self.limit))

    def limited(self, sent: float, now: float, told: float | None) -> None:
        """The server said that it was asked too often.

        Args:
            told: how long it wants to be left alone.
        """
        if sent > self._narrowed:
            self._storms += 1
            self._narrow(now)
            if told is None or self._storms > SAME:
                storms = self._storms - (0 if told is None else SAME)
                self.resume = max(self.resume, now + self.waits.cool(storms, self.chance))
        if told is not None:
            self.resume = max(self.resume, now + min(told, self.waits.longest_told))

    def timed_out(self, sent: float, now: float) -> None:
        """No answer came in time."""
        self._strain += (1 - self._strain) / 16
        if self._strain > PILED_UP and sent > self._narrowed:
            self._narrow(now)

    def failed(self, sent: float, now: float) -> None:
        """What was sent then gave no completion, and is to be sent again."""
        self._errors += 1
        if self._errors >= IN_A_ROW and sent >= self.spared:
            self._rests += 1
            self.spared = now + self.waits.cool(self._rests, self.chance)
            self.limit = 1.0  # and with the first answers what it was

    def reached(self) -> None:
        """It said something, be it an error or not."""
        self._failures = 0

    def unreachable(self, sent: float, now: float) -> None:
        """It could not be connected to: it is left out for a while."""
        if sent >= self.resume:  # those that were sent together fail together
            self._failures += 1
            self.resume = now + self.waits.cool(self._failures, self.chance)

    @property
    def down(self) -> bool:
        """Whether it could not be connected to the last time."""
        return self._failures > 0

    def _narrow(self, now: float) -> None:
        self._narrowed = now
        self.limit = self._steady = max(1.0, self.limit / 2)


class Bucket:
    """So much a minute: of requests or of tokens. It may be overdrawn by one, which then has to be waited off."""

    def __init__(self, per_minute: float | None) -> None:
        """Without a number there is no limit."""
        self._rate = None if per_minute is None else per_minute / 60
        self._most = self._level = 0.0 if self._rate is None else max(1.0, self._rate * BURST)
        self._seen = float("-inf")

    def ready(self, now: float) -> float:
        """The earliest moment at which something may be taken."""
        if self._rate is None:
            return now
        if self._seen < now:
            if self._seen > float("-inf"):
                self._level = min(self._most, self._level + (now - self._seen) * self._rate)
            self._seen = now
        return now if self._level > 0 else now + (1e-3 - self._level) / self._rate

    def take(self, amount: float) -> None:
        """Take it; `ready` said that it may be."""
        self._level -= amount

    def give_back(self, amount: float) -> None:
        """What was taken too much, or, below 0, too little."""
        self._level = min(self._most, self._level + amount)
