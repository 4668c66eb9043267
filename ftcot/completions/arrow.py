"""Rows as columns: of Parquet files, of folders of the `datasets` library and of data sets on the hub.

    key      {"teacher": "gpt-4o", "prompt_sha256": "9c1e…", "parameters_sha256": "04b7…"}
    prompt   "Q: For Halloween Debby …"
    usage    '{"prompt": 61, "completion": 88}'

The columns are the fields of a row. Those that hold objects of any shape (usage, teacher, raw, paid) hold them as JSON
text, so nothing of them is lost, be it a number of 30 digits or the difference between {} and null. Text that no UTF-8
can hold, half of a surrogate pair that a server cut off, stands in its column with U+FFFD and whole in `escaped`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ftcot.completions.rows import Where
from ftcot.errors import InputError
from ftcot.files import read_json

TEXT = (
    *("stored", "task", "prompt", "rationale", "answer_prompt", "answer_text", "prediction", "finish_reason"),
    "thinking",
)
WHOLE = ("schema", "version", "sample_index", "draw", "min_diversity", "completion_index")
FLAGS = ("correct", "correct_only")
OBJECTS = ("paid", "usage", "teacher", "raw")
ORDER = (
    *("key", "stored", "paid", "schema", "task", "version", "sample_index", "draw", "prompt", "rationale"),
    *("answer_prompt", "answer_text", "prediction", "correct", "min_diversity", "completion_index", "finish_reason"),
    *("usage", "teacher", "correct_only", "raw", "thinking", "cost_usd", "escaped"),
)

SLICE = 1000
"""Rows that are turned into Python at once."""


@cache
def schema() -> Any:
    """The columns and their types."""
    import pyarrow as pa

    key = pa.struct([(name, pa.string()) for name in ("teacher", "prompt_sha256", "parameters_sha256")])
    types = (
        {"key": key, "cost_usd": pa.float64(), "escaped": pa.string()}
        | dict.fromkeys((*TEXT, *OBJECTS), pa.string())
        | dict.fromkeys(WHOLE, pa.int64())
        | dict.fromkeys(FLAGS, pa.bool_())
    )
    return pa.schema([(name, types[name]) for name in ORDER])


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A table of these rows (JSON objects, as rows.values_of makes them)."""
    import pyarrow as pa

    return pa.Table.from_pylist([_columns(row) for row in rows], schema=schema())


def values(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The row that columns hold, as a JSON object.

    Raises:
        ValueError: a column of JSON text holds none.
    """
    row = dict(columns)
    escaped = row.pop("escaped", None)
    for name in OBJECTS:
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    if row.get("paid") is None:
        row.pop("paid", None)
    return row | (json.loads(escaped) if escaped is not None else {})


def read_parquet(path: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    """The rows of a Parquet file, a slice at a time.

    Raises:
        InputError: it is damaged, or none of ours.
    """
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            yield from _rows(path, file.iter_batches(batch_size=SLICE))
    except (OSError, ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file ({_first_line(error)})") from None


def read_folder(folder: Path) -> Iterator[tuple[Where, dict[str, Any]]]:
    """The rows of a folder written by `save_to_disk`, all splits; the library is not needed for it.

    Raises:
        InputError: a file is damaged, or none of ours.
    """
    from pyarrow import ArrowException, ipc, memory_map

    if (folder / "dataset_dict.json").is_file():
        for split in _listed(folder / "dataset_dict.json", "splits"):
            yield from read_folder(folder / str(split))
        return
    for file in _listed(folder / "state.json", "_data_files"):
        path = folder / str(file["filename"])
        try:
            with memory_map(str(path)) as memory, ipc.open_stream(memory) as stream:
                _check_columns(path, stream.schema.names)
                slices = (batch.slice(at, SLICE) for batch in stream for at in range(0, batch.num_rows, SLICE))
                yield from _rows(path, slices)
        except (OSError, ArrowException) as error:
            raise InputError(f"{path}: not a readable Arrow file ({_first_line(error)})") from None


def how_many(path: Path) -> int:
    """Rows of a Parquet file or of a folder.

    Raises:
        OSError: it is damaged, or none.
        InputError: likewise.
    """
    from pyarrow import ipc, memory_map, parquet

    if path.is_file():
        with parquet.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    n = 0
    for file in path.rglob("*.arrow"):
        with memory_map(str(file)) as memory, ipc.open_stream(memory) as stream:
            n += sum(batch.num_rows for batch in stream)
    return n


def is_saved_folder(folder: Path) -> bool:
    """Whether `save_to_disk` wrote it."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _rows(path: Path, batches: Iterator[Any]) -> Iterator[tuple[Where, dict[str, Any]]]:
    number = 0
    for batch in batches:
        for columns in batch.to_pylist():
            number += 1
            where = Where(path, number, "row")
            try:
                row = values(columns)
            except ValueError as error:
                raise InputError(f"{where}: not valid JSON ({error})") from None
            yield where, row


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {name: row.get(name) for name in ORDER}
    for name in OBJECTS:
        if columns[name] is not None:
            columns[name] = _json(columns[name])
    whole = {name: row[name] for name in ORDER if isinstance(columns[name], str) and not _is_utf8(columns[name])}
    for name in whole:
        columns[name] = columns[name].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return columns | {"escaped": json.dumps(whole) if whole else None}


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if _is_utf8(text) else json.dumps(value)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in ORDER if name not in names]
    if missing:
        raise InputError(
            f"{path}: has no column {', '.join(missing)}; expected what `python -m ftcot.completions export` writes"
        )


def _listed(path: Path, name: str) -> list[Any]:
    listed = read_json(path)
    if not isinstance(listed, dict) or not isinstance(listed.get(name), list):
        raise InputError(f"{path}: not a file of save_to_disk (it has no {name})")
    return list(listed[name])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
