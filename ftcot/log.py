"""log.txt: everything that appears on the screen, as plain text, with the time it began.

── 2026-11-22 10:15:00 ──
curated 323 of 420: 97 wrong
"""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from time import strftime
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console, NewLine
from rich.control import Control

_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")


class Log:
    """Shows on the screen and writes to a file. Within `with`, what libraries print or log goes the same way."""

    def __init__(self, path: Path, title: str) -> None:
        self._file = path.open("a", encoding="utf-8")
        self.write(f"── {strftime('%Y-%m-%d %H:%M:%S')} {title} ──\n")
        plain = Console(file=cast(TextIO, _Lines(self)), width=160, color_system=None, force_terminal=False)
        self.console: Console = _Both(sys.stdout, plain)

    def write(self, text: str) -> None:
        """Add text to the file only."""
        self._file.write(text)
        self._file.flush()

    def __enter__(self) -> Self:
        self._before = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = _Tee(sys.stdout, self), _Tee(sys.stderr, self)
        self._handler = logging.StreamHandler(_Lines(self))
        self._handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._handler)
        logging.captureWarnings(True)
        warnings.simplefilter("default")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self._handler)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
                if isinstance(stream, _Tee):
                    stream.end()
        sys.stdout, sys.stderr = self._before
        with suppress(OSError):  # a full disk
            self._file.close()


def screen(file: TextIO | None = None) -> Console:
    """A console on the screen: as wide as the terminal; in a pipe so wide that a line stays a line."""
    file = file or sys.stdout
    return Console(file=file, width=_width(file), highlight=False)


def _width(file: TextIO) -> int | None:
    return None if file.isatty() else 160


class _Both(Console):
    """A console on the screen whose words, but not its moving bars, also go to a plain one."""

    def __init__(self, screen: TextIO, plain: Console) -> None:
        super().__init__(file=screen, width=_width(screen), highlight=False)
        self._plain = plain

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*objects, **options)
        if not objects or not all(isinstance(item, Control | NewLine) for item in objects):
            self._plain.print(*objects, **options)


class _Lines(io.TextIOBase):
    """Text that goes to the log's file as it comes."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, text: str) -> int:
        self._log.write(text)
        return len(text)


class _Tee(io.TextIOBase):
    """A stream of the process that is copied to the log: whole lines, without colours, bars in their last state."""

    def __init__(self, stream: TextIO, log: Log) -> None:
        self._stream = stream
        self._log = log
        self._rest = ""

    def write(self, text: str) -> int:
        self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log.write(_plain(line) + "\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def end(self) -> None:
        """Copy a last line that has no end, too."""
        if self._rest:
            self._log.write(_plain(self._rest) + "\n")

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


def _plain(line: str) -> str:
    return _ESCAPE.sub("", line.rstrip("\r").rpartition("\r")[2])
