"""What a teacher may cost: nothing is asked that could pass a budget, whatever the answers turn out to be.

    budget_usd = 1.00 = 0.61 spent + 0.22 promised + 0.15 promised + 0.02 left
                        by all       here, to what   by other jobs
                        jobs         is under way

An ask is promised the most it may take, with the call that follows it, before it goes out; when its reply is stored the
promise ends, and what it took is spent. Where nothing more can be promised, what is under way is waited for: the last
asks of a budget go out in smaller and smaller rounds.

Nobody here can know of what a server bills without answering: a request that was given up may cost something, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ftcot.errors import JobError
from ftcot.teacher import Session
from ftcot.teacher.asks import REFUSED, TOO_LONG, Reply, Turn
from ftcot.teacher.prices import FREE
from ftcot.teacher.shares import Share
from ftcot.teacher.store import Paid, Spent

if TYPE_CHECKING:
    from ftcot.teacher.live import Live

AHEAD = 200
"""A budget is promised from in portions of one part in so many, as long as there is enough of it: what other jobs do
is looked up for each portion."""

TEMPLATE_TOKENS = 128
"""Room for what a chat template or a server puts around a prompt, which nobody tells."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How many, by what they cost."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.completion + other.completion)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.completion - other.completion)

    def __mul__(self, times: int) -> Tokens:
        return Tokens(self.prompt * times, self.completion * times)

    @property
    def total(self) -> int:
        return self.prompt + self.completion


def most_in(turns: Sequence[Turn]) -> int:
    """Tokens that a prompt has at most: a tokenizer makes no more of a text than it has bytes."""
    return TEMPLATE_TOKENS + sum(len(turn.text.encode("utf-8", "replace")) for turn in turns)


@dataclass
class Limit:
    """One of a teacher's two budgets."""

    key: str
    most: float
    cost: Callable[[Tokens], float]
    spent_of: Callable[[Spent], float]
    share: Share
    ahead: float = 0.0
    """Set aside, but not promised to anything yet."""
    spent: float = 0.0
    """By all jobs, when it was last looked up."""
    others: float = 0.0
    """Set aside by other jobs, when it was last looked up."""


