"""Charts: the figures that sweeps were asked for, filled in, and for all other runs the chart that says most.

figure=diversity      cells of its jobs    x = diversity, series = student, panels = task, a chart a family
-m diversity=1,8      cells of no figure   x = diversity, as that is what varies; series = what else does
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ftcot import published
from ftcot.figures import Claim, Figure
from ftcot.paper import family_of
from ftcot.report import findings
from ftcot.report.captions import measured
from ftcot.report.grouping import also_differ, lines, ordered, said, values
from ftcot.report.labels import text, title
from ftcot.report.model import Cell, Chart, Found, Panel, PaperPoint, Point, Questions, Series
from ftcot.report.run_facts import value_at

NUMBERS = ("diversity", "n_train", "skill", "n_parameters", "teacher_tokens", "student_tokens")
"""Axes along which a curve says something, those first that the paper asks about."""

OPEN = {"gpt2", "t5", "flan-t5"}
"""Families that the paper has curves of. Beside any other one stand its GPT-3 students."""

LARGEST_GPT3 = "curie"
"""Whose points stand beside those of a chart of one student, which in the paper's figures of that kind is a GPT-3."""

SETTINGS = ("learning_rate", "batch_size", "epochs")

CLAIMS: Mapping[str, Claim] = {
    "diversity": Claim("More rationales a question make a better student.", "increasing"),
    "n_train": Claim("More training questions make a better student.", "increasing"),
    "skill": Claim("A better teacher makes a better student.", "increasing"),
    "n_parameters": Claim("A larger student learns more.", "increasing"),
    "teacher": Claim("A better teacher makes a better student.", "increasing"),
    "kind": Claim("A student that is taught to reason is better than one taught answers, or not at all.", "highest"),
}
"""What is asked of runs that nobody made for a figure."""

SERIES = ("method", "student", "teacher", "skill", "n_train", "filter", "split", "diversity")
"""What tells lines apart, where the figure does not say it."""


def build(
    found: Found,
    cells: Sequence[Cell],
    figures: Mapping[str, Figure],
    questions: Mapping[tuple[str, str], Questions],
    only: Sequence[str] = (),
) -> tuple[Chart, ...]:
    """All charts, the figures of the sweeps first.

    Args:
        figures: of the sweeps, and those of `only`, by name; one that is no longer there is drawn as runs of no figure.
        only: names of figures to be drawn over all cells; of several a cell is in the one whose grids are most like it,
            or in several that are so alike. Empty: those of the sweeps.
    """
    charts: list[Chart] = []
    if only:
        far = {(name, cell.key): _misses(figures[name], cell) for name in only for cell in cells}
        nearest = {cell.key: min(far[name, cell.key] for name in only) for cell in cells}
        for name in only:
            mine = [cell for cell in cells if far[name, cell.key] == nearest[cell.key]]
            charts += _charts(figures[name], mine, questions)
        return findings.corrected(_named(charts))
    members: dict[str, set[str]] = {}
    for sweep in found.sweeps:
        for name, hashes in sweep.figures.items():
            members.setdefault(name, set()).update(hashes)
    drawn: set[str] = set()
    for name, figure in figures.items():
        mine = [cell for cell in cells if members.get(name, set()) & {run.hash for run in cell.runs}]
        drawn |= {cell.key for cell in mine}
        charts += _charts(figure, mine, questions)
    rest = [cell for cell in cells if cell.key not in drawn]
    for figure, group in _inferred(rest):
        charts += _charts(figure, group, questions)
    return findings.corrected(_named(charts))


def _misses(figure: Figure, cell: Cell) -> int:
    """In how many values a cell differs from the grid of the figure that is most like it."""
    facts, config = cell.facts, cell.runs[0].config
    plain = {"method": facts.method, "student": facts.student, "diversity": facts.diversity}

    def misses(grid: Mapping[str, Any]) -> int:
        n = 0
        for key, wanted in grid.items():
            own = value_at(config, key, None) if "." in key else plain.get(key)
            if (key in plain and own is None) or isinstance(own, list | Mapping) or key.partition(".")[0] not in config:
                continue  # vanilla fine-tuning has no D
            if key in plain or "." in key:
                n += own not in (wanted if isinstance(wanted, list | tuple) else (wanted,))
        return n

    return min(map(misses, figure.grids), default=0)


