"""Segments and their indexes: where the line of each completion stands, found without parsing any text twice.

    HOST-4242-9f3a01cc.jsonl    1,000,000 lines of about 1 KB
    HOST-4242-9f3a01cc.index    80 bytes for each: where it stands, whose it is, what was paid, a checksum of the line

An index is made by readers and only saves them time. It is taken for what it claims only where it is whole (a checksum
over all of it) and fits its segment (lines taken at intervals have the checksums it gives); everything else is made
anew from the segment. A line that is read is compared with its checksum, so an index never stands for another line.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ftcot.errors import InputError
from ftcot.files import write_atomic
from ftcot.teacher.store_entries import ENTRY, Entries, Group, entry_of
from ftcot.teacher.store_lines import TornError, gone_or_unreadable, parse_line

FORMAT = 1
"""Of an index file; another one is made anew."""

BLOCK = 1 << 23
"""Bytes read at once."""

GAP = 1 << 14
"""Bytes between two wanted lines that are rather read than skipped."""

SAVED_FROM = 512
"""Lines from which on a segment gets an index file: fewer are parsed in milliseconds."""

PROBES = 16
"""Lines that are compared when an index file is opened."""


class ChangedError(Exception):
    """A segment is not what it was: merged with others, or edited. List and read anew."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class Segment:
    """One segment as far as it was read, and how to read on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.groups: dict[Group, int] = {}
        """Their numbers in the entries."""
        self.entries: Entries = np.empty(0, ENTRY)
        """Of all lines that count, a last one without its newline among them."""
        self._room: Entries = self.entries
        """Where they stand, with room for more: a job that buys looks into its own growing segment again and again."""
        self._whole = 0
        """Entries of lines with a newline."""
        self._end = 0
        """Bytes of those lines."""
        self.size = 0
        """Bytes of the file as far as it was read."""
        self._saved = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """The segment, with what its index file says of it where that fits."""
        segment = cls(path)
        try:
            segment._load()
        except (OSError, ValueError, LookupError, TypeError, ChangedError):  # none, or not one of this segment
            return cls(path)
        return segment

    @property
    def index(self) -> Path:
        return self.path.with_suffix(".index")

    def refresh(self) -> None:
        """Read what was appended.

        Raises:
            InputError: a line is damaged (where that shows at its beginning), or the file cannot be read.
            ChangedError: it is gone, or shorter than it was.
        """
        try:
            # Opened even if nothing was added: over a network only this asks the server how long the file is now.
            with self.path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self.size:
                    raise ChangedError(self.path)
                if size > self.size:
                    self._extend(file.fileno(), size)
        except OSError as error:
            raise _changed(self.path, error) from None

    def save_index(self) -> None:
        """Write the index file, if enough is new since it was written last."""
        if self._whole - self._saved < max(SAVED_FROM, self._saved // 8):
            return
        head = json.dumps({"format": FORMAT, "end": self._end, "groups": list(self.groups)}).encode() + b"\n"
        rows = self.entries[: self._whole].view(np.uint8).data
        digest = sha256(head)
        digest.update(rows)
        with suppress(OSError):  # a store that may only be read, or a full disk: it saves time and is no more than that
            write_atomic(self.index, (digest.hexdigest().encode() + b"\n", head, rows))
            self._saved = self._whole

    def lines(self, rows: Sequence[int] | NDArray[np.intp]) -> Iterator[tuple[int, bytes]]:
        """These lines, each with its place in `entries`, in the order of the file.

        Raises:
            InputError: the file cannot be read.
            ChangedError: a line is not what it was, or the segment is gone.
        """
        ordered = np.sort(np.asarray(rows, np.intp))
        starts = self.entries["offset"][ordered].tolist()
        lengths = self.entries["length"][ordered].tolist()
        crcs = self.entries["crc"][ordered].tolist()
        try:
            with self.path.open("rb", buffering=0) as file:
                for first, last in _stretches(starts, lengths):
                    begin = starts[first]
                    data = os.pread(file.fileno(), starts[last - 1] + lengths[last - 1] - begin, begin)
                    for i in range(first, last):
                        line = data[starts[i] - begin : starts[i] - begin + lengths[i]].removesuffix(b"\n")
                        if zlib.crc32(line) != crcs[i]:
                            raise ChangedError(self.path)
                        yield int(ordered[i]), line
        except OSError as error:
            raise _changed(self.path, error) from None

    def place(self, row: int) -> str:
        """Where the line of an entry stands, for a message.

        Raises:
            ChangedError: the segment is gone.
        """
        try:
            return self._place(int(self.entries["offset"][row]))
        except OSError as error:
            raise _changed(self.path, error) from None

    def _extend(self, handle: int, size: int) -> None:
        """Take in the lines from the last newline known to `size`."""
        if self._whole:  # an edited file would be read on from the middle of a line
            list(self.lines([self._whole - 1]))
        self.entries = self.entries[: self._whole]
        position, rest = self._end, b""
        while position + len(rest) < size:
            block = os.pread(handle, min(BLOCK, size - position - len(rest)), position + len(rest))
            if not block:
                raise ChangedError(self.path)
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            entries = list(self._entries(lines, position))
            position += sum(map(len, lines)) + len(lines)
            self._add(entries)
        self._end, self.size = position, size
        self._whole = len(self.entries)
        if rest:
            # Either torn, or whole but for its newline.
            with suppress(TornError):
                parse_line(rest)
                self._add(list(self._entries([rest], position)))

    def _add(self, entries: Sequence[tuple[int, ...]]) -> None:
        n = len(self.entries)
        if n + len(entries) > len(self._room) or self.entries.base is not self._room:
            self._room = _room(n + len(entries) + n // 4)
            self._room[:n] = self.entries
        self._room[n : n + len(entries)] = np.array(entries, ENTRY)
        self.entries = self._room[: n + len(entries)]

    def _entries(self, lines: Sequence[bytes], offset: int) -> Iterator[tuple[int, ...]]:
        """Of lines without their newlines, of which the first begins at `offset`."""
        for line in lines:
            if line:
                try:
                    yield entry_of(line, offset, self.groups)
                except InputError as error:
                    raise InputError(f"{self._place(offset)}: {error}") from None
            offset += len(line) + 1

    def _place(self, offset: int) -> str:
        with self.path.open("rb") as file:
            line = 1 + sum(file.read(min(BLOCK, offset - at)).count(b"\n") for at in range(0, offset, BLOCK))
        return f"{self.path}, line {line}"

    def _load(self) -> None:
        digest, _, body = self.index.read_bytes().partition(b"\n")
        text, _, rows = body.partition(b"\n")
        if sha256(body).hexdigest().encode() != digest or (head := json.loads(text))["format"] != FORMAT:
            raise ValueError(FORMAT)
        self.groups = {Group(*group): number for number, group in enumerate(head["groups"])}
        self.entries = np.frombuffer(rows, ENTRY)
        self._whole = self._saved = len(self.entries)
        self._end = self.size = head["end"]
        list(self.lines(np.unique(np.linspace(0, self._whole - 1, PROBES, dtype=np.intp))))


def _room(n: int) -> Entries:
    """For that many entries, outside the heap, which growing arrays would leave in pieces."""
    return np.frombuffer(mmap(-1, max(1, n) * ENTRY.itemsize), ENTRY)


def _stretches(starts: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs [first, last) of lines that stand close enough together to be read at once."""
    first = 0
    for i in range(1, len(starts) + 1):
        if (
            i == len(starts)
            or starts[i] - starts[i - 1] - lengths[i - 1] > GAP
            or starts[i] + lengths[i] - starts[first] > BLOCK
        ):
            yield first, i
            first = i


def _changed(path: Path, error: OSError) -> Exception:
    problem = gone_or_unreadable(path, error)
    return ChangedError(path) if isinstance(problem, FileNotFoundError) else problem
