"""What passes between a live teacher and the model it speaks for: asks go out, replies come back.

    Ask(sample=("multiarith", 1, 17), draws=(0, 1, 2, 3), turns=(Turn("user", "Q: For Halloween ..."),), ...)
    Reply(ask, draw=0, text=" Debby and her sister have ...", finish_reason="stop", usage={"prompt": 61, ...})

A backend answers asks, however it reaches its model: over HTTP, through batches, in this process. What is asked, what
is stored and when to stop is the purchase's business (purchase.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from ftcot.records import SampleKey
from ftcot.redact import without_secrets

Part = Literal["rationale", "answer"]
"""What a reply is: the rationale (with its answer, where one call gives both), or the answer asked for after it."""

REFUSED = "refused"
"""Finish reason of a reply that the server would not give: its content filter, or the model itself, said no."""

TOO_LONG = "too_long"
"""Finish reason of a reply to a prompt that does not fit into the model's context."""


class Turn(NamedTuple):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a model is to choose its words."""

    temperature: float
    max_tokens: int
    """New tokens, at most."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A prompt, and which draws of it are wanted."""

    sample: SampleKey
    draws: tuple[int, ...]
    """One reply each, and no two alike by design: a server that is told a seed must be told another for each."""
    turns: tuple[Turn, ...]
    decoding: Decoding
    part: Part = "rationale"

    @property
    def text(self) -> str:
        """The prompt for a model that continues text: all turns, one after the other."""
        return flatten(self.turns)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said to one draw of an ask."""

    ask: Ask
    draw: int
    text: str
    finish_reason: str | None
    """stop, length, REFUSED or TOO_LONG, or what else the server says."""
    thinking: str | None = None
    """What a reasoning model thought before it spoke, where the server keeps it apart."""
    usage: Mapping[str, int] | None = None
    """Tokens of this draw: prompt, completion. Of several draws that one call answered, the first bears the prompt."""
    model: str | None = None
    """As the server names it."""
    server: str | None = None
    """What is known of its software and version."""
    raw: Mapping[str, Any] | None = None
    """As it came; of a call with several choices, this choice and what they share."""


Deliver = Callable[[Sequence[Reply]], Sequence[Ask]]
"""Keeps replies for good and returns what is to be asked next because of them. They are durable when it returns."""


class Control(Protocol):
    """What a backend may ask of the purchase it works for."""

    @property
    def folder(self) -> Path:
        """Where the store has this teacher's completions of the task: what must outlive a backend goes beside them."""
        ...

    def say(self, line: str) -> None:
        """A line that is worth keeping on the screen, now and then: batches of an earlier job were found."""
        ...

    def stopping(self) -> bool:
        """Whether the work is to end soon: send nothing more, wait for what is under way, return."""
        ...

    def abandon(self, ask: Ask, cause: str) -> None:
        """Leave an ask unanswered for this time, after every attempt at it has failed; the others go on."""
        ...

    def note(self, words: str) -> None:
        """What is going on, for the progress bar: `32 at once`, `waiting 20 s for the rate limit`. Empty: nothing."""
        ...


class Backend(Protocol):
    """What answers asks."""

    def run(self, asks: Iterator[Ask], deliver: Deliver, control: Control) -> None:
        """Answer all asks, and those that `deliver` returns.

        `asks` is drawn from as there is room to send (it is endless as far as memory goes, and may take a moment).
        `deliver` may be called from another thread, but never twice at once; replies of several asks in one call are
        cheaper. An ask may be delivered in parts, some draws first.

        Raises:
            JobError: nothing more can be had (no credit, a key that is refused). What was answered has been delivered.
        """
        ...


def flatten(turns: Sequence[Turn]) -> str:
    """The conversation as one text."""
    system = "".join(f"{turn.text}\n\n" for turn in turns if turn.role == "system")
    return system + "".join(turn.text for turn in turns if turn.role != "system")


def redacted(reply: Reply) -> Reply:
    """The reply without the secrets of the environment, which a server may echo."""
    names = ("text", "thinking", "model", "server", "raw")
    return replace(reply, **without_secrets({name: getattr(reply, name) for name in names}))


def seed_of(seed: int | None, sample: SampleKey, draw: int, part: Part) -> int | None:
    """The seed of one draw, 31 bits, for a model that takes seeds; None where the teacher has none.

    It depends on nothing else, so that a draw made again, alone or among others, begins with the same numbers.
    """
    if seed is None:
        return None
    told = "/".join(map(str, (seed, *sample, draw, part)))
    return int.from_bytes(hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
