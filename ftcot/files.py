"""Files that are read whole or line by line, and written whole or not at all.

read_jsonl(path)              (1, {...}), (2, {...}), ...; gzipped too; a damaged line is refused with its number
write_json(path, value)       durably: after a crash the file holds the value, or what it held before
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from ftcot.errors import InputError

BLOCK = 1 << 20
"""Bytes of a file that are read at once."""

STALE = 5
"""How often a file is opened again that was replaced meanwhile, as a file system over a network tells its readers."""


def read_json(path: Path) -> Any:
    """The JSON value in `path`, which may be gzipped.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and JSON objects of `path`, which may be gzipped. Blank lines are skipped.

    One line at a time is held, whatever the size of the file.

    Raises:
        InputError: the file cannot be read, or a line, named by its number, is damaged.
    """
    for number, line in enumerate(_lines(path), start=1):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield number, row


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def write_atomic(path: Path, content: str | bytes | Iterable[bytes | memoryview]) -> None:
    """Write `content` (or its parts) durably: after a crash the file holds either all of it or what it held before."""
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines((content,) if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, one at a time, without the byte order mark that Windows writes."""
    number = 0
    try:
        with _open(path) as file:
            # Through a buffer: a GzipFile's own lines are put together by Python.
            plain = BufferedReader(gzip.GzipFile(fileobj=file), BLOCK) if path.suffix == ".gz" else file
            for number, line in enumerate(plain, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8 text ({error})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _open(path: Path) -> BufferedReader:
    """The file, its first block read: a small one cannot be replaced any more before it is read."""
    for tried in range(STALE + 1):
        try:
            file = cast(BufferedReader, path.open("rb", buffering=BLOCK))
            try:
                file.peek(1)
            except BaseException:
                file.close()
                raise
            return file
        except OSError as error:
            if error.errno != errno.ESTALE or tried == STALE:
                raise
    raise AssertionError  # the last try has returned or raised


def _bytes(path: Path) -> bytes:
    for _ in range(STALE):
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return path.read_bytes()


def _text(path: Path) -> str:
    try:
        data = _bytes(path)
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")  # Windows writes a byte order mark
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None
