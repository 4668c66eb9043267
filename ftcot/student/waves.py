"""The memory of models that do not pack: padded batches and transformers' own caches.

    read      the prompts of a wave, once each                logits (P, V), a cache of P rows
    share     every text gets a copy of its prompt's row      logits (R, V), a cache of R rows
    step      a token a row; rows that have ended leave, and when all have, the next wave begins

Encoder-decoders and decoders that `attention.packs` does not know. One that keeps no keys and values at all (Mamba)
reads its rows anew for every token: slow, and right.

Shapes: P prompts and R texts of a wave, S tokens of its longest prompt, V tokens in the vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ftcot.prompts import Family
from ftcot.student.attention import packs
from ftcot.student.batch import length_mask, padded
from ftcot.student.cache import PackedMemory
from ftcot.student.decoding import Memory, Room, Text

ANY_TOKEN = 0
"""What stands where the mask says that nothing does: not the tokenizer's padding, which the model may not know."""

EXPECTED = 128
"""New tokens of a text that are counted when it enters; where many become longer, some are put back."""


class PaddedMemory:
    """As `decoding.Memory`."""

    def __init__(self, model: Any, family: Family, room: Room) -> None:
        self.model, self.family, self.room = model, family, room
        takes = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.texts: list[Text] = []
        self._state: _State | None = None
        self._prompts: _State | None = None
        """After the prompts alone, while texts are waiting that follow one of them."""
        self._places: dict[tuple[int, ...], int] = {}
        """Of the prompts, in there."""

    # Who is under way

    def enter(self, waiting: deque[Text]) -> None:
        """As `Memory.enter`; texts that are put back begin again."""
        going = [i for i, text in enumerate(self.texts) if not text.ended]
        width = self._width(self.texts[i] for i in going)
        while len(going) > 1 and not self._fits(len(going), width, 0):
            text = self.texts[going.pop()]
            text.ids = []
            waiting.appendleft(text)
        if going:
            if len(going) < len(self.texts) and self._state is not None:
                self._state.select(going)
            self.texts = [self.texts[i] for i in going]
            return
        self.texts, self._state = [], None
        if not waiting:
            self._prompts = None
            return
        if self._prompts is None or waiting[0].prompt not in self._places:
            self._prompts = self._read_some(waiting)
        places: list[int] = []
        width = 0
        while waiting and (place := self._places.get(waiting[0].prompt)) is not None:
            width = max(width, len(waiting[0].prompt))
            if places and not self._fits(len(places) + 1, width, EXPECTED):
                break
            text = waiting.popleft()
            text.ids = []
            self.texts.append(text)
            places.append(place)
        more = any(text.prompt in self._places for text in islice(waiting, 1))
        self._state = copy.deepcopy(self._prompts) if more else self._prompts
        self._prompts = self._prompts if more else None
        self._state.select(places)

    def _read_some(self, waiting: deque[Text]) -> _State:
        """The state after the prompts of the texts that fit; of one at least."""
        self._places = {}
        width = n_texts = 0
        for text in waiting:
            width, n_texts = max(width, len(text.prompt)), n_texts + 1
            if self._places and text.prompt not in self._places and not self._fits(n_texts, width, EXPECTED):
                break
            self._places.setdefault(text.prompt, len(self._places))
        return self._read(list(self._places))

    def _width(self, texts: Any) -> int:
        return max((len(text.prompt) + len(text.ids) for text in texts), default=0)

    def _fits(self, n_texts: int, width: int, expected: int) -> bool:
        room = self.room
        return (room.texts is None or n_texts <= room.texts) and (
            room.tokens is None or n_texts * (width + expected) <= room.tokens
        )

    # The model

    def step(self) -> tuple[Tensor, list[Text]]:
        """As `Memory.step`."""
        state = self._state
        if state is None or not self.texts:
            return torch.empty(0), []
        if self.texts[0].ids:  # the first token follows from the prompts
            self._step(state)
        return state.logits, self.texts

    def _read(self, prompts: Sequence[Sequence[int]]) -> _State:
        """The state after the prompts, each of which goes through the model once."""
        # A decoder goes on at the end of its row, so its padding stands in front. An encoder counts its positions from
        # the first column, padding or not.
        before = self.family == "decoder"
        device = self.model.device
        ids = padded(prompts, ANY_TOKEN, before=before).to(device)
        mask = length_mask(prompts, before=before).to(device)
        if self.family == "decoder":
            positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if self._takes_positions else {}
            output = self.model(input_ids=ids, attention_mask=mask, use_cache=True, **positions, **self._only_last)
            return _State(output.logits[:, -1], getattr(output, "past_key_values", None), mask, mask.sum(-1))
        read = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        state = _State(read.new_empty(0), None, mask, mask.sum(-1), read)
        self._say(state, [_first_token(self.model)] * len(prompts))
        return state

    def _step(self, state: _State) -> None:
        """One token more in every row."""
        if state.cache is None:
            again = self._read([(*text.prompt, *text.ids) for text in self.texts])
            state.logits, state.mask, state.lengths = again.logits, again.mask, again.lengths
            return
        self._say(state, [text.ids[-1] for text in self.texts])

    def _say(self, state: _State, tokens: Sequence[int]) -> None:
        ids = torch.tensor(tokens, device=self.model.device)[:, None]
        more: dict[str, Any]
        if state.read is None:
            state.mask = torch.cat([state.mask, state.mask.new_ones(len(tokens), 1)], dim=1)
            more = {"input_ids": ids} | ({"position_ids": state.lengths[:, None]} if self._takes_positions else {})
            state.lengths = state.lengths + 1
        else:
            more = {"decoder_input_ids": ids, "encoder_outputs": BaseModelOutput(last_hidden_state=state.read)}
        output = self.model(attention_mask=state.mask, past_key_values=state.cache, use_cache=True, **more)
        state.cache, state.logits = output.past_key_values, output.logits[:, -1]


@dataclass
class _State:
    """What the model has computed of some rows."""

    logits: Tensor
    """(R, V): of the next token."""
    cache: Any
    """Keys and values, R rows; None where the model keeps none."""
    mask: Tensor
    """(R, S and the tokens written so far) of a decoder; (R, S) of an encoder."""
    lengths: Tensor
    """(R,) tokens of a row so far, without padding."""
    read: Tensor | None = None
    """(R, S, width): what an encoder has made of the prompts."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; the same one may be taken more than once."""
        if list(rows) == list(range(len(self.mask))):
            return
        chosen = torch.tensor(rows, device=self.mask.device)
        if self.cache is not None:
            self.cache.reorder_cache(chosen)
        self.logits, self.mask, self.lengths = self.logits[chosen], self.mask[chosen], self.lengths[chosen]
        if self.read is not None:
            self.read = self.read[chosen]


def _first_token(model: Any) -> int:
    """What an encoder-decoder's text begins with."""
    settings = model.generation_config
    known = (settings.decoder_start_token_id, getattr(model.config, "decoder_start_token_id", None))
    return next(token for token in (*known, settings.bos_token_id, 0) if token is not None)


def memory_of(model: Any, family: Family, room: Room, *, guess: bool = False) -> Memory:
    """The memory for a model's texts.

    Args:
        guess: try what texts that repeat themselves say next, where the memory can; for greedy decoding.
    """
    return (
        PackedMemory(model, room, guess) if family == "decoder" and packs(model) else PaddedMemory(model, family, room)
    )
