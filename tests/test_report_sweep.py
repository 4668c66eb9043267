"""The end of a sweep: a figure's is reported at once, any other says how; whether that works changes no exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import TRAINED, Command
from tests.conftest import ROOT
from tests.sweeps import CURATED, resume

FIGURE = ("-m", "figure=mini/diversity", "task=generated/coin_flip", "diversity=1,2", "seed=0", *TRAINED[:3])
FIGURE = (*FIGURE, "student=tiny-0.2m", "training.epochs=1", "training.evaluate_every=1", "training.truncation_limit=1")
FIGURE = (*FIGURE, "evaluation.max_new_tokens=8", "trainer=cpu", "hydra.sweep.dir=figure")


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.mark.slow
def test_the_sweep_of_a_figure_ends_with_its_report(ftcot: Command) -> None:
    (ftcot.cwd / "shadow").mkdir()
    (ftcot.cwd / "shadow" / "vl_convert.py").write_text("raise ImportError('vl_convert is not there')\n")
    failed = ftcot(*FIGURE, PYTHONPATH=f"{ftcot.cwd / 'shadow'}:{ROOT}")
    assert failed.returncode == 0, failed.stderr
    assert "vl_convert is not there" in failed.stderr
    said = "the report could not be made; figures and a page: python -m ftcot.report figure"
    assert failed.stdout.splitlines()[-1] == said
    assert not (ftcot.cwd / "figure" / "report" / "index.html").exists()

    again = ftcot(*FIGURE)
    assert again.returncode == 0, again.stderr
    assert "2 done already, 0 to run" in again.stdout
    assert "More rationales a question make a better student: " in again.stdout
    assert again.stdout.splitlines()[-1] == "page figure/report/index.html"
    page = (ftcot.cwd / "figure" / "report" / "index.html").read_bytes()

    resumed = resume(ftcot, "figure")
    assert resumed.stdout.splitlines()[-1] == "page figure/report/index.html"
    assert (ftcot.cwd / "figure" / "report" / "index.html").read_bytes() == page


@pytest.mark.slow
def test_any_other_sweep_says_how_to_make_its_report(ftcot: Command) -> None:
    done = ftcot("-m", *TRAINED, "seed=0", "hydra.sweep.dir=plain")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "figures and a page: python -m ftcot.report plain"


def test_a_sweep_without_scores_has_nothing_to_report(ftcot: Command) -> None:
    done = ftcot("-m", *CURATED, "figure=mini/diversity", "seed=0", "hydra.sweep.dir=curated")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"folder {ftcot.cwd / 'curated'}"
