"""A row: a line of the store on its way out of it or into one, and what can be wrong with it.

    {"key": {"teacher": "gpt-4o", "prompt_sha256": "9c1e…", "parameters_sha256": "04b7…"},
     "stored": "2026-11-22T10:15:00.123456Z", "paid": {"prompt": 61, "completion": 88, "usd": 0.00103},
     "schema": 1, "task": "multiarith", "version": 1, "sample_index": 0, "draw": 0, "prompt": "Q: For …", …}

An export keeps the key, so that a job that asks for this completion finds it in whatever store it is brought to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ftcot.errors import InputError
from ftcot.records import Completion
from ftcot.teacher.store_lines import Paid, StoredRow, key_of, sha256

TEXTS = ("prompt", "answer_prompt", "answer_text", "prediction", "finish_reason", "thinking")
WHOLE_NUMBERS = ("draw", "min_diversity", "completion_index")
OBJECTS = ("usage", "raw")
"""Fields of a completion that may also be null; the others are told apart in `_flaws`."""

_HASH = re.compile(r"[0-9a-f]{64}")


class Where(NamedTuple):
    """A place in a file, for messages."""

    path: Path
    line: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.line}"


def values_of(row: StoredRow, *, raw: bool = True) -> dict[str, Any]:
    """The row as a JSON object, as the store writes it.

    Args:
        raw: whether to keep the server's reply.
    """
    completion = row.completion if raw else replace(row.completion, raw=None)
    key = {
        "teacher": row.key.teacher,
        "prompt_sha256": row.key.prompt_sha256,
        "parameters_sha256": row.key.parameters_sha256,
    }
    paid = {} if row.paid is None else {"paid": row.paid._asdict()}
    return {"key": key, "stored": row.stored} | paid | completion.to_json()


def row_of(where: Where, values: Mapping[str, Any]) -> StoredRow:
    """The row that a JSON object holds.

    Raises:
        InputError: a field is missing, unknown or of another type, or the prompt is not the one the key was made of.
    """
    rest = dict(values)
    key, stored, paid = rest.pop("key", None), rest.pop("stored", None), rest.pop("paid", None)
    try:
        completion = Completion.from_json(rest)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    flaw = next(_flaws(completion, key, stored, paid), None)
    if flaw is not None:
        raise InputError(f"{where}: {flaw}")
    cost = None if paid is None else Paid(**paid)
    return StoredRow(key_of(key, completion), str(stored), cost, completion, where.path, where.line)


def flaw_of(row: StoredRow) -> str | None:
    """What is wrong with a row of the store; None: nothing."""
    values = values_of(row)
    return next(_flaws(row.completion, values["key"], row.stored, values.get("paid")), None)


def is_incomplete(completion: Completion) -> bool:
    """Whether it is the first of two calls only: a rationale whose answer is (or was) yet to be asked for."""
    return completion.teacher.get("part") == "rationale"


def is_verdict(completion: Completion) -> bool:
    """Whether it is what a judge said of a completion, and no completion of a question."""
    return completion.teacher.get("part") == "judge"


def _flaws(completion: Completion, key: Any, stored: Any, paid: Any) -> Iterator[str]:
    """What is wrong with a row, the first thing first."""
    values = {field.name: getattr(completion, field.name) for field in fields(completion)}
    for name in ("task", "rationale"):
        if not isinstance(values[name], str):
            yield f"{name} is {values[name]!r}, expected text"
    for name in ("version", "sample_index", *WHOLE_NUMBERS):
        value = values[name]
        if not (_is_count(value) or (value is None and name in WHOLE_NUMBERS)):
            yield f"{name} is {value!r}, expected a whole number"
    for name in TEXTS:
        if not isinstance(values[name], str | None):
            yield f"{name} is {values[name]!r}, expected text or null"
    for name in ("teacher", *OBJECTS):
        if not (isinstance(values[name], Mapping) or (values[name] is None and name in OBJECTS)):
            yield f"{name} is {values[name]!r}, expected an object"
    if not isinstance(values["correct"], bool | None) or not isinstance(values["correct_only"], bool):
        yield f"correct, correct_only are {values['correct']!r}, {values['correct_only']!r}, expected true or false"
    if not (values["cost_usd"] is None or _is_amount(values["cost_usd"])):
        yield f"cost_usd is {values['cost_usd']!r}, expected a number, 0 or more"
    yield from _flaws_of_key(key, completion.prompt)
    try:
        aware = datetime.fromisoformat(stored).tzinfo is not None
    except (TypeError, ValueError):
        aware = False
    if not aware:
        yield f"stored is {stored!r}, expected a time such as 2026-11-22T10:15:00.123456Z"
    if paid is not None and not _is_paid(paid):
        yield f"paid is {paid!r}, expected an object of prompt, completion (whole numbers) and usd (a number or null)"


def _flaws_of_key(key: Any, prompt: str | None) -> Iterator[str]:
    names = {"teacher", "prompt_sha256", "parameters_sha256"}
    if not isinstance(key, Mapping) or set(key) != names or not isinstance(key["teacher"], str) or not key["teacher"]:
        yield f"key is {key!r}, expected an object of {', '.join(sorted(names))}"
        return
    hashed = key["parameters_sha256"]
    if not (isinstance(hashed, str) and _HASH.fullmatch(hashed)):
        yield f"key.parameters_sha256 is {hashed!r}, expected 64 hexadecimal digits"
    if isinstance(prompt, str | None) and key["prompt_sha256"] != (None if prompt is None else sha256(prompt)):
        yield "the prompt is not the one its key was made of; one of them was changed"


def _is_count(value: object, below: int = 2**31) -> bool:
    """Whether the store's index has room for it."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_paid(paid: Any) -> bool:
    return (
        isinstance(paid, Mapping)
        and set(paid) == {"prompt", "completion", "usd"}
        and _is_count(paid["prompt"], 10**15)
        and _is_count(paid["completion"], 10**15)
        and (paid["usd"] is None or _is_amount(paid["usd"]))
    )
