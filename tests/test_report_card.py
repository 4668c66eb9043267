"""Data card, cost and provenance: the counts of the paper's tasks, what is not known, commands that repeat a run."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftcot import published, teaching
from ftcot.compose import Composer, conf_dir
from ftcot.files import read_json, write_json
from ftcot.folder import freeze, thaw
from ftcot.job import build as build_job
from ftcot.jobs import NOT_RESULTS
from ftcot.ranks import Ranks
from ftcot.records import Sample
from ftcot.report import cells, cost, data_card, lessons, provenance, questions
from ftcot.report.making import Asked, make
from ftcot.report.model import Report
from ftcot.running import Run
from ftcot.sample_study import KINDS
from ftcot.status import Status
from ftcot.task.paper import BENCHMARKS
from tests.report_folders import VERSIONS, make_run, make_sweep

COMPLETE = ("single_eq", "addsub", "multiarith", "date_understanding", "coin_flip")
"""Tasks of which both right and wrong completions are recorded."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Three seeds of Fine-tune-CoT at D = 1 and 8, and of vanilla fine-tuning."""
    folder = tmp_path_factory.mktemp("made")
    make_sweep(folder / "sweep", degrees=(1, 8), methods=("fine_tune_cot", "fine_tune"))
    return make(Asked((folder / "sweep",)))


@pytest.fixture(scope="module")
def pairs(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], lessons.Source]:
    """What `until=curate` leaves of the paper's tasks, by task and diversity; made by the stages themselves."""
    root = tmp_path_factory.mktemp("pairs")
    asked = [(task, "greedy") for task in BENCHMARKS]
    asked += [(task, degree) for task in ("multiarith", "svamp") for degree in ("1", "2", "4", "8", "16")]
    composer = Composer(conf_dir())
    found = {}
    for task, degree in asked:
        words = [f"task={task}", "teacher=replay", f"diversity={degree}", "method.template=gpt3", "until=curate"]
        places = [f"paths.data={data_dir}", f"paths.cache={root / 'cache'}", "logger=none"]
        found[task, degree] = curated(root / f"{task}-{degree}", composer.job([*words, *places]))
    return found


def curated(folder: Path, config: Mapping[str, Any]) -> lessons.Source:
    """The folder of a job that ends after curation."""
    freeze(folder, config, "0" * 64, durable=False)
    status = Status(folder)
    run = Run(build_job(config), folder, status, Console(file=StringIO()), None, Ranks())  # type: ignore[arg-type]
    for stage, work in (("teach", teaching.teach), ("curate", teaching.curate)):
        status.begin(stage)  # type: ignore[arg-type]
        work(run)
        status.finish(stage)  # type: ignore[arg-type]
    status.update(state="partial")
    return lessons.read_source(folder)


def card(*sources: lessons.Source) -> data_card.DataCard:
    """Of runs without a score."""
    return data_card.build(sources, questions.of_config(sources[0].config))


def table(name: str) -> list[dict[str, str]]:
    """A file of the paper's numbers."""
    return list(csv.DictReader((files("ftcot") / "paper" / f"{name}.csv").read_text().splitlines()))


def sample(index: int, question: str, split: Any = "train") -> Sample:
    return Sample("mine", 1, index, question, "7", split)


@pytest.mark.data
@pytest.mark.slow
def test_the_papers_tasks_have_the_papers_sizes_and_pairs(pairs: dict[tuple[str, str], lessons.Source]) -> None:
    for row in table("dataset_counts"):
        found = card(pairs[row["task"], "greedy"])
        assert (found.train, found.test) == (int(row["train"]), int(row["test"])), row["task"]
        assert found.random_accuracy == pytest.approx(float(row["random_accuracy"]) / 100, abs=5e-5)
        (lesson,) = found.lessons
        assert lesson.kept == lesson.published_pairs == int(row["finetune_cot_lines_D1_T0"])
        assert lesson.notes == ()
        assert lesson.completions == lesson.kept + sum(lesson.dropped.values())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "counts"),
    [("multiarith", (312, 637, 1273, 2574, 5182)), ("svamp", (456, 893, 1776, 3473, 6923))],
    ids=["multiarith", "svamp"],
)
def test_diverse_pairs_are_as_many_as_the_papers(
    task: str, counts: Sequence[int], pairs: dict[tuple[str, str], lessons.Source]
) -> None:
    """Source: METHOD section 9."""
    found = card(*(pairs[task, degree] for degree in ("1", "2", "4", "8", "16")))
    assert [lesson.degree for lesson in found.lessons] == [1, 2, 4, 8, 16]
    assert tuple(lesson.kept for lesson in found.lessons) == tuple(counts)
    assert tuple(lesson.published_pairs for lesson in found.lessons) == tuple(counts)
    effective = [lesson.effective_degree or 0.0 for lesson in found.lessons]
    assert effective == sorted(effective)
    for lesson in found.lessons:
        assert lesson.correct_only
        assert lesson.teacher_accuracy is None
        assert lesson.teacher_why == "the recording kept right completions only"
        assert lesson.study == {}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("task", COMPLETE)
