"""One line of the completion store: a completion, and what it is known by.

    {"key": {"teacher": "text-davinci-002", "prompt_sha256": "9c1e…", "parameters_sha256": "04b7…"},
     "stored": "2026-11-22T10:15:00.123456Z", "paid": {"prompt": 61, "completion": 97, "usd": 0.00316},
     "schema": 1, "task": "multiarith", "version": 1, "sample_index": 0, "draw": 0, "prompt": "Q: For …", …}

The full key is (teacher, sample, prompt, decoding parameters, draw); where a recording does not know the draw, its row
number stands for it. `paid` is what the call cost that gave this line; it is absent where nothing was bought.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ftcot.errors import InputError
from ftcot.records import Completion, SampleKey, to_line


class Key(NamedTuple):
    """What a completion is known by."""

    teacher: str
    sample: SampleKey
    prompt_sha256: str | None
    parameters_sha256: str
    draw: int | None
    completion_index: int | None
    """Only where `draw` is None."""


class Paid(NamedTuple):
    """What a call cost."""

    prompt: int
    """Tokens."""
    completion: int
    usd: float | None
    """None where the price is not known."""


class StoredRow(NamedTuple):
    """A line of the store, and where it stands."""

    key: Key
    stored: str
    """When, as ISO 8601 with microseconds, in UTC."""
    paid: Paid | None
    completion: Completion
    path: Path
    line: int
    """From 1."""


class TornError(InputError):
    """Not JSON: of a last line, that its writer ended before it did."""


def write_line(teacher: str, parameters_sha256: str, stored: str, paid: Paid | None, completion: Completion) -> bytes:
    """The line, with its newline."""
    prompt_sha256 = None if completion.prompt is None else sha256(completion.prompt)
    row: dict[str, Any] = {
        "key": {"teacher": teacher, "prompt_sha256": prompt_sha256, "parameters_sha256": parameters_sha256},
        "stored": stored,
    }
    if paid is not None:
        row["paid"] = paid._asdict()
    return to_line(row | completion.to_json()).encode()


def parse_line(line: bytes) -> tuple[Key, str, Paid | None, Completion]:
    """Key, time of storing, what was paid, and completion.

    Raises:
        InputError: it is damaged, or no line of the store (a TornError if it is not even JSON). It names no file.
    """
    try:
        row = json.loads(line.decode())
    except ValueError as error:
        raise TornError(
            f"a stored completion is damaged ({error}); restore the file, or delete the line to have it made again"
        ) from None
    try:
        key, stored, paid = row.pop("key"), row.pop("stored"), row.pop("paid", None)
        completion = Completion.from_json(row)
        return key_of(key, completion), stored, None if paid is None else Paid(**paid), completion
    except (AttributeError, KeyError, TypeError):
        raise InputError("not a line of the completion store") from None


def read_rows(path: Path, damaged: Callable[[InputError], None] | None = None) -> Iterator[StoredRow]:
    """Each line of a segment, one after the other; a torn last line is left out.

    Args:
        damaged: told of each damaged line, which is then passed over.
    Raises:
        InputError: a line is damaged and `damaged` is None, or the file cannot be read.
        FileNotFoundError: it is gone, merged with others perhaps.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip(b"\n"):
                    continue
                try:
                    key, stored, paid, completion = parse_line(line)
                except InputError as error:
                    if isinstance(error, TornError) and not line.endswith(b"\n"):
                        return
                    placed = InputError(f"{path}, line {number}: {error}")
                    if damaged is None:
                        raise placed from None
                    damaged(placed)
                    continue
                yield StoredRow(key, stored, paid, completion, path, number)
    except OSError as error:
        raise gone_or_unreadable(path, error) from None


def gone_or_unreadable(path: Path, error: OSError) -> Exception:
    """What to raise where a segment or a folder of them cannot be read: it is gone, or something is wrong with it."""
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return FileNotFoundError(errno.ENOENT, "no longer there", str(path))
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


def reading_order(completion: Completion) -> tuple[int, int, int]:
    """Sorts completions of one task by sample, draw and row of the recording."""
    return (completion.sample_index, completion.draw or 0, completion.completion_index or 0)


def sha256(text: str) -> str:
    """Of a prompt."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hash_parameters(parameters: Mapping[str, Any]) -> str:
    """The same for equal parameters, in whatever order and whether written 0 or 0.0."""
    return sha256(json.dumps(_canonical(parameters), sort_keys=True, separators=(",", ":")))


def key_of(row: Mapping[str, Any], completion: Completion) -> Key:
    """The whole key: what a line says of it beside the completion, and what the completion says of itself."""
    index = completion.completion_index if completion.draw is None else None
    return Key(
        row["teacher"],
        completion.sample_key,
        row["prompt_sha256"],
        row["parameters_sha256"],
        completion.draw,
        index,
    )


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
