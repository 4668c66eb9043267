"""The W&B report of a project, from code: `python -m ftcot.dashboard ENTITY/PROJECT`.

    accuracy against D      mean over seeds as a line, each run with its 95 % interval
    ... against data size, student size and teacher
    cost                    accuracy against device-seconds
    training                loss by step, accuracy by epoch
    runs, predictions       the tables

Every command makes a new report. It holds no figures: a report asks for those of the project's runs each time somebody
looks at it. The charts with intervals are a preset (Vega-Lite) of the entity's, made by the same command and drawn from
the table `result` that each run logs; `--json` shows report and preset without a server.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.errors import FtcotError, InputError, JobError
from ftcot.files import write_atomic
from ftcot.logger import facts, logged_in

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Panel, Report

TITLE = "Fine-tune-CoT"


@dataclass(frozen=True)
class Figure:
    """Accuracy against one thing that differs from run to run."""

    title: str
    x: str
    """A column of the table `result`."""
    color: str
    line: str
    """Runs of one colour and one `line` are joined, the mean at each x."""
    by_name: bool = False
    """x is a name, not a number on a logarithmic axis."""

    @property
    def fields(self) -> dict[str, str]:
        """Which column is which field of the preset."""
        return {"x": self.x, "y": "accuracy", "low": "low", "high": "high", "color": self.color, "line": self.line}

    @property
    def preset(self) -> str:
        """Its name in W&B. A preset is never changed: another drawing gets another name."""
        return f"ftcot-accuracy-by-{'name' if self.by_name else 'number'}-1"


FIGURES = (
    Figure("Accuracy against D, the rationales a question", x="diversity", color="student", line="task"),
    Figure("Accuracy against training questions", x="n_train", color="method", line="task"),
    Figure("Accuracy against parameters of the student", x="n_parameters", color="method", line="task"),
    Figure("Accuracy against teacher", x="teacher", color="student", line="task", by_name=True),
)

RUN_COLUMNS = (
    "run:displayName",
    "run:state",
    *(f"config:{facts.JOB}.value.{key}" for key in ("task", "method", "student", "teacher", "diversity", "n_train")),
    *(f"summary:score/{key}" for key in ("accuracy", "accuracy_low", "accuracy_high", "n", "teacher_accuracy")),
    *(f"summary:score/{key}" for key in ("device_seconds", "cost_usd")),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if W&B refuses, 2 for wrong input."""
    options = _parser().parse_args(arguments)
    try:
        entity, _, project = options.project.partition("/")
        if not entity or not project or "/" in project:
            raise InputError(f"{options.project}: expected ENTITY/PROJECT")
        if find_spec("wandb_workspaces") is None:
            raise InputError("the dashboard needs the package wandb-workspaces: pip install 'ftcot[dashboard]'")
        if options.json is not None:
            text = json.dumps(as_json(entity, project), indent=2) + "\n"
            sys.stdout.write(text) if options.json == Path("-") else write_atomic(options.json, text)
            return 0
        if not logged_in():
            raise InputError("not logged in to W&B: run `wandb login`, or set WANDB_API_KEY; --json needs no login")
        print(create(entity, project))
    except FtcotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ftcot.dashboard", description="Make the W&B report of a project.")
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", nargs="?", const=Path("-"), help="write report and charts there (or here)"
    )
    return parser


def create(entity: str, project: str) -> str:
    """Make presets and report in W&B; returns the report's address.

    Raises:
        JobError: W&B refuses.
    """
    import wandb

    try:
        api = wandb.Api()
        for name, spec in presets().items():
            try:
                api.create_custom_chart(entity, name, TITLE, "vega2", "private", dict(spec))
            except Exception as error:
                if "exist" not in str(error).lower():  # made by an earlier report
                    raise
        return str(report(entity, project).save().url)
    except Exception as error:
        raise JobError(f"W&B: {(str(error) or type(error).__name__).splitlines()[0]}") from None


def as_json(entity: str, project: str) -> dict[str, Any]:
    """What `create` would send."""
    spec = report(entity, project)._to_model().spec
    return {"report": json.loads(spec.model_dump_json(by_alias=True, exclude_none=True)), "presets": presets()}