def test_the_teacher_is_as_good_as_in_table_1(task: str, pairs: dict[tuple[str, str], lessons.Source]) -> None:
    (lesson,) = card(pairs[task, "greedy"]).lessons
    paper = published.teacher_accuracy(task)
    assert paper is not None
    assert lesson.teacher_published == paper
    assert f"{100 * (lesson.teacher_accuracy or 0):.2f}" == f"{100 * paper.accuracy:.2f}"
    assert lesson.teacher_why == "the same to two decimals; both over all completions, train and test"


@pytest.mark.data
@pytest.mark.slow
def test_multiarith_leaks_and_repeats_itself(pairs: dict[tuple[str, str], lessons.Source]) -> None:
    found = card(pairs["multiarith", "greedy"])
    assert {leak.kind: leak.n for leak in found.leaks} == {"exact": 5, "numbers": 77, "context": 12}
    assert found.duplicates is not None
    assert found.duplicates["all"] == 20
    for leak in found.leaks:
        for test, train in leak.examples:
            assert (test.split, train.split) == ("test", "train")
    (lesson,) = found.lessons
    assert lesson.dropped == {"wrong answer": 87, "no answer": 10}
    assert sum(lesson.study.values()) == pytest.approx(1)
    assert lesson.study["right"] == pytest.approx(323 / 420, abs=0.01)


def test_runs_taught_alike_share_a_lesson(report: Report) -> None:
    (found,) = data_card.cards(report)
    assert [(lesson.degree, lesson.runs) for lesson in found.lessons] == [(1, 3), (8, 3)]
    assert (found.task, found.split, found.train, found.test) == ("generated_coin_flip", "default", 24, 60)
    assert found.random_accuracy == 0.5
    for lesson in found.lessons:
        assert lesson.completions == 24 * lesson.degree
        assert lesson.kept + sum(lesson.dropped.values()) == lesson.completions
        assert lesson.published_pairs is None
        assert lesson.teacher_published is None
        assert lesson.lengths.n == lesson.completions


def test_the_study_has_a_row_a_cell_and_examples_of_what_went_wrong(report: Report) -> None:
    (found,) = data_card.cards(report)
    assert len(found.study.rows) == len(report.cells)
    for row, cell in zip(found.study.rows, report.cells, strict=True):
        assert row.n == 3 * 60
        assert sum(row.rates.values()) == pytest.approx(1)
        right = row.rates["right"] + row.rates["right answer, wrong equation"]
        assert right == pytest.approx(cell.last.accuracy)
    assert [kind.name for kind in found.study.kinds] == list(KINDS)
    assert sum(kind.n for kind in found.study.kinds) == sum(row.n for row in found.study.rows)
    for kind in found.study.kinds:
        assert bool(kind.examples) == bool(kind.n)
        for example in kind.examples:
            assert example.question
            assert example.text.strip()


def test_runs_on_a_part_of_the_training_questions_are_on_the_same_card(tmp_path: Path) -> None:
    for size in (8, 16):
        make_run(tmp_path / f"of-{size}", f"task.train_size={size}", "diversity=2")
    made = make(Asked((tmp_path,)))
    (found,) = data_card.cards(made)
    assert found.train == 16
    assert [lesson.questions for lesson in found.lessons] == [8, 16]


def test_a_run_without_a_score_counts_on_the_card(tmp_path: Path) -> None:
    make_run(tmp_path / "done", "diversity=1")
    ended = make_run(tmp_path / "ended", "diversity=4")
    (ended / "score.json").unlink()
    write_json(
        ended / "status.json", read_json(ended / "status.json") | {"state": "partial", "stages": ["teach", "curate"]}
    )
    (found,) = data_card.cards(make(Asked((tmp_path,))))
    assert [lesson.degree for lesson in found.lessons] == [1, 4]
    assert len(found.study.rows) == 1


