"""metrics.csv: a row an epoch, whole on the disk when its epoch is done.

step,epoch,loss,tokens_per_second,learning_rate,accuracy
41,1,2.1043,5210.3,0.0003,0.117
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ftcot.errors import InputError
from ftcot.files import write_atomic

COLUMNS = ("step", "epoch", "loss", "tokens_per_second", "learning_rate", "accuracy")
"""What an epoch without an evaluation lacks is empty; what else an evaluation says comes after them."""

NAME = "metrics.csv"


class Metrics:
    """The rows of a run folder, those of an earlier attempt among them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._rows = _read(self.path)

    def rows(self) -> list[dict[str, float]]:
        """As numbers, steps and epochs whole ones.

        Raises:
            InputError: a cell is not a number.
        """
        try:
            return [
                {key: int(text) if key in ("step", "epoch") else float(text) for key, text in row.items()}
                for row in self._rows
            ]
        except ValueError as error:
            raise InputError(f"{self.path}: {error}") from None

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row for good."""
        self._rows.append({key: _text(value) for key, value in row.items()})
        self._write()

    def rewind(self, epoch: int) -> None:
        """Forget the rows after `epoch`: a run that goes on from there writes them again."""
        kept = [row for row in self._rows if int(row["epoch"]) <= epoch]
        if len(kept) < len(self._rows):
            self._rows = kept
            self._write()

    def _write(self) -> None:
        others = dict.fromkeys(key for row in self._rows for key in row if key not in COLUMNS)
        text = io.StringIO()
        writer = csv.DictWriter(text, [*COLUMNS, *others], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomic(self.path, text.getvalue())


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: text for key, text in row.items() if text} for row in rows]


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
