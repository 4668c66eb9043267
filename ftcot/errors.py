"""What can go wrong, as a tree.

    FtcotError
    ├── InputError    the user asked for something that cannot be done: exit code 2, before anything is spent
    └── JobError      a job that started could not be finished: exit code 1, what it had stays

The text of either is one line that says what is wrong, where (config key, file, line) and what to do about it;
`cause_of` makes such a line of any other error.

    OSError(28, "No space left on device", "/data/x")   disk full (/data/x): free space and start the same command again
"""

from __future__ import annotations

import errno

OUT_OF_MEMORY = "out of memory"
"""How the cause begins, where it is that."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The ways in which a system says that there is no more room: disk, quota, limit on the size of a file."""


class FtcotError(Exception):
    """Base of every error whose message is meant for a user's eyes."""


class InputError(FtcotError):
    """The input is wrong: a config value, a file, a checkpoint, a missing recording."""


class JobError(FtcotError):
    """A job that had started cannot go on: no pair survived, the loss is not finite, the disk is full."""


def disk_full(error: BaseException) -> BaseException | None:
    """Of an error and those that led to it the one that says that there is no more room."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for link in chain:
        # Libraries in Rust and C++ give the text of the system's error, not its number.
        if (isinstance(link, OSError) and link.errno in DISK_FULL) or "No space left" in str(link):
            return link
    return None


def cause_of(error: BaseException) -> str:
    """One line on what went wrong and, where known, what to do."""
    if (full := disk_full(error)) is not None:
        name = getattr(full, "filename", None)
        return f"disk full{f' ({name})' if name else ''}: free space and start the same command again"
    text = " ".join(str(error).split())
    if isinstance(error, FtcotError):
        return text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"{OUT_OF_MEMORY}: try a smaller training.device_batch_size or evaluation.batch_tokens"
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__