def test_a_card_without_questions_says_why_and_has_the_rest(report: Report) -> None:
    sources = [lessons.source_of(run) for run in report.found.runs]
    missing = replace(next(iter(report.questions.values())), train={}, test={}, clusters={}, missing="they are gone")
    found = data_card.build(sources, missing)
    assert found.missing == "they are gone"
    assert (found.leaks, found.duplicates, found.templates) == ((), None, None)
    assert len(found.lessons) == 2


def test_files_that_do_not_fit_together_are_noted(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "diversity=4")
    lines = (folder / "examples.jsonl").read_text().splitlines(keepends=True)
    (folder / "examples.jsonl").write_text("".join(lines[:-3]))
    (lesson,) = lessons.lessons([lessons.read_source(folder)], questions.of_config(thaw(folder)))
    assert lesson.notes == (f"examples.jsonl has {len(lines) - 3} lines, the run counted {len(lines)}",)
    assert lesson.kept == len(lines) - 3


def test_leaks_are_counted_by_kind_and_shown() -> None:
    train = {0: sample(0, "Tom has 3 apples. He eats 1. How many are left?"), 1: sample(1, "What is 2 and 2?")}
    test = {
        2: sample(2, "Tom has 3 apples. He eats 1. How many are left?", "test"),
        3: sample(3, "Tom has 5 apples. He eats 4. How many are left?", "test"),
        4: sample(4, "Who was it?", "test"),
    }
    found = {leak.kind: leak for leak in data_card.leaks(train, test)}
    assert {kind: leak.n for kind, leak in found.items()} == {"exact": 1, "numbers": 2, "context": 1}
    assert found["numbers"].of == 3
    assert found["numbers"].examples[1] == (test[3], train[0])
    assert data_card.duplicates(train, test) == {"train": 0, "test": 0, "all": 1}


def test_a_histogram_has_every_rationale_in_one_bin() -> None:
    found = lessons.lengths(["word " * n for n in range(100)])
    assert sum(n for _, _, n in found.bins) == found.n == 100
    assert all(low < high for low, high, _ in found.bins)
    assert [high for _, high, _ in found.bins[:-1]] == [low for low, _, _ in found.bins[1:]]
    assert found.quantiles == {0: 0, 5: 5, 25: 25, 50: 50, 75: 74, 95: 94, 100: 99}
    assert lessons.lengths([]).bins == ()


def test_cost_is_of_a_run_and_its_total_of_all(report: Report) -> None:
    found = cost.build(report)
    assert found.total.runs == 9
    one = {
        (cell.facts.method, cell.facts.diversity): part for cell, part in zip(report.cells, found.cells, strict=True)
    }
    assert one["fine_tune_cot", 8].seconds["train"] == 50.0
    assert one["fine_tune_cot", 8].device_seconds == pytest.approx(50.3)
    assert found.total.device_seconds == pytest.approx(sum(run.score.device_seconds for run in report.found.runs))
    assert found.total.unknown_device_seconds == 0
    assert found.total.used == 3 * 24 + 3 * 8 * 24
    assert found.total.bought == 0


def test_more_rationales_cost_time_and_bring_points(report: Report) -> None:
    found = [step for step in cost.build(report).steps if (step.a, step.b) == ("1", "8")]
    assert found
    step = next(one for one in found if one.points > 10)
    assert step.device_seconds == pytest.approx(35)
    assert step.times == pytest.approx(50.3 / 15.3)
    assert step.sure
    assert step.seconds_a_point == pytest.approx(35 / step.points)
    assert all(one.a != one.b for one in found)


def test_what_is_not_written_down_is_not_known(report: Report) -> None:
    old = replace(report.found.runs[0], score=replace(report.found.runs[0].score, device_seconds=0.0, cost_usd=None))
    assert cost.device_seconds(old) is None
    assert cost.worth(old) is None
    runs = (old, *report.found.runs[1:])
    total = cost.build(replace(report, found=replace(report.found, runs=runs))).total
    assert total.unknown_device_seconds == 1
    assert total.device_seconds == pytest.approx(sum(run.score.device_seconds for run in report.found.runs[1:]))
    cell = replace(report.cells[0], runs=(old, *report.cells[0].runs[1:]))
    assert cost.of_cell(cell).device_seconds is None
    assert cost.of_cell(cell).usd is None
    unpriced = replace(old, status={"counts": {"teacher_spent_usd": None}})
    assert cost.spent(unpriced) is None


