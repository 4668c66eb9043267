"""The paper's cells are found by what a job is, protocol included."""

from __future__ import annotations

import pytest

from ftcot import published


@pytest.mark.parametrize(
    ("method", "student", "degree", "greedy", "accuracy", "protocol"),
    [
        ("fine_tune_cot", "gpt2-medium", 1, True, 7.78, "best of 20 epochs on test"),
        ("fine_tune_cot", "gpt2-medium", 64, False, 17.78, "best of 20 epochs on test"),
        ("fine_tune_cot", "flan-t5-base", 4, False, 16.11, "best of 20 epochs on test"),
        ("fine_tune", "t5-small", None, False, 13.89, "best of 20 epochs on test"),
        ("fine_tune_cot", "curie", 1, True, 33.33, "one evaluation"),
        ("zero_shot", "gpt2-large", None, False, 2.78, "one evaluation"),
    ],
)
def test_a_job_finds_its_cell(
    method: str, student: str, degree: int | None, greedy: bool, accuracy: float, protocol: str
) -> None:
    cell = published.find(
        task="multiarith",
        method=method,
        student=student,
        teacher="text-davinci-002",
        degree=degree,
        greedy=greedy,
        train_size=420,
    )
    assert cell is not None
    assert (round(100 * cell.accuracy, 2), cell.protocol) == (accuracy, protocol)


@pytest.mark.parametrize(
    "other",
    [{"task": "my_task"}, {"student": "tiny"}, {"teacher": "procedural"}, {"train_size": 8}, {"degree": 3}],
)
def test_a_job_the_paper_never_ran_finds_none(other: dict[str, object]) -> None:
    job = {
        "task": "multiarith",
        "method": "fine_tune_cot",
        "student": "gpt2",
        "teacher": "text-davinci-002",
        "degree": 8,
        "greedy": False,
        "train_size": 420,
    }
    assert published.find(**job) is not None  # type: ignore[arg-type]
    assert published.find(**job | other) is None  # type: ignore[arg-type]
