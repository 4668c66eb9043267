"""One request and what comes of it.

    200, three choices of the four that were asked for      three replies arrive, the fourth draw is asked for again
    429                                                     the server is left alone; the draws wait
    502                                                     the draws come again after a while: one attempt is gone
    400, content_filter                                     four replies arrive: refused
    401                                                     nothing more can be had: the round ends

Whatever a server says goes on without the secrets that it may have put into it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ftcot.errors import FtcotError, InputError, JobError
from ftcot.redact import secrets, without_secrets
from ftcot.teacher.asks import REFUSED, TOO_LONG, Reply
from ftcot.teacher.client import Answer, Client, NoAnswerError
from ftcot.teacher.fleet import Account, Patience, Request, Server, Work
from ftcot.teacher.trouble import Trouble, context_in, trouble_of
from ftcot.teacher.wire import UnreadableError, body_of, read, replies_of, tokens_of

EMPTY = 3
"""Empty replies to one request, until it is believed that the model has nothing to say."""

SLOWEST = 4
"""Times the time limit that a request may take which was too slow before: asked again with the same seed, a long answer
is as long, and is paid again."""

CUT_OFF = 8
"""Replies without a word that were cut off at their length, one after the other, until it is said why."""

KEPT = "what was bought is kept, and the same command goes on with the rest"


class Round(Protocol):
    """What a request tells the round of sending that it belongs to."""

    def arrived(self, replies: Sequence[Reply]) -> None:
        """These are to be kept."""

    def again(self, work: Work, wait: float = 0.0) -> None:
        """This is to be asked once more, after some seconds."""

    def lose(self, work: Work, cause: str) -> None:
        """This will not be answered."""

    def stop(self, error: BaseException | None) -> None:
        """Send nothing more."""

    def say(self, line: str) -> None:
        """For the screen."""


class Asking:
    """Asks for draws, of whichever server it is told."""

    def __init__(self, client: Client, account: Account, request: Request, patience: Patience, round_: Round) -> None:
        self._client, self._account, self._request = client, account, request
        self._patience, self._round = patience, round_
        self._chance = random.Random()
        # `EMPTY` and the like are no secrets, and words besides.
        self._keys = {server.address.key for server in account.servers if len(server.address.key) >= 8}
        self._hidden = {*secrets(), *self._keys}
        self._succeeded = False
        self._cut_off, self._said_cut_off = 0, False
        self.heard = time.monotonic()
        """When something was had the last time."""

    async def ask(self, server: Server, work: Work, sent: float, reserved: int) -> None:
        """Send one request, and see to what comes of it."""
        request = self._request
        body = body_of(
            work.ask,
            work.draws,
            model=request.model,
            chat=request.chat,
            seed=request.seed,
            extra=request.extra,
            dialect=server.dialect,
        )
        if work.empty and "seed" in body:
            body["seed"] ^= work.empty  # the same again would be as empty
        used: int | None = None
        try:
            answer = await self._client.post(server.address, request.path, body, min(2**work.slow, SLOWEST))
            server.pace.reached()
            if answer.status == 200:
                used = self._answered(server, work, sent, answer)
            else:
                used = 0
                self._failed(server, work, sent, body, trouble_of(*answer, time.time()))
        except UnreadableError as error:
            self._failed(server, work, sent, body, Trouble("again", str(error)))
        except NoAnswerError as error:
            now = time.monotonic()
            if error.kind == "unreachable":
                used = 0
                server.pace.unreachable(sent, now)
                self._round.again(work)  # nothing was sent
            else:
                if error.kind == "timeout":
                    work.slow += 1
                    server.pace.timed_out(sent, now)
                self._failed(server, work, sent, body, Trouble("again", str(error)))
        finally:
            server.pace.busy -= 1
            if used is not None:
                self._account.tokens.give_back(reserved - used)

    def _answered(self, server: Server, work: Work, sent: float, answer: Answer) -> int | None:
        """Take in a response; returns the tokens it cost, where it says so.

        Raises:
            UnreadableError: it is none.
        """
        data = read(answer.content)
        if "error" in data and not data.get("choices"):
            # OpenRouter and others: the status is that of the connection, the error's own is inside.
            status = data["error"].get("code") if isinstance(data["error"], dict) else None
            known = status if isinstance(status, int) and 400 <= status < 600 else 500
            self._failed(server, work, sent, {}, trouble_of(known, answer.headers, answer.content, time.time()))
            return 0
        if self._shows_secrets(answer.content):
            data = self._blanked(data)
        if server.software is None:
            server.software = self._blanked(_software(answer.headers, server.address.host))
        replies = replies_of(data, work.ask, work.draws, server.software)
        self.heard = time.monotonic()
        server.pace.answered(sent, self.heard)
        server.dialect.gave(len(replies), len(work.draws))
        full = [reply for reply in replies if not self._is_empty(reply, work)]
        spent = _together(work.spent, *(reply.usage for reply in replies if reply not in full))
        if full:
            self._succeeded = True
            self._see_cut_off(server, full)
            self._round.arrived([replace(full[0], usage=_together(full[0].usage, spent)), *full[1:]])
            spent = None
        had = {reply.draw for reply in full}
        if missing := tuple(draw for draw in work.draws if draw not in had):
            self._round.again(replace(work, draws=missing, empty=work.empty + (not had), spent=spent))
        return tokens_of(data)

    def _see_cut_off(self, server: Server, replies: Sequence[Reply]) -> None:
        """Say so where a model seems to think for longer than it may write: what it thinks is paid, too."""
        for reply in replies:
            self._cut_off = 0 if reply.text or reply.finish_reason != "length" else self._cut_off + 1
            if self._cut_off == CUT_OFF and not self._said_cut_off:
                self._said_cut_off = True
                self._round.say(
                    f"{server.address.host}: {CUT_OFF} replies in a row were cut off before their first word; a model "
                    "that thinks before it speaks needs more teacher.prompting.max_tokens"
                )

    def _is_empty(self, reply: Reply, work: Work) -> bool:
        """Whether there is nothing in it, and it is to be asked again."""
        empty = not (reply.text or reply.thinking) and reply.finish_reason in (None, "stop")
        return empty and work.empty + 1 < min(EMPTY, self._patience.attempts)

    def _failed(self, server: Server, work: Work, sent: float, body: Mapping[str, Any], trouble: Trouble) -> None:
        """See to a request that gave no completion."""
        now = time.monotonic()
        where = f"{server.address.host}: {self._blanked(trouble.words)}"
        if trouble.kind == "wait":
            server.pace.limited(sent, now, trouble.wait)
            self._round.again(work)
        elif trouble.kind == "again":
            server.pace.failed(sent, now)
            work.failures += 1
            if work.failures < self._patience.attempts:
                wait = max(trouble.wait or 0.0, self._patience.waits.after(work.failures, self._chance))
                self._round.again(work, min(wait, self._patience.waits.longest_told))
            else:
                self._round.lose(work, f"{where} ({work.failures} attempts)")
        elif trouble.kind == "refused" or (trouble.kind == "too_long" and not self._too_many_asked(work, trouble)):
            reason = REFUSED if trouble.kind == "refused" else TOO_LONG
            raw = {"status": trouble.status, "error": self._blanked(trouble.words)}
            self.heard = now
            self._round.arrived(
                [Reply(work.ask, draw, "", reason, server=server.software, raw=raw) for draw in work.draws]
            )
        elif trouble.kind == "form" and (learnt := server.dialect.learn(trouble.named, body)) is not None:
            if learnt:
                self._round.say(f"{server.address.host}: {learnt}")
            self._round.again(work)
        elif trouble.kind == "form" and self._succeeded:
            self._round.lose(work, where)
        else:
            self._round.stop(self._end_of(server, where, trouble))

    def _too_many_asked(self, work: Work, trouble: Trouble) -> bool:
        """Whether it is not the prompt that does not fit, but what may come after it."""
        context = context_in(trouble.words)
        return context is not None and work.ask.decoding.max_tokens >= context

    def _end_of(self, server: Server, where: str, trouble: Trouble) -> FtcotError:
        """Why nothing more can be had."""
        if trouble.kind == "too_long":
            words = f"{where} (teacher.prompting.max_tokens is more than that)"
        elif trouble.status in (401, 403):
            words = f"{where} (the key is that of teacher.key_variable)"
        elif trouble.status in (404, 405):
            words = f"{where} (asked {server.address.url}{self._request.path} for teacher.model={self._request.model})"
        else:
            words = where
        if self._succeeded:
            return JobError(f"{words}; {KEPT}")
        return InputError(words) if trouble.status not in (402, 429) else JobError(words)

    # -- secrets ---------------------------------------------------------------------------------------------------

    def _shows_secrets(self, content: bytes) -> bool:
        """Whether a body may hold a secret: as it is, or in one of JSON's disguises."""
        text = content.decode("utf-8", "replace")
        return "\\u00" in text or "\\/" in text or any(secret in text for secret in self._hidden)

    def _blanked(self, value: Any) -> Any:
        return without_secrets(value, *self._keys)


def _together(*usages: Mapping[str, int] | None) -> dict[str, int] | None:
    """The tokens of some calls; None where none of them says."""
    told = [usage for usage in usages if usage is not None]
    return {name: sum(usage.get(name, 0) for usage in told) for usage in told for name in usage} or None


def _software(headers: Mapping[str, str], host: str) -> str:
    """`uvicorn, x-vllm-version 0.11 at 10.0.0.1:8000`: what a server's headers say of it."""
    known = [headers["server"]] if headers.get("server") else []
    known += [f"{name} {headers[name]}" for name in headers if name.endswith("-version") and name != "api-version"]
    return f"{', '.join(known)} at {host}" if known else host
