"""The commands the README gives are commands that work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ftcot.compose import Composer, conf_dir, freeze
from ftcot.job import build
from ftcot.sweep import expand
from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RUNS = sorted(set(re.findall(r"^ {4}(?:.*&& )?\S*python -m ftcot\.run(.*?)(?:  #.*)?$", TEXT, flags=re.MULTILINE)))
MODULES = sorted(set(re.findall(r"python -m ftcot\.(\w+)", TEXT)))


def test_there_is_something_to_check() -> None:
    assert len(RUNS) >= 4
    assert {"run", "predict", "audit", "doctor"} <= set(MODULES)


@pytest.mark.parametrize("command", RUNS)
def test_every_run_command_composes_and_builds(command: str) -> None:
    words = shlex.split(command)
    composer = Composer(conf_dir())
    if "-m" in words:
        _, grid = expand(composer, [word for word in words if word != "-m"])
    else:
        grid = [words]
    for overrides in grid:
        assert build(freeze(composer.compose(overrides))).stages[0] == "teach"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "run"])
def test_every_other_command_explains_itself(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"ftcot.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 100


def test_links_to_files_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_every_option_is_in_the_readme() -> None:
    composer = Composer(conf_dir())
    for group in ("teacher", "diversity", "method", "training", "trainer", "logger"):
        for option in composer.options(group):
            assert f"`{option}`" in TEXT, f"{group}={option}"


def test_the_map_names_folders_that_exist() -> None:
    block = TEXT.partition("## Map")[2]
    for name in re.findall(r"^ {4}(\w+(?:/\w+)*)/ ", block, flags=re.MULTILINE):
        assert (ROOT / name).is_dir() or Path(name).parts[0] in ("outputs", "multirun"), name
