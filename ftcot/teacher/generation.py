"""A transformers model that writes many texts at once, each from random numbers of its own.

    Wanted(prompt=(1, 403, 407), seeds=(7, 8, 9), room=500)     one prompt, three texts
    Written(" 3 + 4 = 7.", n_tokens=8, finish_reason="stop")    of each

A text's next token is where its next random number falls among the cumulated probabilities. So what it says depends on
its prompt and its seed alone, not on which others are under way (student/decoding.py), its place among them or how many
they are, as far as the rounding of the matrix products does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ftcot.errors import InputError
from ftcot.prompts import Family
from ftcot.student.decoding import Ending, Room, Text, write
from ftcot.student.waves import memory_of
from ftcot.teacher.asks import Decoding
from ftcot.teacher.local import KEY
from ftcot.teacher.sampling import arithmetic, choose, random_numbers
from ftcot.teacher.weights import out_of_memory


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
        self._before: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]

    @property
    def described(self) -> str:
        """With what it runs."""
        import transformers

        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"transformers {transformers.__version__}, torch {torch.__version__}, {self.model.device}, {dtype}"

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
            MemoryError: so many texts are too many.
        """
        texts = [self.texts(wanted, decoding) for wanted in batch]
        for _ in self.writing([text for of_prompt in texts for text in of_prompt], decoding, at_once, stopping):
            pass
        return [[self.written(text, decoding) for text in of_prompt] for of_prompt in texts]

    def texts(self, wanted: Wanted, decoding: Decoding) -> list[Text]:
        """The texts that are to be written, in the order of the seeds."""
        limit = min(decoding.max_tokens, wanted.room)
        return [Text(wanted.prompt, limit, owner=random_numbers(seed, limit)) for seed in wanted.seeds]

    @torch.inference_mode()
    def writing(
        self, texts: Sequence[Text], decoding: Decoding, at_once: int, stopping: Callable[[], bool]
    ) -> Iterator[list[Text]]:
        """As `write`, for some of `texts`; gives them as they end."""

        def chosen(logits: Tensor, under_way: Sequence[Text]) -> list[int]:
            numbers = torch.from_numpy(np.array([text.owner[len(text.ids)] for text in under_way]))
            tokens: list[int] = choose(logits, decoding, numbers.to(arithmetic(logits))).tolist()
            return tokens

        with out_of_memory():
            memory = memory_of(self.model, self.family, Room(texts=at_once))
            yield from write(memory, texts, chosen, self._ending(decoding), stopping)

    def written(self, text: Text, decoding: Decoding) -> Written | None:
        """What a text that has ended is."""
        if text.ended is None:
            return None
        ids = text.ids[:-1] if text.ended == "end" else text.ids
        said = self._ending(decoding).before(ids) if text.ended == "stop" else self._text(ids)
        return Written(said, len(text.ids), "length" if text.ended == "limit" else "stop")

    def _ending(self, decoding: Decoding) -> Ending:
        return Ending(self._ends, decoding.stop, self._text)

    def _text(self, ids: Sequence[int]) -> str:
        """The text of new tokens, with the space it may begin with: some tokenizers take a first one for their own."""
        return self._decoded([*self._before, *ids])[len(self._decoded(self._before)) :]

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text: a chat model's generation settings may name several."""
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not ends:
        raise InputError(f"{KEY}: neither tokenizer nor generation_config.json name an end-of-text token")
    return frozenset(ends)
