"""Raw files of the paper's tasks: where each lies in the data folder, and its pinned public source.

    zero_shot_cot/dataset/MultiArith/MultiArith.json
        kojima-takeshi188/zero_shot_cot, commit 5ef330f..., sha256 dc9db1b6...

A file that is missing is downloaded once, held in memory until its sha256 is right, and moved in whole. One that is
there is hashed as well: a task built from another text would not be the paper's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ftcot.errors import InputError
from ftcot.files import write_atomic

BASE = "https://raw.githubusercontent.com"
"""Followed by /OWNER/REPOSITORY/COMMIT/PATH."""

TIMEOUT = 20.0
"""Seconds without an answer after which a download is given up."""

FOLDER_HINT = "paths.data, environment FTCOT_DATA"


@dataclass(frozen=True)
class RawFile:
    """A file at a fixed commit of a public repository."""

    path: str
    """In the data folder."""
    repository: str
    commit: str
    remote: str
    """Path in the repository."""
    sha256: str | None
    """None where the right file could not be had to hash it: such a file is read, but never downloaded."""

    def url(self, base: str = BASE) -> str:
        return f"{base}/{self.repository}/{self.commit}/{self.remote}"


def kojima(path: str, sha256: str) -> RawFile:
    """A file of Kojima et al.'s repository, kept under zero_shot_cot/."""
    commit = "5ef330fcdeec0cd26aee27943504f91f8ec1c33c"
    remote = f"dataset/{path}"
    return RawFile(f"zero_shot_cot/{remote}", "kojima-takeshi188/zero_shot_cot", commit, remote, sha256)


SINGLE_EQ = kojima("SingleEq/questions.json", "051507bd2b489c257057b485774a83d2710c23a4bc0f4a58e1822ae2773ef05e")
ADDSUB = kojima("AddSub/AddSub.json", "21930fa90385c72b5a15f4b9a4dda27276b889ae9ff44285505cdd9fa0a20df8")
MULTIARITH = kojima("MultiArith/MultiArith.json", "dc9db1b6cc68b1ecc2dec830d15aaf8c9a0932aa31d5ffce88ef3628179d36f4")
SVAMP = kojima("SVAMP/SVAMP.json", "5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e")
DATE = kojima("Bigbench_Date/task.json", "ff716f0e399109146db3a998281c39954907b78268a9b633a95582d63847822f")
TRACKING = kojima(
    "Bigbench_object_tracking/task.json", "74b74d3c8827c0387a3f24ee9efa7edd90b2d53af3daacb9961341af66f750a0"
)
LAST_LETTERS = kojima(
    "last_letters/last_letters.json", "60e8d092d0a6423d3256e87e0c249b69aefea4cd27985082095fa4e93931fb02"
)
COIN_FLIP = kojima("coin_flip/coin_flip.json", "68cf201737a1463ef6bed5419622805a8934d92bff6a28a9dfbf83be3135ba5a")
STRATEGY_QA = kojima("StrategyQA/task.json", "60af9081fed20102fd8bb1e02dc7d9f12238efcba33e4c1a56b4d61cb6409803")
COMMONSENSE_TRAIN = kojima(
    "CommonsenseQA/train_rand_split.jsonl", "58ffa3c8472410e24b8c43f423d89c8a003d8284698a6ed7874355dedd09a2fb"
)
COMMONSENSE_DEV = kojima(
    "CommonsenseQA/dev_rand_split.jsonl", "3210497fdaae614ac085d9eb873dd7f4d49b6f965a93adadc803e1229fd8a02a"
)
GSM8K_TRAIN = RawFile(
    "grade_school_math/train.jsonl",
    "openai/grade-school-math",
    "3101c7d5072418e28b9008a6636bde82a006892c",
    "grade_school_math/data/train.jsonl",
    "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
)
GSM8K_TEST = kojima("grade-school-math/test.jsonl", "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14")
AQUA_TRAIN = RawFile(
    "AQuA/train.json", "deepmind/AQuA", "26b64ed1f22208c6742f47df547dfd65088ec30d", "train.json", sha256=None
)
AQUA_TEST = kojima("AQuA/test.json", "de41581881ef95c5588c44ddc701c77fd480839241dd422a0d181262af24520c")


def present(path: Path) -> bool:
    """Whether `path` is a file.

    Raises:
        InputError: it cannot be told, for want of permission.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def obtain(file: RawFile, folder: Path, base: str = BASE) -> Path:
    """The path of `file` in the data folder, downloaded first if it is missing.

    Raises:
        InputError: its content is not the pinned one, or it is missing and cannot be downloaded.
    """
    path = folder / file.path
    if present(path):
        _check(file, _read(path), str(path), "it is not the file the paper used: delete it to have it downloaded again")
        return path
    if file.sha256 is None:
        raise InputError(
            f"{path} is missing and is not downloaded, for want of a checksum; get it from {file.url(base)}"
        )
    with _locked(folder):
        if not present(path):
            content = _download(file, folder, base)
            _check(file, content, file.url(base), f"nothing was stored; put the right file at {path}")
            _move_in(content, path)
    return path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _check(file: RawFile, content: bytes, where: str, remedy: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if file.sha256 not in (None, found):
        raise InputError(f"{where}: sha256 is {found}, expected {file.sha256}; {remedy}")


def _download(file: RawFile, folder: Path, base: str) -> bytes:
    # Imported here: with ssl it costs the launcher 40 ms, and most runs download nothing.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(file.url(base), timeout=TIMEOUT) as response:
            content: bytes = response.read()
            return content
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        reason = getattr(error, "reason", error)
        cause = reason if isinstance(reason, Exception) else error
        raise InputError(
            f"{file.path} is not in {folder} ({FOLDER_HINT}), and {file.url(base)} could not be downloaded ({cause})"
        ) from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the data folder against other downloads; a folder made here is removed again if nothing came into it."""
    import fcntl

    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{folder} ({FOLDER_HINT}): cannot be used as data folder ({error.strerror})") from None
    try:
        # Some network file systems lock no folder. Two processes may then both download; each moves in the same bytes.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            for parent in missing:
                parent.rmdir()


def _move_in(content: bytes, path: Path) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        raise InputError(f"{path}: the download cannot be stored ({error.strerror})") from None
