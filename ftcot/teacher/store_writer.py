"""Writing segments: each has one writer, which holds a shared lock on it as long as it lives.

    writer     create HOST-4242-9f3a01cc.jsonl, lock it shared, append, fsync, append, fsync, …
    merger     may have it once it can lock it alone: when the writer's process has ended, however it did

The kernel ends the lock with the process. Where it does not reach (another machine, over a file system without locks),
the writer sees that its segment is gone and writes what it wrote last once more, to a new one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ftcot.files import sync_folder
from ftcot.teacher.store_lines import sha256

LONGEST_NAME = 150
"""Letters of a folder name; file systems allow 255 bytes."""


class Writer:
    """Appends to a segment of its own."""

    def __init__(self, folder: Path) -> None:
        """Create the segment, and the folder with it.

        Raises:
            OSError: that is not possible.
        """
        created = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / new_name()
        # To be read as well: some file systems lend shared locks to readers only.
        self._handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._locked = False
        self._lock()
        for changed in {folder, *(path.parent for path in created)}:
            sync_folder(changed)

    def append(self, data: bytes) -> bool:
        """Append lines; they are on disk when this returns.

        Returns:
            Whether they are in the store: False where the segment was taken away. What is to be kept belongs into
            another one then.
        Raises:
            OSError: they could not be written. The segment may end in a torn line now, and must not be written to
                again: such a line is only dropped while it is the last one.
        """
        if not self._locked:
            self._lock()
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]
        os.fsync(self._handle)
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._handle))
        except FileNotFoundError:
            return False

    def _lock(self) -> None:
        with suppress(OSError):  # no locks here; or a merger has it, perhaps only to see whether anybody else has
            fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            self._locked = True

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


def lock_alone(path: Path) -> int | None:
    """A handle on the segment that keeps every other writer and merger away; None where it is in use.

    Where files cannot be locked, every segment is taken to be in use.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(handle)):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def new_name() -> str:
    """A name for a segment that no other has."""
    return f"{safe_name(socket.gethostname())}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"


def safe_name(name: str) -> str:
    """A folder name for any text; two texts never share one."""
    quoted = quote(name, safe=" ", errors="surrogatepass")
    if quoted.startswith(".") or not quoted:
        quoted = "%" + quoted.replace(".", "%2E")
    if len(quoted) <= LONGEST_NAME:
        return quoted
    return f"{quoted[:LONGEST_NAME]}~{sha256(name)[:16]}"