def test_a_point_that_may_be_chance_has_no_price(report: Report) -> None:
    pairs = tuple(replace(one, low=-0.1, high=0.1) for one in report.comparisons)
    for step in cost.build(replace(report, comparisons=pairs)).steps:
        assert step.sure is False
        assert step.seconds_a_point is None


@pytest.mark.parametrize(
    "words",
    [
        ["task=generated/coin_flip", "student=tiny-0.2m", "diversity=4", "seed=2"],
        ["task=generated/multi_step_arithmetic", "method=zero_shot_cot", "teacher.skill=0.9"],
        ["task=multiarith", "task.split=template", "student=gpt2-medium", "teacher=replay", "diversity=64"],
        ["task=svamp", "student=flan-t5-small", "curation.filter=[answer,duplicate]", "training=lora"],
        ["task=svamp", "method.prompt='Q: {question}, \\'well\\': '", "training.optimizer.lr=1e-5"],
    ],
    ids=lambda words: words[0],
)
def test_a_runs_command_makes_the_same_job(words: list[str]) -> None:
    config = Composer(conf_dir()).job([*words, "logger=none"])
    said = shlex.split(provenance.Commands().of(config))
    assert said[:3] == ["python", "-m", "ftcot.run"]
    again = Composer(conf_dir()).job(said[3:])
    assert results(again) == results(config)
    assert len(said) < 20


def results(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config may change a result."""
    return {name: part for name, part in config.items() if name not in NOT_RESULTS}


def test_a_command_does_not_say_where_this_machines_data_are(tmp_path: Path) -> None:
    config = Composer(conf_dir()).job(["task=svamp", "teacher=replay", f"paths.data={tmp_path}", "logger=none"])
    assert str(tmp_path) not in provenance.Commands().of(config)


def test_provenance_says_how_the_runs_were_made(report: Report) -> None:
    found = provenance.build(report)
    assert found.versions == ((VERSIONS, 9),)
    assert found.machines == {"node7": 9}
    assert found.seeds == (0, 1, 2)
    assert found.scorers == ("paper",)
    assert sum(found.protocols.values()) == 9
    assert found.protocols == {cells.protocol(report.cells[0]): 9}
    assert found.sweeps[0].command == "python -m ftcot.run -m figure=mini/diversity"
    sweep = replace(report.found.sweeps[0], commands=(("figure=main",), ("--config-dir", "/w/conf", "seed=0,1")))
    twice = provenance.build(replace(report, found=replace(report.found, sweeps=(sweep,))))
    both = "python -m ftcot.run -m figure=main && python -m ftcot.run -m --config-dir /w/conf seed=0,1"
    assert twice.sweeps[0].command == both
    assert {made.hash for made in found.runs} == {run.hash for run in report.found.runs}
    for made in found.runs:
        assert made.command.startswith("python -m ftcot.run task=generated/coin_flip ")


def test_provenance_holds_no_home_folder_and_no_secret(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/data/people/ann")
    monkeypatch.setenv("MY_API_KEY", "sk-very-secret-1234")
    run = report.found.runs[0]
    task = {**run.config["task"], "answer_prompt": "see /home/bob/notes and sk-very-secret-1234"}
    teacher = {**run.config["teacher"], "path": "/data/people/ann/mine.jsonl"}
    spoilt = replace(run, folder=Path("/Users/eve/run"), config={**run.config, "task": task, "teacher": teacher})
    found = provenance.build(replace(report, found=replace(report.found, runs=(spoilt,)), command="python /root/x"))
    text = json.dumps([vars(made) for made in found.runs]) + found.command + json.dumps(dict(found.data))
    for hidden in ("/data/people/ann", "/home/bob", "/Users/eve", "/root", "sk-very-secret-1234"):
        assert hidden not in text
    assert found.data["teacher procedural"] == "~/mine.jsonl"
    assert found.runs[0].folder == "~/run"
    assert "~/notes and ***" in text


def test_a_report_of_nothing_but_pairs_can_have_a_card(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", "diversity=2")
    (folder / "score.json").unlink()
    shutil.copytree(folder, tmp_path / "copy")
    found = card(lessons.read_source(folder), lessons.read_source(tmp_path / "copy"))
    assert [lesson.runs for lesson in found.lessons] == [2]
    assert found.study.rows == ()
