"""What an index knows of a line: where it stands, whose it is, what was paid, a checksum.

    {"key": {"teacher": "gpt-4o", …}, "stored": "2026-11-22T10:15:00.5Z", …, "sample_index": 7, "draw": 3, "prompt": …}

    ──>  offset 81920, length 1312, crc 0x5e1f, group 0 (gpt-4o, multiarith, 04b7…), sample 7, draw 3, …: 80 bytes

All of it stands at the beginning of a line, so the texts, which are most of it, need not be parsed.
"""

from __future__ import annotations

import json
import re
import zlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ftcot.errors import InputError
from ftcot.records import SCHEMA
from ftcot.teacher.store_lines import parse_line

ENTRY = np.dtype(
    [
        ("offset", "<i8"),
        ("stored", "<i8"),  # microseconds since 1970
        ("prompt", "<u8"),  # the first 16 digits of its hash; 0 where the prompt is not known
        ("paid_prompt", "<i8"),
        ("paid_completion", "<i8"),
        ("paid_usd", "<i8"),  # billionths
        ("paid", "<u4"),  # NOTHING, PRICED or UNPRICED
        ("length", "<u4"),  # with the newline
        ("crc", "<u4"),  # without it
        ("group", "<u4"),
        ("version", "<i4"),
        ("sample", "<i4"),
        ("draw", "<i4"),  # -1: not known
        ("row", "<i4"),  # of a recording, where the draw is not known; else -1
    ]
)
Entries = NDArray[np.void]
"""(N,) of ENTRY, by offset."""

NOTHING, PRICED, UNPRICED = 0, 1, 2
FREE = (0, 0, 0, NOTHING)

# The beginning of a line as `write_line` writes it. Any other that is valid JSON is parsed, which takes twice as long.
_HEAD = re.compile(
    rb'\{"key": \{"teacher": ("[^"\\]*(?:\\.[^"\\]*)*"), "prompt_sha256": "([0-9a-f]{64})",'
    rb' "parameters_sha256": "([0-9a-f]{64})"\}, "stored": "([^"\\]+)",'
    rb'(?: "paid": \{"prompt": (\d{1,15}), "completion": (\d{1,15}), "usd": (null|[-+.0-9e]+)\},)?'
    rb' "schema": %d, "task": ("[^"\\]*(?:\\.[^"\\]*)*"), "version": (\d{1,9}), "sample_index": (\d{1,9}),'
    rb' "draw": (\d{1,9}), "prompt": ' % SCHEMA
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Group(NamedTuple):
    """What the lines of one purpose have in common."""

    teacher: str
    task: str
    parameters_sha256: str


def entry_of(line: bytes, offset: int, groups: dict[Group, int]) -> tuple[int, ...]:
    """The entry of a line (without its newline) that begins at a byte.

    Args:
        groups: their numbers; one that is new gets the next.
    Raises:
        InputError: it is damaged, or no line of the store (where that shows without parsing it).
    """
    try:
        head = _HEAD.match(line)
        if head is None or not line.endswith(b"}"):
            return entry_of_parsed(line, offset, groups)
        teacher, prompt, parameters, stored, n_prompt, n_completion, usd, task, version, sample, draw = head.groups()
        group = groups.setdefault(_group(teacher, task, parameters), len(groups))
        costs = FREE if usd is None else _costs(int(n_prompt), int(n_completion), _dollars(usd))
        places = (int(version), int(sample), int(draw), -1)
        return (offset, _microseconds(stored), int(prompt[:16], 16), *costs, *_sum(line), group, *places)
    except (ValueError, TypeError, OverflowError):
        raise InputError("not a line of the completion store") from None


def entry_of_parsed(line: bytes, offset: int, groups: dict[Group, int]) -> tuple[int, ...]:
    """The same, however the line is written."""
    key, stored, paid, completion = parse_line(line)
    prompt = 0 if key.prompt_sha256 is None else int(key.prompt_sha256[:16], 16)
    draw = -1 if key.draw is None else key.draw
    row = -1 if key.completion_index is None else key.completion_index
    places = (completion.version, completion.sample_index, draw, row)
    if not all(isinstance(number, int) and -1 <= number < 2**31 for number in places):
        raise ValueError(places)
    costs = FREE if paid is None else _costs(*paid)
    moment = _microseconds(stored.encode())
    group = groups.setdefault(Group(key.teacher, completion.task, key.parameters_sha256), len(groups))
    return (offset, moment, prompt, *costs, *_sum(line), group, *places)


def _costs(prompt: int, completion: int, usd: float | None) -> tuple[int, int, int, int]:
    return (prompt, completion, 0, UNPRICED) if usd is None else (prompt, completion, round(usd * 1e9), PRICED)


def _sum(line: bytes) -> tuple[int, int]:
    return len(line) + 1, zlib.crc32(line)


# Neighbours share most of these.


@lru_cache(1024)
def _group(teacher: bytes, task: bytes, parameters_sha256: bytes) -> Group:
    return Group(json.loads(teacher), json.loads(task), parameters_sha256.decode())


@lru_cache(1024)
def _dollars(usd: bytes) -> float | None:
    return None if usd == b"null" else float(usd)


@lru_cache(1024)
def _microseconds(stored: bytes) -> int:
    return (datetime.fromisoformat(stored.decode()) - _EPOCH) // timedelta(microseconds=1)
