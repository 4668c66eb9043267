"""Whether a checkpoint can be had, told without torch: a local folder or a hub id, weights in safetensors only.

    openai-community/gpt2   -> Found(id, folder of the cached snapshot)   or Found(id, None): to be downloaded
    ../models/my-gpt2       -> Found(id, the folder)
    ../models/old-gpt2      -> InputError: ../models/old-gpt2 has pickle weights only (pytorch_model.bin) ...

Pickle weights run code when they are read, so they are never read. A hub id that is not in the local cache costs one
request for its file list, under a time limit; nothing is downloaded before a worker loads the student.
"""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.files import read_json
from ftcot.prompts import Family

TIME_LIMIT = 15.0
"""Seconds the hub has to answer, name look-up included."""

STUDENT = "student.checkpoint"
"""The config key that names a student's checkpoint; complaints begin with the key."""

LOADED = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
"""The files of a checkpoint folder that make the student what it is: weights, configs, tokenizer."""

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_PICKLES = re.compile(r"[^/]*\.(bin|pt|pth|ckpt|pkl)")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

_ENCODER_DECODERS = frozenset(
    {
        "bart",
        "bigbird_pegasus",
        "blenderbot",
        "fsmt",
        "led",
        "longt5",
        "m2m_100",
        "marian",
        "mbart",
        "mt5",
        "mvp",
        "nllb-moe",
        "pegasus",
        "pegasus_x",
        "plbart",
        "prophetnet",
        "switch_transformers",
        "t5",
        "t5gemma",
        "umt5",
    }
)
"""`model_type`s of text encoder-decoders, for configs that leave `is_encoder_decoder` out."""


@dataclass(frozen=True)
class Found:
    """Where a checkpoint is."""

    checkpoint: str
    folder: Path | None
    """Local folder or cached snapshot; None for a hub id that is yet to be downloaded."""
    local: bool
    """The user named a folder, not a hub id."""
    commit: str | None = None
    """Of a hub id: what its revision stands for now."""

    @property
    def source(self) -> str:
        """For the plan."""
        if self.local:
            return f"folder {self.checkpoint}"
        return f"{self.checkpoint}, {'to be downloaded' if self.folder is None else 'cached'}"


def find(checkpoint: str, revision: str | None, family: Family | None, key: str = STUDENT) -> Found:
    """Where `checkpoint` is, after checking what can be checked there.

    Args:
        family: that it must be of; None: it is only to write, and may be of any and quantized.
        key: of the config, that names it.
    Raises:
        InputError: it cannot be had, is not whole, is not in safetensors or is not of the family.
    """
    path = Path(checkpoint).expanduser()
    try:
        exists = path.exists()
    except OSError as error:
        raise InputError(f"{key}={checkpoint}: cannot be read ({error.strerror})") from None
    if exists:
        check_folder(path, family, key)
        return Found(checkpoint, path, local=True)
    if not _HUB_ID.fullmatch(checkpoint) or checkpoint.startswith("."):
        raise InputError(
            f"{key}={checkpoint}: no such folder, and a hub id reads ORG/NAME (for example openai-community/gpt2)"
        )
    if folder := cached_snapshot(checkpoint, revision):
        check_folder(folder, family, key)
        return Found(checkpoint, folder, local=False, commit=folder.name)
    return Found(checkpoint, None, local=False, commit=_commit(checkpoint, revision, key))


def loaded_files(folder: Path) -> tuple[Path, ...]:
    """The files of a checkpoint folder that decide what the model is, sorted."""
    return tuple(sorted(path for pattern in LOADED for path in folder.glob(pattern)))


def download(checkpoint: str, revision: str | None) -> Path:
    """The snapshot of a hub id, downloaded where it is not here yet."""
    from huggingface_hub import snapshot_download

    # Weights and tokenizer only: a repository may hold the same weights in five more formats.
    return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=list(LOADED), ignore_patterns=["*/*"]))


