"""What runs cost: time of machines, the teacher's and a judge's money, and what a point of accuracy cost.

    fine_tune_cot, D = 1     91 s a run on 1 device, 298 pairs             52.1 %
    fine_tune_cot, D = 8     216 s, 2,274 pairs                            97.3 %
    from D = 1 to D = 8      +45.2 points for +125 s a run (2.4 times): 2.8 s a point

What a run used and what was paid for it are two things: completions are bought once, and used by every run that asks
for the same. Device-seconds stand for energy: nothing measures that. What nobody wrote down is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftcot.report.labels import text
from ftcot.report.model import Cell, Chart, Point, Report, Run
from ftcot.report.naming import cell_labels

STAGES = ("teach", "curate", "train", "evaluate")


@dataclass(frozen=True)
class CellCost:
    """A run of a cell: means over its seeds. None: a run of them does not say."""

    label: str
    runs: int
    accuracy: float
    pairs: float
    seconds: Mapping[str, float]
    """Wall time by stage; a stage that none of them had is missing."""
    device_seconds: float | None
    """Of training and evaluation, times the devices."""
    supervised_tokens: float
    """The student was trained on, over all epochs."""
    generated_tokens: float
    """The student wrote when it was tested."""
    teacher_tokens: float
    """Read and written, of the completions that it used; 0 for a teacher that counts none."""
    usd: float | None
    """What the completions and verdicts that it used cost when they were bought, whoever bought them."""


@dataclass(frozen=True)
class Step:
    """From one point of a chart's line to a later one: what more of x costs and brings, a run."""

    figure: str
    where: str
    """Panel and series."""
    axis: str
    """`diversity`."""
    a: str
    b: str
    """Values of x."""
    points: float
    """Of accuracy, gained: percent of b less that of a."""
    device_seconds: float | None
    """More."""
    times: float | None
    """Device-seconds of b over those of a."""
    usd: float | None
    """More."""
    sure: bool | None
    """Whether the 95 % interval of the difference leaves out 0; None: the two were not compared."""
    seconds_a_point: float | None
    """Device-seconds; None where nothing was gained for sure, or the time is not known."""
    usd_a_point: float | None


@dataclass(frozen=True)
class Total:
    """Of all finished runs of the report. None: no run says; `unknown_…`: how many do not."""

    runs: int
    seconds: Mapping[str, float]
    device_seconds: float | None
    unknown_device_seconds: int
    machines: Mapping[str, float]
    """What was computed on -> device-seconds, where runs say."""
    supervised_tokens: int
    generated_tokens: int
    teacher_tokens: int
    spent_usd: float | None
    """Paid by these runs to teachers."""
    unknown_spent: int
    used: int
    """Completions that the runs used, each run's counted."""
    bought: int
    """Of these, what these runs bought; the others were in the store, on record, or of a teacher that is free."""
    judge_usd: float | None
    """What the verdicts of judges cost when they were bought; None where nobody judged, or the price is not known."""


@dataclass(frozen=True)
class Cost:
    total: Total
    cells: tuple[CellCost, ...]
    """In the order of the report's cells."""
    steps: tuple[Step, ...]
    left_out: int
    """Folders that the report leaves out: what they cost is not here."""


def build(report: Report) -> Cost:
    """What the runs of a report cost."""
    labels = cell_labels(report.cells)
    apart = {frozenset((one.a.key, one.b.key)): one.low > 0 or one.high < 0 for one in report.comparisons}
    return Cost(
        total=_total(report.found.runs),
        cells=tuple(of_cell(cell, label) for cell, label in zip(report.cells, labels, strict=True)),
        steps=tuple(step for chart in report.charts for step in _steps(chart, apart)),
        left_out=len(report.found.skipped),
    )


def of_cell(cell: Cell, label: str = "") -> CellCost:
    """What a run of a cell cost."""
    scores = [run.score for run in cell.runs]
    stages = [stage for stage in STAGES if any(stage in score.seconds for score in scores)]
    return CellCost(
        label=label,
        runs=len(scores),
        accuracy=cell.last.accuracy,
        pairs=_mean(score.n_examples for score in scores),
        seconds={stage: _mean(score.seconds.get(stage, 0.0) for score in scores) for stage in stages},
        device_seconds=_known_mean(map(device_seconds, cell.runs)),
        supervised_tokens=_mean(score.tokens.get("supervised", 0) for score in scores),
        generated_tokens=_mean(score.tokens.get("generated", 0) for score in scores),
        teacher_tokens=_mean(score.tokens.get("teacher", 0) for score in scores),
        usd=_known_mean(map(worth, cell.runs)),
    )