def _named(charts: Sequence[Chart]) -> list[Chart]:
    """Two charts never have one name."""
    seen: dict[str, int] = {}
    named = []
    for chart in charts:
        seen[chart.figure.name] = number = seen.get(chart.figure.name, 0) + 1
        figure = chart.figure if number == 1 else replace(chart.figure, name=f"{chart.figure.name}-{number}")
        named.append(replace(chart, figure=figure))
    return named


def _charts(figure: Figure, cells: Sequence[Cell], questions: Mapping[tuple[str, str], Questions]) -> Iterator[Chart]:
    """The chart of a figure; one for each value of the axis that tells its charts apart, and for each scorer."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        own = "" if figure.chart is None else said(figure.chart, cell.facts.axis(figure.chart))
        groups.setdefault((cell.facts.scorer, own), []).append(cell)
    scorers = list(dict.fromkeys(scorer for scorer, _ in groups))
    for (scorer, own), group in groups.items():
        apart = [text(None, own)] * (figure.chart is not None) + [f"{scorer} scorer"] * (len(scorers) > 1)
        name = "-".join([figure.name, *(_slug(word) for word in apart)])
        titled = replace(
            figure, name=name, title=": ".join([figure.title, ", ".join(apart)] if apart else [figure.title])
        )
        yield _chart(titled, group, questions)


def _chart(figure: Figure, cells: Sequence[Cell], questions: Mapping[tuple[str, str], Questions]) -> Chart:
    groups: dict[str | float | None, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(None if figure.panel is None else cell.facts.axis(figure.panel), []).append(cell)
    panels = tuple(_panel(figure, value, groups[value]) for value in ordered(figure.panel, groups))
    paper = [point for panel in panels for point in panel.paper]
    parts = [figure.caption, measured(cells, questions, paper)]
    parts += [f"Along a line there differ too: {words}." for words in dict.fromkeys(_beside(figure, panels)) if words]
    parts += ["Marked new: the paper has no such cell."] * any(cell.is_new for cell in cells)
    chart = Chart(figure, panels, (), " ".join(filter(None, [*parts, figure.note])))
    return replace(chart, findings=findings.look(chart, questions))


def _beside(figure: Figure, panels: Sequence[Panel]) -> Iterator[str]:
    """What differs along each line beside x: no curve is of x alone then."""
    for panel in panels:
        for series in panel.series:
            yield also_differ([point.cell for point in series.points], figure.x)


def _panel(figure: Figure, value: str | float | None, cells: Sequence[Cell]) -> Panel:
    name = "" if value is None else said(figure.panel, value)
    xs = values(cells, figure.x)
    series = []
    for line, members in lines(cells, figure.x, figure.series):
        if members[0].facts.axis(figure.x) is not None:
            points = tuple(Point(_x(cell.facts.axis(figure.x)), cell) for cell in members)
        else:  # what does not depend on x is as high everywhere
            points = tuple(Point(_x(x), members[0]) for x in xs) or (Point("all", members[0]),)
        series.append(Series(line, points))
    return Panel(name, tuple(series), _paper(figure, cells), _guess(cells), _teacher(cells))


def _x(value: str | float | None) -> str | float:
    assert value is not None
    return value


def _paper(figure: Figure, cells: Sequence[Cell]) -> tuple[PaperPoint, ...]:
    """The published values that the figure shows beside these cells, whether or not one of them corresponds."""
    tasks = sorted({cell.facts.task for cell in cells if cell.facts.split == "default"})
    if not figure.paper or (figure.x != "task" and len(tasks) != 1):
        return ()
    if figure.x == "task":  # rows of a table: a panel is a student
        students = {cell.facts.student for cell in cells}
        found = [(task, published.curve(figure.paper, task, figure.series or "kind", "student")) for task in tasks]
        return tuple(
            PaperPoint(task, said(figure.series, series), value)
            for task, points in found
            for series, student, value in points
            if {student} == students
        )
    only: dict[str, str] = {}
    axes = (figure.x, figure.series)
    if figure.chart == "student" and "student" not in axes:
        kinds = {str(cell.facts.axis("kind")) for cell in cells}
        only = {"student": LARGEST_GPT3} | ({"kind": kinds.pop()} if len(kinds) == 1 and "kind" not in axes else {})
    points = published.curve(figure.paper, tasks[0], figure.x, figure.series, only)
    own = {cell.facts.family for cell in cells} if figure.chart == "family" and "student" in axes else None
    return tuple(
        PaperPoint(x, _series_name(figure.series, series), value)
        for x, series, value in points
        if own is None or family_of(str(x) if figure.x == "student" else series) in (own if own & OPEN else {"gpt3"})
    )


def _series_name(axis: str | None, value: str) -> str:
    """The name of a line of the paper, as runs' lines are named."""
    return said(axis, float(value)) if axis is not None and value.isdigit() else value