class Budget:
    """A teacher's spending in one purchase. Safe to use from several threads; a context manager."""

    def __init__(self, teacher: Live, session: Session, folder: Path) -> None:
        """
        Args:
            folder: the teacher's in the store, where all jobs that ask it meet.
        """
        self._teacher, self._session, self._price = teacher, session, teacher.price
        self._lock = threading.Lock()
        self._promised = Tokens()
        self._paid, self._paid_usd = Tokens(), 0.0
        self._limits = []
        if (usd := teacher.budget_usd) is not None:
            share = Share(folder / ".budget_usd.leases", usd)
            self._limits.append(Limit("budget_usd", usd, self._cost_or_0, lambda spent: spent.usd, share))
        if (tokens := teacher.budget_tokens) is not None:
            share = Share(folder / ".budget_tokens.leases", tokens)
            of = lambda spent: spent.prompt + spent.completion  # noqa: E731
            self._limits.append(Limit("budget_tokens", tokens, lambda took: took.total, of, share))

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            for limit in self._limits:
                entered.enter_context(limit.share)
            self._entered = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()

    def promise(self, each: Tokens, n: int) -> int:
        """For how many of `n` draws there is enough, if each takes the most it may; it is set aside for them."""
        with self._lock:
            n = min([n, *(self._affords(limit, limit.cost(each), n) for limit in self._limits)])
            for limit in self._limits:
                limit.ahead -= limit.cost(each) * n
            self._promised += each * n
        return n

    def settle(self, promised: Tokens, paid: Paid | None = None) -> None:
        """End a promise; `paid` was spent of it, and is in the store."""
        with self._lock:
            self._promised -= promised
            if paid is not None:
                self._paid += Tokens(paid.prompt, paid.completion)
                self._paid_usd += paid.usd or 0.0
                bill = self._session.bill
                bill.tokens += paid.prompt + paid.completion
                bill.usd += paid.usd or 0.0
                bill.unpriced += paid.usd is None

    def rest(self) -> None:
        """Give back what is set aside but not promised: other jobs may be waiting for it."""
        with self._lock:
            for limit in self._limits:
                limit.ahead = 0.0
                limit.share.hold(limit.cost(self._promised))

    def refusal(self, each: Tokens, kept: str) -> JobError | None:
        """That it does not suffice for one more draw, and what to do; None if it does once other jobs have ended what
        they have under way."""
        for limit in self._limits:
            if limit.spent + limit.cost(each) > limit.most:
                show = money if limit.key == "budget_usd" else "{:,.0f} tokens".format
                return JobError(
                    f"teacher.{limit.key}={limit.most} is reached: {show(limit.spent)} spent since the sweep, or the "
                    f"run, began, and one more completion may take up to {show(limit.cost(each))}; {kept} are kept: "
                    "raise it and give the same command again"
                )
        return None

    def paid(self, reply: Reply) -> Paid:
        """What a reply is taken to have cost: all that it was allowed, where the server does not count."""
        took = _took(reply) or Tokens(most_in(reply.ask.turns), reply.ask.decoding.max_tokens)
        return Paid(took.prompt, took.completion, self._cost(took))

    def cost(self, reply: Reply) -> float | None:
        """In US dollars; None where tokens or price are not known."""
        took = _took(reply)
        return None if took is None else self._cost(took)

    def note(self) -> str:
        """What this purchase has cost, `$0.43, 210k tokens`."""
        said = [money(self._paid_usd)] if self._price is not None and self._price != FREE else []
        return ", ".join([*said, f"{thousands(self._paid.total)} tokens"]) if self._paid.total else ""

    def _affords(self, limit: Limit, cost: float, n: int) -> int:
        """For how many of `n` draws enough is, or now was, set aside of one budget."""
        if cost * n <= limit.ahead:
            return n
        needed = cost * n - limit.ahead
        if self._set_aside(limit, max(needed, limit.most / AHEAD)) or self._set_aside(limit, needed):
            return n
        left = limit.most - limit.spent - limit.others - limit.cost(self._promised)
        # One is tried in any case: `left` is rounded, and `refusal` must not find enough where this has not.
        fewer = min(n - 1, max(1, int(left / cost)))
        if cost * fewer > limit.ahead and not self._set_aside(limit, cost * fewer - limit.ahead):
            fewer = int(limit.ahead / cost)
        return fewer

    def _set_aside(self, limit: Limit, more: float) -> bool:
        """Set more aside of a budget, if it is there. The order matters: see shares.py."""
        mine = limit.cost(self._promised) + limit.ahead
        limit.share.hold(min(mine + more, limit.most))
        limit.others = limit.share.of_others()
        spent = self._session.store.spent(self._teacher.name, self._session.since)
        mine_spent = Spent(self._paid.prompt, self._paid.completion, self._paid_usd, 0)
        # What is bought here counts, even where this machine's clock is behind that of whoever began the sweep.
        limit.spent = max(limit.spent_of(spent), limit.spent_of(mine_spent))
        if mine + more + limit.others + limit.spent <= limit.most:
            limit.ahead += more
            return True
        limit.share.hold(mine)
        return False

    def _cost(self, took: Tokens) -> float | None:
        return None if self._price is None else self._price.cost(took.prompt, took.completion)

    def _cost_or_0(self, took: Tokens) -> float:
        return self._cost(took) or 0.0


def _took(reply: Reply) -> Tokens | None:
    """The tokens of a reply; None where the server does not count. What it would not give took none."""
    if reply.usage is not None:
        return Tokens(reply.usage.get("prompt", 0), reply.usage.get("completion", 0))
    return Tokens() if reply.finish_reason in (REFUSED, TOO_LONG) else None


def money(usd: float) -> str:
    """`$0.43`, and of what is less than ten cents `$0.0043`."""
    return f"${usd:.2f}" if usd >= 0.1 or not usd else f"${usd:.4f}"


def thousands(n: int) -> str:
    """`900`, `210k`, `1.2M`."""
    return str(n) if n < 1000 else f"{n / 1e3:.0f}k" if n < 999_500 else f"{n / 1e6:.1f}M"