def report(entity: str, project: str) -> Report:
    """The report, not saved."""
    import wandb_workspaces.reports.v2 as wr

    best_first = wr.OrderBy(wr.SummaryMetric("score/accuracy"), ascending=False)
    # Without entity and project: those of the report, and nobody is asked whether they exist.
    runs = wr.Runset(name="runs", order=[best_first], pinned_columns=list(RUN_COLUMNS), lock_columns=True)

    def grid(panels: Sequence[Panel], *, table: bool = False) -> wr.PanelGrid:
        return wr.PanelGrid(runsets=[runs], panels=list(panels), hide_run_sets=not table)

    return wr.Report(
        entity=entity,
        project=project,
        title=TITLE,
        description="Made by python -m ftcot.dashboard.",
        width="fluid",
        blocks=[
            wr.P(
                "Accuracy is that of the last epoch on the test questions, with its 95 % interval (Wilson). Points are "
                "runs, lines the means over seeds."
            ),
            grid(_figures(entity)),
            wr.H2("Means over runs"),
            grid(_means()),
            wr.H2("Training and cost"),
            grid(_curves()),
            wr.H2("Predictions"),
            wr.P("The same sample of test questions in every run of a task."),
            grid([wr.WeavePanelSummaryTable(table_name=facts.PREDICTIONS, layout=wr.Layout(w=24, h=14))]),
            wr.H2("Runs"),
            grid([], table=True),
        ],
    )


def _figures(entity: str) -> list[Panel]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": facts.RESULT}},
            chart_name=f"{entity}/{figure.preset}",
            chart_fields=figure.fields,
            chart_strings={"title": figure.title},
            layout=wr.Layout(x=12 * (number % 2), y=9 * (number // 2), w=12, h=9),
        )
        for number, figure in enumerate(FIGURES)
    ]


def _means() -> list[Panel]:
    """Bars with the standard error over runs: W&B's own, for what a run set is filtered to."""
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.BarPlot(
            title=f"accuracy by {key.replace('_', ' ')}",
            metrics=[wr.SummaryMetric("score/accuracy")],
            orientation="v",
            groupby=wr.Config(f"{facts.JOB}.{key}"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            layout=wr.Layout(x=8 * number, w=8, h=7),
        )
        for number, key in enumerate(("method", "diversity", "student"))
    ]


def _curves() -> list[Panel]:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.LinePlot(title="loss by step", x="train/step", y=["train/loss"], log_y=True, layout=wr.Layout(w=8, h=7)),
        wr.LinePlot(
            title="test accuracy by epoch",
            x="evaluation/epoch",
            y=["evaluation/accuracy"],
            layout=wr.Layout(x=8, w=8, h=7),
        ),
        wr.ScatterPlot(
            title="accuracy against device-seconds",
            x=wr.SummaryMetric("score/device_seconds"),
            y=wr.SummaryMetric("score/accuracy"),
            log_x=True,
            layout=wr.Layout(x=16, w=8, h=7),
        ),
    ]


def presets() -> dict[str, Mapping[str, Any]]:
    """The Vega-Lite charts that the report's figures are, by name. `${field:x}` is what a panel's `fields` say of x."""
    return {figure.preset: _vega(by_name=figure.by_name) for figure in FIGURES}


def _vega(*, by_name: bool) -> dict[str, Any]:
    numbers = {"type": "quantitative", "scale": {"type": "log", "nice": False}, "axis": {"format": "~s", "grid": False}}
    accuracy = {"type": "quantitative", "axis": {"format": "%", "title": "accuracy"}}
    color = {"field": "${field:color}", "type": "nominal"}
    line = {"field": "${field:line}", "type": "nominal"}
    shown = [{"field": f"${{field:{key}}}"} for key in ("color", "line", "x", "y", "low", "high")]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"name": "wandb"},
        "title": "${string:title}",
        "width": "container",
        "height": "container",
        "encoding": {"x": {"field": "${field:x}", **({"type": "nominal"} if by_name else numbers)}, "color": color},
        "layer": [
            {
                "mark": {"type": "rule", "opacity": 0.5},
                "encoding": {"y": {"field": "${field:low}", **accuracy}, "y2": {"field": "${field:high}"}},
            },
            {
                "mark": {"type": "line"},
                "encoding": {"y": {"field": "${field:y}", "aggregate": "mean", **accuracy}, "strokeDash": line},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 50},
                "encoding": {"y": {"field": "${field:y}", **accuracy}, "tooltip": shown},
            },
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
