"""The paper's cells are found by what a job is, protocol included."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import pytest

from ftcot import paper, published
from ftcot.published import Published

JOB: dict[str, Any] = {
    "task": "multiarith",
    "method": "fine_tune_cot",
    "student": "gpt2",
    "teacher": "text-davinci-002",
    "degree": 8,
    "greedy": False,
    "train_size": 420,
}


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((files("ftcot") / "paper" / f"{name}.csv").read_text().splitlines()))


@dataclass(frozen=True)
class Run:
    """As report.model.Facts has it."""

    task: str = "multiarith"
    split: str = "default"
    method: str = "fine_tune_cot"
    student: str = "gpt2-medium"
    teacher: str | None = "text-davinci-002"
    diversity: int | None = 64
    temperature: float | None = 0.7
    n_train: int | None = 420
    filter: str | None = "answer"
    teacher_tokens: int | None = 128
    student_tokens: int = 512
    learning_rate: float | None = 3e-4
    batch_size: int | None = 8
    scorer: str = "paper"


PAPER_TASK = {"_target_": "ftcot.task.paper.PaperTask"}


@pytest.mark.parametrize(
    ("name", "n"),
    [
        *(("performance", 902), ("diverse_reasoning", 210), ("dataset_size", 255), ("teacher_performance", 40)),
        *(("student_size", 192), ("dataset_counts", 12), ("finetune_file_counts", 183)),
    ],
)
def test_the_tables_have_all_their_rows(name: str, n: int) -> None:
    assert len(table(name)) == n


@pytest.mark.parametrize(
    ("method", "student", "degree", "greedy", "accuracy", "protocol"),
    [
        ("fine_tune_cot", "gpt2-medium", 1, True, 7.78, "best of 20 epochs on test"),
        ("fine_tune_cot", "gpt2-medium", 64, False, 17.78, "best of 20 epochs on test"),
        ("fine_tune_cot", "flan-t5-base", 4, False, 16.11, "best of 20 epochs on test"),
        ("fine_tune", "t5-small", None, False, 13.89, "best of 20 epochs on test"),
        ("fine_tune_cot", "curie", 1, True, 33.33, "one evaluation"),
        ("zero_shot", "gpt2-large", None, False, 2.78, "one evaluation"),
        ("zero_shot_cot", "curie", None, True, 5.0, "one evaluation"),
    ],
)
def test_a_job_finds_its_cell(
    method: str, student: str, degree: int | None, greedy: bool, accuracy: float, protocol: str
) -> None:
    cell = published.find(**JOB | {"method": method, "student": student, "degree": degree, "greedy": greedy})
    assert cell is not None
    assert (round(100 * cell.accuracy, 2), cell.protocol, cell.n) == (accuracy, protocol, 180)


@pytest.mark.parametrize(
    "other",
    [{"task": "my_task"}, {"student": "tiny"}, {"teacher": "procedural"}, {"train_size": 8}, {"degree": 3}],
)
def test_a_job_the_paper_never_ran_finds_none(other: dict[str, object]) -> None:
    assert published.find(**JOB) is not None
    assert published.find(**JOB | other) is None


def test_every_cell_of_the_open_students_is_found() -> None:
    rows = [row for row in table("performance") if row["student"].startswith(("gpt2", "t5", "flan_t5"))]
    assert len(rows) == 504
    for row in rows:
        sizes = {"train_size": int(row["train_size"] or 0), "degree": int(row["diversity"] or 0) or None}
        diverse = row["method"] == "fine_tune_cot_diverse"
        found = published.find(
            task=row["task"],
            method=row["method"].removesuffix("_diverse"),
            student=row["student"].replace("_", "-"),
            teacher="text-davinci-002",
            greedy=not diverse,
            **sizes,
        )
        assert found is not None, row
        assert f"{100 * found.accuracy:.2f}" == row["accuracy"]
        trained = row["method"].startswith("fine_tune")
        assert found.protocol == ("best of 20 epochs on test" if trained else "one evaluation")
        assert (found.grade, found.error, found.source) == ("exact", 0.0, row["source"])


def test_data_size_and_teachers_are_found_too() -> None:
    curie = JOB | {"student": "curie"}
    small = published.find(**curie | {"degree": 64, "train_size": 128})
    assert small is not None
    assert (round(100 * small.accuracy, 2), small.figure, small.grade) == (30.56, "fig:dataset_size", "read off a plot")
    weak = published.find(**curie | {"teacher": "davinci", "degree": 1, "greedy": True})
    assert weak is not None
    assert (round(100 * weak.accuracy, 2), weak.figure) == (7.78, "fig:teacher_performance")


def test_rows_of_the_first_version_are_never_found_as_cells() -> None:
    # ada with 8 questions is in the first version only.
    job = JOB | {"student": "ada", "degree": 1, "greedy": True, "train_size": 8}
    assert published.find(**job) is None
    early = [row for row in paper.rows() if row["figure"].startswith("early version")]
    assert len(early) == 224
    assert {paper.published_of(row).protocol for row in early} == {"early version, 128 tokens"}
    # Where both versions have a cell, the camera-ready one is given.
    both = published.find(**JOB | {"student": "curie", "degree": 8})
    assert both is not None
    assert not both.figure.startswith("early version")


def test_grades_of_evidence_are_those_of_the_sources() -> None:
    grades = Counter(paper.published_of(row).grade for row in paper.rows() if row["accuracy"])
    assert grades["approximate"] == 18
    assert grades["read off a plot"] == 196
    for row in paper.rows():
        if row["accuracy"]:
            value = paper.published_of(row)
            assert (value.grade == "exact") == ("read off the plot" not in row["source"])
            assert (value.grade == "approximate") == (value.error > 0)


@pytest.mark.parametrize(
    ("task", "student", "n"), [("date_understanding", "curie", 109), ("date_understanding", "gpt2", 111)]
)
def test_gpt3_was_not_asked_the_demonstrations(task: str, student: str, n: int) -> None:
    cell = published.find(**JOB | {"task": task, "student": student, "method": "few_shot_cot"})
    assert cell is not None
    assert cell.n == n


def test_exact_and_snapped_values_are_shares_of_their_questions() -> None:
    for row in paper.rows():
        value = paper.published_of(row) if row["accuracy"] and row["student"] else None
        if value is None or value.n is None or value.grade == "approximate":
            continue
        count = round(value.accuracy * value.n)
        assert f"{100 * count / value.n:.2f}" == f"{100 * value.accuracy:.2f}", row


@pytest.mark.parametrize(
    ("task", "teacher", "accuracy", "grade"),
    [
        ("multiarith", "text-davinci-002", 78.79, "exact"),
        ("date_understanding", "text-davinci-002", 67.58, "exact"),
        ("multiarith", "davinci", 11.6, "approximate"),
    ],
)
def test_teachers_have_an_accuracy_of_their_own(task: str, teacher: str, accuracy: float, grade: str) -> None:
    found = published.teacher_accuracy(task, teacher)
    assert found is not None
    assert (round(100 * found.accuracy, 2), found.grade) == (accuracy, grade)
    assert (found.protocol, found.n) == ("all completions, train and test", None)


def test_the_best_teacher_is_known_on_all_tasks_and_others_on_some() -> None:
    assert all(published.teacher_accuracy(row["task"]) for row in table("dataset_counts"))
    assert published.teacher_accuracy("gsm8k", "davinci") is None


def test_a_runs_cell_is_that_of_its_facts() -> None:
    cell = published.cell(Run(), PAPER_TASK)
    assert cell is not None
    assert round(100 * cell.accuracy, 2) == 17.78


@pytest.mark.parametrize(
    ("run", "task"),
    [
        (Run(), {"_target_": "ftcot.task.file.FileTask"}),
        (Run(split="template"), PAPER_TASK),
        (Run(filter="none"), PAPER_TASK),
        (Run(teacher_tokens=512), PAPER_TASK),
    ],
)
def test_a_run_on_other_data_has_no_cell(run: Run, task: dict[str, str]) -> None:
    assert published.cell(run, task) is None


def test_a_run_that_was_not_trained_finds_its_cell() -> None:
    run = Run(method="zero_shot", teacher=None, diversity=None, temperature=None, n_train=None, filter=None)
    cell = published.cell(replace(run, learning_rate=None, batch_size=None, teacher_tokens=None), PAPER_TASK)
    assert cell is not None
    assert cell.protocol == "one evaluation"


@pytest.mark.parametrize(
    ("run", "measured", "why"),
    [
        (Run(), "best of 20 epochs on test", None),
        (Run(), "last epoch of 3", "published: best of 20 epochs on test; this run: last epoch of 3"),
        (Run(scorer="strict"), "best of 20 epochs on test", "published: the paper's scorer; this run: the strict one"),
        (
            Run(student_tokens=96, learning_rate=1e-3),
            "best of 20 epochs on test",
            "published: up to 1024 new tokens, learning rate 0.0003, batch 8; this run: up to 96, 0.001, 8",
        ),
    ],
)
def test_runs_measured_in_another_way_are_not_compared(run: Run, measured: str, why: str | None) -> None:
    cell = Published(0.1778, "best of 20 epochs on test", "tab:performance_gpt2", n=180)
    assert published.comparable(run, measured, cell) == why


@pytest.mark.parametrize(
    ("epochs", "best", "words"),
    [
        (20, True, "best of 20 epochs on test"),
        (3, False, "last epoch of 3"),
        (None, False, "one evaluation"),
    ],
)
def test_runs_are_measured_in_the_papers_words(epochs: int | None, best: bool, words: str) -> None:
    assert published.protocol(epochs, best=best) == words


@pytest.mark.parametrize(
    ("job", "new"),
    [
        ({}, False),
        ({"student": "smollm2-135m"}, False),  # a student of ours in a cell that others had
        ({"task": "gsm8k", "train_size": None}, True),
        ({"task": "aqua", "train_size": None}, True),
        ({"task": "commonsense_qa", "train_size": 9741}, True),
        ({"task": "gsm8k", "train_size": None, "greedy": True, "degree": 1}, False),
        ({"task": "date_understanding", "train_size": None}, False),
        ({"task": "date_understanding", "train_size": None, "degree": 4}, True),
        ({"task": "tracking_shuffled_objects", "method": "few_shot_cot", "train_size": None}, True),
        ({"method": "few_shot_cot"}, False),
        ({"method": "zero_shot_cot"}, True),  # of GPT-3 only
        ({"method": "zero_shot_cot", "student": "smollm2-135m"}, False),
        ({"train_size": 32}, True),  # data sizes: of GPT-3 only
        ({"train_size": 32, "student": "tiny", "degree": 64}, False),
        ({"teacher": "davinci"}, True),
        ({"split": "template"}, False),
        ({"split": "template", "task": "svamp"}, True),
        ({"split": "clean"}, True),
        ({"task": "generated_coin_flip"}, False),
    ],
)
def test_cells_the_paper_never_ran_are_new(job: dict[str, Any], new: bool) -> None:
    assert published.is_new(**JOB | {"train_size": None} | job) is new


def test_the_papers_curves_are_there_for_students_nobody_can_train() -> None:
    points = published.curve(["fig:diverse_reasoning"], "multiarith", "diversity", "student")
    curie = [(x, round(100 * value.accuracy, 2)) for x, name, value in points if name == "curie"]
    assert [x for x, _ in curie] == [1, 2, 4, 8, 16, 32, 64]
    assert curie[-1] == (64, 53.33)
    assert {name for _, name, _ in points} == {"ada", "babbage", "curie"}


def test_curves_of_other_figures_have_other_axes() -> None:
    sizes = published.curve(["fig:student_size_t5"], "multiarith", "n_parameters", "kind", {"kind": "fine_tune"})
    assert [(x, round(100 * value.accuracy, 2)) for x, _, value in sizes] == [
        (60_000_000, 13.89),
        (220_000_000, 15.0),
        (700_000_000, 13.89),
    ]
    teachers = published.curve(["fig:teacher_performance"], "multiarith", "teacher", "student")
    assert [(x, name) for x, name, _ in teachers] == [
        (teacher, "curie") for teacher in ("davinci", "text-davinci-001", "text-davinci-002", "text-davinci-003")
    ]
    early = published.curve(["early version"], "svamp", "n_train", "student", {"diversity": 1})
    assert {value.protocol for _, _, value in early} == {"early version, 128 tokens"}


def test_few_questions_and_many_rationales_are_those_of_the_first_version() -> None:
    only = {"student": "curie", "kind": "fine_tune_cot_diverse"}
    points = published.curve(["early version"], "multiarith", "diversity", "n_train", only)
    assert {value.protocol for _, _, value in points} == {"early version, 128 tokens"}
    assert [(x, round(100 * value.accuracy, 2)) for x, n, value in points if n == "128"] == [
        *((2, 13.33), (4, 23.33), (8, 27.78), (16, 34.44), (32, 30.56)),
    ]
    assert {n for _, n, _ in points} == {"8", "32", "128", "420"}


def test_places_with_several_values_and_lines_without_points_are_left_out() -> None:
    # Along D alone, three students stand at each place.
    assert published.curve(["fig:diverse_reasoning_gpt2"], "multiarith", "diversity") == []
    baselines = published.curve(["fig:diverse_reasoning_gpt2"], "multiarith", "kind", "student")
    assert {x for x, _, _ in baselines} <= {"fine_tune_cot_diverse"}
    assert published.curve(["fig:no_such"], "multiarith", "diversity", "student") == []
