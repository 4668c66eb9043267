"""The sha256 of files, remembered: data and weights are hashed once, not once a job.

CACHE/hashes.json    {"schema": 1, "files": {"/data/datasets/svamp.jsonl": [size, time, "04b7..."]}}
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from ftcot.errors import InputError
from ftcot.files import read_json, write_json
from ftcot.records import SCHEMA


class FileHashes:
    """sha256 of files, remembered by path, size and time in CACHE/hashes.json. Nothing is written before `save`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = {}
        self._new: dict[str, list[Any]] = {}
        try:
            known = read_json(path)
            self._known = dict(known["files"]) if known.get("schema") == SCHEMA else {}
        except (InputError, AttributeError, KeyError, TypeError, ValueError):
            pass  # only a cache: a damaged one is made anew

    def sha256(self, path: Path) -> str:
        """Of the contents of `path`.

        Raises:
            InputError: it cannot be read.
        """
        try:
            stat = path.stat()
            key, stamp = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
            found = self._new.get(key) or self._known.get(key)
            if found is not None and found[:2] == stamp:
                return str(found[2])
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        # A file of this very moment may change again without a change of size and time.
        if time.time_ns() - stat.st_mtime_ns > 2_000_000_000:
            self._new[key] = [*stamp, digest]
        return digest

    def save(self) -> None:
        """Add what was learnt to the file. Two writers at once may lose an entry, which costs one more reading."""
        if self._new:
            write_json(self.path, {"schema": SCHEMA, "files": self._known | self._new})
            self._known |= self._new
            self._new.clear()