def _guess(cells: Sequence[Cell]) -> float | None:
    """What a guess has, where it is more than nothing and the same for all."""
    guesses = {run.score.random_accuracy for cell in cells for run in cell.runs}
    return guesses.pop() or None if len(guesses) == 1 else None


def _teacher(cells: Sequence[Cell]) -> float | None:
    """The teacher's own accuracy, measured on most rationales, where all cells that have a teacher have the same."""
    taught = [cell for cell in cells if cell.facts.teacher is not None]
    if len({(cell.facts.teacher, cell.facts.skill, cell.facts.task, cell.facts.split) for cell in taught}) != 1:
        return None
    return max(taught, key=lambda cell: cell.facts.diversity or 0).runs[0].score.teacher_accuracy


def _inferred(cells: Sequence[Cell]) -> Iterator[tuple[Figure, list[Cell]]]:
    """Figures for cells of no figure: for each task what varies most usefully; tasks that vary alike are panels."""
    tasks: dict[str, list[Cell]] = {}
    for cell in cells:
        tasks.setdefault(cell.facts.task, []).append(cell)
    shapes: dict[tuple[str, str | None], list[Cell]] = {}
    for group in tasks.values():
        x = _best_x(group)
        shapes.setdefault((x, _series(group, x)), []).extend(group)
    for (x, series), group in shapes.items():
        curve = x in (*NUMBERS, *SETTINGS)
        claim = CLAIMS.get(x)
        if claim is not None and claim.test == "highest":
            claim = replace(claim, value=_taught(group)) if _taught(group) else None
        name = f"by-{x.replace('_', '-')}"
        heading = f"Accuracy by {title(x)}"
        yield Figure(name, heading, kind="curve" if curve else "bars", x=x, series=series, finding=claim), group


def _best_x(cells: Sequence[Cell]) -> str:
    """The axis with the longest line of cells, of those with three points or more the one that says most."""
    choices = [axis for axis in (*NUMBERS, "teacher", "filter", "student", *SETTINGS) if _longest(cells, axis) > 1]
    return max(choices, key=lambda axis: min(3, _longest(cells, axis)), default="kind")


def _longest(cells: Sequence[Cell], axis: str) -> int:
    """Points of the longest line along an axis."""
    placed = [cell for cell in cells if cell.facts.axis(axis) is not None]
    lengths = [len({cell.facts.axis(axis) for cell in line}) for _, line in lines(placed, axis, None)]
    return max(lengths, default=0)


def _series(cells: Sequence[Cell], x: str) -> str | None:
    said_already = {"kind": {"method", "diversity"}, "n_parameters": {"student"}}.get(x, {x})
    return next((axis for axis in SERIES if axis not in said_already and len(values(cells, axis)) > 1), None)


def _taught(cells: Sequence[Cell]) -> str | None:
    """The best that Fine-tune-CoT has among these, where there is anything to compare it with."""
    kinds = [str(value) for value in values(cells, "kind")]
    return kinds[-1] if kinds[-1].startswith("fine_tune_cot") and len(kinds) > 1 else None


def _slug(words: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in words.lower()).strip("-")
