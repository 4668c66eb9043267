"""Writing many texts at once: which are under way, what token follows in each, and where each ends.

    waiting    three prompts, limits 64                  prompts enter as soon as there is room (continuous batching)
    step       logits (2, V) of the two under way        `choose` names a token for each
    ended      "end" after 7 tokens                      it leaves at once, the third prompt takes its room

A memory (`cache.py` for decoders that pack, `waves.py` for other models) holds what the model has computed of the
texts under way. What a text says depends on its prompt, and on `choose`, alone: not on the others or on the room, as
far as the rounding of matrix products does not.

Shapes: R texts under way, V tokens in the vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ftcot.malloc import tidy

Choose = Callable[[Tensor, Sequence["Text"]], list[int]]
"""The next token of each text, of its logits: (R, V), which it may change."""

Decode = Callable[[Sequence[int]], str]


@dataclass(eq=False)
class Text:
    """A text that is to be written, or is."""

    prompt: tuple[int, ...]
    """Token ids, one or more."""
    limit: int
    """New tokens it may have, one or more."""
    owner: Any = None
    """Whatever its user knows it by."""
    ids: list[int] = field(default_factory=list)
    """New tokens so far."""
    ended: Literal["end", "stop", "limit"] | None = None
    """By an end-of-text token, by a stop phrase (both are among `ids`), or by its limit."""
    tried: list[int] = field(default_factory=list)
    """Tokens that a step reads behind the text to see whether they are next (guesses.py)."""


@dataclass(frozen=True)
class Room:
    """What may be under way at once. At least one text always is."""

    tokens: int | None = None
    """Of prompts and new ones, as the memory holds them; None: any number."""
    texts: int | None = None


class Memory(Protocol):
    """What the model has computed of the texts under way."""

    def enter(self, waiting: deque[Text]) -> None:
        """Let go of texts that have ended, and take some of those waiting, from the left. Where there is too little
        room for those under way, the last of them are put back, to begin or go on later."""
        ...

    def step(self) -> tuple[Tensor, Sequence[Text]]:
        """Logits of the next token, (R, V), and whose they are; none are left where R is 0. A text's row is followed by
        one for each token that is tried behind it."""
        ...


@dataclass
class Ending:
    """Knows where a text ends."""

    ends: frozenset[int]
    """End-of-text tokens."""
    stops: Sequence[str]
    """Phrases that end a text where they appear in its new tokens."""
    decode: Decode

    def __post_init__(self) -> None:
        # A token of any text has a byte, so a phrase lies within this many of those (4: a character begun before).
        self._window = max((len(stop.encode()) for stop in self.stops), default=0) + 4
        self._last = {stop[-1] for stop in self.stops}
        self._plain = all(last.isascii() and last.isprintable() and last != " " for last in self._last)
        self._pieces: dict[int, str] = {}

    def add(self, text: Text, token: int) -> None:
        """One token more."""
        text.ids.append(token)
        if token in self.ends:
            text.ended = "end"
        elif self.stops and self._stopped(text.ids):
            text.ended = "stop"
        elif len(text.ids) >= text.limit:
            text.ended = "limit"

    def _stopped(self, ids: list[int]) -> bool:
        if not self._completes(ids[-1]):
            return False
        recent = self.decode(ids[self._recent(ids) :])
        return any(stop in recent for stop in self.stops) and any(stop in self.decode(ids) for stop in self.stops)

    def _completes(self, token: int) -> bool:
        """Whether a phrase may end in the token: few do, and decoding at every step would take longer than a step of a
        small model. Spaces and characters of several bytes may depend on the tokens before, so they are not judged."""
        return not self._plain or any(last in self._piece(token) for last in self._last)

    def _recent(self, ids: list[int]) -> int:
        """Where the last tokens begin that a phrase can lie within. Special tokens, and those of a vocabulary that the
        tokenizer does not know, hold nothing."""
        held, start = 0, len(ids)
        while start and held < self._window:
            start -= 1
            held += self._piece(ids[start]) != ""
        return start

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self.decode([token])
        return self._pieces[token]

    def before(self, ids: Sequence[int]) -> str:
        """The text before the first of the phrases."""
        whole = self.decode(ids)
        found = [place for place in map(whole.find, self.stops) if place >= 0]
        return whole[: min(found)] if found else whole


def likeliest(logits: Tensor) -> list[int]:
    """The token of the highest logit in each row of (R, V), the first of equals."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        found: Any = logits.numpy().argmax(axis=-1)  # torch's takes 15 times as long
    else:
        found = logits.argmax(dim=-1)
    tokens: list[int] = found.tolist()
    return tokens


def write(
    memory: Memory, texts: Iterable[Text], choose: Choose, ending: Ending, stopping: Callable[[], bool] = lambda: False
) -> Iterator[list[Text]]:
    """Writes the texts, which enter in their order; gives those that have ended, after each step that ended some.

    Args:
        stopping: asked at every step; texts under way are then left as they are.
    """
    waiting = deque(texts)
    while not stopping():
        memory.enter(waiting)
        logits, under_way = memory.step()
        if not under_way:
            return
        tokens = iter(choose(logits, under_way))
        for text in under_way:
            _go_on(text, list(islice(tokens, 1 + len(text.tried))), ending)
        tidy()
        if ended := [text for text in under_way if text.ended]:
            yield ended


def _go_on(text: Text, tokens: Sequence[int], ending: Ending) -> None:
    """The next token of a text, and those behind it as long as what was tried is what came."""
    for token, tried in zip(tokens, (*text.tried, None), strict=True):
        ending.add(text, token)
        if text.ended or token != tried:
            break
    text.tried = []
