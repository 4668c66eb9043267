"""What is to be asked by the next batch: asks as they are drawn, cut into requests that fit into a batch.

Ask(sample 17, draws 0 to 7)     draws 0 to 3 are in an earlier job's batch: waited for there
                                 draws 4 to 7: one request with n=4, or four where the server takes one draw each
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from ftcot.teacher.asks import Ask
from ftcot.teacher.batch_earlier import Earlier, Place
from ftcot.teacher.batch_state import custom_id
from ftcot.teacher.wire import Dialect

if TYPE_CHECKING:
    from ftcot.teacher.batch import Batch


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a batch."""

    ask: Ask
    draws: tuple[int, ...]
    asked: str
    """As in batch_state.Row."""
    attempts: int = 0
    """That failed."""


class Queue:
    """Requests, and where more come from."""

    def __init__(
        self,
        teacher: Batch,
        dialect: Dialect,
        asks: Iterator[Ask],
        earlier: Earlier,
        join: Callable[[Place, int, Request], None],
        give_up: Callable[[Request, str], None],
    ) -> None:
        """
        Args:
            join: called for each draw that an earlier job's batch has.
            give_up: called for a request that no batch can hold, with the reason.
        """
        self._teacher, self._dialect = teacher, dialect
        self._asks, self._earlier = asks, earlier
        self._join, self._give_up = join, give_up
        self._requests: deque[Request] = deque()

    def __len__(self) -> int:
        """How many requests were drawn and are yet to be sent."""
        return len(self._requests)

    def take(self, ask: Ask) -> None:
        """An ask, none of whose draws was sent by this job."""
        asked = self._teacher.asked(ask)
        places = self._earlier.places(ask, asked)
        held = Request(ask, tuple(places), asked)
        for draw, place in places.items():
            self._join(place, draw, held)
        self.add(replace(held, draws=tuple(draw for draw in ask.draws if draw not in places)))

    def add(self, request: Request) -> None:
        """A request, in as many parts as the server needs."""
        most = self._teacher.most_draws(self._dialect)
        for start in range(0, len(request.draws), most):
            self._requests.append(replace(request, draws=request.draws[start : start + most]))

    def put_back(self, requests: Iterable[Request]) -> None:
        """To be asked first, in this order."""
        self._requests.extendleft(reversed(list(requests)))

    def gather(self, plan: str, file: IO[bytes], room: float, *, alone: bool) -> tuple[list[Request], int]:
        """The requests of the next batch, written to `file`, and the tokens they may take.

        Args:
            plan: its id.
            room: tokens that it may have.
            alone: no other batch is under way, so that the first request is sent however big it is.
        """
        teacher = self._teacher
        requests: list[Request] = []
        size = tokens = 0
        while (alone or room > 0) and len(requests) < teacher.max_requests and (request := self._next()):
            line = teacher.line(custom_id(plan, len(requests)), request.ask, request.draws, self._dialect)
            cost = teacher.tokens(request.ask, request.draws)
            if len(line) > teacher.max_bytes:
                self._give_up(request, f"one request has {len(line)} bytes, and teacher.max_bytes={teacher.max_bytes}")
                continue
            too_many = tokens + cost > room and not (alone and not requests)
            if too_many or size + len(line) > teacher.max_bytes:
                self._requests.appendleft(request)
                break
            file.write(line)
            requests.append(request)
            size, tokens = size + len(line), tokens + cost
        return requests, tokens

    def _next(self) -> Request | None:
        while not self._requests:
            if (ask := next(self._asks, None)) is None:
                return None
            self.take(ask)
        return self._requests.popleft()
