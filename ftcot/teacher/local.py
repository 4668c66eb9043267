"""Teachers that are a checkpoint on this machine: what teacher=huggingface and teacher=vllm share. No torch here.

    teacher.model=../models/my-llama      a folder: known by the contents of its files, wherever it lies
    teacher.model=Qwen/Qwen3-8B           a hub id: known by the commit that its revision stands for

    config.json  {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 8192, ...}
    ──> a decoder, whose prompt and completion share 8,192 tokens

The launcher refuses what cannot be read and what cannot write; weights are loaded in the worker, when something is to
be bought.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ftcot.errors import InputError
from ftcot.files import read_json
from ftcot.hashes import FileHashes
from ftcot.prompts import Family
from ftcot.student import checkpoint
from ftcot.student.checkpoint import Found
from ftcot.teacher import Diversity
from ftcot.teacher.asks import Turn, flatten
from ftcot.teacher.live import Live
from ftcot.teacher.prices import FREE, Price
from ftcot.teacher.tokens import Counter

if TYPE_CHECKING:
    from ftcot.task import Splits, Task

KEY = "teacher.model"
"""The config key that complaints begin with."""

DTYPES = ("auto", "float32", "bfloat16", "float16")

_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the classes of models that write text are called. BertForMaskedLM only fills gaps."""

_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
"""What the families call the number of their positions."""


@dataclass(frozen=True, kw_only=True)
class Local(Live):
    """A checkpoint in a folder or on the hub, run on this machine."""

    revision: str | None = None
    """Branch, tag or commit of a hub id; None is what the cache or the hub holds as main."""
    chat_template: bool | str = "auto"
    """Whether the model is given turns, in its chat template; auto: where its tokenizer has one."""
    template_variables: Mapping[str, Any] | None = None
    """More variables of the chat template, `{enable_thinking: false}`."""
    dtype: str = "auto"
    cache: str | Path | None = None
    """Folder where the launcher keeps the hashes of files that were read before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == self.model:
            object.__setattr__(self, "name", Path(self.model).expanduser().name or self.model)
        if not isinstance(self.chat_template, bool) and self.chat_template != "auto":
            raise InputError(f"teacher.chat_template={self.chat_template}: expected auto, true or false")
        if self.dtype not in DTYPES:
            raise InputError(f"teacher.dtype={self.dtype}: expected one of {', '.join(DTYPES)}")

    @property
    def price(self) -> Price | None:
        return FREE if self.prices is None else super().price

    # What it is

    @cached_property
    def found(self) -> Found:
        """Where the checkpoint is.

        Raises:
            InputError: it cannot be had.
        """
        return checkpoint.find(self.model, self.revision, None, KEY)

    @property
    def folder(self) -> Path | None:
        """Where it lies; None for a hub id that is yet to be downloaded."""
        return self.found.folder or checkpoint.cached_snapshot(self.model, self.revision)

    @property
    def known_as(self) -> str:
        """What its completions call it."""
        return self.name if self.found.local else self.model

    def model_files(self) -> tuple[Path, ...]:
        """The files of a folder that decide its words; none of a hub id, which has a commit."""
        found = self.found
        return checkpoint.loaded_files(found.folder) if found.local and found.folder else ()

    def commit(self) -> str | None:
        """What the revision of a hub id stands for now; None where `files` holds what it is."""
        return self.found.commit

    def files(self, task: Task, diversity: Diversity) -> tuple[Path, ...]:
        return (*super().files(task, diversity), *self.model_files())

    def more_parameters(self) -> dict[str, Any]:
        """What a folder is called is no part of it; what is in it is."""
        # Not whether there is a template: what the checkpoint is says that, and here it may be yet to be downloaded.
        known = {"model": None, "checkpoint": self._identity(), "chat": self.chat_template}
        return known | {"dtype": self.dtype, "template_variables": dict(self.template_variables or {})}

    def _identity(self) -> str | None:
        if not (files := self.model_files()):
            return self.commit()
        # The launcher has just read them for the job hash, and kept what it learnt.
        hashes = FileHashes(Path(self.cache, "hashes.json") if self.cache else Path(os.devnull))
        contents = [f"{path.name} {hashes.sha256(path)}" for path in files]
        return hashlib.sha256("\n".join(contents).encode()).hexdigest()

    # What it can do

    @property
    def chat(self) -> bool:
        if self.chat_template != "auto":
            return bool(self.chat_template)
        return self.folder is not None and has_chat_template(self.folder)

    @property
    def counter(self) -> Counter:
        if self.tokenizer is None and self.folder and (tokenizer := self.folder / "tokenizer.json").is_file():
            return Counter.of(tokenizer)
        return super().counter

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        if self.folder is not None:
            self.check_folder(self.folder)
        return Live.check(self._informed(), task, splits, diversity)

    def check_folder(self, folder: Path) -> Family:
        """Refuse a checkpoint that writes no text, or takes no turns where it is to be given some.

        Raises:
            InputError: it does not.
        """
        config = checkpoint.read_config(folder, KEY)
        kinds = [str(kind) for kind in config.get("architectures") or ()]
        if kinds and not any(kind.endswith(_WRITERS) for kind in kinds):
            raise InputError(
                f"{KEY}={self.model}: {kinds[0]} writes no text; expected a causal or a sequence-to-sequence "
                "language model"
            )
        if not kinds and "model_type" not in config:
            raise InputError(f"{KEY}={self.model}: its config.json names neither architectures nor a model_type")
        if self.chat_template is True and not has_chat_template(folder):
            raise InputError(
                f"teacher.chat_template=true: the tokenizer of {self.model} has none; teacher.chat_template=auto"
            )
        return checkpoint.family_of(config)

    def _informed(self) -> Self:
        """With its context, where its folder has it and the config does not."""
        if self.context is not None or (folder := self.folder) is None:
            return self
        config = checkpoint.read_config(folder, KEY)
        # The prompt of an encoder-decoder takes none of the room of its completion.
        decoder = checkpoint.family_of(config) == "decoder"
        return replace(self, context=context_of(config, "decoder") if decoder else None)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in a checkpoint folder has a chat template."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(read_json(settings).get("chat_template"))


def context_of(config: Mapping[str, Any], family: Family) -> int | None:
    """Tokens that a checkpoint with this config.json has positions for; None: they are relative, or it does not say.

    Of a decoder, prompt and completion share them; of an encoder-decoder, each has as many.
    """
    inner = config.get("text_config")  # of a model that sees, too
    config = inner if isinstance(inner, Mapping) else config
    # T5's n_positions is what it was trained with, no limit: its positions are relative.
    names = _POSITIONS if family == "decoder" else _POSITIONS[:1]
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def prompt_ids(tokenizer: Any, turns: Sequence[Turn], chat: bool, variables: Mapping[str, Any] | None) -> list[int]:
    """What the model is given for a conversation, special tokens included.

    Raises:
        InputError: the chat template does not take such turns.
    """
    if not chat:
        ids: list[int] = tokenizer(flatten(turns), verbose=False)["input_ids"]
        return ids
    from jinja2 import TemplateError

    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **(variables or {}))
    except (TemplateError, TypeError) as error:
        cause, roles = " ".join(str(error).split()), ", ".join(turn.role for turn in turns)
        raise InputError(f"{KEY}: its chat template does not take these turns ({roles}): {cause}") from None
    # The template has written the special tokens; the tokenizer shall not add another beginning.
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return list(ids)
