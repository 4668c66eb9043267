"""What decoders and encoder-decoders share: text to ids and back, the summed loss, greedy generation, saving.

Shapes: B pairs or prompts in a batch, P prompt tokens, T target tokens, V tokens in the vocabulary, N supervised
tokens of a batch.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, StoppingCriteria
from transformers.utils import logging as transformers_logging

from ftcot.errors import InputError
from ftcot.prompts import Family
from ftcot.records import sync_folder
from ftcot.student import Encoded, Generation, Progress
from ftcot.student.batch import IGNORED, length_mask, only_at, padded
from ftcot.student.checkpoint import Found, download

if TYPE_CHECKING:
    from ftcot.student.specs import Limits

transformers_logging.disable_progress_bar()  # the plan and our own bars say what is going on


class LanguageModel:
    """A transformers model with its tokenizer, trained and tested as one."""

    family: Family
    auto_class: Any
    """The transformers class that loads a checkpoint of the family."""

    def __init__(self, model: Any, tokenizer: Any, limits: Limits) -> None:
        if tokenizer.eos_token_id is None:
            raise InputError(f"student={limits.name}: its tokenizer has no end-of-text token, so it could never stop")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.model: Any = model.train()  # from_pretrained leaves dropout off
        self.tokenizer = tokenizer
        self.limits = limits
        self.context: int | None = getattr(model.config, "max_position_embeddings", None)
        """Most tokens the model has positions for; None where they are relative."""
        self._prefix, self._suffix = self._special_ids()
        ends = sorted({tokenizer.eos_token_id, *_ids(model.generation_config.eos_token_id)})
        # A checkpoint's own generation settings (temperature, penalties, lengths) must not reach our greedy decoding;
        # of them only the tokens that end a text are kept.
        model.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            eos_token_id=ends[0] if len(ends) == 1 else ends,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        )

    @classmethod
    def pretrained(cls, found: Found, revision: str | None, limits: Limits) -> Self:
        """The student in a checkpoint, downloaded first where it is not here yet."""
        folder = found.folder or download(found.checkpoint, revision)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model = cls.auto_class.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            cause = " ".join(str(error).split())
            raise InputError(f"student.checkpoint={found.checkpoint}: cannot be loaded ({cause})") from error
        return cls(model, tokenizer, limits)

    @classmethod
    def untrained(cls, folder: Path, limits: Limits) -> Self:
        """The student of a checkpoint folder with random weights: as fast as the real one, and none need be there."""
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = cls.auto_class.from_config(AutoConfig.from_pretrained(folder), trust_remote_code=False)
        return cls(model.float(), tokenizer, limits)

    @property
    def n_parameters(self) -> int:
        """Shared weights count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def end_of_text(self) -> int:
        return int(self.tokenizer.eos_token_id)

    # Text to ids

    def encode(self, prompt: str, completion: str) -> Encoded:
        """Prompt and target, apart; what does not fit is cut from the prompt's beginning and the target's end.

        A cut target keeps its end-of-text token: every pair supervises exactly one. Such pairs are few by
        `training.truncation_limit`, and marked.
        """
        prompt_ids, target_ids = self._plain(prompt, special=True), self._target(completion)
        # An empty prompt still has a token: something must come before the first one that is predicted.
        n_whole = max(1, len(self._prefix) + len(prompt_ids) + len(self._suffix)), len(target_ids) + 1
        n_prompt, n_target = self._room(*n_whole)
        return Encoded(
            prompt_ids=tuple(self._wrap(prompt_ids, n_prompt)),
            target_ids=(*target_ids[: n_target - 1], self.end_of_text),
            truncated=(n_prompt, n_target) != n_whole,
        )

    def _room(self, n_prompt: int, n_target: int) -> tuple[int, int]:
        """How many tokens of a prompt and a target, special tokens included, are kept."""
        raise NotImplementedError

    def _target(self, completion: str) -> list[int]:
        """Ids of a completion, without an end-of-text token."""
        return self._plain(completion, special=False)

    def _prompt(self, prompt: str) -> list[int]:
        """Ids of a prompt at inference: all of it."""
        return self._wrap(self._plain(prompt, special=True), None)

    def _plain(self, text: str, *, special: bool) -> list[int]:
        """Ids of a text alone. In a prompt the name of a special token (<|im_start|>) means that token; in a target it
        is text like any other, so that it can neither end nor derail it."""
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=not special, verbose=False
        ).input_ids
        return ids

    def _wrap(self, ids: list[int], limit: int | None) -> list[int]:
        """The special tokens that the tokenizer puts around a prompt, with as much of the prompt's end as fits."""
        if limit is not None:
            room = max(0, limit - len(self._prefix) - len(self._suffix))
            ids = ids[max(0, len(ids) - room) :]
        return [*self._prefix, *ids, *self._suffix]

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a text: `<s>` for Llama, `</s>` behind for T5."""
        plain: list[int] = self.tokenizer("a", add_special_tokens=False).input_ids
        whole: list[int] = self.tokenizer("a").input_ids
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                return whole[:start], whole[start + len(plain) :]
        return [], []

    # Ids to text

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    # Loss

    def collate(self, batch: Sequence[Encoded]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits, one row a position of `_labels`."""
        raise NotImplementedError

    def _labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The token to be predicted at every position, or IGNORED."""
        raise NotImplementedError

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the loss over supervised tokens, and their number."""
        labels = self._labels(batch)
        supervised = labels != IGNORED
        with only_at(self.model.get_output_embeddings(), supervised):
            logits = self._forward(batch)
        wanted = labels[supervised]
        logits = logits.flatten(end_dim=-2).float()
        return nn.functional.cross_entropy(logits, wanted, reduction="sum"), supervised.sum()

    # Generation

    @torch.no_grad()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int,
        stop: str | None = None,
        progress: Progress | None = None,
    ) -> list[Generation]:
        """Greedy continuations, in the order of the prompts; batched by length inside. Leaves the mode as it was."""
        rows = [self._prompt(prompt) for prompt in prompts]
        done: dict[int, Generation] = {}
        training = self.model.training
        self.model.eval()
        try:
            for batch in self._batches(rows, max_new_tokens, batch_size):
                n_new = self._allowed(len(rows[batch[0]]), max_new_tokens)
                done.update(zip(batch, self._batch([rows[i] for i in batch], n_new, stop), strict=True))
                if progress is not None:
                    progress(len(done), len(rows))
        finally:
            self.model.train(training)
        return [done[i] for i in range(len(rows))]

    def batches(self, prompts: Sequence[str], *, max_new_tokens: int, batch_size: int) -> list[list[int]]:
        """Which prompts `generate` puts together, by their number."""
        return self._batches([self._prompt(prompt) for prompt in prompts], max_new_tokens, batch_size)

    def _batches(self, rows: Sequence[list[int]], max_new_tokens: int, batch_size: int) -> list[list[int]]:
        allowed = [self._allowed(len(row), max_new_tokens) for row in rows]
        # Longest first: what does not fit in memory shows at once. Rows of a batch may run equally far.
        order = sorted(range(len(rows)), key=lambda i: (-allowed[i], -len(rows[i]), i))
        groups = itertools.groupby(order, key=allowed.__getitem__)
        return [batch for _, group in groups for batch in _chunks(list(group), batch_size)]

    def _allowed(self, n_prompt: int, max_new_tokens: int) -> int:
        """New tokens that may follow a prompt."""
        raise NotImplementedError

    def _batch(self, rows: Sequence[list[int]], n_new: int, stop: str | None) -> list[Generation]:
        if n_new < 1:
            return [Generation("", truncated=True, n_tokens=0) for _ in rows]
        # A decoder goes on at the end of its row, so its padding stands in front, where the mask keeps it from counting
        # as positions. An encoder counts its positions from the first column, padding or not.
        before = self.family == "decoder"
        ids = padded(rows, self.tokenizer.pad_token_id, before=before)
        mask = length_mask(rows, before=before)
        # An encoder-decoder's new tokens follow its start token.
        n_before = ids.shape[1] if self.family == "decoder" else 1
        phrase = StopPhrase(stop, self._text, n_before, len(rows)) if stop else None
        output = self.model.generate(
            input_ids=ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            max_new_tokens=n_new,
            stopping_criteria=[phrase] if phrase else None,
        )
        new: list[list[int]] = output[:, n_before:].tolist()
        return [self._generation(row, stop, phrase.ends[i] if phrase else None) for i, row in enumerate(new)]

    def _generation(self, ids: list[int], stop: str | None, end: int | None) -> Generation:
        """One row of a batch, without the padding that stands where it was done before the others.

        Args:
            ids: new tokens, then padding (which may be the end-of-text token).
            end: how many new tokens there were when the stop phrase appeared.
        """
        ids = ids[:end]
        ends = set(_ids(self.model.generation_config.eos_token_id))
        n_tokens = next((i for i, token in enumerate(ids, start=1) if token in ends), None)
        text = self._text(ids[:n_tokens])
        if stop is not None:
            text = text.partition(stop)[0]
        return Generation(text, truncated=n_tokens is None and end is None, n_tokens=n_tokens or len(ids))

    # Saving

    def save(self, folder: Path, card: str | None = None) -> None:
        """Write the student as plain transformers reads it, whole or not at all; replaces what is there."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as parent:
            new, old = Path(parent) / "new", Path(parent) / "old"
            self.model.save_pretrained(new, state_dict=dict(self._weights()), safe_serialization=True)
            self.tokenizer.save_pretrained(new)
            if card is not None:
                (new / "README.md").write_text(card, encoding="utf-8")
            for path in new.iterdir():
                path.chmod(0o644)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(new)
            if folder.exists():
                folder.replace(old)
            new.replace(folder)
            sync_folder(folder.parent)  # the checkpoints go once this returns

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """What is saved: as `state_dict`, but the whole of a student in parts (trainer=fsdp) that holds it just now."""
        yield from self.model.named_parameters(remove_duplicate=False)
        for path, module in self.model.named_modules(remove_duplicate=False):
            for name, buffer in module.named_buffers(recurse=False):
                if name not in module._non_persistent_buffers_set:
                    yield f"{path}.{name}".lstrip("."), buffer


class StopPhrase(StoppingCriteria):  # type: ignore[misc]
    """Ends each row of a batch where the phrase has appeared in its new text."""

    def __init__(self, phrase: str, decode: Callable[[Sequence[int]], str], n_before: int, n_rows: int) -> None:
        self.phrase = phrase
        self.decode = decode
        self.n_before = n_before
        # A token holds a byte at least, so the phrase lies within this many last tokens (4: a character begun before).
        self.window = len(phrase.encode()) + 4
        self.ends: list[int | None] = [None] * n_rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        n_new = input_ids.shape[1] - self.n_before
        recent = input_ids[:, -min(n_new, self.window) :].tolist()
        for i, ids in enumerate(recent):
            if self.ends[i] is None and self.phrase in self.decode(ids):
                self.ends[i] = n_new
        return torch.tensor([end is not None for end in self.ends], device=input_ids.device)


def _ids(value: int | Sequence[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
