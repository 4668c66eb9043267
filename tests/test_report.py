"""`python -m ftcot.report` from folders to files: what it counts, draws, says and leaves."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ftcot.compose import Composer, conf_dir
from ftcot.figures import find
from ftcot.files import read_json, write_json
from ftcot.records import Prediction, read_records
from ftcot.report import charts, findings
from ftcot.report.__main__ import main, place_of
from ftcot.report.findings import look
from ftcot.report.making import Asked, make
from ftcot.statistics.intervals import pooled
from ftcot.statistics.paired import holm, paired
from ftcot.statistics.trends import increasing
from tests.report_cells import make_cell, make_chart, make_panel, no_questions
from tests.report_folders import make_run, make_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vanilla fine-tuning and D = 1, 2, 8, three seeds each, as figure=mini/diversity."""
    folder = tmp_path_factory.mktemp("report") / "sweep"
    make_sweep(folder, methods=("fine_tune", "fine_tune_cot"), degrees=(1, 2, 8), n_questions=40)
    return folder


def verdicts(folders: Sequence[Path]) -> np.ndarray:
    """Verdicts after the last epoch, (seeds, questions), straight from the files."""
    rows = []
    for folder in folders:
        said = [one for one in read_records(folder / "predictions.jsonl", Prediction) if one.epoch == 2]
        rows.append([one.correct for one in sorted(said, key=lambda one: one.sample_index)])
    return np.array(rows)


def groups(sweep: Path) -> list[np.ndarray]:
    """Of fine_tune, and of D = 1, 2, 8: their jobs have the numbers 0 to 2, 3 to 5, ..."""
    folders = sorted((path for path in sweep.iterdir() if path.is_dir()), key=lambda p: int(p.name.partition("-")[0]))
    return [verdicts(folders[start : start + 3]) for start in range(0, 12, 3)]


def test_numbers_are_those_of_the_files(sweep: Path) -> None:
    vanilla, one, two, eight = groups(sweep)
    report = make(Asked((sweep,)))
    assert (len(report.found.runs), len(report.cells)) == (12, 4)
    for cell, right in zip(report.cells, (vanilla, one, two, eight), strict=True):
        assert cell.last == pooled(right)
        assert cell.last.accuracy == pytest.approx(right.mean())
        assert cell.last.by_seed == pytest.approx(tuple(right.mean(axis=1)))
        assert [run.facts.seed for run in cell.runs] == [0, 1, 2]
    [chart] = report.charts
    [finding] = chart.findings
    expected = increasing([(0.0, one), (1.0, two), (2.0, eight)])
    assert (finding.effect, finding.low, finding.high, finding.p) == pytest.approx(
        (expected.effect, expected.low, expected.high, expected.p)
    )
    assert finding.effect == pytest.approx(eight.mean() - one.mean())
    assert finding.word == "holds"
    assert f"from {100 * one.mean():.1f} % (D = 1) to {100 * eight.mean():.1f} % (D = 8)" in finding.words
    assert f"seed 2: {100 * one[2].mean():.1f} to {100 * eight[2].mean():.1f} %" in finding.detail
    assert finding.p_holm == finding.p  # the only finding


def test_every_pair_is_compared_and_all_are_corrected(sweep: Path) -> None:
    vanilla, one, two, eight = groups(sweep)
    pairs = make(Asked((sweep,))).comparisons
    told = {(pair.a.facts.diversity, pair.b.facts.diversity): pair for pair in pairs}
    expected = {(1, 2): (one, two), (1, 8): (one, eight), (2, 8): (two, eight)}
    expected |= {(1, None): (one, vanilla), (2, None): (two, vanilla), (8, None): (eight, vanilla)}
    assert told.keys() == expected.keys()
    for key, (a, b) in expected.items():
        test = paired(a, b)
        assert told[key].difference == pytest.approx(b.mean() - a.mean())
        assert (told[key].low, told[key].high, told[key].p) == pytest.approx((test.low, test.high, test.p))
        assert (told[key].only_a, told[key].only_b) == (int((a & ~b).sum()), int((b & ~a).sum()))
    assert [pair.p_holm for pair in pairs] == pytest.approx(holm([pair.p for pair in pairs]))


