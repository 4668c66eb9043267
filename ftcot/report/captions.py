"""What a chart or table shows, in a sentence that leaves no protocol unsaid.

Accuracy on 300 test questions after the last epoch of 8, by the paper scorer, mean of 3 seeds (0, 1, 2). Intervals
are 95 %, over questions and seeds. Crosses: the best epoch on test, which flatters. Published: best of 20 epochs ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ftcot.report import cells as cells_
from ftcot.report.model import Cell, PaperPoint, Questions


def measured(
    cells: Sequence[Cell], questions: Mapping[tuple[str, str], Questions], paper: Iterable[PaperPoint] = ()
) -> str:
    """How these cells were measured."""
    sizes = sorted({cell.last.n for cell in cells})
    protocols = list(dict.fromkeys(cells_.protocol(cell) for cell in cells))
    scorers = list(dict.fromkeys(cell.facts.scorer for cell in cells))
    said = [
        f"Accuracy on {_either(f'{n:,}' for n in sizes)} test questions, "
        f"{_either(map(_after, protocols))}, by the {_either(scorers)} scorer, {_seeds(cells)}.",
        _intervals(cells, questions),
    ]
    if any(cell.best is not None for cell in cells):
        best = dict.fromkeys(cells_.protocol(cell, best=True) for cell in cells if cell.best is not None)
        said.append(f"Best: {_either(best)}, chosen on the questions it is measured on, so it flatters.")
    theirs = dict.fromkeys(point.published.protocol for point in paper)
    theirs |= dict.fromkeys(cell.verdict.published.protocol for cell in cells if cell.verdict is not None)
    if theirs:
        said.append(f"Published: {_either(theirs)}.")
    return " ".join(said)


def _after(protocol: str) -> str:
    return f"after the {protocol}" if protocol.startswith("last") else protocol


def _seeds(cells: Sequence[Cell]) -> str:
    seeds = {tuple(run.facts.seed for run in cell.runs) for cell in cells}
    numbers = {len(one) for one in seeds}
    if len(seeds) == 1:
        [only] = seeds
        words = ", ".join(map(str, only))
        return f"seed {words}" if len(only) == 1 else f"mean of {len(only)} seeds ({words})"
    if numbers == {1}:
        return "one seed each"
    return f"means of {min(numbers)} to {max(numbers)} seeds" if len(numbers) > 1 else f"means of {max(numbers)} seeds"


def _intervals(cells: Sequence[Cell], questions: Mapping[tuple[str, str], Questions]) -> str:
    clustered = any(cells_.templates(cell, questions) is not None for cell in cells)
    drawn = "questions (whole templates)" if clustered else "questions"
    if all(cell.last.seeds == 1 for cell in cells):
        return f"Intervals are 95 %, over {drawn}; one seed says nothing of how seeds differ."
    return f"Intervals are 95 %, over {drawn} and seeds."


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
