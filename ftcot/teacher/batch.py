"""A model behind OpenAI's Batch protocol: half the price, an answer within a day.

    teacher=batch teacher.model=gpt-4o-mini

    {"custom_id": "4f1c09ab2e77-2", "method": "POST", "url": "/v1/chat/completions", "body": {"n": 4, ...}}
    {"custom_id": "4f1c09ab2e77-2", "response": {"status_code": 200, "body": {"choices": [...], ...}}, "error": null}

What is under way outlives its job: it stands on disk (batch_state.py), and whoever asks for the same draws next waits
for it (batch_rounds.py). A completion is what teacher=api would have bought, and is known by the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ftcot.errors import InputError
from ftcot.teacher.address import OPENAI, check_client
from ftcot.teacher.asks import Ask, Control, Deliver
from ftcot.teacher.batch_rounds import Rounds
from ftcot.teacher.prices import Price, price_of
from ftcot.teacher.served import Served
from ftcot.teacher.tokens import Counter
from ftcot.teacher.wire import MOST_CHOICES, Dialect, body_of

if TYPE_CHECKING:
    from ftcot.teacher.batch_client import BatchClient


@dataclass(frozen=True, kw_only=True)
class Batch(Served):
    """A model that is asked by batches."""

    max_requests: int = 50_000
    """Of one batch; what is more is split."""
    max_bytes: int = 200_000_000
    """Of one batch's file."""
    max_tokens_enqueued: int | None = None
    """Of all batches of a job that are under way, prompts and the most that may be answered; None: found out."""
    poll_seconds: float = 30.0
    """Between looks at a batch; longer while nothing happens."""
    window: str = "24h"
    """In which the server is to answer."""
    attempts: int = 3
    """At one request."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.base_url, Sequence) and not isinstance(self.base_url, str) and len(self.base_url) > 1:
            raise InputError("teacher.base_url: batches are made at one server")
        for key in ("max_requests", "max_bytes"):
            if getattr(self, key) < 1:
                raise InputError(f"teacher.{key}={getattr(self, key)}: expected 1 or more")
        if self.max_tokens_enqueued is not None and self.max_tokens_enqueued < 1:
            raise InputError(f"teacher.max_tokens_enqueued={self.max_tokens_enqueued}: expected 1 or more, or null")
        if self.poll_seconds <= 0:
            raise InputError(f"teacher.poll_seconds={self.poll_seconds}: expected more than 0")

    @property
    def price(self) -> Price | None:
        return price_of(self.model, self.prices, "batch")

    @property
    def path(self) -> str:
        """What each request is for."""
        return "/v1/chat/completions" if self.chat else "/v1/completions"

    def backend(self) -> Batches:
        check_client()
        # OpenAI's newer models refuse max_tokens, and all of its chat models take the other name: a batch of refusals
        # would be a day lost.
        renamed = self.chat and self.addresses[0].url == OPENAI
        return Batches(self, Dialect(lacks={"max_tokens"} if renamed else set()))

    def client(self, ending: Callable[[], bool], note: Callable[[str], None]) -> BatchClient:
        """Connections to the server."""
        from ftcot.teacher.batch_client import BatchClient

        return BatchClient(self.addresses[0], timeout=self.timeout, ending=ending, note=note)

    def most_draws(self, dialect: Dialect) -> int:
        """Draws in one request."""
        return MOST_CHOICES if dialect.many is not False and self.several_draws else 1

    def line(self, custom_id: str, ask: Ask, draws: Sequence[int], dialect: Dialect) -> bytes:
        """A request, as a line of a batch's file."""
        body = body_of(
            ask, draws, model=self.model, chat=self.chat, seed=self.seed, extra=self.more_fields, dialect=dialect
        )
        row = {"custom_id": custom_id, "method": "POST", "url": self.path, "body": body}
        return json.dumps(row).encode() + b"\n"

    def tokens(self, ask: Ask, draws: Sequence[int]) -> int:
        """What a request may take, by our own estimate."""
        return self._counter.conversation(ask.turns, self.chat) + len(draws) * ask.decoding.max_tokens

    def asked(self, ask: Ask) -> str:
        """A hash of what is asked, whichever of its draws and however the server wants it put."""
        decoding = ask.decoding
        said = [
            decoding.temperature,
            decoding.max_tokens,
            decoding.top_p,
            decoding.stop,
            self.seed,
            dict(self.extra or {}),
        ]
        told = json.dumps([self.model, self.chat, ask.turns, *said], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]

    @cached_property
    def _counter(self) -> Counter:
        return Counter.of(self.tokenizer)


@dataclass(frozen=True)
class Batches:
    """What answers for it."""

    teacher: Batch
    dialect: Dialect

    def run(self, asks: Iterator[Ask], deliver: Deliver, control: Control) -> None:
        Rounds(self.teacher, self.dialect, asks, deliver, control).run()
