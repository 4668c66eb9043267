"""A model behind a server that speaks OpenAI's protocol.

    teacher=api teacher.model=gpt-4o-mini                                          OpenAI, key in $OPENAI_API_KEY
    teacher=api teacher.model=Qwen/Qwen3-8B teacher.base_url=http://node7:8000/v1  vLLM, SGLang, llama.cpp, Ollama, ...

What the launcher asks a server is free of charge: is it there, does it take the key, does it have the model. Whatever
it does not say about itself is learnt from its answers (sending.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ftcot.durations import seconds
from ftcot.errors import InputError
from ftcot.teacher.address import check_client
from ftcot.teacher.asks import Ask, Control, Deliver
from ftcot.teacher.fleet import Account, Patience, Request, Server
from ftcot.teacher.pace import Bucket, Pace
from ftcot.teacher.sending import Sending
from ftcot.teacher.served import Served
from ftcot.teacher.tokens import Counter


@dataclass(frozen=True, kw_only=True)
class Api(Served):
    """A model behind one server, or behind several that are alike."""

    concurrency: int = 512
    """Requests at once, at most."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.concurrency < 1:
            raise InputError(f"teacher.concurrency={self.concurrency}: expected 1 or more")
        for key in ("requests_per_minute", "tokens_per_minute"):
            if (value := getattr(self, key)) is not None and value <= 0:
                raise InputError(f"teacher.{key}={value}: expected more than 0")

    def backend(self) -> Sender:
        check_client()
        return Sender(self, self._account)

    @cached_property
    def _account(self) -> Account:
        chance = random.Random()
        servers = [Server(address, Pace(self.concurrency, PATIENCE.waits, chance)) for address in self.addresses]
        requests, tokens = Bucket(self.requests_per_minute), Bucket(self.tokens_per_minute)
        return Account(servers, requests, tokens, self.tokens_per_minute is not None)


PATIENCE = Patience()
"""Of all teachers, but for what their config says."""


@dataclass(frozen=True)
class Sender:
    """What answers for it."""

    teacher: Api
    account: Account

    def run(self, asks: Iterator[Ask], deliver: Deliver, control: Control) -> None:
        teacher = self.teacher
        request = Request(
            teacher.model,
            teacher.chat,
            teacher.seed,
            str(teacher.n) == "auto",
            teacher.more_fields,
            Counter.of(teacher.tokenizer),
        )
        patience = replace(
            PATIENCE,
            attempts=teacher.attempts,
            timeout=teacher.timeout,
            stage=seconds(teacher.stage_timeout),
        )
        Sending(self.account, request, patience, teacher.concurrency, asks, deliver, control).run()
