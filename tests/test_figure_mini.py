"""The paper's five findings in miniature: what figure=mini is made of, and two points of it by the real command.

python -m ftcot.run -m figure=mini      5 figures, 78 jobs: half an hour on two cores, so not for every commit
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.figures import find
from ftcot.grid import Planned, by_figure, expand, plan
from ftcot.hashes import FileHashes
from tests.command import Command
from tests.sweeps import states

FIGURES = {
    # figure: its jobs, and what its finding says of x
    "mini/student_size": (9, "increasing", "n_parameters"),
    "mini/methods": (36, "highest", "kind"),
    "mini/diversity": (24, "increasing", "diversity"),
    "mini/data_size": (12, "increasing", "n_train"),
    "mini/teacher": (12, "increasing", "skill"),
}

JOBS = 78
"""Of all five: they share those of D = 8."""

TWO_POINTS = (
    *("-m", "figure=mini/diversity", "task=generated/coin_flip", "diversity=1,4", "seed=0", "task.n_test=100"),
    *("training.evaluate_every=4", "devices.threads=1", "logger=none", "hydra.sweep.dir=mini"),
)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Planned]:
    """All jobs of figure=mini, checked as before a run."""
    path, tree = tmp_path_factory.mktemp("mini"), Composer(conf_dir())
    asked = expand(tree, ["figure=mini", "logger=none", f"paths.cache={path / 'cache'}"])
    return plan(tree, asked.jobs, Checker(FileHashes(path / "hashes.json")), figures=asked.figures)


def test_five_figures_share_their_jobs(jobs: list[Planned]) -> None:
    hashes = {job.checked.hash for job in jobs}
    assert len(hashes) == len(jobs) == JOBS
    assert {name: len(of) for name, of in by_figure(jobs).items()} == {name: n for name, (n, _, _) in FIGURES.items()}


def test_every_figure_has_a_finding_that_is_tested() -> None:
    for figure in find(Composer(conf_dir()), "mini"):
        assert figure.finding is not None
        assert (figure.finding.test, figure.x) == FIGURES[figure.name][1:]


def test_every_point_is_run_with_three_seeds_offline(jobs: list[Planned]) -> None:
    seeds: dict[str, set[int]] = {}
    for job in jobs:
        config = job.checked.config
        assert config["task"]["_target_"].startswith("ftcot.task.generated.")
        assert config["teacher"]["_target_"] == "ftcot.teacher.procedural.Procedural"
        assert config["student"]["_target_"] == "ftcot.student.specs.Tiny"
        rest = {key: value for key, value in config.items() if key != "seed"}
        seeds.setdefault(json.dumps(rest, sort_keys=True, default=str), set()).add(config["seed"])
    assert len(seeds) == JOBS // 3
    assert set(map(frozenset, seeds.values())) == {frozenset({0, 1, 2})}


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(ftcot: Command) -> str:
    """What the command says; it is given ten minutes, for cores that are busy."""
    process = ftcot.start(*TWO_POINTS)
    said, wrong = process.communicate(timeout=600)
    assert (process.returncode, wrong) == (0, "")
    return said


@pytest.mark.slow
def test_more_rationales_make_a_better_student_and_the_report_says_so(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    said = run(ftcot)
    assert states(tmp_path / "mini") == ["complete", "complete"]
    [finding] = re.findall(r"^.*More rationales a question make a better student: (.*)$", said, re.MULTILINE)
    assert finding.startswith("holds"), said
    report = tmp_path / "mini" / "report"
    assert said.splitlines()[-1] == "page mini/report/index.html"
    accuracy = {row["diversity"]: float(row["accuracy"]) for row in table(report / "tables" / "mini-diversity.csv")}
    assert accuracy["4"] >= accuracy["1"] + 0.15
    left = files(report)
    assert {f"figures/mini-diversity.{kind}" for kind in ("svg", "pdf", "png")} <= left.keys()
    assert {f"tables/mini-diversity.{kind}" for kind in ("md", "tex", "csv")} <= left.keys()
    assert {"index.html", "findings.md", "tables/all.csv"} <= left.keys()

    again = run(ftcot)
    assert "sweep of 2 jobs: 2 done already, 0 to run" in again
    assert f"More rationales a question make a better student: {finding}" in again
    assert files(report) == left


def table(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
