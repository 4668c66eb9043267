"""Asks on their way to servers and back: how many at once, what failed and comes again, what is kept.

    asks ──(a thread draws them, 64 at a time)──> ready ──> request ──> replies ──(a thread keeps them)──> follow-ups
                                                    ^          |                                              |
                                                    └── later ─┘ a fault                                      |
                                                    └─────────────────────────────────────────────────────────┘

One event loop sends everything and waits for nothing else. What arrives while replies are being made durable is made
durable together afterwards. The loop is driven by what happens: each answer, each thing kept and each moment that was
waited for calls `_go_on`, which sends whatever may be sent.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from ftcot.errors import JobError
from ftcot.teacher.asking import KEPT, Asking
from ftcot.teacher.asks import Ask, Control, Deliver, Reply
from ftcot.teacher.client import Client
from ftcot.teacher.fleet import Account, Patience, Request, Server, Work
from ftcot.teacher.wire import MOST_CHOICES

DRAWN = 64
"""Asks that are drawn at a time. Each is leased to us from then on."""

UNKEPT = 4096
"""Replies that may wait to be kept, before no more are asked for: the disk is slower than the servers."""

LOOK = 0.2
"""Seconds between looks at whether to stop."""


class Sending:
    """One round: everything that an iterator of asks holds, and what follows from it."""

    def __init__(
        self,
        account: Account,
        request: Request,
        patience: Patience,
        at_once: int,
        asks: Iterator[Ask],
        deliver: Deliver,
        control: Control,
    ) -> None:
        self.account, self.request, self.patience, self.at_once = account, request, patience, at_once
        self._asks, self._deliver, self._control = asks, deliver, control
        self._ready: deque[Work] = deque()
        self._later: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: list[Reply] = []
        self._drawing = self._keeping = False
        self._drawn_all = self._ending = False
        self._until: float | None = None
        """Until then what is under way is waited for; None: as long as it takes, within each request's own time."""
        self._error: BaseException | None = None
        self._lost_in_a_row = 0

    def run(self) -> None:
        """Send and receive until all is answered, or the work is to end.

        Raises:
            JobError: nothing more can be had.
            InputError: nor was anything had, since something about the request is wrong.
        """
        gc.freeze()  # else the collector looks through all that was imported, again and again
        try:
            asyncio.run(self._run())
        finally:
            gc.unfreeze()
        if self._error is not None:
            raise self._error

    # -- the round -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self._began = self._seen_up = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        # Two threads, since a budget may hold back asks until replies are kept.
        self._drawer, self._keeper = ThreadPoolExecutor(1, "draw"), ThreadPoolExecutor(1, "keep")
        addresses = [server.address for server in self.account.servers]
        self._client = Client(addresses, at_once=self.at_once, timeout=self.patience.timeout)
        self._asking = Asking(self._client, self.account, self.request, self.patience, self)
        try:
            self._loop.set_exception_handler(self._crashed)
            looking = asyncio.create_task(self._look())
            looking.add_done_callback(self._ended)
            self._go_on()
            await self._over
            looking.cancel()
            await asyncio.gather(looking, *self._tasks, return_exceptions=True)
        finally:
            self._drawer.shutdown()
            self._keeper.shutdown()
            await self._client.close()
            self._control.note("")

    def _go_on(self) -> None:
        """Send whatever may be sent now, and see to what comes next."""
        if self._over.done():
            return
        now = time.monotonic()
        while not self._ending and len(self._arrived) < UNKEPT and self._ready:
            if (server := self._free_server(now)) is None:
                break
            self._begin(server, self._ready.popleft(), now)
        self._draw()
        self._keep()
        if not (self._tasks or self._arrived or self._drawing or self._keeping) and (
            self._ending or (self._drawn_all and not self._ready and not self._later)
        ):
            self._over.set_result(None)

    def _free_server(self, now: float) -> Server | None:
        """Whom to ask next; where nobody is free, this is looked at again when somebody may be."""
        if len(self._tasks) >= self.at_once:
            return None
        server, look = self.account.free(now)
        if server is None:
            self._call_at(look)
        return server

    def _call_at(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # The loop's clock is time.monotonic.
        self._timer = None if when is None else self._loop.call_at(when, self._go_on)

    def _begin(self, server: Server, work: Work, now: float) -> None:
        if (not self.request.many or server.dialect.many is False) and len(work.draws) > 1:
            self._ready.appendleft(replace(work, draws=work.draws[1:]))
            work = replace(work, draws=work.draws[:1])
        elif len(work.draws) > MOST_CHOICES:
            self._ready.appendleft(replace(work, draws=work.draws[MOST_CHOICES:]))
            work = replace(work, draws=work.draws[:MOST_CHOICES])
        server.pace.busy += 1
        self.account.requests.take(1)
        reserved = self._reserved(work)
        self.account.tokens.take(reserved)
        task = self._loop.create_task(self._asking.ask(server, work, now, reserved))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._hurry(error)
        self._go_on()

    def _reserved(self, work: Work) -> int:
        if not self.account.metered:
            return 0
        prompt = self.request.counter.conversation(work.ask.turns, self.request.chat)
        return prompt + len(work.draws) * work.ask.decoding.max_tokens

    def _draw(self) -> None:
        """Have more asks drawn, where few are left."""
        if self._ending or self._drawing or self._drawn_all or len(self._ready) >= DRAWN:
            return
        self._drawing = True
        drawing = self._loop.run_in_executor(self._drawer, lambda: list(islice(self._asks, DRAWN)))
        drawing.add_done_callback(self._drawn)

    def _drawn(self, drawing: asyncio.Future[list[Ask]]) -> None:
        self._drawing = False
        if (error := drawing.exception()) is not None:
            self._drawn_all = True
            self._hurry(error)
        else:
            asks = drawing.result()
            self._drawn_all = len(asks) < DRAWN
            self._ready.extend(Work(ask, ask.draws) for ask in asks)
        self._go_on()

    def _keep(self) -> None:
        """Have what has arrived made durable, all of it together."""
        if self._keeping or not self._arrived:
            return
        self._keeping = True
        replies, self._arrived = self._arrived, []
        self._loop.run_in_executor(self._keeper, self._deliver, replies).add_done_callback(self._kept)

    def _kept(self, keeping: asyncio.Future[Sequence[Ask]]) -> None:
        self._keeping = False
        if (error := keeping.exception()) is not None:
            self._arrived.clear()  # nor could these be kept
            self._hurry(error)
        else:
            # Before what was never begun: a completion is of use when it is whole.
            self._ready.extendleft(Work(ask, ask.draws) for ask in reversed(keeping.result()))
        self._go_on()

    # -- what requests tell ------------------------------------------------------------------------------------------

    def arrived(self, replies: Sequence[Reply]) -> None:
        self._arrived += replies
        self._lost_in_a_row = 0

    def again(self, work: Work, wait: float = 0.0) -> None:
        if not wait:
            self._ready.appendleft(work)
        elif not self._ending:
            timer: asyncio.TimerHandle = self._loop.call_later(wait, lambda: self._return(timer, work))
            self._later.add(timer)

    def _return(self, timer: asyncio.TimerHandle, work: Work) -> None:
        self._later.discard(timer)
        self._ready.appendleft(work)
        self._go_on()

    def lose(self, work: Work, cause: str) -> None:
        self._control.abandon(replace(work.ask, draws=work.draws), cause)
        self._lost_in_a_row += 1
        # Errors come quicker than answers: those that are under way may yet be some.
        if self._lost_in_a_row >= self.patience.in_a_row + len(self._tasks):
            words = f"{self._lost_in_a_row} requests in a row failed for good, the last one so: {cause}"
            self.stop(JobError(f"{words}; {KEPT}"))

    def say(self, line: str) -> None:
        self._control.say(line)

    # -- ending ----------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Look up, now and then, whether the work is to end."""
        while not self._over.done():
            await asyncio.sleep(LOOK)
            now = time.monotonic()
            if self._until is not None:
                if now > self._until:
                    for task in self._tasks:
                        task.cancel()
            elif self._control.stopping():
                self._hurry(None)
            elif self.patience.stage is not None and now > self._began + self.patience.stage:
                self._hurry(JobError(f"teacher.stage_timeout is over; {KEPT}"))
            elif not self._ending:
                self._look_at_servers(now)
            ending = f"waiting for {len(self._tasks)} answers that are under way"
            self._control.note(ending if self._ending else self.account.words(len(self._tasks), now))

    def _look_at_servers(self, now: float) -> None:
        account, patience = self.account, self.patience
        if account.down < len(account.servers):
            self._seen_up = now
        elif now > self._seen_up + patience.down:
            self.stop(JobError(f"{account.hosts}: could not be connected to for {patience.down:g} s; {KEPT}"))
        resting = all(server.pace.resume > now for server in account.servers)
        if resting and now > self._asking.heard + patience.limited:
            self.stop(JobError(f"{account.hosts}: nothing but rate limits for {patience.limited:g} s; {KEPT}"))

    def stop(self, error: BaseException | None) -> None:
        """Send nothing more. What is under way is paid, so it is waited for."""
        if not self._ending:
            self._ending = True
            for timer in self._later:
                timer.cancel()
            self._later.clear()
        self._error = self._error or error

    def _hurry(self, error: BaseException | None) -> None:
        """Send nothing more, and do not wait for long."""
        if self._until is None:
            self._until = time.monotonic() + self.patience.drain
        self.stop(error)

    def _crashed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something went wrong where nobody waits for it: better an error than a round that never ends."""
        if isinstance(error := context.get("exception"), Exception) and not self._over.done():
            self._over.set_exception(error)
        else:
            loop.default_exception_handler(context)
