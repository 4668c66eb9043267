"""The W&B report from code: what it asks for is what a run of ours logs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ftcot import dashboard
from tests import wandb_records
from tests.conftest import ROOT
from tests.wandb_job import record
from tests.wandb_server import ReportServer, serving

if find_spec("wandb_workspaces") is None:
    pytest.skip("no dashboard: pip install 'ftcot[dashboard]'", allow_module_level=True)


def command(*words: str, **environment: str) -> str:
    """What the command prints; in a process of its own, as wandb-workspaces warns when it is imported."""
    command = [sys.executable, "-m", "ftcot.dashboard", *words]
    everything = {name: value for name, value in os.environ.items() if name not in ("WANDB_MODE", "WANDB_SERVICE")}
    done = subprocess.run(command, env=everything | environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """What --json prints."""
    return dict(json.loads(command("me/ftcot", "--json")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a W&B run of ours."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        record(folder, folder / "cache")
    (file,) = wandb_records.files(folder)
    return file


def grids(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for block in made["report"]["blocks"]:
        if block["type"] == "panel-grid":
            yield block["metadata"]


def panels(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [panel for grid in grids(made) for panel in grid["panelBankSectionConfig"]["panels"]]
    return [panel["config"] for panel in found if panel["viewType"] == kind]


def test_accuracy_is_drawn_against_all_that_the_paper_varies(made: dict[str, Any]) -> None:
    figures = panels(made, "Vega2")
    assert [figure["fieldSettings"]["x"] for figure in figures] == ["diversity", "n_train", "n_parameters", "teacher"]
    for figure in figures:
        fields = figure["fieldSettings"]
        assert (fields["y"], fields["low"], fields["high"]) == ("accuracy", "low", "high")


def test_each_figure_asks_for_columns_of_the_table_that_runs_log(made: dict[str, Any], run: Path) -> None:
    for figure in panels(made, "Vega2"):
        (query,) = figure["userQuery"]["queryFields"]
        (table,) = [field for field in query["fields"] if field["name"] == "summaryTable"]
        (key,) = [argument["value"] for argument in table["args"] if argument["name"] == "tableKey"]
        assert set(figure["fieldSettings"].values()) <= set(wandb_records.table(run, key)["columns"])


def test_each_figure_fills_in_all_that_its_preset_leaves_open(made: dict[str, Any]) -> None:
    for figure in panels(made, "Vega2"):
        entity, _, name = figure["panelDefId"].partition("/")
        assert entity == "me"
        open_ones = set(re.findall(r"\$\{(\w+:\w+)\}", json.dumps(made["presets"][name])))
        filled = {f"field:{key}" for key in figure["fieldSettings"]} | {
            f"string:{key}" for key in figure["stringSettings"]
        }
        assert open_ones == filled


def test_a_preset_has_an_interval_for_each_run_and_a_line_through_the_means(made: dict[str, Any]) -> None:
    for preset in made["presets"].values():
        interval, line, point = preset["layer"]
        assert (interval["encoding"]["y"]["field"], interval["encoding"]["y2"]["field"]) == (
            "${field:low}",
            "${field:high}",
        )
        assert (line["encoding"]["y"]["field"], line["encoding"]["y"]["aggregate"]) == ("${field:y}", "mean")
        assert point["mark"]["type"] == "point"


def test_every_other_key_is_in_a_run_too(made: dict[str, Any], run: Path) -> None:
    ended = wandb_records.summary(run)
    summary, config = ended["summary"], ended["config"]

    def check(key: str) -> None:
        section, _, name = key.partition(":")
        if section == "config":
            value: Any = config
            for part in name.replace(".value", "", 1).split("."):
                assert part in value, key
                value = value[part]
        elif section == "summary":
            # The made-up job has neither: a teacher's accuracy and price are not always known.
            assert name in summary or name in ("score/teacher_accuracy", "score/cost_usd"), key
        else:
            assert key in ("run:displayName", "run:state"), key

    for grid in grids(made):
        for runs in grid["runSets"]:
            for column in runs["runFeed"]["columnOrder"]:
                check(column)
            for key in runs["sort"]["keys"]:
                check(f"{key['key']['section']}:{key['key']['name']}")
    for bars in panels(made, "Bar Chart"):
        check(f"config:{bars['groupBy']}")
        assert bars["groupArea"] == "stderr"
        for metric in bars["metrics"]:
            check(metric.replace("summary_metrics.", "summary:"))
    for points in panels(made, "Scatter Plot"):
        check(points["xAxis"])
        check(points["yAxis"])
    for lines in panels(made, "Run History Line Plot"):
        for metric in [lines["xAxis"], *lines["metrics"]]:
            check(f"summary:{metric}")


def test_the_predictions_and_the_runs_are_shown(made: dict[str, Any], run: Path) -> None:
    (table,) = panels(made, "Weave")
    assert '"predictions"' in json.dumps(table)
    assert wandb_records.table(run, "predictions")["data"]
    shown = [grid for grid in grids(made) if not grid["hideRunSets"]]
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ftcot"], "expected ENTITY/PROJECT"),
        (["me/ftcot/abc"], "expected ENTITY/PROJECT"),
        (["me/ftcot"], "not logged in"),
    ],
)
def test_what_cannot_be_made_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert dashboard.main(words) == 2
    assert message in capsys.readouterr().err


def test_the_json_goes_to_a_file_where_one_is_named(tmp_path: Path, made: dict[str, Any]) -> None:
    assert command("me/ftcot", "--json", str(tmp_path / "dashboard.json")) == ""
    assert json.loads((tmp_path / "dashboard.json").read_text())["presets"] == made["presets"]


def test_one_command_makes_presets_and_report(made: dict[str, Any], tmp_path: Path) -> None:
    with serving(ReportServer()) as server:
        home = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0123456789" * 4, "WANDB_CACHE_DIR": str(tmp_path)}
        address = command("me/ftcot", **home)
        assert address.startswith(f"{server.url}/me/ftcot/reports/")
    assert server.presets == {f"me/{name}": preset for name, preset in made["presets"].items()}
    (report,) = server.reports
    assert [block["type"] for block in report["blocks"]] == [block["type"] for block in made["report"]["blocks"]]
