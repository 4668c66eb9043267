"""Rows into files: JSONL (gzipped or not), Parquet, a folder of the `datasets` library, a data set on the hub.

A file appears whole or not at all, and rows are written as they come: a million need no more memory than a thousand.
"""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from ftcot.completions import arrow
from ftcot.errors import InputError, JobError
from ftcot.files import sync_folder
from ftcot.records import to_line

Format = Literal["jsonl", "parquet", "datasets", "pairs", "authors"]
Put = Callable[[Mapping[str, Any]], None]
"""Takes a row as a JSON object."""

GROUP = 10_000
"""Rows of a row group, at most."""

GROUP_LETTERS = 64_000_000
"""Letters of a row group, about."""

NO_DATASETS = 'the datasets library is not installed: pip install "datasets>=5.2,<6"'


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path beside `out` that becomes `out` when all went well, durably; a file or a folder."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    try:
        yield hidden / out.name
        for path in (hidden / out.name).rglob("*") if (hidden / out.name).is_dir() else [hidden / out.name]:
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if out.is_dir() and not out.is_symlink():
            out.rename(hidden / "before")
        (hidden / out.name).rename(out)
        sync_folder(out.parent)
    except OSError as error:
        raise JobError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def lines(out: Path) -> Iterator[Callable[[str], None]]:
    """Writes text to a file that appears when all of it is there; one that ends in .gz is gzipped."""
    with replacing(out) as path, open_bytes(path) as file:
        yield lambda text: cast(None, file.write(text.encode()))


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A new file; gzipped, and the same for the same content, where it ends in .gz."""
    with path.open("wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            yield cast(IO[bytes], packed)


@contextmanager
def jsonl(out: Path) -> Iterator[Put]:
    """A line a row."""
    with lines(out) as write:
        yield lambda row: write(to_line(row))


@contextmanager
def parquet(out: Path) -> Iterator[Put]:
    """Columns as arrow.py has them, in row groups, packed with zstd."""
    with replacing(out) as path, _row_groups(path) as put:
        yield put


@contextmanager
def datasets_folder(out: Path) -> Iterator[Put]:
    """A folder that `datasets.load_from_disk` reads.

    Raises:
        InputError: the library is missing.
    """
    check_library()
    with replacing(out) as path:
        with _row_groups(path.parent / "rows.parquet") as put:
            yield put
        _dataset(path.parent / "rows.parquet").save_to_disk(str(path))


def check_hub(name: str) -> str:
    """The token that is needed to push.

    Raises:
        InputError: the library or the token is missing.
    """
    check_library()
    if not (token := os.environ.get("HF_TOKEN")):
        raise InputError(f"--hub {name}: set HF_TOKEN to a token that may write (huggingface.co/settings/tokens)")
    return token


@contextmanager
def hub(name: str, *, public: bool = False) -> Iterator[Put]:
    """A data set on the hub, private unless said otherwise, by the token in HF_TOKEN.

    Raises:
        InputError: the library or the token is missing.
        JobError: the hub refused it.
    """
    token = check_hub(name)
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="ftcot-hub-") as folder:
        with _row_groups(Path(folder) / "rows.parquet") as put:
            yield put
        try:
            _dataset(Path(folder) / "rows.parquet").push_to_hub(name, private=not public, token=token)
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
            cause = " ".join(str(error).replace(token, "***").split())[:300]
            raise JobError(f"--hub {name}: the hub did not take it ({cause})") from None


@contextmanager
def _row_groups(path: Path) -> Iterator[Put]:
    from pyarrow import parquet

    waiting: list[Mapping[str, Any]] = []
    letters = 0
    with parquet.ParquetWriter(path, arrow.schema(), compression="zstd") as writer:

        def put(row: Mapping[str, Any]) -> None:
            nonlocal letters
            waiting.append(row)
            letters += sum(len(value) for value in row.values() if isinstance(value, str))
            if len(waiting) == GROUP or letters > GROUP_LETTERS:
                flush()

        def flush() -> None:
            nonlocal letters
            if waiting:
                writer.write_table(arrow.table(waiting))
            waiting.clear()
            letters = 0

        yield put
        flush()


def check_library() -> None:
    """Refuse to go on without the `datasets` library.

    Raises:
        InputError: it is missing.
    """
    if importlib.util.find_spec("datasets") is None:
        raise InputError(NO_DATASETS)


def _dataset(path: Path) -> Any:
    """The rows as the library has them, without anything left in its cache."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    return datasets.Dataset.from_parquet(str(path), cache_dir=str(path.parent / "cache"))
