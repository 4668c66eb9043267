"""The small charts of the data card and of runs, for the page: like vega.py's, they name no colour.

lengths(lesson.lengths)      how many words the rationales have
reasons(card.lessons)        what was kept of each lesson, and what was dropped for which reason
kinds(card.study.rows)       the sample study: a cell a kind and row
epochs(cells)                accuracy after each epoch that was evaluated
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftcot.report.labels import percent
from ftcot.report.lessons import Lengths, Lesson
from ftcot.report.model import Cell
from ftcot.report.naming import cell_labels
from ftcot.report.palette import style
from ftcot.report.studies import Rates
from ftcot.report.vega_rows import data, finished, heat

KEPT = "kept"


def lengths(found: Lengths) -> dict[str, Any]:
    """A histogram of words."""
    import altair as alt

    rows = [
        {"from": low, "to": high, "n": n, "words": f"{low} to {high - 1} words: {n:,} rationales"}
        for low, high, n in found.bins
    ]
    chart = (
        alt.Chart(data(rows))
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin="binned", title="words of a rationale"),
            x2="to",
            y=alt.Y("n:Q", title="rationales"),
            tooltip=alt.Tooltip("words:N", title=" "),
            description="words:N",
        )
        .properties(width="container", height=140, description=_about(found))
    )
    return finished(chart)


def reasons(found: Sequence[Lesson]) -> dict[str, Any]:
    """A bar a lesson: completions by what became of them."""
    import altair as alt

    rows = []
    for lesson in found:
        for what, n in {KEPT: lesson.kept, **lesson.dropped}.items():
            share = n / max(1, lesson.completions)
            words = f"{lesson.label}: {n:,} of {lesson.completions:,} {what} ({percent(share)})"
            rows.append({"lesson": lesson.label, "what": what, "n": n, "share": share, "words": words})
    names = [KEPT, *dict.fromkeys(str(row["what"]) for row in rows if row["what"] != KEPT)]
    labels = [lesson.label for lesson in found]
    base = alt.Chart().encode(x=alt.X("share:Q", title=None, axis=None), y=alt.Y("what:N", sort=names, title=None))
    row = alt.Row("lesson:N", sort=labels, title=None, header=alt.Header(labelOrient="top", labelAnchor="start"))
    bars = base.mark_bar(height={"band": 0.7}).encode(tooltip=alt.Tooltip("words:N", title=" "), description="words:N")
    numbers = base.mark_text(align="left", dx=4, aria=False).encode(text=alt.Text("n:Q", format=","))
    layered = alt.layer(bars, numbers, data=data(rows)).properties(width=260, height={"step": 20})
    described = "What was kept and dropped of the teacher's completions. " + " ".join(
        f"{one['words']}." for one in rows
    )
    return finished(layered.facet(row=row).resolve_scale(y="independent").properties(description=described))


def kinds(rows: Sequence[Rates]) -> dict[str, Any]:
    """A heat map of the sample study: kinds down, rows along; kinds that never occur are left out."""
    import altair as alt

    seen = [kind for kind in (rows[0].rates if rows else {}) if any(row.rates.get(kind) for row in rows)]
    values = [
        {"row": row.label, "kind": kind, "share": row.rates.get(kind, 0.0)}
        | {"number": f"{100 * row.rates.get(kind, 0.0):.1f}"}
        | {"words": f"{row.label}, {kind}: {percent(row.rates.get(kind, 0.0))} of {row.n:,} answers"}
        for row in rows
        for kind in seen
    ]
    x = alt.X("row:N", sort=[row.label for row in rows], title=None, axis=alt.Axis(labelAngle=-30, labelLimit=200))
    chart = heat(values, x, alt.Y("kind:N", sort=seen, title=None), (("words", ""),))
    about = "The share of each kind of right and wrong answer, in percent."
    return finished(chart.properties(width="container", height={"step": 26}, description=about))


def epochs(cells: Sequence[Cell]) -> dict[str, Any]:
    """Accuracy on test after each evaluated epoch, the mean over seeds; empty where every run has one epoch only."""
    import altair as alt

    labels = cell_labels(cells)
    rows = []
    for cell, label in zip(cells, labels, strict=True):
        shared = set.intersection(*(set(run.epochs) for run in cell.runs))
        for epoch in sorted(shared) if len(shared) > 1 else ():
            mean = 100 * sum(float(run.right[epoch].mean()) for run in cell.runs) / len(cell.runs)
            words = f"{label}, epoch {epoch}: {mean:.1f} % (mean of {len(cell.runs)} seeds)"
            rows.append({"series": label, "epoch": epoch, "accuracy": mean, "words": words})
    if not rows:
        return {}
    names = list(dict.fromkeys(str(row["series"]) for row in rows))
    shapes = alt.Scale(domain=names, range=[style(place).shape for place in range(len(names))])
    legend = alt.Legend(title=None, orient="bottom", columns=3, labelLimit=320) if len(names) > 1 else None
    base = alt.Chart(data(rows)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False)),
        y=alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False)),
        color=alt.Color("series:N", scale=alt.Scale(domain=names), legend=legend),
    )
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        shape=alt.Shape("series:N", scale=shapes, legend=legend),
        tooltip=alt.Tooltip("words:N", title=" "),
        description="words:N",
    )
    about = "Accuracy on the test questions after each epoch."
    layered = alt.layer(base.mark_line(strokeWidth=1.5, aria=False), points)
    return finished(layered.properties(width="container", height=240, description=about))


def _about(found: Lengths) -> str:
    if not found.n:
        return "No rationales."
    middle, low, high = found.quantiles[50], found.quantiles[5], found.quantiles[95]
    return f"{found.n:,} rationales; the median has {middle} words, nine of ten have {low} to {high}."
