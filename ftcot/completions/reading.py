"""Rows out of files, one at a time: JSONL (gzipped or not), Parquet, folders of `datasets`, data sets on the hub.

    mine.jsonl.gz              (mine.jsonl.gz, line 1)   {"key": {...}, "stored": ..., "task": "multiarith", ...}
    hub:my-lab/rationales      (.../data/train-00000-of-00001.parquet, row 1)   the same

Nothing that is read is ever run: no pickle, no loading script.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ftcot.completions import arrow
from ftcot.completions.rows import Where
from ftcot.completions.selection import count_lines
from ftcot.errors import InputError

HUB = "hub:"
ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""Of files with completions."""


def sources(name: str) -> list[Path]:
    """The files and `datasets` folders that a name stands for.

    Raises:
        InputError: there is no such file, or none with completions.
    """
    if name.startswith(HUB):
        return download(name.removeprefix(HUB))
    path = Path(name).expanduser()
    if path.is_file():
        if not path.name.endswith(ENDINGS):
            raise InputError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}, or a folder")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder (a data set on the hub is named hub:ORG/NAME)")
    if arrow.is_saved_folder(path):
        return [path]
    if (path / "completions").is_dir():
        raise InputError(f"{path}: is a cache; `python -m ftcot.completions merge {path}` takes over what it has")
    if (path / "completions.jsonl").is_file():
        return [path / "completions.jsonl"]  # of a run; its other files are no completions
    found = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(ENDINGS))
    if not found:
        raise InputError(f"{path}: holds no file that ends in {', '.join(ENDINGS)}, and is no folder of save_to_disk")
    return found


def read_ours(path: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    """The JSON objects of a file with rows of ours, and where each is.

    Raises:
        InputError: it is damaged; the message names the line.
    """
    if path.is_dir():
        return arrow.read_folder(path)
    if path.suffix == ".parquet":
        return arrow.read_parquet(path)
    return read_lines(path)


def how_many(path: Path) -> int:
    """Rows of a file with rows of ours, for a bar; 0 where it is damaged."""
    try:
        if path.is_dir() or path.suffix == ".parquet":
            return arrow.how_many(path)
        return count_lines(path)
    except (InputError, OSError, EOFError, zlib.error):
        return 0


def is_ours(path: Path) -> bool:
    """Whether its rows have keys, as those of an export (or of a store) have; a damaged first line has none."""
    if path.is_dir() or path.suffix == ".parquet":
        return True
    try:
        first = next(read_lines(path), None)
    except InputError:
        return False
    return first is not None and "key" in first[1]


def read_lines(path: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    """The lines of a JSONL file, without ever holding all of it; blank ones are left out.

    Raises:
        InputError: it cannot be read, or a line, named by its number, is damaged.
    """
    number = 0
    try:
        with cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                where = Where(path, number)
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except ValueError as error:
                    raise InputError(f"{where}: not valid JSON ({error})") from None
                if not isinstance(row, dict):
                    raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
                yield where, row
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read after line {number} ({error})") from None


def download(name: str) -> list[Path]:
    """The Parquet files of a data set on the hub, `ORG/NAME` or `ORG/NAME@REVISION`; nothing else of it is fetched.

    Raises:
        InputError: it is not there, or not to be had with the token in HF_TOKEN.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    repository, _, revision = name.partition("@")
    token = os.environ.get("HF_TOKEN") or False
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision or None, allow_patterns="*.parquet", token=token
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        cause = " ".join(str(error).split())[:300]
        raise InputError(f"hub:{name}: cannot be had ({cause}); a private one needs HF_TOKEN") from None
    files = sorted(Path(folder).rglob("*.parquet"))
    if not files:
        raise InputError(f"hub:{name}: holds no Parquet file")
    return files
