"""Checkpoints: what a killed run goes on from.

    checkpoints/epoch-0003-5f0c81d2a9e4b730.ckpt    weights, optimizer and counters after epoch 3, and its own sha256

One is written after each epoch, beside the one before, which goes only when the new one is on the disk for good. So
there is always a whole one, and a machine that dies, or a disk that fills, costs one epoch at most. They hold plain
dictionaries. torch does not notice a damaged tensor when it loads one, hence the digest in the name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pytorch_lightning.plugins import CheckpointIO

from ftcot.records import sync_folder

DIGITS = 16
"""Of the sha256 in a checkpoint's name."""


class Checkpoints(CheckpointIO):  # type: ignore[misc]
    """The checkpoints of one run folder. Lightning saves and loads through this object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoints"
        self.unusable: list[str] = []
        """Files that `find` passed over: damaged, or written for another training."""
        self._found: tuple[Path, dict[str, Any]] | None = None

    def path(self, epoch: int) -> Path:
        """What to call the state after `epoch` (from 1); saving adds the digest."""
        return self.folder / f"epoch-{epoch:04d}.ckpt"

    def epoch(self, path: Path) -> int:
        """The epoch after which `path` was written."""
        return int(path.stem.split("-")[1])

    def find(self, identity: str) -> Path | None:
        """The newest whole checkpoint written for the same training; others are listed as unusable."""
        for path in sorted(self.folder.glob("epoch-*.ckpt"), reverse=True):
            if _is_whole(path):
                state = torch.load(path, map_location="cpu", weights_only=True)
                if state["identity"] == identity:
                    self._found = (path, state)
                    return path
            self.unusable.append(path.name)
        return None

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What `find` read already: reading it twice would double the time."""
        assert self._found is not None
        assert self._found[0] == Path(path)
        state = self._found[1]
        self._found = None
        return state

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
        for other in path.parent.glob("epoch-*.ckpt"):
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
    return path.stem.endswith(f"-{digest[:DIGITS]}")