def check_folder(folder: Path, family: Family | None, key: str = STUDENT) -> None:
    """Refuse a folder that is not a whole safetensors checkpoint of the family, if one is given.

    Raises:
        InputError: with the file at fault.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputError(f"{key}={folder}: cannot be read ({error.strerror})") from None
    config = read_config(folder, key)
    if not any(name.endswith(".safetensors") for name in names):
        raise InputError(_without_safetensors(str(folder), names, key))
    index = folder / "model.safetensors.index.json"
    shards = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else []
    for name in shards or [name for name in names if name.endswith(".safetensors")]:
        _check_safetensors(folder / name)
    if not any(name in _TOKENIZER_FILES for name in names):
        raise InputError(f"{key}={folder}: no tokenizer there (expected tokenizer.json)")
    if family is None:
        return
    if "quantization_config" in config:
        raise InputError(f"{key}={folder}: its weights are quantized, which cannot be fine-tuned")
    if (found := family_of(config)) != family:
        kind = "an encoder-decoder" if found == "encoder_decoder" else "a decoder"
        raise InputError(f"{key}={folder}: {config.get('model_type')} is {kind}; use student={found} with it")


def family_of(config: Mapping[str, Any]) -> Family:
    """Of a checkpoint with this config.json."""
    if config.get("is_encoder_decoder") or config.get("model_type") in _ENCODER_DECODERS:
        return "encoder_decoder"
    return "decoder"


def cached_snapshot(checkpoint: str, revision: str | None) -> Path | None:
    """The snapshot of a hub id in the local cache, if it is all there."""
    from huggingface_hub import try_to_load_from_cache

    def cached(name: str) -> Path | None:
        path = try_to_load_from_cache(checkpoint, name, revision=revision)
        return Path(path) if isinstance(path, str) else None

    if (config := cached("config.json")) is None or not any(map(cached, _TOKENIZER_FILES)):
        return None
    if index := cached("model.safetensors.index.json"):
        shards: Iterable[str] = set(read_json(index)["weight_map"].values())
    else:
        shards = ["model.safetensors"]
    return config.parent if all(map(cached, shards)) else None


def has_config(checkpoint: str, revision: str | None) -> bool:
    """Whether the config of a hub id is in the local cache, be the weights there or not."""
    from huggingface_hub import try_to_load_from_cache

    return _HUB_ID.fullmatch(checkpoint) is not None and isinstance(
        try_to_load_from_cache(checkpoint, "config.json", revision=revision), str
    )


@cache
def _commit(checkpoint: str, revision: str | None, key: str) -> str | None:
    """The commit that the hub has of an id that is not cached; asked once in a process.

    Raises:
        InputError: it cannot be had.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    where = f"{key}={checkpoint}" + (f" at revision {revision}" if revision else "")
    instead = f"download it where there is a network (hf download {checkpoint}), or name a folder with {key}=FOLDER" + (
        ", or take student=tiny or student=tiny-t5, which need no checkpoint" if key == STUDENT else ""
    )
    if constants.is_offline_mode():
        raise InputError(f"{where}: not in the local cache, and HF_HUB_OFFLINE is set; {instead}")
    try:
        info = _within(TIME_LIMIT, lambda: HfApi().model_info(checkpoint, revision=revision, timeout=TIME_LIMIT))
    except RevisionNotFoundError:
        raise InputError(f"{where}: the hub has no such revision of it") from None
    except GatedRepoError:
        raise InputError(f"{where}: the hub gives it to logins with access only (hf auth login)") from None
    except RepositoryNotFoundError:
        raise InputError(f"{where}: the hub has no such model, or not for this login; see the spelling") from None
    except Exception as error:  # what a network can do wrong has no common base
        cause = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
        raise InputError(f"{where}: not in the local cache, and the hub cannot be asked ({cause}); {instead}") from None
    names = sorted(sibling.rfilename for sibling in info.siblings or ())
    if not any(name.endswith(".safetensors") and "/" not in name for name in names):
        raise InputError(_without_safetensors(checkpoint, names, key))
    commit: str | None = info.sha
    return commit


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What `call` returns or raises, or a TimeoutError: a name look-up has no time limit of its own."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except Exception as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _without_safetensors(checkpoint: str, names: Iterable[str], key: str) -> str:
    pickles = [name for name in names if _PICKLES.fullmatch(name)]
    if not pickles:
        return f"{key}={checkpoint}: no weights there (expected model.safetensors)"
    return (
        f"{key}={checkpoint}: pickle weights only ({pickles[0]}), which can run code when they are read; "
        f"if you trust them, convert them to safetensors once with transformers: from_pretrained({checkpoint!r}, "
        f"use_safetensors=False), then save_pretrained(FOLDER) for model and tokenizer, and {key}=FOLDER"
    )


def read_config(folder: Path, key: str = STUDENT) -> dict[str, Any]:
    """The config.json of a checkpoint folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{key}={folder}: no config.json there; not a transformers checkpoint")
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object")
    return config


def _check_safetensors(path: Path) -> None:
    """Compare the size of the file with its header: finds cut downloads and Git LFS pointers."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if 8 + length <= size else {}
        header.pop("__metadata__", None)
        needed = 8 + length + max(tensor["data_offsets"][1] for tensor in header.values())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError, struct.error):
        raise InputError(f"{path}: damaged, not a safetensors file") from None
    if size != needed:
        raise InputError(f"{path}: damaged, {size} bytes where its header asks for {needed}")