def test_a_report_is_a_page_pictures_tables_and_findings(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sweep), "--output", str(tmp_path / "out"), "--formats", "svg"]) == 0
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    named = ("all", "mini-diversity", "mini-diversity-samples")
    tables = sorted(f"tables/{name}.{kind}" for name in named for kind in ("csv", "md", "tex"))
    pictures = ["figures/mini-diversity.svg", "figures/mini-diversity-samples.svg"]
    assert files == sorted([*pictures, "findings.md", "index.html", "tables/comparisons.csv", *tables])
    said = capsys.readouterr().out
    assert "More rationales a question make a better student: holds" in said
    assert "12 runs, 4 settings" in said
    assert said.rstrip().endswith("out/index.html")
    with (tmp_path / "out/tables/mini-diversity.csv").open() as file:
        rows = {(row["series"], row["diversity"]): row for row in csv.DictReader(file)}
    _, one, _, eight = groups(sweep)
    assert float(rows["tiny", "8"]["accuracy"]) == pytest.approx(eight.mean())
    assert rows["tiny", "8"]["protocol"] == "last epoch of 2"
    assert rows["tiny", "8"]["best_protocol"] == "best of 2 epochs on test"
    assert float(rows["tiny", "1"]["best_accuracy"]) >= one.mean()
    with (tmp_path / "out/tables/all.csv").open() as file:
        every = list(csv.DictReader(file))
    assert len(every) == 12
    assert {row["hash"] for row in every} == {read_json(path)["hash"] for path in sweep.glob("*/status.json")}


