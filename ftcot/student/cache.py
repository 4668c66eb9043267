"""Keys and values of decoders that pack (attention.py), in memory that is allocated once and written in place.

    rows of 128 tokens    texts a, b, c, ...       a text moves to longer rows when it outgrows its own,
    rows of 256           texts x, y               so that short texts are not attended to as if they were long
    one step              a1 b1 c1 x1 y1 | q1 q2 q3 ... of a prompt that enters
                          one row of tokens through the model; no padding but within attention

Prompts are read in the same steps in which other texts are written. A prompt that several texts follow is read once,
and so is a long beginning that prompts share (worked examples): its keys and values are copied.

Shapes: T tokens of a step, R texts under way, V tokens in the vocabulary, H heads of queries, K heads of keys, d
numbers a head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from ftcot.student.attention import attending
from ftcot.student.decoding import Room, Text
from ftcot.student.guesses import guesses
from ftcot.student.rows import Band, Held, Part

SHORTEST = 128
"""Tokens of the shortest rows; each further band has rows twice as long."""

SHARED = 24
"""Tokens that two prompts must begin with alike for the second to wait a step and copy."""


class PackedMemory:
    """The memory of a decoder that packs, and the plan of its attention."""

    def __init__(self, model: Any, room: Room, guess: bool = False) -> None:
        self.model, self.room, self.guess = model, room, guess
        self.device = model.device
        self.n_layers = int(model.config.num_hidden_layers)
        self.bands: dict[int, Band] = {}
        self._followers: list[Text] = []
        self._beginnings: dict[tuple[int, ...], Held] = {}
        """The last text that entered with this prompt, or with a prompt that begins so."""
        self._full = False
        self._parts: list[Part] = []
        self._tried: list[Held] = []
        """Texts behind which the last step tried tokens."""

    # Who is under way

    @property
    def held(self) -> Iterator[Held]:
        return (held for band in self._sorted() for held in band.held)

    def _sorted(self) -> list[Band]:
        return [self.bands[width] for width in sorted(self.bands) if self.bands[width].held]

    def enter(self, waiting: deque[Text]) -> None:
        """As `Memory.enter`."""
        for held in self._tried:
            held.n_read = held.n_tokens - 1  # what was tried and came is read; what did not come will be written over
        self._tried = []
        waiting.extendleft(reversed([text for text in self._followers if text.ended is None]))
        self._followers = []
        self._leave(waiting)
        self._widen(waiting)
        new: list[Held] = []
        n_held, tokens = sum(len(band.held) for band in self.bands.values()), self._tokens()
        while waiting and not self._full:
            text = waiting[0]
            held = Held(text)
            # Longest first, mostly, and those of a prompt one after the other: only the last can be the same.
            if new and not text.ids and not new[-1].text.ids and new[-1].text.prompt == text.prompt:
                new[-1].followers.append(waiting.popleft())
                continue
            width = self._width(held.n_tokens)
            if n_held and not self._fits(n_held + 1, tokens + width):
                break
            source, n_same = self._source(text)
            if source is not None and source.n_read == 0:
                break  # it enters now, too, and is read in this step
            waiting.popleft()
            self._band(width).add(held)
            if source is not None:
                self._copy(source, held, n_same)
            self._remember(held)
            new.append(held)
            n_held, tokens = n_held + 1, tokens + width

    def _fits(self, n_texts: int, n_tokens: int) -> bool:
        room = self.room
        return (room.texts is None or n_texts <= room.texts) and (room.tokens is None or n_tokens <= room.tokens)

    def _tokens(self) -> int:
        return sum(len(band.held) * band.width for band in self.bands.values())

    def _width(self, n_tokens: int) -> int:
        width = SHORTEST
        while width < n_tokens:
            width *= 2
        return width

    def _band(self, width: int) -> Band:
        return self.bands.setdefault(width, Band(width, self.n_layers))

    def _leave(self, waiting: deque[Text]) -> None:
        for band in list(self.bands.values()):
            gone = [held for held in band.held if held.text.ended]
            for held in list(gone):
                # The next text of the same prompt goes on from the prompt's keys and values where they are.
                if waiting and len(waiting[0].ids) == 1 and waiting[0].prompt == held.text.prompt:
                    successor = Held(waiting.popleft(), len(held.text.prompt), band, held.row)
                    band.held[held.row] = successor
                    held.band = None
                    self._remember(successor)
                    gone.remove(held)
            if gone:
                self._full = False
                band.remove(gone)
        if not any(band.held for band in self.bands.values()):
            self._beginnings.clear()
            self._full = False

    def _widen(self, waiting: deque[Text]) -> None:
        """Move what outgrows its rows, and put back the youngest where that needs more than there is."""
        for band in self._sorted():
            for held in [held for held in band.held if held.n_tokens > band.width]:
                longer = Held(held.text, held.n_read)
                self._band(band.width * 2).add(longer)
                self._copy(held, longer, held.n_read)
                for key in _keys(held.text):
                    if self._beginnings.get(key) is held:
                        self._beginnings[key] = longer
            band.remove([held for held in band.held if held.n_tokens > band.width])
        tokens = self._tokens()
        if self._fits(0, tokens):
            return
        back: list[Held] = []
        youngest = sorted(self.held, key=lambda held: len(held.text.ids))
        while not self._fits(0, tokens) and len(back) < len(youngest) - 1:
            back.append(youngest[len(back)])
            tokens -= back[-1].band.width if back[-1].band else 0
        for band in self._sorted():
            band.remove([held for held in back if held.band is band])
        waiting.extendleft(held.text for held in back)
        self._full = True  # until some text has ended; else it would come back only to be put back again

    # What is known already

    def _source(self, text: Text) -> tuple[Held | None, int]:
        """A text under way that begins as this one does, and in how many tokens; none where it is not worth it."""
        for key in _keys(text):
            source = self._beginnings.get(key)
            if source is not None and source.band is None:
                source = next((held for held in self.held if key in _keys(held.text)), None)
            if source is not None:
                ours = (*text.prompt, *text.ids)
                theirs = (*source.text.prompt, *source.text.ids)
                n_same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
                return source, min(n_same, len(ours) - 1, source.n_read)
        return None, 0

    def _remember(self, held: Held) -> None:
        for key in _keys(held.text):
            self._beginnings[key] = held

    def _copy(self, source: Held, target: Held, n: int) -> None:
        there, here = source.band, target.band
        if here is None or there is None or there.memory is None:
            return
        here.reserve(there.memory[0, 0, :1, :, 0])
        assert here.memory is not None
        here.memory[:, :, target.row, :, :n] = there.memory[:, :, source.row, :, :n]
        target.n_read = n

    # A step

    def step(self) -> tuple[Tensor, list[Text]]:
        """As `Memory.step`."""
        held = list(self.held)
        if not held:
            return torch.empty(0), []
        tokens: list[int] = []
        positions: list[int] = []
        rows: list[int] = []
        last: list[int] = []
        self._parts = []
        if self.guess:
            self._try(held)
        for band in self._sorted():
            start, n_new = len(tokens), []
            for one in band.held:
                unread = (*one.unread(), *one.text.tried)
                tokens += unread
                positions += range(one.n_read, one.n_read + len(unread))
                rows += [one.row] * len(unread)
                last += range(len(tokens) - 1 - len(one.text.tried), len(tokens))
                n_new.append(len(unread))
            self._parts.append(Part(band, start, n_new))
        ids, position_ids, row_ids = torch.tensor([tokens, positions, rows]).to(self.device)
        for part in self._parts:
            part.prepare(position_ids, row_ids, positions)
        only_last = {} if len(last) == len(tokens) else {"logits_to_keep": torch.tensor(last, device=self.device)}
        with attending(self.model, self):
            output = self.model(
                input_ids=ids[None], position_ids=position_ids[None], use_cache=False, return_dict=True, **only_last
            )
        logits: Tensor = output.logits[0]
        for one in held:
            one.n_read = one.n_tokens
        return self._shared(logits, held)

    def _try(self, held: Sequence[Held]) -> None:
        """Where all texts are under way, and few, tokens behind those that repeat themselves."""
        if any(one.followers or len(one.unread()) > 1 for one in held):
            return
        tried_behind = guesses([one.text.ids for one in held], [one.room for one in held])
        for one, tried in zip(held, tried_behind, strict=True):
            one.text.tried = tried
        self._tried = [one for one in held if one.text.tried]

    def _shared(self, logits: Tensor, held: Sequence[Held]) -> tuple[Tensor, list[Text]]:
        """Logits for the texts that follow a prompt with another, too."""
        texts = [one.text for one in held]
        sources = [(number, text) for number, one in enumerate(held) for text in one.followers]
        if sources:
            numbers = [*range(len(held)), *(number for number, _ in sources)]
            logits = logits[torch.tensor(numbers, device=logits.device)]
            self._followers = [text for _, text in sources]
            for one in held:
                one.followers = []
        return logits, texts + self._followers

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float
    ) -> Tensor:
        """As `Plan.attend`: keys and values are written into the memory, and attended to there."""
        queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
        outputs = [part.attend(layer, queries, keys, values, scaling) for part in self._parts]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None]


def _keys(text: Text) -> Iterator[tuple[int, ...]]:
    """Beginnings by which texts are found that begin alike, longest first."""
    yield text.prompt
    if len(text.prompt) > SHARED:
        yield text.prompt[:SHARED]
