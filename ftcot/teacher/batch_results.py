"""The results of a batch that has ended: rows in any order, some missing, some twice, some not ours.

    {"custom_id": "4f1c09ab2e77-2", "response": {"status_code": 200, "body": {"choices": [...]}}, "error": null}
    {"custom_id": "4f1c09ab2e77-3", "response": {"status_code": 400, "body": {"error": {...}}}, "error": null}
    {"custom_id": "4f1c09ab2e77-4", "response": null, "error": {"code": "batch_expired", ...}}
    {"custom_id": "somebody-else-1", ...}          counted, and otherwise as if it were not there

Each draw that is wanted ends up either in a reply or in `left`, with the cause. Where the server says it worked on more
requests than its files show, they are fetched once more, before anything is asked, and paid, again.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any, NamedTuple

from ftcot.teacher.asks import REFUSED, TOO_LONG, Ask, Reply
from ftcot.teacher.batch_client import BatchClient, Told
from ftcot.teacher.batch_state import Draw, Plan
from ftcot.teacher.trouble import Trouble, context_in, trouble_of
from ftcot.teacher.wire import Dialect, UnreadableError, replies_of

CHUNK = 500
"""Replies in one write to the store."""


class Left(NamedTuple):
    """Why a draw was not answered."""

    cause: str
    attempt: bool = True
    """Whether that was an attempt at it: not where it was the batch, or a field that can be left out, that failed."""
    hopeless: bool = False
    """Whether it would be the same again."""


class Results:
    """What a batch that has ended gave, of what is wanted of it."""

    def __init__(
        self,
        client: BatchClient,
        plan: Plan,
        told: Told,
        wanted: Mapping[Draw, Ask],
        learn: Callable[[Trouble, bool], bool],
        dialect: Dialect,
    ) -> None:
        """
        Args:
            learn: given what a server says of the form of a request, and whether that had several draws: whether the
                same can be asked in another form.
            dialect: told how many choices the server gives for a request with several draws.
        """
        self._client, self._plan, self._told, self._wanted = client, plan, told, wanted
        self._learn, self._dialect = learn, dialect
        self._draws: dict[int, list[int]] = {}
        for number, draw in wanted:
            self._draws.setdefault(number, []).append(draw)
        self._heard: set[int] = set()
        self._answered: set[Draw] = set()
        self._odd: Counter[str] = Counter()
        self.left: dict[Draw, Left] = {}
        self.fatal: str | None = None
        """Why nothing more can be had."""
        self.form: str | None = None
        """What is wrong with a request that is formed like all others."""

    def replies(self) -> Iterator[list[Reply]]:
        """Portions of replies; `left` and the like are complete after the last one."""
        pending: list[Reply] = []
        for _ in range(2):
            for row in self._rows():
                replies = self._replies(*row)
                self._answered |= {(row[0], reply.draw) for reply in replies}
                pending += replies
                if len(pending) >= CHUNK:
                    yield pending
                    pending = []
            if len(self._heard) >= self._told.done:
                break
        if pending:
            yield pending
        unheard = [draw for draw in self._wanted if draw not in self._answered and draw not in self.left]
        self.left |= dict.fromkeys(unheard, self._unheard())

    def remarks(self) -> Iterator[str]:
        """What people should know of the rows that were of no use."""
        if self._odd:
            odd = ", ".join(f"{count} {what}" for what, count in self._odd.items())
            yield f"batch {self._plan.batch}: rows of its results were left out: {odd}"
        if self.left:
            causes = Counter(left.cause for left in self.left.values())
            cause, count = causes.most_common(1)[0]
            yield f"batch {self._plan.batch}: {len(self.left)} draws were not answered ({count} of them: {cause})"

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Rows of requests that were not heard of before, with their numbers."""
        before, now = frozenset(self._heard), self._heard
        self._odd.clear()
        for file in self._told.files:
            with tempfile.TemporaryFile() as copy:
                if not self._client.fetch(file, copy):
                    self._odd["in a file that is gone"] += 1
                copy.seek(0)
                for number, row in self._read(copy):
                    if number in before:
                        continue
                    if number in now:
                        self._odd["that came twice"] += 1
                        continue
                    now.add(number)
                    yield number, row

    def _read(self, lines: IO[bytes]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = self._client.blank(json.loads(line))
            except ValueError:
                self._odd["that are no JSON"] += 1
                continue
            number = self._plan.number(row.get("custom_id")) if isinstance(row, dict) else None
            if number is None:
                self._odd["with an id that was not asked"] += 1
            else:
                yield number, row

    def _replies(self, number: int, row: Mapping[str, Any]) -> list[Reply]:
        """What a row holds of what is wanted."""
        if not (draws := self._draws.get(number)):
            return []
        response = row.get("response")
        response = response if isinstance(response, dict) else {}
        status, body = response.get("status_code"), response.get("body")
        if status == 200 and isinstance(body, dict):
            return self._said(number, draws, body)
        if isinstance(status, int) and status >= 400:
            return self._complained(number, draws, trouble_of(status, {}, json.dumps(body).encode(), time.time()))
        error = row.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        if code not in ("batch_expired", "batch_cancelled"):
            words = error.get("message") if isinstance(error, dict) else error
            self._leave(number, draws, Left(str(words or code or "a row without a response")))
        return []

    def _said(self, number: int, draws: Sequence[int], body: Mapping[str, Any]) -> list[Reply]:
        asked = self._plan.rows[number].draws
        host = self._client.address.host
        try:
            said = {reply.draw: reply for reply in replies_of(body, self._wanted[number, draws[0]], asked, host)}
        except UnreadableError as error:
            self._leave(number, draws, Left(str(error)))
            return []
        self._dialect.gave(len(said), len(asked))
        self._leave(number, [draw for draw in draws if draw not in said], Left("fewer choices than asked for", False))
        return [replace(said[draw], ask=self._wanted[number, draw]) for draw in draws if draw in said]

    def _complained(self, number: int, draws: Sequence[int], trouble: Trouble) -> list[Reply]:
        ask = self._wanted[number, draws[0]]
        context = context_in(trouble.words)
        if trouble.kind == "too_long" and context is not None and ask.decoding.max_tokens >= context:
            trouble = replace(trouble, kind="form", words=f"{trouble.words} (teacher.prompting.max_tokens is as much)")
        if trouble.kind in ("refused", "too_long"):
            reason = REFUSED if trouble.kind == "refused" else TOO_LONG
            raw, host = {"status": trouble.status, "error": trouble.words}, self._client.address.host
            return [Reply(self._wanted[number, draw], draw, "", reason, server=host, raw=raw) for draw in draws]
        if trouble.kind == "stop":
            self.fatal = trouble.words
            left = Left(trouble.words, False)
        elif trouble.kind == "form" and self._learn(trouble, len(self._plan.rows[number].draws) > 1):
            left = Left(trouble.words, False)
        elif trouble.kind == "form":
            self.form = trouble.words
            left = Left(trouble.words, hopeless=True)
        else:
            left = Left(trouble.words)
        self._leave(number, draws, left)
        return []

    def _unheard(self) -> Left:
        """Why there is no word of a request."""
        if self._told.status == "expired":
            return Left("the batch expired", attempt=not (self._answered or self.left))
        if self._told.status == "cancelled":
            return Left("the batch was cancelled, though not by us", hopeless=True)
        return Left("missing from the results")

    def _leave(self, number: int, draws: Sequence[int], left: Left) -> None:
        self.left |= {(number, draw): left for draw in draws}
