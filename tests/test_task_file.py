"""A user's own file as a task: formats, splits, answer kinds, and what is said of a row that does not fit."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.answers import Choice, Number, candidate
from ftcot.errors import InputError
from ftcot.task import Splits
from ftcot.task.file import FileTask, Phrase, file_task

CONF = Path(__file__).resolve().parent.parent / "conf" / "task" / "jsonl.yaml"
ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(10)]


def from_conf(path: Path, answer: str, **overrides: Any) -> FileTask:
    """The task as `task=jsonl task.path=FILE task.answer=...` builds it."""
    task: FileTask = instantiate(
        yaml.safe_load(CONF.read_text()) | {"path": str(path), "answer": answer} | overrides, _convert_="all"
    )
    return task


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSONL, gzipped JSONL, CSV, Parquet or a `datasets` folder, by the path's ending."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(rows), path)
    else:
        path.write_text(lines)
    return path


def all_of(parts: Splits) -> list[tuple[int, str, str]]:
    every = (*parts.train, *parts.validation, *parts.test)
    return sorted((sample.sample_index, sample.question, sample.answer) for sample in every)


def splits_of(parts: Splits) -> dict[int, str]:
    return {sample.sample_index: sample.split for sample in (*parts.train, *parts.validation, *parts.test)}


@pytest.mark.parametrize("name", ["sums.jsonl", "sums.jsonl.gz", "sums.ndjson", "sums.csv", "sums.parquet"])
def test_every_format_gives_the_same_samples(tmp_path: Path, name: str) -> None:
    task = from_conf(write(tmp_path / name, ROWS), "number")
    assert task.name == "sums"
    assert all_of(task.splits()) == [(n, row["question"], row["answer"]) for n, row in enumerate(ROWS)]
    assert task.files() == (tmp_path / name,)


def test_a_folder_saved_by_datasets_brings_its_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "sums"
    datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS[:6]),
        validation=datasets.Dataset.from_list(ROWS[6:7]),
        test=datasets.Dataset.from_list(ROWS[7:]),
    ).save_to_disk(folder)
    task = from_conf(folder, "number")
    parts = task.splits()
    assert all_of(parts) == [(n, row["question"], row["answer"]) for n, row in enumerate(ROWS)]
    assert splits_of(parts) == {n: "train" if n < 6 else "validation" if n == 6 else "test" for n in range(10)}
    assert {file.suffix for file in task.files()} == {".arrow", ".json"}


def test_a_folder_with_one_saved_dataset_in_shards_is_read_in_order(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "sums", num_shards=3)
    parts = from_conf(tmp_path / "sums", "number").splits()
    assert all_of(parts) == [(n, row["question"], row["answer"]) for n, row in enumerate(ROWS)]


def test_a_split_field_is_followed(tmp_path: Path) -> None:
    names = ["test", "train", "dev", "train", "train", "test", "valid", "train", "validation", "val"]
    rows = [row | {"split": name} for row, name in zip(ROWS, names, strict=True)]
    parts = from_conf(write(tmp_path / "sums.jsonl", rows), "number").splits()
    assert [sample.sample_index for sample in parts.train] == [1, 3, 4, 7]
    assert [sample.sample_index for sample in parts.validation] == [2, 6, 8, 9]
    assert [sample.sample_index for sample in parts.test] == [0, 5]


def test_a_split_field_can_be_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "sums.jsonl", [row | {"split": "train"} for row in ROWS])
    assert len(from_conf(path, "number", split_field=None).splits().test) == 3


def test_a_second_file_is_the_test_and_its_indices_go_on(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.jsonl", ROWS[:6]), write(tmp_path / "b.csv", ROWS[6:])
    task = from_conf(train, "number", test_path=str(test))
    assert splits_of(task.splits()) == {n: "train" if n < 6 else "test" for n in range(10)}
    assert task.files() == (train, test)


@pytest.mark.parametrize(("test_size", "n_test"), [(0.3, 3), (0.5, 5), (1, 1), (4, 4), (9, 9)])
def test_test_size_is_a_share_or_a_number(tmp_path: Path, test_size: float, n_test: int) -> None:
    parts = from_conf(write(tmp_path / "sums.jsonl", ROWS), "number", test_size=test_size).splits()
    assert (len(parts.train), len(parts.test)) == (10 - n_test, n_test)


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 39))
def test_a_larger_test_set_holds_the_smaller_ones(tmp_path_factory: pytest.TempPathFactory, n: int, size: int) -> None:
    path = tmp_path_factory.mktemp("laws") / "sums.jsonl"
    write(path, [{"question": f"Say {number}", "answer": number} for number in range(n)])
    size = min(size, n - 1)
    small, large = (
        {sample.sample_index for sample in from_conf(path, "number", test_size=count).splits().test}
        for count in (size, max(size, n - 1))
    )
    assert small <= large


def test_sizes_and_clean_split_work_as_for_the_papers_tasks(tmp_path: Path) -> None:
    rows = [{"question": f"Ann has {n // 3} cats. What of {n}?", "answer": n} for n in range(60)]
    path = write(tmp_path / "cats.jsonl", rows)
    parts = from_conf(path, "number", train_size=8, validation_size=5).splits()
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (8, 5, 18)
    with pytest.raises(InputError, match=r"^task\.train_size=99: cats has 42 training questions"):
        from_conf(path, "number", train_size=99).splits()
    with pytest.raises(InputError, match="no question is left for train"):
        from_conf(path, "number", split="clean", test_size=1).splits()  # all are alike once numbers are masked


@pytest.mark.parametrize(
    ("word", "given", "answer"),
    [
        ("number", 5, "5"),
        ("number", 5.0, "5.0"),
        ("number", " -1,200.5 ", "-1,200.5"),
        ("yes_no", True, "yes"),
        ("yes_no", False, "no"),
        ("yes_no", "No", "No"),
        ("choice", "B", "B"),
        ("text", "New York", "New York"),
        ("text", 7, "7"),
    ],
)
def test_answers_are_taken_as_text_of_their_kind(tmp_path: Path, word: str, given: object, answer: str) -> None:
    path = write(tmp_path / "one.jsonl", [{"question": f"{n}?", "answer": given} for n in "ab"])
    task = from_conf(path, word)
    (sample,) = task.splits().test
    assert sample.answer == answer
    assert candidate(task.answer, f" {answer}.", answer, "first").correct, "the paper's scorer can find it"


def test_choice_letters_go_up_to_the_last_one_used(tmp_path: Path) -> None:
    path = write(tmp_path / "quiz.jsonl", [{"question": "?", "answer": letter} for letter in "ACDA"])
    task = from_conf(path, "choice")
    assert task.answer == Choice("ABCD")
    assert task.random_accuracy == 0.25
    assert from_conf(path, "choice", letters="ABCDEF").answer == Choice("ABCDEF")


def test_random_accuracy_can_be_given(tmp_path: Path) -> None:
    assert from_conf(tmp_path / "sums.jsonl", "number").random_accuracy == 0.0
    assert from_conf(tmp_path / "sums.jsonl", "number", random_accuracy=0.1).random_accuracy == 0.1


@pytest.mark.parametrize(
    ("said", "right"), [("\n\nNew York.", True), ("new-york", True), ("York", False), ("It is New York", False)]
)
def test_a_phrase_is_compared_whole(said: str, right: bool) -> None:
    assert candidate(Phrase(), said, "New York", "first").correct is right


def test_building_a_task_reads_nothing(tmp_path: Path) -> None:
    task = from_conf(tmp_path / "not_there.jsonl", "number")
    assert task.files() == (tmp_path / "not_there.jsonl",)
    assert task.answer == Number(as_float=True)
    with pytest.raises(InputError, match=r"not_there\.jsonl: no such file"):
        task.splits()


def test_the_name_is_the_files_made_fit_for_a_folder() -> None:
    assert from_conf(Path("some/my sums (2).v1.jsonl.gz"), "number").name == "my_sums_2"
    assert from_conf(Path("x.jsonl"), "number", name="mine").name == "mine"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param('{"question": "Q?"}', r"line 3: no field 'answer', only question", id="no answer"),
        pytest.param(
            '{"prompt": "Q?", "answer": 1}', r"line 3: no field 'question', only prompt, answer", id="question"
        ),
        pytest.param('{"question": " ", "answer": 1}', r"line 3: 'question' is empty", id="empty question"),
        pytest.param('{"question": "Q?", "answer": null}', r"line 3: 'answer' is empty", id="null answer"),
        pytest.param('{"question": "Q?", "answer": [1]}', r"line 3: 'answer' is \[1\], which will not", id="list"),
        pytest.param('{"question": "Q?", "answer": "six"}', r"line 3: answer 'six' is not a number", id="not a number"),
        pytest.param('{"question": "Q?", "answer": NaN}', r"line 3: answer 'nan' is not one that", id="nan"),
        pytest.param('{"question": "Q?", "answer": true}', r"line 3: 'answer' is True, which will not", id="bool"),
        pytest.param('{"question": "Q?", "ans', r"line 3: not valid JSON", id="torn"),
        pytest.param('["Q?", 1]', r"line 3: expected a JSON object", id="array"),
        pytest.param(
            '{"question": "Q?", "answer": 1, "split": "holdout"}', r"split None is not one of train", id="split"
        ),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, bad: str, message: str) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]) + bad + "\n" + json.dumps(ROWS[3]) + "\n")
    with pytest.raises(InputError, match=message) as caught:
        from_conf(path, "number").splits()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "given", "message"),
    [
        ("choice", "b", r"row 1: answer 'b' is not one of the letters AB"),
        ("choice", "AB", r"row 1: answer 'AB' is not one of the letters AB"),
        ("yes_no", "maybe", r"row 1: answer 'maybe' is neither yes nor no"),
    ],
)
def test_an_answer_of_another_kind_is_named(tmp_path: Path, word: str, given: str, message: str) -> None:
    path = write(tmp_path / "quiz.parquet", [{"question": "Q?", "answer": given}])
    with pytest.raises(InputError, match=message):
        from_conf(path, word).splits()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.csv", b"question,answer\nQ?,1\nQ?\n", r"a\.csv, line 3: ", id="csv with a short row"),
        pytest.param("a.csv", b"question,answer\nQ?,1,2\n", r"a\.csv, line 2: ", id="csv with a long row"),
        pytest.param("a.csv", b"question,answer\n\xff\xfe,1\n", r"a\.csv: not a readable CSV file", id="csv not UTF-8"),
        pytest.param("a.parquet", b"PAR1", r"a\.parquet: not a readable Parquet file", id="parquet"),
        pytest.param("a.jsonl.gz", b"{}", r"a\.jsonl\.gz: cannot be read", id="gzip"),
        pytest.param("a.jsonl", b"", r"a\.jsonl: no questions in it", id="empty"),
        pytest.param("a.xlsx", b"", r"a\.xlsx: expected \.jsonl, \.ndjson, \.csv, \.parquet or a folder", id="format"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        from_conf(tmp_path / name, "number").splits()
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset_dict\.json and no state\.json in it"):
        from_conf(tmp_path, "number").splits()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"path": None}, r"task\.path is not set: name your file with task\.path=FILE"),
        ({"answer": "float"}, r"task\.answer=float: give one of number, choice, yes_no, text"),
        ({"split": "template"}, r"task\.split=template: give default or clean"),
        ({"test_size": 0}, r"task\.test_size=0"),
        ({"test_size": "all"}, r"task\.test_size=all"),
        ({"name": "../up"}, r"task\.name='\.\./up'"),
        ({"letters": "abc"}, r"task\.letters='abc'"),
        ({"train_size": 0}, r"task\.train_size=0"),
    ],
)
def test_wrong_values_are_refused_when_the_task_is_built(overrides: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"path": "sums.jsonl", "answer": "number"}
    with pytest.raises(InputError, match=message):
        file_task(**(values | overrides))


def test_a_test_size_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    task = from_conf(write(tmp_path / "sums.jsonl", ROWS), "number", test_size=10)
    with pytest.raises(InputError, match=r"task\.test_size=10: of the 10 questions .* leaves 0 for training and 10"):
        task.splits()
