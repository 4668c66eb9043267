"""Rounds of batches: asks are put together, sent, waited for and read, until nothing is left to ask.

    420 asks x 8 draws ──> 1 batch of rationales ──> 3,360 replies ──> 1 batch of answers ──> 3,360 replies

Several batches may be under way at once, and what is asked because of a reply goes out as soon as it can. A draw that a
batch of an earlier job holds (one that died, or was stopped) is waited for there and not asked again.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, TYPE_CHECKING

from ftcot.durations import seconds
from ftcot.errors import InputError, JobError
from ftcot.teacher.asks import Ask, Control, Deliver
from ftcot.teacher.batch_client import EndingError, FullError, RefusedError, Told
from ftcot.teacher.batch_earlier import Earlier, Place
from ftcot.teacher.batch_queue import Queue, Request
from ftcot.teacher.batch_results import Left, Results
from ftcot.teacher.batch_room import RARELY, Room
from ftcot.teacher.batch_state import Draw, Plan, Row, make, new_id
from ftcot.teacher.trouble import Trouble
from ftcot.teacher.wire import LEARNT, Dialect

if TYPE_CHECKING:
    from ftcot.teacher.batch import Batch

NOTHING_TOLD = Told("validating")


@dataclass
class Flight:
    """A batch under way, and what is wanted of it."""

    plan: Plan
    lacks: frozenset[str] = frozenset()
    """What its requests were made without, since the server does not take it."""
    wanted: dict[Draw, Request] = field(default_factory=dict)
    earlier: bool = False
    """It was sent by a job before this one."""
    told: Told = NOTHING_TOLD

    def requests(self, draws: Iterable[Draw]) -> list[Request]:
        """What is to be asked to have these draws, without others that were asked for with them."""
        together: dict[int, list[Draw]] = {}
        for draw in draws:
            together.setdefault(id(self.wanted[draw]), []).append(draw)
        return [replace(self.wanted[some[0]], draws=tuple(draw for _, draw in some)) for some in together.values()]


class Rounds:
    """What one job asks by batches."""

    def __init__(
        self, teacher: Batch, dialect: Dialect, asks: Iterator[Ask], deliver: Deliver, control: Control
    ) -> None:
        self._teacher, self._dialect = teacher, dialect
        self._deliver, self._control = deliver, control
        self._folder = control.folder / "batches"
        self._client = teacher.client(self._ending, control.note)
        self._earlier = Earlier(self._folder, self._client)
        self._room = Room(teacher.max_tokens_enqueued, teacher.poll_seconds)
        self._queue = Queue(teacher, dialect, asks, self._earlier, self._join, self._give_up)
        self._flights: dict[str, Flight] = {}
        self._pause = teacher.poll_seconds
        self._answered = False
        limit = seconds(teacher.stage_timeout, "teacher.stage_timeout")
        self._deadline = None if limit is None else time.monotonic() + limit

    def run(self) -> None:
        """Until everything is answered or given up, or the job is to end.

        Raises:
            JobError: nothing more can be had. What is under way can be collected later.
        """
        try:
            while True:
                self._send()
                if not self._flights and not self._queue:
                    self._earlier.tidy()
                    return
                if self._ending():
                    raise EndingError
                if not self._look():
                    full = self._room.seconds()
                    self._client.sleep(min(self._pause, full) if self._queue and full else self._pause)
        except EndingError:
            if self._flights:
                self._control.say(f"{self._under_way()}; the same command collects the answers")
        finally:
            self._client.close()

    def _ending(self) -> bool:
        if self._deadline is not None and time.monotonic() > self._deadline:
            rest = f"; {self._under_way()}, and the same command collects the answers" if self._flights else ""
            raise JobError(f"teacher.stage_timeout={self._teacher.stage_timeout} is over{rest}")
        return self._control.stopping()

    def _under_way(self) -> str:
        names = [str(flight.plan.batch) for flight in self._flights.values()]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"batch {shown} is under way" if len(names) == 1 else f"batches {shown} are under way"

    def _send(self) -> None:
        """Send as many batches as there is something for, and room."""
        while not self._room.seconds():
            name = new_id()
            with tempfile.TemporaryFile() as file:
                room = self._room.left(sum(flight.plan.tokens for flight in self._flights.values()))
                requests, tokens = self._queue.gather(name, file, room, alone=not self._flights)
                if not requests:
                    return
                self._submit(name, file, requests, tokens)

    def _submit(self, name: str, file: IO[bytes], requests: list[Request], tokens: int) -> None:
        rows = [Row(request.ask.sample, request.draws, request.ask.part, request.asked) for request in requests]
        self._earlier.is_ours(name)
        plan = make(self._folder, name, self._client.address.url, rows, tokens)
        try:
            try:
                plan.has_file(self._client.upload(f"ftcot-{name}.jsonl", file))
            except RefusedError as error:
                plan.drop()
                raise error if self._answered or self._flights else InputError(str(error)) from None
            except BaseException:
                plan.drop()
                raise
            plan.has_batch(self._client.create(plan, self._teacher.path, self._teacher.window))
        except FullError as full:
            plan.drop()
            self._queue.put_back(requests)
            self._room.is_full(full.wait)
            return
        finally:
            plan.unlock()  # one that may or may not have become a batch is found by whoever looks next
        flight = self._flights[name] = Flight(plan, frozenset(self._dialect.lacks))
        for number, request in enumerate(requests):
            flight.wanted |= {(number, draw): request for draw in request.draws}
        self._pause = self._teacher.poll_seconds
        self._note()

    def _join(self, place: Place, draw: int, request: Request) -> None:
        """Want a draw of a batch that an earlier job sent."""
        plan = place.plan
        if plan.id not in self._flights:
            self._flights[plan.id] = Flight(plan, earlier=True)
            self._control.say(f"batch {plan.batch} of an earlier job has some of what is asked: it is waited for")
        self._flights[plan.id].wanted[place.number, draw] = request

    def _look(self) -> bool:
        """See how far the batches are and read those that have ended; whether there are any.

        Raises:
            JobError: what one of them says means that nothing more can be had.
        """
        flights = list(self._flights.values())
        before = [flight.told for flight in flights]
        for flight in flights:
            flight.told = self._told(flight)
        moved = before != [flight.told for flight in flights]
        taken = [flight.plan.tokens for flight in flights if flight.told.status not in ("validating", "failed")]
        self._room.takes(sum(taken))
        self._note()
        ended = [flight for flight in flights if flight.told.ended]
        fatal = [cause for flight in ended if (cause := self._collect(flight)) is not None]
        if fatal:
            raise JobError(f"{self._client.address.url}: {fatal[0]}")
        slowest = self._teacher.poll_seconds * RARELY
        self._pause = self._teacher.poll_seconds if moved else min(self._pause * 1.5, slowest)
        return bool(ended)

    def _told(self, flight: Flight) -> Told:
        assert flight.plan.batch is not None
        try:
            return self._client.look(flight.plan.batch)
        except JobError as error:
            if not flight.earlier:
                raise
            raise JobError(
                f"{error}; an earlier job sent it, perhaps with another key; if it is lost, delete {flight.plan.path} "
                "to have what it holds bought again"
            ) from None

    def _note(self) -> None:
        flights = self._flights.values()
        states = Counter(flight.told.status for flight in flights)
        shown = ", ".join(f"{count} {status}" for status, count in sorted(states.items()) if status != "in_progress")
        done = sum(flight.told.done for flight in flights)
        total = sum(flight.told.total or len(flight.plan.rows) for flight in flights)
        batches = f"{len(flights)} batch{'es' if len(flights) > 1 else ''}{f' ({shown})' if shown else ''}"
        full = ", the server takes no more for now" if self._room.seconds() else ""
        self._control.note(f"{batches}: {done:,} of {total:,} done{full}" if flights else full.removeprefix(", "))

    def _collect(self, flight: Flight) -> str | None:
        """Keep what a batch answered, and ask for the rest anew; why that would be useless, if so."""
        plan = flight.plan
        del self._flights[plan.id]  # now: what is asked because of it may be in the same plan
        if flight.told.status == "failed":
            fatal = self._refused(flight)
            plan.settle([(number, draw) for number, row in enumerate(plan.rows) for draw in row.draws])
        else:
            fatal = self._read(flight)
            plan.settle(list(flight.wanted))
            self._room.is_free()
        return fatal

    def _read(self, flight: Flight) -> str | None:
        """Keep what the files of a batch hold; why nothing more can be had, if so."""
        wanted = {draw: request.ask for draw, request in flight.wanted.items()}
        learn = partial(self._learn, flight)
        results = Results(self._client, flight.plan, flight.told, wanted, learn, self._dialect)
        for replies in results.replies():
            following = self._deliver(replies)
            self._answered = True
            for ask in following:
                self._queue.take(ask)
            if self._ending():
                raise EndingError
        for line in results.remarks():
            self._control.say(line)
        self._ask_again(flight, results.left)
        if results.form is not None and not self._answered:
            return results.form
        return results.fatal

    def _ask_again(self, flight: Flight, left: Mapping[Draw, Left]) -> None:
        """What a batch left, as far as there is hope for it."""
        causes: dict[Left, list[Draw]] = {}
        for draw, why in left.items():
            causes.setdefault(why, []).append(draw)
        for why, draws in causes.items():
            for request in flight.requests(draws):
                again = replace(request, attempts=request.attempts + why.attempt)
                if why.hopeless or again.attempts >= self._teacher.attempts:
                    self._give_up(again, why.cause)
                else:
                    self._queue.add(again)

    def _learn(self, flight: Flight, trouble: Trouble, several: bool) -> bool:
        """Take a complaint of the form of a request to heart; whether it can be asked in another one."""
        sent = LEARNT.keys() - flight.lacks - ({"seed"} if self._teacher.seed is None else set())
        learnt = self._dialect.learn(trouble.named, dict.fromkeys((*sent, "n") if several else sent))
        if learnt:
            self._control.say(f"{self._client.address.host}: {learnt}")
        return learnt is not None

    def _refused(self, flight: Flight) -> str | None:
        """Ask again for what is in a batch that was not begun; why that would be useless, if so."""
        requests = flight.requests(flight.wanted)
        errors = flight.told.errors
        text = " ".join(f"{code} {message}" for code, message in errors).lower()
        words = self._client.redact("; ".join(message for _, message in errors[:3]) or "no reason given")
        if re.search(r"token_limit_exceeded|enqueued token", text):
            self._queue.put_back(requests)
            self._room.refused(text, flight.plan.tokens, alone=not self._flights and len(requests) > 1)
        elif flight.earlier:
            self._queue.put_back(requests)  # what was wrong then may have been put right
        elif not errors or re.search(r"internal|server_error|try again|temporar", text):
            self._ask_again(flight, dict.fromkeys(flight.wanted, Left(f"batch {flight.plan.batch} failed: {words}")))
        else:
            return f"batch {flight.plan.batch} was refused: {words}"
        return None

    def _give_up(self, request: Request, cause: str) -> None:
        self._control.abandon(replace(request.ask, draws=request.draws), self._client.redact(cause))
