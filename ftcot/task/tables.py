"""Rows of a user's file: JSONL, CSV, Parquet, or a folder written by `datasets` (`save_to_disk`).

    {"question": "What is 2 + 3?", "answer": 5}      line 1 of my.jsonl
    Row("line 1", {"question": "What is 2 + 3?", "answer": 5})

`datasets` itself is not needed: its folders hold Arrow files, listed in state.json.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftcot.errors import InputError
from ftcot.files import read_json, read_jsonl


class Row(NamedTuple):
    """A row and where it stands, for messages."""

    where: str
    values: dict[str, Any]
    split: str | None = None
    """Its split in a folder that holds several."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file or `datasets` folder, in order.

    Raises:
        InputError: it is missing, damaged, or of no known format.
    """
    if path.is_dir():
        yield from _saved_folder(path)
        return
    suffix = next((suffix for suffix in reversed(path.suffixes) if suffix != ".gz"), "")
    if suffix not in READERS:
        raise InputError(f"{path}: expected {', '.join(READERS)} or a folder written by save_to_disk")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    yield from READERS[suffix](path)


def table_files(path: Path) -> tuple[Path, ...]:
    """The files `read_rows` opens."""
    if not path.is_dir():
        return (path,)
    return tuple(sorted(file for file in path.rglob("*") if file.suffix == ".arrow" or file.name in _STATE_FILES))


_STATE_FILES = ("dataset_dict.json", "state.json")


def _jsonl(path: Path) -> Iterator[Row]:
    for number, values in read_jsonl(path):
        yield Row(f"line {number}", values)


def _csv(path: Path) -> Iterator[Row]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            for values in reader:
                where = f"line {reader.line_num}"
                if None in values or None in values.values():
                    raise InputError(
                        f"{path}, {where}: the header names {len(reader.fieldnames or ())} fields, not as many"
                    )
                yield Row(where, dict(values))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from None


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({_first_line(error)})") from None
    for number, values in enumerate(rows, start=1):
        yield Row(f"row {number}", values)


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}


def _saved_folder(path: Path) -> Iterator[Row]:
    if (path / "dataset_dict.json").is_file():
        for split in read_json(path / "dataset_dict.json")["splits"]:
            for row in _saved_split(path / split):
                yield row._replace(where=f"{split}, {row.where}", split=split)
    elif (path / "state.json").is_file():
        yield from _saved_split(path)
    else:
        raise InputError(
            f"{path}: no dataset_dict.json and no state.json in it; expected a folder written by save_to_disk"
        )


def _saved_split(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowException, ipc

    number = 0
    for listed in read_json(path / "state.json")["_data_files"]:
        file = path / listed["filename"]
        try:
            with ipc.open_stream(file.read_bytes()) as stream:
                rows = stream.read_all().to_pylist()
        except (OSError, ArrowException) as error:
            raise InputError(f"{file}: not a readable Arrow file ({_first_line(error)})") from None
        for values in rows:
            number += 1
            yield Row(f"row {number}", values)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
