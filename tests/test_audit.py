"""The leak audit against the paper's tasks, and its command."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcot.answers import Text
from ftcot.audit import main
from ftcot.task.audit import KINDS, audit, groups
from ftcot.task.paper import BENCHMARKS, PaperTask


def counts(name: str, folder: Path, split: str) -> tuple[int, int, dict[str, int]]:
    parts = PaperTask(name, Text(), folder, split=split).splits()  # type: ignore[arg-type]
    train, test = ({sample.sample_index: sample.question for sample in half} for half in (parts.train, parts.test))
    return len(train), len(test), {kind: len(found) for kind, found in audit(train, test).items()}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "exact", "numbers", "context"),
    [
        ("single_eq", 0, 4, 0),
        ("addsub", 0, 1, 0),
        ("multiarith", 5, 77, 12),
        ("gsm8k", 0, 0, 0),
        ("aqua", 0, 2, 1),
        ("svamp", 0, 0, 7),
        ("date_understanding", 0, 1, 111),
        ("tracking_shuffled_objects", 0, 0, 198),
        ("last_letter_concatenation", 0, 0, 0),
        ("coin_flip", 0, 0, 0),
        ("commonsense_qa", 0, 0, 0),
        ("strategy_qa", 1, 1, 0),
    ],
)
def test_published_splits_leak_this_much(data_dir: Path, name: str, exact: int, numbers: int, context: int) -> None:
    found = counts(name, data_dir, "default")[2]
    assert found == {"exact": exact, "numbers": numbers, "context": context}


@pytest.mark.data
@pytest.mark.parametrize("name", BENCHMARKS)
def test_clean_splits_leak_nothing(data_dir: Path, name: str) -> None:
    assert set(counts(name, data_dir, "clean")[2].values()) == {0}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n_train", "n_test"),
    [
        ("multiarith", 420, 180),
        ("date_understanding", 252, 117),
        ("tracking_shuffled_objects", 525, 225),
        ("aqua", 9997, 254),
        ("gsm8k", 7473, 1319),
    ],
)
def test_clean_splits_keep_their_size(data_dir: Path, name: str, n_train: int, n_test: int) -> None:
    assert counts(name, data_dir, "clean")[:2] == (n_train, n_test)


@pytest.mark.parametrize(
    ("kind", "question", "key"),
    [
        pytest.param("exact", " Is it? ", "Is it?", id="spaces around do not count"),
        pytest.param("numbers", "He paid $1,200.50 for 3.", "He paid $# for #.", id="a number is masked whole"),
        pytest.param(
            "context", "Today is 3/4/2020. What is the date?", "Today is 3/4/2020.", id="all but the question"
        ),
        pytest.param("context", "What is 2 + 2?", "", id="one sentence has no context"),
        pytest.param("context", "Did Dr. Seuss live past 1990?", "", id="a title ends no sentence"),
        pytest.param(
            "context",
            "Ann sat. Who sat?\nWhich choice is true? Answer choices: (A) No. 1, (B) x.",
            "Ann sat.",
            id="choices",
        ),
    ],
)
def test_what_an_overlap_compares(kind: str, question: str, key: str) -> None:
    assert KINDS[kind](question) == key


def test_questions_without_context_share_none() -> None:
    assert audit({0: "Who?"}, {1: "When?"}) == {"exact": [], "numbers": [], "context": []}


def test_groups_connect_through_a_third_question() -> None:
    questions = {0: "Ann has 2 cats. How many?", 1: "Bob?", 2: "Ann has 3 cats. How many?", 3: "Ann has 3 cats. Who?"}
    assert groups(questions) == [[0, 2, 3], [1]]


@pytest.mark.data
def test_the_command_prints_counts_examples_and_the_way_out(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multiarith", "--data", str(data_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "multiarith, split default: 420 training and 180 test questions"
    assert any(line.split() == ["same", "but", "for", "numbers", "77", "of", "180", "42.8%"] for line in lines)
    assert any(line.startswith("  test  3: The school cafeteria ordered 42 red apples") for line in lines)
    assert any(line.startswith("  train 45: The school cafeteria ordered 33 red apples") for line in lines)
    way_out = f"python -m ftcot.run task=multiarith paths.data={data_dir} task.split=clean"
    assert lines[-1] == f"Without these overlaps: {way_out}"


@pytest.mark.data
def test_the_command_finds_the_data_as_a_run_does(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCOT_DATA", str(data_dir))
    assert main(["svamp"]) == 0
    assert capsys.readouterr().out.endswith("python -m ftcot.run task=svamp task.split=clean\n")


def test_the_command_reads_a_file_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my.csv"
    file.write_text("question,answer,split\nWhat is 1+1?,2,train\nWhat is 2+2?,4,test\n")
    assert main([str(file)]) == 0
    out = capsys.readouterr().out
    assert "same but for numbers  1 of 1" in out
    assert f"task=jsonl task.path={file} task.split=clean" in out
    assert main([str(file), "--split", "clean"]) == 2, "nothing is left to train on"


@pytest.mark.parametrize("arguments", [["multiarit"], ["svamp", "--split", "template"], ["svamp", "--split", "x"]])
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
