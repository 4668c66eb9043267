"""From folders to a report: everything is read, drawn together and tested; nothing is written.

[multirun/2026-11-23/05-30-41-2239]   ──>   Report(15 runs, 5 cells, 1 chart, 1 finding, 10 comparisons)
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftcot.errors import InputError
from ftcot.figures import Figure, figure_of, find, of_users, title_of
from ftcot.report import cells, charts, comparisons, data_card
from ftcot.report.labels import text
from ftcot.report.model import Found, Questions, Report
from ftcot.report.questions import read_questions
from ftcot.report.reading import Progress, nothing_found, read


@dataclass(frozen=True)
class Asked:
    """What a report is asked for."""

    folders: tuple[Path, ...]
    figures: tuple[str, ...] = ()
    """To be drawn, each over all runs; none: those of the sweeps."""
    config_dir: Path | None = None
    """A user's own folder of options, with figures of theirs."""

    @property
    def command(self) -> str:
        """That asks for the same."""
        words = ["python", "-m", "ftcot.report", *map(str, self.folders)]
        words += [word for name in self.figures for word in ("--figure", name)]
        words += ["--config-dir", str(self.config_dir)] if self.config_dir else []
        return shlex.join(words)


def make(asked: Asked, progress: Progress = lambda done, total: None) -> Report:
    """The report.

    Raises:
        InputError: a folder is not there or none of them holds a finished run, or there is no such figure.
    """
    found = read(asked.folders, progress)
    pairs_alone = [] if found.runs else data_card.pairs_alone(found)
    if not found.runs and not pairs_alone:
        raise nothing_found(asked.folders, found)
    questions = read_questions(found.runs)
    notes = _about(found, questions)
    figures, figures_title = _figures(asked, found, notes)
    all_cells = cells.build(found.runs, questions)
    only = tuple(figures) if asked.figures else ()
    drawn = charts.build(found, all_cells, figures, questions, only)
    pairs = comparisons.build(drawn, questions)
    if len(pairs) == comparisons.MOST:
        notes.append(comparisons.RULE)
    if pairs_alone:
        notes.append("No run has a score, as none was asked for: there is a data card, and nothing else.")
    tasks = [run.facts.task for run in found.runs] or [str(one.config["task"]["name"]) for one in pairs_alone]
    title = _title(len(found.runs), tasks) if pairs_alone or not figures else figures_title
    return Report(title, found, all_cells, drawn, pairs, questions, asked.command, tuple(notes))


def _figures(asked: Asked, found: Found, notes: list[str]) -> tuple[dict[str, Figure], str]:
    """The figures that are asked for, or else those of the sweeps, by name; and what they are called together."""
    from ftcot.compose import Composer, conf_dir

    names = asked.figures or tuple(dict.fromkeys(name for sweep in found.sweeps for name in sweep.figures))
    if not names:
        return {}, ""
    composer = Composer(conf_dir(), extra=asked.config_dir)
    kept = {name: (sweep, values) for sweep in found.sweeps for name, values in sweep.own_figures.items()}
    for name in of_users(composer, kept):  # in --config-dir, and newer perhaps
        del kept[name]
    figures: dict[str, Figure] = {}
    for name in names:
        try:
            if name in kept:
                sweep, values = kept[name]
                figures[name] = figure_of(sweep.folder / "sweep.yaml", name, values)
                continue
            figures |= {figure.name: figure for figure in find(composer, name)}
        except InputError as error:
            if asked.figures:
                raise
            notes.append(f"{name} is drawn by what varies: {str(error).partition(';')[0]}.")
    return figures, title_of(composer, figures) or ", ".join(figure.title for figure in figures.values())


def _about(found: Found, questions: Mapping[tuple[str, str], Questions]) -> list[str]:
    """What a reader has to know of all of it."""
    notes = [
        f"{task}: questions are not shown, and templates not told apart: {known.missing}."
        for (task, _), known in questions.items()
        if known.missing
    ]
    if len({run.facts.scorer for run in found.runs}) > 1:
        notes.append("Runs that report by different scorers are never drawn or compared together.")
    return notes


def _title(n: int, tasks: Sequence[str]) -> str:
    what = f"{n} run{'s' * (n != 1)} on" if n else "Data of"
    names = [text("task", task) for task in sorted(set(tasks))]
    return f"{what} {', '.join(names[:3])}{' and others' * (len(names) > 3)}"
