"""The twelve tasks against the published lists, splits and subsets (shared/data, METHOD section 2)."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ftcot.answers import AnswerKind, Number, YesNo
from ftcot.errors import InputError
from ftcot.files import read_jsonl
from ftcot.records import Sample
from ftcot.task import Splits, Task, raw, sources
from ftcot.task.paper import BENCHMARKS, PaperTask

CONF = Path(__file__).resolve().parent.parent / "conf" / "task"
SIZES = {
    "single_eq": (508, 356, 152),
    "addsub": (395, 276, 119),
    "multiarith": (600, 420, 180),
    "gsm8k": (8792, 7473, 1319),
    "aqua": (97721, 10000, 254),
    "svamp": (1000, 700, 300),
    "date_understanding": (369, 258, 111),
    "tracking_shuffled_objects": (750, 525, 225),
    "last_letter_concatenation": (500, 350, 150),
    "coin_flip": (500, 350, 150),
    "commonsense_qa": (10962, 9741, 1221),
    "strategy_qa": (2290, 1603, 687),
}
"""METHOD section 2: total, train, test."""


def from_conf(name: str, folder: Path, **overrides: Any) -> Task:
    """The task as `task=NAME` builds it."""
    config = OmegaConf.create(
        {"paths": {"data": str(folder)}, "task": yaml.safe_load((CONF / f"{name}.yaml").read_text())}
    )
    config.task.merge_with(overrides)
    task: Task = instantiate(config.task, _convert_="all")
    return task


def published(folder: Path, name: str) -> dict[int, dict[str, Any]]:
    (path,) = (folder / "datasets").glob(f"{name}.jsonl*")
    return {row["sample_index"]: row for _, row in read_jsonl(path)}


def indices(parts: Splits) -> dict[str, list[int]]:
    return {
        "train": [sample.sample_index for sample in parts.train],
        "test": [sample.sample_index for sample in parts.test],
    }


def only_list(data_dir: Path, name: str, folder: Path) -> Path:
    """A data folder that holds nothing but the unified list."""
    (folder / "datasets").mkdir()
    for file in (data_dir / "datasets").glob(f"{name}.jsonl*"):
        shutil.copy(file, folder / "datasets")
    return folder


def test_every_task_of_the_paper_has_an_option_and_sizes_add_up() -> None:
    assert set(SIZES) == set(BENCHMARKS)
    for name, (total, n_train, n_test) in SIZES.items():
        assert (CONF / f"{name}.yaml").is_file()
        benchmark = BENCHMARKS[name]
        assert benchmark.n == total
        assert (len(benchmark.default().train), len(benchmark.default().test)) == (n_train, n_test)


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_default_split_equals_the_published_one(data_dir: Path, name: str) -> None:
    parts = from_conf(name, data_dir).splits()
    assert indices(parts) == json.loads((data_dir / "splits" / f"{name}__default.json").read_text())
    assert (len(parts.train), len(parts.test)) == SIZES[name][1:]
    assert parts.validation == ()


@pytest.mark.data
@pytest.mark.parametrize("name", ["multiarith", "date_understanding"])
def test_template_split_equals_the_published_one(data_dir: Path, name: str) -> None:
    parts = from_conf(name, data_dir, split="template").splits()
    assert indices(parts) == json.loads((data_dir / "splits" / f"{name}__template.json").read_text())


@pytest.mark.data
@pytest.mark.parametrize(("name", "n"), [("multiarith", 120), ("date_understanding", 41)])
def test_number_of_templates_is_the_papers(data_dir: Path, name: str, n: int) -> None:
    template = BENCHMARKS[name].template
    assert template is not None
    assert len({template(row["question"]) for row in published(data_dir, name).values()}) == n


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in SIZES if name != "aqua"])
def test_raw_files_give_the_published_samples(data_dir: Path, name: str) -> None:
    task = from_conf(name, data_dir)
    assert all("datasets" not in file.parts for file in task.files()), "the raw files are at hand"
    parts = task.splits()
    expected = published(data_dir, name)
    assert {sample.sample_index for sample in (*parts.train, *parts.test)} == set(expected)
    for sample in (*parts.train, *parts.test):
        row = expected[sample.sample_index]
        assert (sample.question, sample.answer, sample.split, sample.rationale) == (
            row["question"],
            row["answer"],
            row["split"],
            row.get("rationale"),
        )


@pytest.mark.data
def test_aquas_raw_test_file_gives_the_published_samples(data_dir: Path) -> None:
    found = raw.aqua(data_dir / sources.AQUA_TEST.path)
    rows = [row for row in published(data_dir, "aqua").values() if row["split"] == "test"]
    assert found == [raw.Question(row["question"], row["answer"], row["rationale"]) for row in rows]


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_the_unified_list_gives_the_same_samples_as_the_raw_files(data_dir: Path, tmp_path: Path, name: str) -> None:
    task = from_conf(name, only_list(data_dir, name, tmp_path))
    assert [file.parent.name for file in task.files()] == ["datasets"]
    assert task.splits() == from_conf(name, data_dir).splits()


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_subsets_are_the_authors(data_dir: Path, name: str) -> None:
    folder = data_dir / "reasoning_teacher" / "finetune_data" / "P_openai"
    for size in (8, 32, 128):
        rows = gzip.decompress((folder / f"F_{name}_{size}shot.jsonl.gz").read_bytes()).decode().splitlines()
        train = from_conf(name, data_dir, train_size=size).splits().train
        assert [(f"{sample.question}\n\n ### \n\n", f" {sample.answer} END") for sample in train] == [
            (row["prompt"], row["completion"]) for row in map(json.loads, rows)
        ]


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_every_gold_answer_is_of_the_tasks_kind(data_dir: Path, name: str) -> None:
    task = from_conf(name, data_dir)
    parts = task.splits()
    for sample in (*parts.train, *parts.test):
        task.answer.check(sample.answer)
        (candidate,) = task.answer.candidates(sample.answer)
        assert task.answer.same(candidate, sample.answer)


@pytest.mark.data
@pytest.mark.parametrize("name", SIZES)
def test_demonstrations_are_the_authors(data_dir: Path, name: str) -> None:
    demonstrations = from_conf(name, data_dir).demonstrations()
    given = json.loads((data_dir / "few_shot_cot_prompts.json").read_text()).get(name)
    if name == "tracking_shuffled_objects":
        assert given is None
        assert demonstrations is None
    else:
        assert demonstrations is not None
        assert (demonstrations.text, list(demonstrations.sample_indices)) == (given["prompt"], given["sample_indices"])


def test_without_the_prompt_file_there_are_no_demonstrations(tmp_path: Path) -> None:
    assert from_conf("multiarith", tmp_path).demonstrations() is None


@pytest.mark.data
def test_validation_comes_from_train_and_leaves_subset_and_test_alone(data_dir: Path) -> None:
    plain = from_conf("svamp", data_dir, train_size=128).splits()
    parts = from_conf("svamp", data_dir, train_size=128, validation_size=100).splits()
    whole = from_conf("svamp", data_dir).splits()
    assert (parts.train, parts.test) == (plain.train, plain.test)
    assert len(parts.validation) == 100
    assert {sample.sample_index for sample in parts.validation} <= {sample.sample_index for sample in whole.train}
    assert not {sample.key for sample in parts.validation} & {sample.key for sample in parts.train}


@pytest.mark.data
@pytest.mark.parametrize("split", ["template", "clean"])
def test_other_splits_hold_the_same_samples(data_dir: Path, split: str) -> None:
    def content(parts: Splits) -> dict[int, tuple[str, str]]:
        return {sample.sample_index: (sample.question, sample.answer) for sample in (*parts.train, *parts.test)}

    assert content(from_conf("multiarith", data_dir, split=split).splits()) == content(
        from_conf("multiarith", data_dir).splits()
    )


@pytest.mark.data
def test_train_size_above_the_split_names_the_key(data_dir: Path) -> None:
    task = from_conf("multiarith", data_dir, train_size=421)
    with pytest.raises(InputError, match=r"^task\.train_size=421: multiarith has 420 training questions"):
        task.splits()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"split": "template"}, r"task\.split=template: only multiarith and date_understanding .* not svamp"),
        ({"split": "random"}, r"task\.split=random: give default, template or clean"),
        ({"name": "swamp"}, r"task\.name=swamp: not one of the paper's tasks \(single_eq, "),
        ({"train_size": 0}, r"task\.train_size=0"),
        ({"validation_size": -1}, r"task\.validation_size=-1"),
    ],
)
def test_wrong_values_are_refused_when_the_task_is_built(overrides: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"name": "svamp", "answer": Number(), "folder": Path("data")}
    with pytest.raises(InputError, match=message):
        PaperTask(**(values | overrides))


def test_building_a_task_and_asking_for_its_files_reads_nothing(tmp_path: Path) -> None:
    for name in SIZES:
        files = from_conf(name, tmp_path / "nowhere").files()
        assert all(file.is_relative_to(tmp_path / "nowhere") for file in files)


@pytest.mark.parametrize(
    ("name", "answer", "random_accuracy", "candidate"),
    [
        ("single_eq", "16.0", 0.0, "last"),
        ("addsub", "19", 0.0, "last"),
        ("multiarith", "39", 0.0, "first"),
        ("gsm8k", "1,200", 0.0, "first"),
        ("aqua", "E", 0.2, "first"),
        ("svamp", "51.0", 0.0, "last"),
        ("date_understanding", "F", 0.1712, "first"),
        ("tracking_shuffled_objects", "C", 1 / 3, "first"),
        ("last_letter_concatenation", "yajo", 0.0, "first"),
        ("coin_flip", "no", 0.5, "first"),
        ("commonsense_qa", "A", 0.2, "first"),
        ("strategy_qa", "Yes", 0.5, "last"),
    ],
)
def test_options_say_answer_kind_chance_and_filter(
    name: str, answer: str, random_accuracy: float, candidate: str, tmp_path: Path
) -> None:
    task = from_conf(name, tmp_path)
    kind: AnswerKind = task.answer
    kind.check(answer)
    assert (task.name, task.random_accuracy, task.filter_candidate) == (name, random_accuracy, candidate)


def test_multiarith_alone_was_asked_for_arabic_numerals(tmp_path: Path) -> None:
    asked = {name: from_conf(name, tmp_path).answer_prompt for name in SIZES}
    assert asked.pop("multiarith") == " Therefore, the answer (arabic numerals) is"
    assert set(asked.values()) == {"\nTherefore, the answer is"}


def write_list(folder: Path, lines: list[str]) -> Path:
    (folder / "datasets").mkdir(exist_ok=True)
    path = folder / "datasets" / "coin_flip.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def row(index: int, **changes: Any) -> str:
    return json.dumps({"sample_index": index, "question": f"Coin {index}?", "answer": "yes"} | changes)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param([row(0), row(1)[:-9]], r"coin_flip\.jsonl, line 2: not valid JSON", id="torn"),
        pytest.param([row(0), row(1, answer=5)], r"coin_flip\.jsonl, line 2: needs sample_index", id="answer"),
        pytest.param([row(i) for i in range(499)], r"coin_flip\.jsonl: sample 499 of coin_flip is missing", id="short"),
    ],
)
def test_a_damaged_list_is_named_with_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    write_list(tmp_path, lines)
    with pytest.raises(InputError, match=message):
        PaperTask("coin_flip", YesNo(), tmp_path).splits()


def test_a_list_of_the_right_length_is_enough(tmp_path: Path) -> None:
    write_list(tmp_path, [row(index) for index in range(500)])
    parts = PaperTask("coin_flip", YesNo(), tmp_path).splits()
    first = min((*parts.train, *parts.test), key=lambda sample: sample.sample_index)
    assert first == Sample("coin_flip", 1, 0, "Coin 0?", "yes", first.split)


def test_aqua_without_its_list_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"neither datasets/aqua\.jsonl\.gz nor AQuA/train\.json .*FTCOT_DATA.*deepmind"
    ):
        from_conf("aqua", tmp_path).splits()


@pytest.mark.data
def test_aquas_raw_train_file_must_be_whole(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "AQuA").mkdir()
    shutil.copy(data_dir / sources.AQUA_TEST.path, tmp_path / "AQuA" / "train.json")
    shutil.copytree(data_dir / "zero_shot_cot" / "dataset" / "AQuA", tmp_path / "zero_shot_cot" / "dataset" / "AQuA")
    with pytest.raises(InputError, match=r"AQuA/train\.json: holds 254 questions, aqua has 97467 there"):
        from_conf("aqua", tmp_path).splits()
