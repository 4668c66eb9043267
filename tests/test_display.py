"""What a person sees, as plain lines in a pipe."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ftcot import display
from ftcot.records import Score

EPOCH = {
    **{"epoch": 2, "split": "test", "n": 180, "accuracy": 96 / 180, "interval": [0.4605, 0.6048]},
    **{"accuracies": {"paper": 96 / 180, "strict": 0.5, "lenient": 0.55}, "contains_answer": 0.6},
    **{"format_rate": 0.95, "truncation_rate": 0.01, "mean_tokens": 60.0},
}
STUDY = {"right": 0.5, "wrong arithmetic": 0.2, "repetition": 0.25, "truncated": 0.05}
SCORE = Score(
    task="multiarith",
    method="fine_tune_cot",
    student="gpt2-medium",
    teacher="text-davinci-002",
    scorer="paper",
    accuracy=96 / 180,
    n=180,
    interval=(0.4605, 0.6048),
    epoch=2,
    best_on_test={"epoch": 1, "accuracy": 0.6, "n": 180, "interval": [0.527, 0.669]},
    best_on_validation=None,
    random_accuracy=0.0,
    teacher_accuracy=0.7879,
    n_examples=2574,
    seconds={"teach": 0.01, "train": 75.0, "evaluate": 0.3},
    tokens={},
    cost_usd=None,
    epochs=(EPOCH,),
)
CONFIG = {
    "task": {"_target_": "ftcot.task.paper.PaperTask", "name": "multiarith", "split": "default"},
    "method": {"name": "fine_tune_cot"},
    "student": {"name": "gpt2-medium"},
    "teacher": {"name": "text-davinci-002"},
    "diversity": {"degree": 8, "temperature": 0.7},
}


def shown(tmp_path: Path, config: dict[str, object], score: Score = SCORE) -> list[str]:
    from ftcot.files import write_json

    write_json(tmp_path / "score.json", score.to_json())
    console = Console(file=io.StringIO(), width=160)
    display.result(console, tmp_path, config, n_train=420)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_the_result_stands_beside_what_it_can_be_compared_with(tmp_path: Path) -> None:
    lines = shown(tmp_path, CONFIG)
    assert lines[3].startswith("  student gpt2-medium")
    assert lines[3].endswith("53.33 %  [46.05, 60.48]  180 test questions, last epoch (2)")
    assert "epoch 1, best on test (the paper's protocol)" in lines[4]
    assert lines[6].split()[:4] == ["teacher", "text-davinci-002", "78.79", "%"]
    assert lines[7].startswith("  published")
    assert "best of 20 epochs on test" in lines[7]
    assert all(line == line.rstrip() for line in lines)


def test_the_result_names_the_most_frequent_errors(tmp_path: Path) -> None:
    lines = shown(tmp_path, CONFIG, replace(SCORE, epochs=(EPOCH | {"study": STUDY},)))
    assert "  errors 25.00 % repetition; 20.00 % wrong arithmetic; 5.00 % truncated" in lines
    assert not any("errors" in line for line in shown(tmp_path, CONFIG))  # of an earlier version


def test_errors_that_are_rare_are_added_up_and_luck_is_told_apart() -> None:
    rates = {
        "truncated": 0.1,
        "repetition": 0.1,
        "wrong arithmetic": 0.3,
        "no answer marker": 0.05,
        "copied question": 0.02,
    }
    assert display.mistakes(rates) == "30.00 % wrong arithmetic; 10.00 % truncated; 10.00 % repetition; 7.00 % others"
    lucky = {"right": 0.9, "right answer, wrong equation": 0.1}
    assert display.mistakes(lucky) == "10.00 % right answer, wrong equation"
    assert display.mistakes({"right": 1.0, "truncated": 0.0}) == display.mistakes({}) == ""


@pytest.mark.parametrize("target", ["ftcot.task.file.file_task", "ftcot.task.generated.coin_flip.CoinFlip"])
def test_a_task_of_the_same_name_gets_no_published_value(tmp_path: Path, target: str) -> None:
    config = CONFIG | {"task": {"_target_": target, "name": "multiarith", "split": "default"}}
    assert not any("published" in line for line in shown(tmp_path, config))


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.21, "3.2 s"), (59.96, "60.0 s"), (250, "4 min 10 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert display.duration(seconds) == words


def test_columns_are_aligned_without_trailing_spaces() -> None:
    assert display.columns([("a", "1", ""), ("bcd", "22", "x")], right={1}) == ["a     1", "bcd  22  x"]


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        (None, "unknown"),
        (0, "$0"),
        (0.0000012, "$0.0000012"),
        (0.00999, "$0.010"),
        (0.0371, "$0.037"),
        (0.2, "$0.20"),
        (0.999, "$1"),
        (1.005, "$1.00"),
        (5, "$5"),
        (1204.5, "$1,204.50"),
    ],
)
def test_money(usd: float | None, words: str) -> None:
    assert display.money(usd).removesuffix(".00") == words.removesuffix(".00")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (999, "999"), (999.7, "1.0k"), (1234, "1.2k"), (61_400, "61k"), (999_600, "1.0M"), (12_345_678, "12M")],
)
def test_a_count_in_short(count: float, words: str) -> None:
    assert display.short(count) == words


@pytest.mark.parametrize("width", [30, 60, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_no_figure_of_a_table_is_cut_off_however_narrow_the_screen(width: int, terminal: bool) -> None:
    said = io.StringIO()
    console = Console(file=said, width=width, force_terminal=terminal, color_system=None)
    rows = [("", "job", "calls", "cost"), ("0", "diversity=1 teacher.model=gpt-4o-mini", "1,680", "$0.20 to $0.61")]
    display.table(console, rows, right={2, 3}, key=2)
    lines = said.getvalue().splitlines()
    assert all(cell in " ".join(said.getvalue().split()) for cell in rows[1])
    assert len(lines) == 2 or (terminal and width < 70)
    assert not terminal or all(len(line.rstrip()) <= width for line in lines) or width == 30