def device_seconds(run: Run) -> float | None:
    """Of a run; None in folders of versions that did not count them."""
    counted = run.score.device_seconds
    return counted if counted or not run.score.seconds.get("train") else None


def worth(run: Run) -> float | None:
    """Dollars that what a run used had cost: nothing without a teacher."""
    return 0.0 if run.score.teacher is None else run.score.cost_usd


def spent(run: Run) -> float | None:
    """Dollars that a run paid to its teacher. One that is not live sells nothing."""
    paid = (run.status.get("counts") or {}).get("teacher_spent_usd", 0.0)
    return None if paid is None else float(paid)


def _steps(chart: Chart, apart: Mapping[frozenset[str], bool]) -> Iterable[Step]:
    """Each line's first point against each later one, where x is a number: more of it is what costs."""
    for panel in chart.panels:
        for series in panel.series:
            numbers = [point for point in series.points if not isinstance(point.x, str)]
            ordered = sorted(numbers, key=lambda point: float(point.x))
            where = ", ".join(filter(None, (text(None, panel.name), text(None, series.name))))
            # What does not depend on x stands at every x, and costs no more there.
            for later in (point for point in ordered[1:] if point.cell.key != ordered[0].cell.key):
                sure = apart.get(frozenset((ordered[0].cell.key, later.cell.key)))
                yield _step(chart, where, ordered[0], later, sure)


def _step(chart: Chart, where: str, a: Point, b: Point, sure: bool | None) -> Step:
    first, second = of_cell(a.cell), of_cell(b.cell)
    points = 100 * (second.accuracy - first.accuracy)
    seconds, usd = _more(first.device_seconds, second.device_seconds), _more(first.usd, second.usd)
    gained = points > 0 and sure is True
    times = second.device_seconds / first.device_seconds if first.device_seconds and second.device_seconds else None
    return Step(
        figure=chart.figure.name,
        where=where,
        axis=chart.figure.x,
        a=text(chart.figure.x, a.x),
        b=text(chart.figure.x, b.x),
        points=points,
        device_seconds=seconds,
        times=times,
        usd=usd,
        sure=sure,
        seconds_a_point=seconds / points if seconds is not None and gained else None,
        usd_a_point=usd / points if usd is not None and gained else None,
    )


def _total(runs: Sequence[Run]) -> Total:
    seconds = {stage: sum(run.score.seconds.get(stage, 0.0) for run in runs) for stage in STAGES}
    devices = [device_seconds(run) for run in runs]
    machines: dict[str, float] = {}
    for run, used in zip(runs, devices, strict=True):
        if used is not None and (name := run.status.get("computed_on")):
            machines[str(name)] = machines.get(str(name), 0.0) + used
    paid = [spent(run) for run in runs]
    judges = [_count(run, "judge_cost_usd", of="curation") for run in runs]
    return Total(
        runs=len(runs),
        seconds={stage: total for stage, total in seconds.items() if total},
        device_seconds=_known_sum(devices),
        unknown_device_seconds=devices.count(None),
        machines=dict(sorted(machines.items())),
        supervised_tokens=_sum(runs, "supervised"),
        generated_tokens=_sum(runs, "generated"),
        teacher_tokens=_sum(runs, "teacher"),
        spent_usd=_known_sum(paid),
        unknown_spent=paid.count(None),
        used=sum(int(_count(run, "completions") or 0) for run in runs),
        bought=sum(int(_count(run, "teacher_bought") or 0) for run in runs),
        judge_usd=_known_sum(judges),
    )


def _count(run: Run, name: str, of: str | None = None) -> Any:
    counts = run.status.get("counts") or {}
    return ((counts.get(of) or {}) if of else counts).get(name)


def _sum(runs: Sequence[Run], tokens: str) -> int:
    return sum(int(run.score.tokens.get(tokens, 0)) for run in runs)


def _more(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _known_mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [one for one in found if one is not None]
    return _mean(known) if known and len(known) == len(found) else None


def _known_sum(values: Iterable[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None
