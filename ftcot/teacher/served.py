"""Teachers whose model is behind a server: what they share, however they send it their requests.

    base_url=http://node7:8000/v1   key_variable=null   model=Qwen/Qwen3-8B   endpoint=chat   n=auto

What the launcher asks a server is free of charge: is it there, does it take the key, does it have the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ftcot.durations import seconds
from ftcot.errors import InputError
from ftcot.records import Sample
from ftcot.teacher import Diversity
from ftcot.teacher.address import Address, check_client, check_urls, find_addresses, find_urls
from ftcot.teacher.catalogue import look_up
from ftcot.teacher.live import Live
from ftcot.teacher.quote import refuse_too_long

if TYPE_CHECKING:
    from ftcot.task import Splits, Task

OWN = frozenset(
    {"model", "messages", "prompt", "n", "stream", "max_tokens", "max_completion_tokens", "temperature", "top_p"}
    | {"stop", "seed"}
)
"""Fields of a request that other keys set, or that would make something else of it."""


@dataclass(frozen=True, kw_only=True)
class Served(Live):
    """A model behind a server."""

    base_url: str | Sequence[str] | None = None
    """Of the server, or of replicas; None: $OPENAI_BASE_URL, or else OpenAI's."""
    key_variable: str | None = "OPENAI_API_KEY"
    """The environment variable with the key; None: no key is sent."""
    listed: bool = True
    """Whether the server lists all models that it has, so that any other one is refused before anything is sent."""
    endpoint: Literal["chat", "completions"] = "chat"
    """Whether the model is given turns, or one text to continue."""
    timeout: float = 120.0
    """Seconds of one request."""
    stage_timeout: str | float | None = None
    """Of all requests together."""
    attempts: int = 6
    """At one request."""
    n: int | str = "auto"
    """Draws in one request: `auto`, or 1."""
    extra: Mapping[str, Any] | None = None
    """More fields of a request's body."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_urls(self.base_url)
        if self.endpoint not in ("chat", "completions"):
            raise InputError(f"teacher.endpoint={self.endpoint}: expected chat or completions")
        if str(self.n) not in ("auto", "1"):
            raise InputError(f"teacher.n={self.n}: expected auto (as many draws as are missing) or 1")
        if self.attempts < 1:
            raise InputError(f"teacher.attempts={self.attempts}: expected 1 or more")
        if self.timeout <= 0:
            raise InputError(f"teacher.timeout={self.timeout}: expected more than 0")
        seconds(self.stage_timeout, "teacher.stage_timeout")
        if own := sorted(OWN & self.more_fields.keys()):
            raise InputError(f"teacher.extra.{own[0]}: has a key of its own; extra is for what has none")

    @property
    def chat(self) -> bool:
        return self.endpoint == "chat"

    @property
    def several_draws(self) -> bool:
        return str(self.n) == "auto"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The servers and the key.

        Raises:
            InputError: there is no key, and a server is not on this machine.
        """
        return find_addresses(self.base_url, self.key_variable)

    @property
    def more_fields(self) -> dict[str, Any]:
        """Of a request's body."""
        return dict(self.extra or {})

    def more_parameters(self) -> dict[str, Any]:
        return {"extra": self.more_fields} if self.extra else {}

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        find_urls(self.base_url)
        self._asked[task.name] = (task, splits.train)
        return super().check(task, splits, diversity)

    def lack(self) -> str | None:
        try:
            check_client()
            find_addresses(self.base_url, self.key_variable)
        except InputError as error:
            return str(error)
        return None

    def reach(self) -> None:
        check_client()
        known = look_up(self.addresses, self.model, self.key_variable, listed=self.listed)
        if known is not None and self.context is None:
            for task, samples in self._asked.values():
                refuse_too_long(replace(self, context=known), task, samples)

    @cached_property
    def _asked(self) -> dict[str, tuple[Task, Sequence[Sample]]]:
        """What was checked before it was known how much the model takes, by task."""
        return {}
