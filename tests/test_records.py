"""JSONL in and out: what was written comes back, what is damaged is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.records import (
    Completion,
    Example,
    Prediction,
    read_json,
    read_jsonl,
    read_records,
    to_line,
    write_records,
)

text = st.text(max_size=40)


@given(st.builds(Example, prompt=text, completion=text, sample_index=st.integers(0), draw=st.none() | st.integers(0)))
def test_a_record_survives_a_line_of_json(example: Example) -> None:
    line = to_line(example)
    assert line.count("\n") == 1
    assert Example.from_json(json.loads(line)) == example


@given(
    st.builds(
        Completion,
        task=text,
        version=st.integers(1),
        sample_index=st.integers(0),
        draw=st.none() | st.integers(0),
        prompt=st.none() | text,
        rationale=text,
        usage=st.none() | st.dictionaries(text, st.integers()),
        teacher=st.dictionaries(text, text),
    )
)
def test_a_completion_survives_a_line_of_json(completion: Completion) -> None:
    assert Completion.from_json(json.loads(to_line(completion))) == completion


def test_half_of_a_surrogate_pair_survives_a_line_of_json() -> None:
    line = to_line(Example("a \ud83d", "é", 0))
    assert Example.from_json(json.loads(line.encode())) == Example("a \ud83d", "é", 0)


def test_records_come_back_in_order(tmp_path: Path) -> None:
    first, second = Example("a", "b", 0), Example("c\u2028d", "e\x85f", 1, 2)
    write_records(tmp_path / "x.jsonl", [first, second])
    assert read_records(tmp_path / "x.jsonl", Example) == [first, second]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_records(path, [Example("old", "", 0)])

    def breaks() -> object:
        yield Example("new", "", 0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_records(path, breaks())  # type: ignore[arg-type]
    assert [example.prompt for example in read_records(path, Example)] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"a": 1}\n{"a": \n', "x.jsonl, line 2: not valid JSON"),
        ('{"a": 1}\n\n[1]\n', "x.jsonl, line 3: expected a JSON object, found list"),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(InputError, match=complaint):
        list(read_jsonl(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"prompt": "p", "completion": "c", "sample_index": 0}, "line 1: schema None"),
        ({"schema": 99, "prompt": "p", "completion": "c", "sample_index": 0}, "line 1: schema 99"),
        ({"schema": 1, "prompt": "p", "sample_index": 0}, "line 1: not a Example: missing .*'completion'"),
        ({"schema": 1, "prompt": "p", "completion": "c", "sample_index": 0, "x": 1}, "line 1: Example has no field x"),
    ],
)
def test_a_line_that_is_another_record_is_refused(tmp_path: Path, row: dict[str, object], complaint: str) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=complaint):
        read_records(tmp_path / "x.jsonl", Example)


def test_fields_that_earlier_versions_wrote_are_read_over(tmp_path: Path) -> None:
    known = {"sample_index": 1, "split": "test", "epoch": 1, "text": " 1", "answer": "1", "prediction": "1"}
    known |= {"correct": False, "verdicts": {}, "contains_answer": False, "formatted": True, "truncated": False}
    line = {"schema": 1, **known, "n_tokens": 2, "rationale": None, "error": "wrong answer"}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(line))
    (found,) = read_records(tmp_path / "predictions.jsonl", Prediction)
    assert (found.text, found.study) == (" 1", None)


def test_gzip_is_read_and_a_cut_one_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"a": 1}\n' * 50)
    (tmp_path / "x.jsonl.gz").write_bytes(packed)
    assert len(list(read_jsonl(tmp_path / "x.jsonl.gz"))) == 50
    (tmp_path / "y.jsonl.gz").write_bytes(packed[:-9])
    with pytest.raises(InputError, match=r"y.jsonl.gz: cannot be read"):
        list(read_jsonl(tmp_path / "y.jsonl.gz"))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.json: no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    with pytest.raises(InputError, match="not UTF-8"):
        read_json(tmp_path / "latin.json")
