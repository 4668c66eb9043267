"""A transformers model that writes many texts at once, each from random numbers of its own.

    Wanted(prompt=(1, 403, 407), seeds=(7, 8, 9), room=500)     one prompt, three texts

    read      the prompts of a batch, once each               logits (P, V), a cache of P rows
    share     every text gets a copy of its prompt's row      logits (R, V), a cache of R rows
    write     a token a row and step; rows that have ended leave the batch

    Written(" 3 + 4 = 7.", n_tokens=8, finish_reason="stop")

A text's next token is where its next random number falls among the cumulated probabilities. So what it says depends on
its prompt and its seed alone, not on the batch it is in, its place there or how many others there are, as far as the
rounding of the matrix products does not.

Shapes: P prompts and R rows (texts) in a batch, S tokens of its longest prompt, V tokens in the vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from ftcot.errors import InputError
from ftcot.prompts import Family
from ftcot.student.batch import length_mask, padded
from ftcot.teacher.asks import Decoding
from ftcot.teacher.local import KEY
from ftcot.teacher.sampling import arithmetic, choose, random_numbers
from ftcot.teacher.weights import out_of_memory

ANY_TOKEN = 0
"""What stands where the mask says that nothing does: not the tokenizer's padding, which the model may not know."""


class Wanted(NamedTuple):
    """A prompt, and the texts that are to go on from it."""

    prompt: tuple[int, ...]
    """Token ids."""
    seeds: tuple[int | None, ...]
    """One for each text; None: numbers that never come again."""
    room: int
    """New tokens that the model has positions for, one or more."""


@dataclass(frozen=True)
class Written:
    """A text that has ended."""

    text: str
    """Without the text it was stopped at."""
    n_tokens: int
    """All that were written: the end-of-text token and the text it was stopped at, too."""
    finish_reason: str
    """stop or length."""


class Writer:
    """A model with its tokenizer, on its device."""

    def __init__(self, model: Any, tokenizer: Any, family: Family) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.family = family
        self._ends = _ends(model, tokenizer)
        takes = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._before: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]

    @property
    def described(self) -> str:
        """With what it runs."""
        import transformers

        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"transformers {transformers.__version__}, torch {torch.__version__}, {self.model.device}, {dtype}"

    @torch.inference_mode()
    @out_of_memory()
    def write(
        self,
        batch: Sequence[Wanted],
        decoding: Decoding,
        at_once: int,
        stopping: Callable[[], bool] = lambda: False,
    ) -> list[list[Written | None]]:
        """The texts of each prompt, in the order of its seeds; None for one that had not ended when it had to stop.

        Args:
            at_once: texts under way together. However few, each prompt is read once.
            stopping: asked at every step.
        Raises:
            JobError: the model computes no numbers any more (half precision overflowed).
            MemoryError: the batch is too large.
        """
        state = self._read([wanted.prompt for wanted in batch])
        rows = [
            _Row(place, number, seed, min(decoding.max_tokens, wanted.room))
            for place, wanted in enumerate(batch)
            for number, seed in enumerate(wanted.seeds)
        ]
        shares = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        for share in shares:
            mine = state if share is shares[-1] else copy.deepcopy(state)
            mine.select([row.place for row in share])
            self._write(mine, share, decoding, stopping)
        texts: list[list[Written | None]] = [[None] * len(wanted.seeds) for wanted in batch]
        for row in rows:
            texts[row.place][row.number] = row.written
        return texts

    def _write(self, state: _State, rows: list[_Row], decoding: Decoding, stopping: Callable[[], bool]) -> None:
        numbers = torch.from_numpy(np.stack([random_numbers(row.seed, decoding.max_tokens) for row in rows]))
        numbers = numbers.to(arithmetic(state.logits))
        for step in range(decoding.max_tokens):
            if stopping():
                return
            tokens = choose(state.logits, decoding, numbers[:, step]).tolist()
            going = [i for i, row in enumerate(rows) if self._goes_on(row, tokens[i], decoding.stop)]
            if not going:
                return
            if len(going) < len(rows):
                rows = [rows[i] for i in going]
                state.select(going)
                numbers = numbers[going]
            self._step(state, [tokens[i] for i in going])

    def _goes_on(self, row: _Row, token: int, stops: Sequence[str]) -> bool:
        ids = row.ids
        ids.append(token)
        if token in self._ends:
            row.written = Written(self._text(ids[:-1]), len(ids), "stop")
        elif (text := self._stopped(ids, stops)) is not None:
            row.written = Written(text, len(ids), "stop")
        elif len(ids) == row.room:
            row.written = Written(self._text(ids), len(ids), "length")
        return row.written is None

    def _stopped(self, ids: list[int], stops: Sequence[str]) -> str | None:
        """The text before the first of `stops`, once one of them is there."""
        if not stops:
            return None
        # A token holds a byte at least, so they lie within this many last tokens (4: a character begun before).
        recent = self._text(ids[-max(len(stop.encode()) for stop in stops) - 4 :])
        if not any(stop in recent for stop in stops):
            return None
        text = self._text(ids)
        found = [place for place in map(text.find, stops) if place >= 0]
        return text[: min(found)] if found else None

    def _text(self, ids: Sequence[int]) -> str:
        """The text of new tokens, with the space it may begin with: some tokenizers take a first one for their own."""
        return self._decoded([*self._before, *ids])[len(self._decoded(self._before)) :]

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    # The model

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
            if getattr(output, "past_key_values", None) is None:  # Mamba and the like
                raise InputError(
                    f"{KEY}: a {type(self.model).__name__} keeps no keys and values, which the draws of a prompt share "
                    "here; ask it through a server, teacher=api"
                )
            return _State(output.logits[:, -1], output.past_key_values, mask, mask.sum(-1))
        read = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        state = _State(read.new_empty(0), None, mask, mask.sum(-1), read)
        self._step(state, [_first_token(self.model)] * len(prompts))
        return state

    def _step(self, state: _State, tokens: Sequence[int]) -> None:
        """One token more in every row."""
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
    """What the model has computed of the rows under way."""

    logits: Tensor
    """(R, V): of the next token."""
    cache: Any
    """Keys and values, R rows."""
    mask: Tensor
    """(R, S and the tokens written so far) of a decoder; (R, S) of an encoder."""
    lengths: Tensor
    """(R,) tokens of a row so far, without padding."""
    read: Tensor | None = None
    """(R, S, width): what an encoder has made of the prompts."""

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; the same one may be taken more than once."""
        chosen = torch.tensor(rows, device=self.mask.device)
        self.cache.reorder_cache(chosen)
        self.logits, self.mask, self.lengths = self.logits[chosen], self.mask[chosen], self.lengths[chosen]
        if self.read is not None:
            self.read = self.read[chosen]


@dataclass
class _Row:
    """A text under way."""

    place: int
    """Of its prompt in the batch."""
    number: int
    """Among the texts of the prompt."""
    seed: int | None
    room: int
    """Tokens it may have."""
    ids: list[int] = field(default_factory=list)
    written: Written | None = None


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text: a chat model's generation settings may name several."""
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not ends:
        raise InputError(f"{KEY}: neither tokenizer nor generation_config.json name an end-of-text token")
    return frozenset(ends)


def _first_token(model: Any) -> int:
    """What an encoder-decoder's text begins with."""
    settings = model.generation_config
    known = (settings.decoder_start_token_id, getattr(model.config, "decoder_start_token_id", None))
    return next(token for token in (*known, settings.bos_token_id, 0) if token is not None)
