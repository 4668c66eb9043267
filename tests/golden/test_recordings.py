"""What was recorded of the paper's teachers, read by our code, against the authors' own files and numbers."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from functools import cache
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import ftcot.paper
from ftcot.answers import AnswerKind, LoggedNumber, Number, candidate
from ftcot.errors import InputError
from ftcot.files import read_jsonl
from ftcot.prompts import TEMPLATES
from ftcot.records import Example
from ftcot.task.paper import BENCHMARKS, PaperTask
from ftcot.teacher import Diversity, Session
from ftcot.teacher.matching import Known
from ftcot.teacher.recordings import Recording, read_recording
from ftcot.teacher.replay import FINE_TUNING, Replay
from ftcot.teacher.store import CompletionStore

pytestmark = pytest.mark.data

CONF = Path(__file__).resolve().parents[2] / "conf"
COMPLETE = ("addsub", "coin_flip", "date_understanding", "multiarith", "single_eq")
"""Tasks of which every completion at temperature 0 is at hand, right or wrong."""
GREEDY = Diversity(1, 0.0)


@cache
def paper_task(name: str, folder: Path, **overrides: object) -> PaperTask:
    """The task as its config has it."""
    config = OmegaConf.create({"paths": {"data": str(folder)}, "task": OmegaConf.load(CONF / f"task/{name}.yaml")})
    task: PaperTask = instantiate(config.task, **overrides, _convert_="all")
    return task


def replay(folder: Path, **values: object) -> Replay:
    config = OmegaConf.create({"paths": {"data": str(folder)}, "teacher": OmegaConf.load(CONF / "teacher/replay.yaml")})
    teacher: Replay = instantiate(config.teacher, **values, _convert_="all")
    return teacher


@cache
def known(task: PaperTask) -> Known:
    return Known.of(task, task.splits())


def read(path: Path, task: PaperTask) -> Recording:
    return read_recording(path, known(task), 1)


def pairs(path: Path) -> list[tuple[str, str]]:
    return [(row["prompt"], row["completion"]) for _, row in read_jsonl(path)]


def examples(task: PaperTask, teacher: Replay, diversity: Diversity, cache: Path) -> list[Example]:
    """Right completions as training pairs of the GPT-3 template: what curation makes of the default recordings."""
    template = TEMPLATES["fine_tune_cot"]["gpt3"]["decoder"]
    train = task.splits().train
    samples = {sample.key: sample for sample in train}
    made = []
    for completion in teacher.complete(task, train, diversity, Session(CompletionStore(cache))):
        sample = samples[completion.sample_key]
        right = completion.correct
        if completion.answer_text is not None:
            right = candidate(task.answer, completion.answer_text, sample.answer, task.filter_candidate).correct
        if right:
            made.append(template.example(sample, completion.rationale))
    return made


@pytest.mark.parametrize(
    ("name", "n"),
    [("addsub", 210), ("coin_flip", 314), ("date_understanding", 170), ("multiarith", 323), ("single_eq", 287)],
)
def test_the_authors_training_file_is_rebuilt_byte_for_byte(name: str, n: int, data_dir: Path, tmp_path: Path) -> None:
    made = examples(paper_task(name, data_dir), replay(data_dir), GREEDY, tmp_path)
    lines = [json.dumps({"prompt": example.prompt, "completion": example.completion}) for example in made]
    assert len(lines) == n
    assert "\n".join(lines).encode() == gzip.decompress(
        (data_dir / FINE_TUNING / f"F_zs_cot_{name}.jsonl.gz").read_bytes()
    )


@pytest.mark.parametrize(
    ("name", "counts"),
    [("multiarith", (312, 637, 1273, 2574, 5182)), ("svamp", (456, 893, 1776, 3473, 6923))],
)
def test_diverse_sets_equal_the_authors_in_order(
    name: str, counts: tuple[int, ...], data_dir: Path, tmp_path: Path
) -> None:
    task = paper_task(name, data_dir)
    for degree, n in zip((1, 2, 4, 8, 16), counts, strict=True):
        made = examples(task, replay(data_dir), Diversity(degree, 0.7), tmp_path)
        assert len(made) == n
        assert [(example.prompt, example.completion) for example in made] == pairs(
            data_dir / FINE_TUNING / f"F_zs_cot_t70_{name}_{degree}aug.jsonl.gz"
        )


@pytest.mark.parametrize("name", ["multiarith", "svamp"])
@pytest.mark.parametrize("n", [8, 32, 128])
def test_64_draws_are_there_for_the_authors_small_training_sets(
    name: str, n: int, data_dir: Path, tmp_path: Path
) -> None:
    task = paper_task(name, data_dir, train_size=n)
    made = examples(task, replay(data_dir), Diversity(64, 0.7), tmp_path)
    authors = pairs(data_dir / FINE_TUNING / f"F_zs_cot_t70_{name}_{n}shot_64aug.jsonl.gz")
    assert [(example.prompt, example.completion) for example in made] == authors


@pytest.mark.parametrize("name", ["single_eq", "addsub", "tracking_shuffled_objects", "coin_flip", "strategy_qa"])
def test_the_other_diverse_recordings_give_the_authors_sets_of_8(name: str, data_dir: Path, tmp_path: Path) -> None:
    made = examples(paper_task(name, data_dir), replay(data_dir), Diversity(8, 0.7), tmp_path)
    authors = pairs(data_dir / FINE_TUNING / f"F_zs_cot_t70_{name}_8aug.jsonl.gz")
    assert [(example.prompt, example.completion) for example in made] == authors


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_row_of_the_authors_training_file_finds_its_sample(name: str, data_dir: Path) -> None:
    task = paper_task(name, data_dir)
    path = data_dir / FINE_TUNING / f"F_zs_cot_{name}.jsonl.gz"
    recording = read(path, task)
    questions = {sample.sample_index: (sample.question, sample.answer) for sample in task.splits().train}
    rebuilt = [(*questions[c.sample_index], c.rationale) for c in recording.completions]
    assert [
        (f"{question}\n\n###\n\n", f" {text}\n\n-->\n\n{answer} END") for question, answer, text in rebuilt
    ] == pairs(path)
    assert len({completion.sample_index for completion in recording.completions}) == len(recording.completions)
    assert recording.correct_only


def test_every_file_of_rationales_of_the_authors_can_be_read(data_dir: Path) -> None:
    names = sorted(BENCHMARKS, key=len, reverse=True)
    for path in sorted((data_dir / FINE_TUNING).glob("F_zs_cot_*")):
        task = paper_task(next(name for name in names if name in path.name), data_dir)
        assert len(read(path, task).completions) == len(pairs(path)), path.name


@pytest.mark.parametrize("n", ["", ".128shot"])
def test_repeated_questions_are_told_apart_by_their_place_in_the_file(n: str, data_dir: Path) -> None:
    # The 128 questions hold one of some repeated pairs only; which, the task says.
    task = paper_task("multiarith", data_dir, **({"train_size": 128} if n else {}))
    authors = "F_zs_cot_t70_multiarith_128shot_64aug" if n else "F_zs_cot_t70_multiarith_16aug"
    found = [
        Counter((c.sample_index, c.rationale) for c in read(path, task).completions)
        for path in (
            data_dir / FINE_TUNING / f"{authors}.jsonl.gz",
            data_dir / f"recorded/text-davinci-002-t70/multiarith{n}.jsonl.gz",
        )
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", COMPLETE)
def test_the_authors_completions_equal_the_recorded_ones(name: str, data_dir: Path) -> None:
    task = paper_task(name, data_dir)
    authors = read(data_dir / f"reasoning_teacher/completion_data/B_text-davinci-002__C_zs_cot/D_{name}.json.gz", task)
    ours = read(data_dir / f"recorded/text-davinci-002-paper/{name}.jsonl", task)
    assert authors.completions == ours.completions
    assert not authors.correct_only


@pytest.mark.parametrize("name", COMPLETE)
def test_teacher_accuracy_is_that_of_table_1(name: str, data_dir: Path, tmp_path: Path) -> None:
    with (Path(ftcot.paper.__path__[0]) / "performance.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == name and row["method"].endswith("(teacher)")]
    (published,) = {row["accuracy"] for row in rows if row["teacher"] == "text-davinci-002"}
    task, teacher = paper_task(name, data_dir), replay(data_dir)
    splits = task.splits()
    completions = teacher.complete(task, splits.train, GREEDY, Session(CompletionStore(tmp_path)))
    accuracy = teacher.accuracy(task, splits, completions)
    assert accuracy is not None
    assert f"{100 * accuracy:.2f}" == published


def test_accuracy_of_a_subset_is_still_that_of_all_completions(data_dir: Path, tmp_path: Path) -> None:
    task, teacher = paper_task("multiarith", data_dir, train_size=8), replay(data_dir)
    splits = task.splits()
    completions = teacher.complete(task, splits.train, GREEDY, Session(CompletionStore(tmp_path)))
    assert len(completions) == 8
    assert teacher.accuracy(task, splits, completions) == 624 / 792


def test_accuracy_is_not_known_from_correct_completions_only(data_dir: Path, tmp_path: Path) -> None:
    task, teacher = paper_task("svamp", data_dir), replay(data_dir)
    splits = task.splits()
    assert teacher.check(task, splits, GREEDY)
    completions = teacher.complete(task, splits.train, GREEDY, Session(CompletionStore(tmp_path)))
    assert len(completions) == 453
    assert teacher.accuracy(task, splits, completions) is None


@pytest.mark.parametrize("suffix", ["", ".zero_shot"])
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_verdict_of_kojimas_logs_under_their_own_rule(name: str, suffix: str, data_dir: Path) -> None:
    kind: AnswerKind = paper_task(name, data_dir).answer
    kind = LoggedNumber() if isinstance(kind, Number) else kind
    rows = [row for _, row in read_jsonl(data_dir / f"recorded/text-davinci-002/{name}{suffix}.jsonl")]
    readings = [candidate(kind, row["answer_text"], row["answer"], "first") for row in rows]
    assert [(reading.prediction or "", reading.correct) for reading in readings] == [
        (row["prediction"], row["correct"]) for row in rows
    ]


def test_rationales_about_other_letters_are_refused(data_dir: Path) -> None:
    task = paper_task("date_understanding", data_dir)
    with pytest.raises(InputError, match=r"line 1: sample_index 0 has another question .* another order"):
        read(data_dir / "recorded/text-davinci-002/date_understanding.jsonl", task)


@pytest.mark.parametrize("name", ["svamp", "strategy_qa", "tracking_shuffled_objects", "single_eq"])
def test_logs_that_only_punctuate_otherwise_can_be_replayed(name: str, data_dir: Path) -> None:
    task = paper_task(name, data_dir)
    recording = read(data_dir / f"recorded/text-davinci-002/{name}.jsonl", task)
    assert len(recording.completions) == BENCHMARKS[name].n
    assert not recording.correct_only


@pytest.mark.parametrize("name", ["coin_flip", "date_understanding", "last_letter_concatenation"])
def test_draws_in_a_random_order_are_as_many_as_so_many_draws_leave(name: str, data_dir: Path, tmp_path: Path) -> None:
    task, teacher = paper_task(name, data_dir), replay(data_dir, draw_order="random")
    train, session = task.splits().train, Session(CompletionStore(tmp_path))
    kept = {
        degree: {
            (c.sample_index, c.completion_index) for c in teacher.complete(task, train, Diversity(degree, 0.7), session)
        }
        for degree in (1, 2, 3, 4, 6, 8)
    }
    assert all(kept[fewer] < kept[more] for fewer, more in pairwise(kept))
    share = len(kept[8]) / (8 * len(train))
    for degree, rows in kept.items():  # within four standard deviations of draws with that share of right ones
        assert abs(len(rows) / (degree * len(train)) - share) < 4 * sqrt(share * (1 - share) / (degree * len(train)))
    with pytest.raises(InputError, match=r"give its draws a random order with teacher\.draw_order=random"):
        replay(data_dir).complete(task, train, Diversity(4, 0.7), session)


@pytest.mark.parametrize("order", ["recorded", "random"])
def test_a_degree_on_record_is_the_authors_set_in_whatever_order(order: str, data_dir: Path, tmp_path: Path) -> None:
    task = paper_task("multiarith", data_dir)
    made = examples(task, replay(data_dir, draw_order=order), Diversity(4, 0.7), tmp_path)
    assert len(made) == 1273
