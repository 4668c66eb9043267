"""A backend in this process that answers by a script, and what a backend needs around it where nothing is bought.

ask = Ask(("multiarith", 1, 17), (0, 1), (Turn("user", "Q: ..."),), Decoding(0.7, 128))
said = Collector().run(my_backend, [ask])          what any backend delivers, without a store

teacher = Scripted(model="m", script=Script())     a live teacher on the scripted backend, for everything else
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ftcot.records import SampleKey
from ftcot.teacher.asks import Ask, Backend, Control, Deliver, Reply
from ftcot.teacher.live import Live

Call = tuple[SampleKey, int, str]
"""(sample, draw, part)."""


@dataclass
class Collector:
    """A Control and a Deliver that keep what they are told."""

    following: Callable[[Reply], Sequence[Ask]] = lambda reply: ()
    """What is to be asked because of a reply."""
    stop_after: int | None = None
    """Replies, after which the work is to end."""
    replies: list[Reply] = field(default_factory=list)
    abandoned: list[tuple[Ask, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    folder: Path = Path("/nonexistent")
    drawn: int = 0
    """Asks that the backend has drawn."""

    def run(self, backend: Backend, asks: Iterable[Ask]) -> list[Reply]:
        """All that the backend delivered to these asks."""
        backend.run(self._drawn(asks), self.deliver, self)
        return self.replies

    def deliver(self, replies: Sequence[Reply]) -> list[Ask]:
        self.replies += replies
        return [ask for reply in replies for ask in self.following(reply)]

    def stopping(self) -> bool:
        return self.stop_after is not None and len(self.replies) >= self.stop_after

    def abandon(self, ask: Ask, cause: str) -> None:
        self.abandoned.append((ask, cause))

    def say(self, line: str) -> None:
        self.said.append(line)

    def note(self, words: str) -> None:
        self.notes.append(words)

    def _drawn(self, asks: Iterable[Ask]) -> Iterator[Ask]:
        for ask in asks:
            self.drawn += 1
            yield ask


def plain(ask: Ask, draw: int) -> Reply:
    """A rationale that names its draw, or an answer."""
    words = " yes." if ask.part == "answer" else f" Step {draw} leads there. The answer is yes."
    usage = {"prompt": len(ask.text.split()), "completion": len(words.split())}
    return Reply(ask, draw, words, "stop", usage=usage, model="m-1", server="script 1", raw={"said": words})


@dataclass
class Script:
    """What the model says, to whom, in which order; and what it was asked."""

    reply: Callable[[Ask, int], Reply | None] = plain
    """None: given up after every attempt."""
    cause: str = "the script gave up"
    room: int = 8
    """Asks under way at once."""
    seed: int | None = None
    """Of the order in which replies come, and of how many come together; None: each ask at once, in order."""
    asked: list[Ask] = field(default_factory=list)
    delivered: Counter[Call] = field(default_factory=Counter)
    """Replies whose delivery returned: acknowledged."""
    runs: int = 0

    def calls(self, part: str | None = None) -> list[tuple[SampleKey, int]]:
        """What was asked for, draw by draw."""
        return [(ask.sample, draw) for ask in self.asked for draw in ask.draws if part in (None, ask.part)]


class ScriptedBackend:
    """Answers by its script."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def run(self, asks: Iterator[Ask], deliver: Deliver, control: Control) -> None:
        script = self.script
        script.runs += 1
        rng = None if script.seed is None else random.Random(script.seed * 1000 + script.runs)
        under_way: deque[Ask] = deque()
        drawing = True
        while not control.stopping():
            while drawing and len(under_way) < script.room:
                if ask := next(asks, None):
                    under_way.append(ask)
                    script.asked.append(ask)
                drawing = ask is not None
            if not under_way:
                return
            replies = self._said(under_way, rng, control)
            following = deliver(replies)
            script.delivered.update((reply.ask.sample, reply.draw, reply.ask.part) for reply in replies)
            script.asked += following
            under_way += following

    def _said(self, under_way: deque[Ask], rng: random.Random | None, control: Control) -> list[Reply]:
        replies: list[Reply] = []
        if rng is not None:
            rng.shuffle(under_way)
        for _ in range(1 if rng is None else rng.randint(1, len(under_way))):
            ask = under_way.popleft()
            n = len(ask.draws) if rng is None else rng.randint(1, len(ask.draws))
            for draw in ask.draws[:n]:
                if (reply := self.script.reply(ask, draw)) is None:
                    control.abandon(replace(ask, draws=(draw,)), self.script.cause)
                else:
                    replies.append(reply)
            if n < len(ask.draws):
                under_way.append(replace(ask, draws=ask.draws[n:]))
        return replies


SCRIPTS: dict[str, Script] = {}
"""For teachers that are built from a config, which names theirs."""


@dataclass(frozen=True, kw_only=True)
class Scripted(Live):
    """A live teacher on a scripted backend."""

    script: Script | str
    speaks: bool = False
    """Whether it is a chat model."""

    @property
    def chat(self) -> bool:
        return self.speaks

    def backend(self) -> Backend:
        script = SCRIPTS[self.script] if isinstance(self.script, str) else self.script
        return ScriptedBackend(script)
