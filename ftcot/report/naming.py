"""What cells are called, each by what sets it apart from the others of the report.

Fine-tune, Fine-tune-CoT D = 1, Fine-tune-CoT D = 8        where methods and D vary
D = 1, filter answer+duplicate                             where D and filters vary
"""

from __future__ import annotations

from collections.abc import Sequence

from ftcot.report.grouping import PARTING, said
from ftcot.report.labels import text
from ftcot.report.model import Cell

NAMED = tuple(dict.fromkeys(["method", *(axis for axis in PARTING if axis != "kind")]))
"""What may be in a name, in this order."""


def cell_labels(cells: Sequence[Cell]) -> list[str]:
    """A name for each cell; no two of one task are alike."""
    there = {axis: {getattr(cell.facts, axis) for cell in cells} - {None} for axis in NAMED}
    varying = [axis for axis in NAMED if len(there[axis]) > 1]
    labels = []
    for cell in cells:
        values = [(axis, getattr(cell.facts, axis)) for axis in varying]
        words = [
            text(axis, value) if axis == "method" else said(axis, value) for axis, value in values if value is not None
        ]
        name = ", ".join(words) or text("method", cell.facts.method)
        labels.append(name.replace(" = ", "\u00a0=\u00a0"))
    seen = [(cell.facts.task, label) for cell, label in zip(cells, labels, strict=True)]
    return [
        f"{label} ({cell.key[:6]})" if seen.count((cell.facts.task, label)) > 1 else label
        for cell, label in zip(cells, labels, strict=True)
    ]
