"""Formats of exports: what goes in comes out again, field by field, whatever a server sent."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftcot.completions import arrow, writing
from ftcot.completions.reading import read_ours, sources
from ftcot.completions.rows import Where, row_of, values_of
from ftcot.completions.selection import Count, Selection
from ftcot.errors import InputError
from ftcot.records import Completion, to_line
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.store_lines import Key, Paid, StoredRow, read_rows, sha256

HERE = Path("somewhere")

Writer = Callable[[Path], AbstractContextManager[writing.Put]]
FORMATS: dict[str, tuple[str, Writer]] = {
    "jsonl": ("rows.jsonl", writing.jsonl),
    "jsonl.gz": ("rows.jsonl.gz", writing.jsonl),
    "parquet": ("rows.parquet", writing.parquet),
    "datasets": ("rows", writing.datasets_folder),
}
each_format = pytest.mark.parametrize("name", FORMATS)

# Whatever a JSON text can hold, halves of surrogate pairs among it.
texts = st.text(st.characters(exclude_categories=()), max_size=30).map(lambda text: json.loads(json.dumps(text)))
maybe = st.none() | texts
counts = st.integers(0, 2**31 - 1)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)
amounts = st.none() | st.floats(0, 1e6)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def rows(draw: st.DrawFn) -> StoredRow:
    """A line of a store, with anything in it that may be."""
    completion = Completion(
        task=draw(st.sampled_from(["multiarith", "sums"])),
        version=draw(counts),
        sample_index=draw(counts),
        draw=draw(st.none() | counts),
        prompt=draw(maybe),
        rationale=draw(texts),
        answer_prompt=draw(maybe),
        answer_text=draw(maybe),
        prediction=draw(maybe),
        correct=draw(st.none() | st.booleans()),
        min_diversity=draw(st.none() | counts),
        completion_index=draw(st.none() | counts),
        finish_reason=draw(maybe),
        usage=draw(st.none() | st.dictionaries(texts, st.integers(0, 10**30), max_size=3)),
        teacher=draw(objects),
        correct_only=draw(st.booleans()),
        raw=draw(st.none() | objects),
        thinking=draw(maybe),
        cost_usd=draw(amounts),
    )
    prompt_sha256 = None if completion.prompt is None else sha256(completion.prompt)
    index = completion.completion_index if completion.draw is None else None
    teacher = draw(st.text(min_size=1, max_size=10))
    key = Key(teacher, completion.sample_key, prompt_sha256, draw(hashes), completion.draw, index)
    paid = draw(st.none() | st.builds(Paid, st.integers(0, 10**9), st.integers(0, 10**9), amounts))
    return StoredRow(key, "2026-11-22T10:15:00.123456Z", paid, completion, HERE, 1)


def anything_but_place(row: StoredRow) -> tuple[Any, ...]:
    return (row.key, row.stored, row.paid, row.completion)


def written(name: str, folder: Path, given: Sequence[StoredRow]) -> Path:
    file, writer = FORMATS[name]
    with writer(folder / file) as put:
        for row in given:
            put(values_of(row))
    return folder / file


@each_format
def test_every_field_comes_back(name: str) -> None:
    n = 15 if name == "datasets" else 60

    @settings(max_examples=n, suppress_health_check=list(HealthCheck))
    @given(st.lists(rows(), min_size=1, max_size=4))
    def law(given: list[StoredRow]) -> None:
        with TemporaryDirectory() as folder:
            path = written(name, Path(folder), given)
            found = [row_of(where, values) for where, values in read_ours(path)]
        assert list(map(anything_but_place, found)) == list(map(anything_but_place, given))

    law()


@given(rows())
def test_a_row_is_written_as_the_store_writes_it(row: StoredRow) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_text(to_line(values_of(row)), encoding="utf-8")
        assert [anything_but_place(found) for found in read_rows(path)] == [anything_but_place(row)]


def test_every_field_of_a_completion_has_a_column() -> None:
    fields = {field.name for field in dataclasses.fields(Completion)}
    assert set(arrow.ORDER) == fields | {"key", "stored", "paid", "schema", "escaped"}
    assert arrow.schema().names == list(arrow.ORDER)


def completion(**values: Any) -> Completion:
    given = {"task": "sums", "version": 1, "sample_index": 0, "draw": 0, "prompt": "Q: 1 + 1?\nA:", "rationale": " 2."}
    return Completion(**{**given, "answer_text": " 2.", "teacher": {"name": "t"}, **values})


def stored(folder: Path, *completions: Completion, parameters: dict[str, Any] | None = None) -> CompletionStore:
    store = CompletionStore(folder)
    store.put("t", parameters or {"temperature": 0.7}, completions)
    return store


def values(**changes: Any) -> dict[str, Any]:
    said = completion()
    key = {"teacher": "t", "prompt_sha256": sha256(str(said.prompt)), "parameters_sha256": "0" * 64}
    return {"key": key, "stored": "2026-11-22T10:15:00Z", **said.to_json(), **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rationale": None}, "rationale is None, expected text"),
        ({"rationale": 5}, "rationale is 5, expected text"),
        ({"prompt": ["Q"]}, r"prompt is \['Q'\], expected text or null"),
        ({"prompt": "Q: 1 + 2?\nA:"}, "the prompt is not the one its key was made of"),
        ({"draw": -1}, "draw is -1, expected a whole number"),
        ({"draw": True}, "draw is True, expected a whole number"),
        ({"sample_index": 2**31}, "sample_index is 2147483648, expected"),
        ({"correct": "yes"}, "correct, correct_only are 'yes', False"),
        ({"teacher": "t"}, "teacher is 't', expected an object"),
        ({"usage": [1]}, r"usage is \[1\], expected an object"),
        ({"cost_usd": -1.0}, "cost_usd is -1.0, expected"),
        ({"cost_usd": math.nan}, "cost_usd is nan, expected"),
        ({"key": {"teacher": "t"}}, "key is .*, expected an object of"),
        ({"stored": "yesterday"}, "stored is 'yesterday', expected a time"),
        ({"stored": "2026-11-22T10:15:00"}, "stored is .*, expected a time"),
        ({"paid": {"prompt": 1}}, "paid is .*, expected an object"),
        ({"paid": {"prompt": 1, "completion": 1, "usd": math.inf}}, "paid is .*, expected an object"),
        ({"schema": 99}, "schema 99 is not one this version reads"),
        ({"colour": "red"}, "Completion has no field colour"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_row_that_is_none_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    row_of(Where(HERE, 7), values())
    with pytest.raises(InputError, match=f"somewhere, line 7: {said}"):
        row_of(Where(HERE, 7), values(**changes))


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_gzipped_file_that_was_cut_short_is_named(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(to_line(values(sample_index=i)).encode() for i in range(50)))[:-cut])
    with pytest.raises(InputError, match=r"rows.jsonl.gz: cannot be read after line \d+"):
        list(read_ours(path))


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(to_line(values()) + "\n" + to_line(values())[:50] + "\n")
    with pytest.raises(InputError, match=r"rows.jsonl, line 3: not valid JSON"):
        list(read_ours(path))


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(InputError, match=r"rows.parquet: not a readable Parquet file"):
        list(read_ours(path))


def test_a_parquet_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist([{"question": "2 + 2?", "rationale": "4"}]), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"rows.parquet: has no column key, stored"):
        list(read_ours(tmp_path / "rows.parquet"))


def test_a_damaged_folder_of_datasets_is_refused(tmp_path: Path) -> None:
    with writing.datasets_folder(tmp_path / "rows") as put:
        put(values())
    (file,) = (tmp_path / "rows").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a readable Arrow file"):
        list(read_ours(tmp_path / "rows"))


def test_the_datasets_library_reads_its_folder(tmp_path: Path) -> None:
    from datasets import load_from_disk

    with writing.datasets_folder(tmp_path / "rows") as put:
        for draw in range(3):
            put(values(draw=draw, usage={"prompt": 3}))
    found = load_from_disk(str(tmp_path / "rows"))
    assert len(found) == 3
    assert found[1]["draw"] == 1
    assert found[1]["key"]["teacher"] == "t"
    assert found[1]["usage"] == '{"prompt": 3}'
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_without_the_datasets_library_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match='pip install "datasets'), writing.datasets_folder(tmp_path / "rows"):
        raise AssertionError


def break_off(writer: Writer, path: Path) -> None:
    with writer(path) as put:
        put(values())
        raise ZeroDivisionError


@each_format
def test_a_file_appears_whole_or_not_at_all(name: str, tmp_path: Path) -> None:
    file, writer = FORMATS[name]
    with pytest.raises(ZeroDivisionError):
        break_off(writer, tmp_path / file)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_if_the_new_one_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("before")
    with pytest.raises(ZeroDivisionError):
        break_off(writing.jsonl, tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_text() == "before"


def test_gzipped_files_of_the_same_rows_are_the_same(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        with writing.jsonl(tmp_path / name) as put:
            put(values())
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_the_hub_gets_a_private_data_set_and_the_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    pushed: list[Any] = []

    def push(self: Dataset, name: str, **options: Any) -> None:
        pushed.append((name, options, self[0]["rationale"]))

    monkeypatch.setattr(Dataset, "push_to_hub", push)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with writing.hub("lab/set") as put:
        put(values())
    assert pushed == [("lab/set", {"private": True, "token": "hf_secret"}, " 2.")]


def test_the_hub_wants_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="--hub lab/set: set HF_TOKEN"), writing.hub("lab/set"):
        raise AssertionError


def test_of_the_hub_only_parquet_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with writing.parquet(tmp_path / "data" / "train-0.parquet") as put:
        put(values())
    assert sources("hub:lab/set@v1") == [tmp_path / "data" / "train-0.parquet"]
    assert asked == [
        ("lab/set", {"repo_type": "dataset", "revision": "v1", "allow_patterns": "*.parquet", "token": False})
    ]


def test_a_hub_that_cannot_be_reached_is_one_line() -> None:
    with pytest.raises(InputError, match="hub:lab/none: cannot be had") as refused:
        sources("hub:lab/none")
    assert "\n" not in str(refused.value)


def test_of_two_lines_with_one_key_the_one_stored_first_is_taken(tmp_path: Path) -> None:
    first = stored(tmp_path, completion(rationale=" first"))
    stored(tmp_path, completion(rationale=" second"))
    count = Count(Selection(first))
    count.look()
    assert (count.n, count.repeated) == (1, 1)
    assert [row.completion.rationale for row in count.rows()] == [" first"]


def test_half_a_completion_is_left_out_where_the_whole_one_is_there(tmp_path: Path) -> None:
    half = {"answer_text": None, "teacher": {"name": "t", "part": "rationale"}}
    store = stored(tmp_path, completion(**half), completion(**half, draw=1), parameters={"part": "rationale"})
    store.put("t", {"temperature": 0.7}, [completion()])
    for incomplete, expected, left in ((False, [0], 1), (True, [0, 1], 0)):
        count = Count(Selection(store), incomplete)
        count.look()
        assert sorted(int(row.completion.draw or 0) for row in count.rows()) == expected
        assert (count.n, count.left) == (len(expected), left)
