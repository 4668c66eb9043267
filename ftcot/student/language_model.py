"""What decoders and encoder-decoders share: text to ids and back, the summed loss, greedy generation, saving.

Shapes: B pairs or prompts in a batch, P prompt tokens, T target tokens, V tokens in the vocabulary, S supervised
tokens of a batch.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from ftcot.errors import InputError
from ftcot.files import sync_folder
from ftcot.prompts import Family
from ftcot.student import BATCH_TOKENS, Batch, Encoded, Generation, Progress
from ftcot.student.batch import only_at
from ftcot.student.checkpoint import Found, download
from ftcot.student.decoding import Ending, Room, Text, likeliest, write
from ftcot.student.head import can_sum, summing
from ftcot.student.kernels import fuse
from ftcot.student.waves import memory_of

if TYPE_CHECKING:
    from ftcot.student.specs import Limits

KNOWN = 1 << 16
"""Prompts whose ids a student remembers."""

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
        fuse(model)
        self.tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
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
        return self.encode_all([(prompt, completion)])[0]

    def encode_all(self, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
        """What `encode` makes of each pair; all go through the tokenizer at once, and each prompt once."""
        prompts = self._questions([prompt for prompt, _ in pairs])
        targets = self._plain([self._worded(completion) for _, completion in pairs], special=False)
        wrapped: dict[tuple[str, int], tuple[int, ...]] = {}
        encoded = []
        for (prompt, _), prompt_ids, target_ids in zip(pairs, prompts, targets, strict=True):
            # An empty prompt still has a token: something must come before the first one that is predicted.
            n_whole = max(1, len(self._prefix) + len(prompt_ids) + len(self._suffix)), len(target_ids) + 1
            n_prompt, n_target = self._room(*n_whole)
            if (prompt, n_prompt) not in wrapped:
                wrapped[prompt, n_prompt] = tuple(self._wrap(prompt_ids, n_prompt))
            encoded.append(
                Encoded(
                    prompt_ids=wrapped[prompt, n_prompt],
                    target_ids=(*target_ids[: n_target - 1], self.end_of_text),
                    truncated=(n_prompt, n_target) != n_whole,
                )
            )
        return encoded

    def _room(self, n_prompt: int, n_target: int) -> tuple[int, int]:
        """How many tokens of a prompt and a target, special tokens included, are kept."""
        raise NotImplementedError

    def _worded(self, completion: str) -> str:
        """A completion as the tokenizer is to read it."""
        return completion

    def _prompt(self, prompt: str) -> list[int]:
        """Ids of a prompt at inference: all of it."""
        return self._prompts([prompt])[0]

    def _prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts at inference."""
        return [self._wrap(ids, None) for ids in self._questions(prompts)]

    def _questions(self, prompts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts alone, remembered: each stands before D rationales, and is asked after every epoch."""
        known = self._known
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        if len(known) + len(new) > KNOWN:
            known = self._known = {}
            new = list(dict.fromkeys(prompts))
        known.update(zip(new, self._plain(new, special=True), strict=True))
        return [known[prompt] for prompt in prompts]

    def _plain(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Ids of texts alone. In a prompt the name of a special token (<|im_start|>) means that token; in a target it
        is text like any other, so that it can neither end nor derail it."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=not special,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
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

    def collate(self, batch: Sequence[Encoded], *, supervised: bool = True) -> Batch:
        raise NotImplementedError

    def loss(self, batch: Any) -> Tensor:
        """Sum of the loss over supervised tokens."""
        raise NotImplementedError

    def _summed(self, reads: Tensor, labels: Tensor, forward: Callable[[], Tensor]) -> Tensor:
        """The loss of what the model says at some positions.

        Args:
            reads: (S,) the positions, counted through all rows.
            labels: (S,) what is right there.
            forward: calls the model, and returns its logits.
        """
        head = self.model.get_output_embeddings()
        if can_sum(self.model):
            with summing(head, reads, labels):
                return forward().sum()
        with only_at(head, reads):
            logits = forward()
        return nn.functional.cross_entropy(logits.flatten(end_dim=-2).float(), labels, reduction="sum")

    # Generation

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_tokens: int = BATCH_TOKENS,
        stop: str | None = None,
        progress: Progress | None = None,
    ) -> list[Generation]:
        """Greedy continuations, in the order of the prompts. Leaves the mode as it was.

        Args:
            batch_tokens: of prompts and answers that are under way together; one prompt always is.
        """
        said = [Generation("", truncated=True, n_tokens=0) for _ in prompts]
        texts = []
        for number, row in enumerate(self._prompts(prompts)):
            if (limit := self._allowed(len(row), max_new_tokens)) > 0:
                texts.append(Text(tuple(row), limit, owner=number))
        # Longest first: what does not fit in memory shows at once, and those alike are next to each other.
        texts.sort(key=lambda text: (-len(text.prompt), text.prompt, text.owner))
        n_done = len(prompts) - len(texts)
        ending = Ending(self._ends, [stop] if stop else [], self._text)
        training = self.model.training
        self.model.eval()

        def chosen(logits: Tensor, _: Sequence[Text]) -> list[int]:
            return likeliest(logits)

        try:
            memory = memory_of(self.model, self.family, Room(batch_tokens), guess=True)
            for ended in write(memory, texts, chosen, ending):
                for text in ended:
                    said[text.owner] = Generation(
                        ending.before(text.ids), truncated=text.ended == "limit", n_tokens=len(text.ids)
                    )
                n_done += len(ended)
                if progress is not None:
                    progress(n_done, len(prompts))
        finally:
            self.model.train(training)
        return said

    @property
    def _ends(self) -> frozenset[int]:
        return frozenset(_ids(self.model.generation_config.eos_token_id))

    def _allowed(self, n_prompt: int, max_new_tokens: int) -> int:
        """New tokens that may follow a prompt."""
        raise NotImplementedError

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


def _ids(value: int | Sequence[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