def test_the_same_runs_make_the_same_bytes(sweep: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main([str(sweep), "--output", str(tmp_path / name)]) == 0
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path


def test_what_an_earlier_report_left_is_removed_and_nothing_else(sweep: Path, tmp_path: Path) -> None:
    for name in ("figures/old.svg", "tables/old.md", "tables/mine.txt", "mine.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert main([str(sweep), "--output", str(tmp_path), "--formats", "svg"]) == 0
    assert [(tmp_path / name).exists() for name in ("figures/old.svg", "tables/old.md")] == [False, False]
    assert [(tmp_path / name).exists() for name in ("tables/mine.txt", "mine.md")] == [True, True]
    assert not list(tmp_path.glob(".new.*"))


def test_the_report_of_one_sweep_goes_into_its_folder(sweep: Path, tmp_path: Path) -> None:
    assert place_of([sweep]) == sweep / "report"
    assert place_of([sweep, tmp_path]).parent == Path("reports")


def test_a_sweep_of_no_figure_is_drawn_over_what_varies(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(1, 8), n_questions=20, figure=None)
    [chart] = make(Asked((tmp_path,))).charts
    assert (chart.figure.name, chart.figure.x, chart.figure.kind) == ("by-diversity", "diversity", "curve")
    [panel] = chart.panels
    assert (panel.name, panel.random) == ("generated_coin_flip", 0.5)
    assert [point.x for point in panel.series[0].points] == [1, 8]
    assert chart.findings[0].claim == "More rationales a question make a better student."


def test_a_figure_can_be_drawn_over_any_runs(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(1, 8), n_questions=20, figure=None)
    [chart] = make(Asked((tmp_path,), ("mini/diversity",))).charts
    assert (chart.figure.name, chart.figure.series) == ("mini/diversity", "student")


def test_of_a_figure_of_several_a_run_is_in_the_one_that_it_is_like(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(1, 8), n_questions=20, figure=None)
    report = make(Asked((tmp_path,), ("diversity",)))
    assert [chart.figure.name for chart in report.charts] == ["diversity/all_questions-tiny"]
    assert len(report.charts[0].findings) == 1


def test_cells_of_other_questions_are_not_compared(tmp_path: Path) -> None:
    for number, flips in enumerate((2, 3)):  # the same sample indices, other coins
        make_run(tmp_path / f"{number}", f"task.n_flips={flips}", f"diversity={1 + number}", n_questions=30)
    report = make(Asked((tmp_path,)))
    assert len(report.cells) == 2
    assert report.comparisons == ()
    assert [chart.findings for chart in report.charts] == [()]


def test_questions_that_have_changed_since_some_runs_are_shown_for_none(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / f"{d}", f"diversity={d}", n_questions=10) for d in (1, 2)]
    path = folders[1] / "predictions.jsonl"
    path.write_text(
        re.sub(r'"sample_index": (\d+)', lambda found: f'"sample_index": {int(found[1]) + 100}', path.read_text())
    )
    [known] = make(Asked((tmp_path,))).questions.values()
    assert known.missing == "its questions are not those that all of the runs were tested on"


def test_folders_with_pairs_and_no_score_make_a_data_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", "diversity=2", n_questions=10)
    (folder / "score.json").unlink()
    write_json(folder / "status.json", read_json(folder / "status.json") | {"state": "partial"})
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "No run has a score, as none was asked for: there is a data card, and nothing else." in said
    assert "# Data of Coin Flip (generated)" in (tmp_path / "out/findings.md").read_text()


def test_a_figure_that_is_gone_is_drawn_by_what_varies(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(1, 8), n_questions=20, figure="mine/gone")
    report = make(Asked((tmp_path,)))
    assert [chart.figure.name for chart in report.charts] == ["by-diversity"]
    assert [note for note in report.notes if note.startswith("mine/gone is drawn by what varies: ")]


def test_a_figure_of_the_users_own_is_drawn_as_the_sweep_kept_it(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=1, degrees=(1, 2), n_questions=10, figure="mine")
    values = read_json(tmp_path / "sweep/sweep.yaml")
    kept = {"mine": {"title": "As kept", "x": "diversity", "grids": [{"seed": 0}]}}
    write_json(tmp_path / "sweep/sweep.yaml", values | {"own_figures": kept})
    [chart] = make(Asked((tmp_path / "sweep",))).charts
    assert chart.figure.title == "As kept"
    [chart] = make(Asked((tmp_path / "sweep",), ("mine",))).charts
    assert chart.figure.title == "As kept"
    (tmp_path / "conf/figure").mkdir(parents=True)
    (tmp_path / "conf/figure/mine.yaml").write_text("{title: Newer, x: diversity, grids: [{seed: 0}]}")
    [chart] = make(Asked((tmp_path / "sweep",), config_dir=tmp_path / "conf")).charts
    assert chart.figure.title == "Newer"


def test_runs_of_different_scorers_are_never_drawn_together(tmp_path: Path) -> None:
    for number, scorer in enumerate(("paper", "strict")):
        make_run(tmp_path / f"{number}", f"evaluation.scorer={scorer}", n_questions=10)
    report = make(Asked((tmp_path,)))
    assert [chart.figure.name for chart in report.charts] == ["by-kind-paper-scorer", "by-kind-strict-scorer"]
    assert report.comparisons == ()
    assert "paper scorer" in report.charts[0].caption


@pytest.mark.parametrize(
    ("name", "student", "method", "series", "protocols"),
    [
        ("few_shot_diversity", "gpt2-large", "fine_tune_cot", 4, {"early version, 128 tokens"}),
        ("data_size", "gpt2-large", "fine_tune_cot", 3, {"one evaluation"}),
        ("diversity/all_questions", "gpt2-large", "fine_tune_cot", 3, {"best of 20 epochs on test"}),
        ("student_size", "gpt2-large", "fine_tune", 4, {"best of 20 epochs on test", "one evaluation"}),
        ("student_size", "smollm2-135m", "fine_tune", 4, {"one evaluation"}),
    ],
)
def test_published_points_are_those_of_the_charts_own_students(
    name: str, student: str, method: str, series: int, protocols: set[str]
) -> None:
    [figure] = find(Composer(conf_dir()), name)
    points = charts._paper(figure, [make_cell(method=method, student=student)])
    assert {point.published.protocol for point in points} == protocols
    assert len({point.series for point in points}) == series
    if name == "student_size":
        assert len({point.x for point in points}) == 3


def test_captions_say_the_protocol_the_seeds_and_what_the_intervals_cover(sweep: Path) -> None:
    [chart] = make(Asked((sweep,))).charts
    for words in (
        "Accuracy on 40 test questions, after the last epoch of 2, by the paper scorer, mean of 3 seeds (0, 1, 2).",
        "Intervals are 95 %, over questions and seeds.",
        "Best: best of 2 epochs on test, chosen on the questions it is measured on, so it flatters.",
    ):
        assert words in chart.caption


def test_a_claim_is_judged_after_all_findings_are_corrected() -> None:
    weak = [(1, make_cell(0.5)), (8, make_cell(0.8, diversity=8))]
    worse = [(1, make_cell(0.9, student="a")), (8, make_cell(0.2, student="a", diversity=8))]
    chart = make_chart(make_panel("multiarith", gpt2=weak, a=worse), finding=charts.CLAIMS["diversity"], x="diversity")
    found = look(chart, no_questions(*(cell for _, cell in (*weak, *worse))))
    [done] = findings.corrected([replace(chart, findings=found)])
    first, second = done.findings
    assert [first.p_holm, second.p_holm] == pytest.approx(holm([one.p for one in found]))
    assert first.p_holm > found[0].p or second.p_holm > found[1].p
    assert [finding.where for finding in done.findings] == ["MultiArith, gpt2", "MultiArith, a"]
    assert second.word == "does not hold"
    assert second.effect == pytest.approx(-0.7)


WRONG = {
    "no folder": (["nowhere"], "error: nowhere: no such folder"),
    "no runs": (["empty"], "error: empty: holds no run; name a folder of outputs/ or multirun/"),
    "no figure": (["run", "--figure", "nope"], "error: figure=nope: no such option"),
    "no format": (["run", "--formats", "gif"], "error: --formats gif: expected some of svg,pdf,png"),
    "detail": (["run", "--detail", "-1"], "error: --detail -1: expected a number of runs"),
    "watch": (["run", "--watch", "0"], "error: --watch 0: expected a number of seconds"),
    "output": (["run", "--output", "file/x"], "error: --output file/x: cannot be written to"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sweep: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    shutil.copytree(next(sweep.glob("0-*")), tmp_path / "run")
    words, said = WRONG[name]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("--watch", "--figure", "--output", "index.html"))
