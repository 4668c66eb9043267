"""Buying what is missing: from wanted draws to durable completions, never twice.

    missing ──> leased ──> Ask(rationale) ──> backend ──> Reply ──> stored ──> Ask(answer) ──> ... ──> stored, released

One purchase serves one job. Draws that another job is buying at the moment are left to it and waited for; those of a
job that died, or gave up, are taken over. Whatever ends a purchase, all that was delivered is in the store.

Prompts and replies are made, stored and forgotten: an order of a million takes the memory of what is under way.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftcot import stop
from ftcot.errors import JobError, disk_full
from ftcot.records import Completion
from ftcot.redact import without_secrets
from ftcot.teacher import Session
from ftcot.teacher.asks import Ask, Reply, Turn, flatten, redacted
from ftcot.teacher.budget import Budget, Tokens
from ftcot.teacher.draws import GIVEN_UP, MISSING, STORED, Draws, UnderWay
from ftcot.teacher.orders import Draw, Order
from ftcot.teacher.store import Paid

PORTION = 256
"""Draws that are leased at once."""

RELEASE = 64
"""Draws that are stored before their leases are given back."""

POLL = 2.0
"""Seconds between looks at what other jobs are buying, and whether a full disk has room again."""

ROOM = 600.0
"""Seconds that replies are held while a disk is full: they are paid, and are gone with the process."""


class Purchase:
    """An order, bought where the store does not have it. A backend's Control."""

    def __init__(self, order: Order, session: Session) -> None:
        self.order, self.session = order, session
        self.teacher, self.task = order.teacher, order.task
        self._draws = Draws(len(order) * order.degree)
        self._budget = Budget(order.teacher, session, self.folder.parent)
        self._leased: list[Draw] = []
        """Those that are stored, but whose leases are still to be given back."""
        self._short: Tokens | None = None
        """What one more draw may take, where there is not enough left for it."""
        self._cause, self._note = "", ""

    def run(self) -> None:
        """Buy what is missing.

        Raises:
            JobError: not everything could be had; what could is stored.
            Stop: asked to stop.
        """
        stored = self.order.stored(self.session.store)
        self._draws.found(place * self.order.degree + number for place, number in stored)
        self._report()
        if self._draws.n_missing:
            with stop.held(), self._budget:
                self._buy()
        if self._draws.n_given_up:
            raise JobError(
                f"{self._draws.n_given_up} of {len(self._draws)} completions could not be had (one of the causes: "
                f"{self._cause}); the others are kept, and the same command asks for these again"
            )

    @property
    def folder(self) -> Path:
        return self.session.store.folder(self.teacher.name, self.task.name)

    def say(self, line: str) -> None:
        self.session.say(without_secrets(line))

    def stopping(self) -> bool:
        return stop.asked() is not None

    def abandon(self, ask: Ask, cause: str) -> None:
        self._cause = self._cause or without_secrets(cause)
        draws = [(ask.sample, draw) for draw in ask.draws]
        self._close(draws, GIVEN_UP)
        self._leases.release(draws)

    def note(self, words: str) -> None:
        self._note = words
        self._report()

    def _buy(self) -> None:
        """Rounds, until everything is there or given up."""
        backend, order, store = None, self.order, self.session.store
        # Jobs whose second calls differ share their rationales, so it is the first call that is leased. For all rounds
        # at once: that a job on another machine is dead shows only to who has watched it for a while.
        leased = order.first_parameters or order.parameters
        with store.leases(self.teacher.name, self.task.name, leased) as self._leases:
            while self._draws.n_missing and not self.stopping():
                self._short = None
                asks = self._asks()
                if first := next(asks, None):
                    backend = backend or self.teacher.backend()
                    backend.run(itertools.chain((first,), asks), self._deliver, self)
                    self._leave()
                self._budget.rest()
                self._leases.release_all()
                if first is None:
                    self._wait()

    def _asks(self) -> Iterator[Ask]:
        """Asks for all that is missing and not another job's, as they are drawn."""
        missing = self._draws.missing()
        while portion := list(itertools.islice(missing, PORTION)):
            mine, said = self._lease(portion)
            for place, leased in mine.items():
                # Looked up as late as this: a process that was stopped for long has been taken for dead meanwhile.
                numbers = {draw: leased[draw] for draw in self._leases.still(leased)}
                for ask in self._asks_of(self.order.turns(place), numbers, said):
                    if self.stopping():
                        return
                    yield ask
                if self._short is not None:
                    return

    def _lease(self, portion: Sequence[int]) -> tuple[dict[int, dict[Draw, int]], dict[Draw, Completion]]:
        """Of some draws those that are this job's to buy, by prompt, and the rationales that are there already."""
        order, store = self.order, self.session.store
        numbers = {order.draw(*divmod(number, order.degree)): number for number in portion}
        mine: dict[int, dict[Draw, int]] = {}
        for draw in self._leases.take(numbers):
            mine.setdefault(numbers[draw] // order.degree, {})[draw] = numbers[draw]
        prompts = {place: flatten(order.turns(place)) for place in mine}
        wanted = {draw: prompts[place] for place, draws in mine.items() for draw in draws}
        # Whoever held a lease until now may have stored the draw since the store was looked up.
        there = store.find(self.teacher.name, order.parameters, wanted)
        self._draws.found(numbers[draw] for draw in there)
        self._leases.release(list(there))
        for draw in there:
            del mine[numbers[draw] // order.degree][draw], wanted[draw]
        if order.first_parameters is None or not wanted:
            return mine, {}
        return mine, store.find(self.teacher.name, order.first_parameters, wanted)

    def _asks_of(
        self, turns: tuple[Turn, ...], numbers: Mapping[Draw, int], said: Mapping[Draw, Completion]
    ) -> Iterator[Ask]:
        """Asks for some draws of one prompt, as far as the budget allows."""
        order = self.order
        for draw in [draw for draw in numbers if draw in said]:
            most = order.most_second(turns, said[draw])
            if not self._budget.promise(most, 1):
                self._short = most
                return
            self._draws.open(draw, UnderWay(numbers[draw], turns, most, replace(said[draw], raw=None)))
            yield order.second(turns, said[draw])
        if not (fresh := [draw for draw in numbers if draw not in said]):
            return
        most = order.most(turns)
        enough = self._budget.promise(most, len(fresh))
        if enough < len(fresh):
            self._short = most
        for draw in fresh[:enough]:
            self._draws.open(draw, UnderWay(numbers[draw], turns, most))
        if enough:
            yield Ask(fresh[0][0], tuple(draw for _, draw in fresh[:enough]), turns, order.decoding)

    def _deliver(self, replies: Sequence[Reply]) -> list[Ask]:
        """Store replies durably; the asks for the answers to rationales among them."""
        order = self.order
        first: dict[Draw, tuple[Completion, Paid]] = {}
        whole: dict[Draw, tuple[Completion, Paid]] = {}
        strange = []
        for reply in map(redacted, replies):
            draw = (reply.ask.sample, reply.draw)
            asked = self._draws.under_way(draw)
            part = "rationale" if asked is None or asked.said is None else "answer"
            if asked is None or draw in first or draw in whole or reply.ask.part != part:
                strange.append(f"draw {reply.draw} of sample {reply.ask.sample[2]} ({reply.ask.part})")
                continue
            paid, usd = self._budget.paid(reply), self._budget.cost(reply)
            if asked.said is not None:
                whole[draw] = (order.whole(asked.said, reply, usd), paid)
            else:
                said = order.record(reply, flatten(asked.turns), usd)
                (first if order.goes_on(said) else whole)[draw] = (said, paid)
        if order.first_parameters is not None:
            self._put(order.first_parameters, first)
        self._put(order.parameters, whole)
        mine = set(self._leases.still(first))
        following = [self._go_on(draw, said, paid) for draw, (said, paid) in first.items() if draw in mine]
        for draw in first.keys() - mine:  # whoever took this job for dead asks for the answer
            self._close([draw], MISSING, first[draw][1])
        for draw, (_, paid) in whole.items():
            self._close([draw], STORED, paid)
        self.session.bill.completions += len(whole)
        self._leased += whole
        if len(self._leased) >= RELEASE:
            self._leases.release(self._leased)
            self._leased = []
        self._report()
        if strange:
            raise ValueError(f"{self.teacher.name} was not asked for, or answered before: {', '.join(strange)}")
        return [] if self.stopping() else following

    def _put(self, parameters: Mapping[str, Any], rows: Mapping[Draw, tuple[Completion, Paid]]) -> None:
        if not rows:
            return
        completions, paid = zip(*rows.values(), strict=True)
        until = time.monotonic() + ROOM
        waiting = False
        while True:
            try:
                self.session.store.put(self.teacher.name, parameters, completions, paid)
                return
            except JobError as error:
                if disk_full(error) is None or self.stopping() or time.monotonic() >= until:
                    raise
            if not waiting:
                self.say(f"disk full ({self.folder}): what was bought waits for room, {ROOM / 60:.0f} minutes at most")
            waiting = True
            time.sleep(POLL)

    def _go_on(self, draw: Draw, said: Completion, paid: Paid) -> Ask:
        """From a rationale that is stored to the ask for its answer."""
        asked = self._draws.under_way(draw)
        assert asked is not None
        asked.said = replace(said, raw=None)
        most = self.order.most_second(asked.turns, said)
        self._budget.settle(asked.promised - most, paid)
        asked.promised = most
        return self.order.second(asked.turns, said)

    def _close(self, draws: Iterable[Draw], state: int, paid: Paid | None = None) -> None:
        for draw in draws:
            self._budget.settle(self._draws.close(draw, state), paid)

    def _leave(self) -> None:
        """Close what a backend that has returned left under way."""
        if left := self._draws.all_under_way():
            self._cause = self._cause or "it was left unanswered"
            self._close(left, MISSING if self.stopping() else GIVEN_UP)

    def _report(self) -> None:
        note = ", ".join(filter(None, (self._budget.note(), self._note)))
        self.session.progress(self._draws.n_stored, len(self._draws), note)

    def _wait(self) -> None:
        """There is nothing to buy for the moment, or there never will be.

        Raises:
            JobError: a budget is reached.
        """
        if self._short is not None:
            kept = f"{self._draws.n_stored} of {len(self._draws)} completions"
            if refusal := self._budget.refusal(self._short, kept):
                raise refusal
            self.note("waiting for what other jobs have set aside of the budget")
        elif self._draws.n_missing:
            self.note(f"another job is buying the other {self._draws.n_missing}")
        until = time.monotonic() + POLL
        while self._draws.n_missing and time.monotonic() < until and not self.stopping():
            time.sleep(min(POLL, 0.1))
        self._note = ""
