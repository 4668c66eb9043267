"""The commands that the README and the other documents give are commands that work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ftcot.compose import Composer, conf_dir
from ftcot.figures import AXES, find
from ftcot.grid import expand
from ftcot.job import build
from ftcot.report.__main__ import _parser
from ftcot.sample_study import KINDS
from tests.conftest import ROOT
from tests.test_figure_mini import JOBS
from tests.test_figures import PAPERS

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_RUN = re.compile(r"^ {4}(?:.*&& )?\S*python -m ftcot\.run(.*?)(?:  #.*)?$", re.MULTILINE)
RUNS = sorted(
    {
        run.replace("$hosts", "http://a:8000/v1,http://b:8000/v1")  # of the servers' machines
        for document in DOCUMENTS
        for run in _RUN.findall(document.read_text(encoding="utf-8").replace("\\\n", " "))
    }
)
_REPORT = re.compile(r"^ {4}python -m ftcot\.report (.*?)(?:  +#.*)?$", re.MULTILINE)
REPORTS = sorted({line for document in DOCUMENTS for line in _REPORT.findall(document.read_text(encoding="utf-8"))})
MODULES = sorted(set(re.findall(r"python -m ftcot\.(\w+)", TEXT)))

SOME = 20
"""Jobs of a command that are built, at most: a figure has hundreds."""


def test_there_is_something_to_check() -> None:
    assert len(RUNS) >= 4
    assert len(REPORTS) >= 4
    assert {"run", "predict", "audit", "doctor"} <= set(MODULES)


@pytest.mark.parametrize("command", RUNS)
def test_every_run_command_composes_and_builds(command: str) -> None:
    words = shlex.split(command)
    composer = Composer(conf_dir())
    grid = expand(composer, [word for word in words if word != "-m"]).jobs if "-m" in words else [words]
    for overrides in grid[:: -(-len(grid) // SOME)]:
        assert build(composer.job(overrides)).stages[0] == "teach"


@pytest.mark.parametrize("command", REPORTS)
def test_every_report_command_is_understood(command: str) -> None:
    assert _parser().parse_args(shlex.split(command)).folders


def test_a_figure_of_ones_own_can_be_written_as_the_document_says(tmp_path: Path) -> None:
    text = (ROOT / "docs/figures.md").read_text(encoding="utf-8").partition("## A figure of your own")[2]
    (tmp_path / "figure").mkdir()
    yaml = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    (tmp_path / "figure" / "mine.yaml").write_text(textwrap.dedent(yaml))
    composer = Composer(conf_dir(), extra=tmp_path)
    [figure] = find(composer, "mine")
    axes = text.partition("Axes: ")[2].partition(". ")[0]
    assert tuple(re.findall(r"`(\w+)`", axes)) == AXES
    assert figure.finding is not None
    assert len(expand(composer, ["figure=mine"]).jobs) == 2 * 3 * 3


def test_the_document_of_figures_counts_their_jobs() -> None:
    text = (ROOT / "docs/figures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (\d+) \| (\d+)[^|]*\|", text, re.MULTILINE)
    assert {name: (int(recorded), int(asked)) for name, recorded, asked in rows} == PAPERS | {"mini": (JOBS, JOBS)}


def test_the_document_of_reports_names_the_kinds_of_the_sample_study() -> None:
    text = (ROOT / "docs/report.md").read_text(encoding="utf-8").partition("## The sample study")[2]
    assert re.findall(r"^\| ([\w, ]+?) \| ", text, re.MULTILINE)[1:] == list(KINDS)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "run"])
def test_every_other_command_explains_itself(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"ftcot.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 100


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_and_their_sections_lead_somewhere(document: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target
        if section:
            heads = re.findall(r"^#+ (.*)$", (document.parent / target).read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, section


def test_every_option_is_in_the_readme() -> None:
    composer = Composer(conf_dir())
    for group in ("teacher", "diversity", "method", "training", "trainer", "logger"):
        for option in composer.options(group):
            assert f"`{option}`" in TEXT, f"{group}={option}"


def test_the_map_names_folders_that_exist() -> None:
    block = TEXT.partition("## Map")[2]
    for name in re.findall(r"^ {4}(\w+(?:/\w+)*)/ ", block, flags=re.MULTILINE):
        assert (ROOT / name).is_dir() or Path(name).parts[0] in ("outputs", "multirun"), name
