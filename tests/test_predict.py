"""Asking a trained student, as a user would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftcot import predict
from ftcot.records import Prediction, read_records

SMALL = [
    *("task=generated/coin_flip", "task.n_flips=2", "task.n_train=24", "task.n_test=4", "diversity='1'"),
    *("student=tiny-0.2m", "training.epochs=1", "training.batch_size=8", "evaluation.max_new_tokens=24"),
]


@pytest.fixture
def trained(pipeline_run: Callable[..., Path], compose: Callable[..., dict[str, Any]]) -> Path:
    folder = pipeline_run(*SMALL)
    (folder / "job.yaml").write_text(yaml.safe_dump(compose(*SMALL)))
    return folder


def test_the_student_says_what_it_said_in_the_test(
    trained: Path, compose: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftcot.job import build

    samples = build(compose(*SMALL)).task.splits().test
    said = {p.sample_index: p for p in read_records(trained / "predictions.jsonl", Prediction)}
    questions = tmp_path / "q.jsonl"
    questions.write_text("".join(json.dumps({"question": sample.question}) + "\n" for sample in samples))
    assert predict.main([str(trained), "--file", str(questions), "--json"]) == 0
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [reply["text"] for reply in replies] == [said[sample.sample_index].text for sample in samples]
    assert [reply["answer"] for reply in replies] == [said[sample.sample_index].prediction for sample in samples]


def test_one_question_is_answered_in_words(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main([str(trained), "A coin is heads up. Ann flips it. Bob keeps it. Is it heads up?"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("answer: ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{none}", "question"], "not a run folder"),
        (["{run}"], "give one question in quotes, or --file FILE"),
        (["{run}", "  "], "there is no question to ask"),
        (["{run}", "--file", "{none}"], "cannot be read"),
        (["{run}", "--file", "{bad}"], "line 2: no field question"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question": "a"}\n{"q": "b"}\n')
    places = {"none": str(tmp_path / "none"), "run": str(tmp_path), "bad": str(tmp_path / "bad.jsonl")}
    assert predict.main([argument.format(**places) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_a_run_that_trained_nothing_cannot_be_asked(
    tmp_path: Path, compose: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(compose(*SMALL, "method=zero_shot")))
    assert predict.main([str(tmp_path), "question"]) == 2
    assert "zero_shot trains no student" in capsys.readouterr().err
