"""Checkpoints: what a run that was stopped or killed goes on from.

    checkpoints/epoch-0002-step-000041-9e4b730c5f0c81d2.ckpt     weights, optimizer and counters 41 steps into epoch 3
    checkpoints/epoch-0003-5f0c81d2a9e4b730.ckpt                 after epoch 3 and its test; the name ends in a sha256

One is written after each epoch's steps, within a long epoch from time to time, and when the run is asked to stop. The
one before goes only when the new one is on the disk for good. So there is always a whole one, and a machine that dies,
or a disk that fills, costs little. That an epoch is tested is told by a new name for the same file. They hold plain
dictionaries. torch does not notice a damaged tensor when it loads one, hence the digest in the name.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from pytorch_lightning.plugins import CheckpointIO

from ftcot.files import sync_folder

DIGITS = 16
"""Of the sha256 in a checkpoint's name."""

_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?(?:-([0-9a-f]+))?\.ckpt")


class Position(NamedTuple):
    """How far a training is. Positions compare as they follow each other."""

    epochs: int
    """Trained and tested."""
    steps: int = 0
    """Of the next epoch."""

    @property
    def name(self) -> str:
        """Of a checkpoint, without its digest."""
        return f"epoch-{self.epochs:04d}" + (f"-step-{self.steps:06d}" if self.steps else "")


class Checkpoints(CheckpointIO):  # type: ignore[misc]
    """The checkpoints of one run folder. Lightning saves and loads through this object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoints"
        self.unusable: list[str] = []
        """Files that `find` passed over: damaged, or written for another training."""

    def path(self, position: Position) -> Path:
        """What to call the state at `position`; saving adds the digest."""
        return self.folder / f"{position.name}.ckpt"

    def position(self, path: Path) -> Position:
        """Where `path` was written."""
        found = _NAME.fullmatch(path.name)
        assert found is not None
        return Position(int(found[1]), int(found[2] or 0))

    def find(self, identity: str) -> Path | None:
        """The newest whole checkpoint written for the same training; others are listed as unusable."""
        for path in sorted(self._all(), key=self.position, reverse=True):
            if _is_whole(path) and _load(path)["identity"] == identity:
                return path
            self.unusable.append(path.name)
        return None

    def close(self, epoch: int) -> None:
        """The epoch (from 1) whose steps the newest checkpoint follows is tested: a new name says so for good."""
        newest = max(self._all(), key=self.position)
        newest.replace(newest.with_name(f"{Position(epoch).name}-{_digest_in(newest)}.ckpt"))
        sync_folder(self.folder)

    def _all(self) -> list[Path]:
        return [path for path in self.folder.glob("epoch-*.ckpt") if _NAME.fullmatch(path.name)]

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What a checkpoint holds, which `find` has made sure of."""
        return _load(Path(path))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write durably: until the new file is whole and on the disk, the one before stays.

        Raises:
            OSError: it cannot be written.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                faithful = _Faithful(file)
                torch.save(checkpoint, faithful)  # type: ignore[arg-type]  # it has what torch calls
                if faithful.error is not None:
                    raise faithful.error
                file.flush()
                os.fsync(file.fileno())
            path = path.with_name(f"{path.stem}-{faithful.digest.hexdigest()[:DIGITS]}.ckpt")
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        for other in self._all():
            if other != path:
                other.unlink()

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


class _Faithful:
    """A file that knows its digest, and why a write failed: torch's archive writer turns any failure into a
    RuntimeError that no longer says that the disk is full."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: BaseException | None = None
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        if self.error is None:
            try:
                self.file.write(data)
            except BaseException as error:  # a signal's handler may raise here too, and means as much as a full disk
                self.error = error
        return len(memoryview(data).cast("B"))

    def flush(self) -> None:
        pass  # done by the owner of the file


def _is_whole(path: Path) -> bool:
    """Whether the file still is what its name says that was written."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return _digest_in(path) == digest[:DIGITS]


def _digest_in(path: Path) -> str:
    return path.stem.rpartition("-")[2]


def _load(path: Path) -> dict[str, Any]:
    # Mapped, so that looking at one entry does not read the weights.
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state
