"""JSONL in and out: what was written comes back, what is damaged is named."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.files import STALE, read_json, read_jsonl
from ftcot.records import Completion, Example, Prediction, read_records, stream_records, to_line, write_records

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


completions = st.builds(
    Completion,
    task=text,
    version=st.integers(1),
    sample_index=st.integers(0),
    draw=st.none() | st.integers(0),
    prompt=st.none() | text,
    rationale=text,
    prediction=st.none() | text,
    correct=st.none() | st.booleans(),
)


@given(completions, st.none() | text, st.booleans())
def test_a_verdict_changes_nothing_else(completion: Completion, prediction: str | None, correct: bool) -> None:
    before = completion.to_json()
    found = completion.judged(prediction, correct)
    assert found == dataclasses.replace(completion, prediction=prediction, correct=correct)
    assert found.judged(prediction, correct) is found
    assert completion.to_json() == before


@given(completions)
def test_what_is_read_is_as_frozen_as_what_is_made(completion: Completion) -> None:
    read = Completion.from_json(completion.to_json())
    assert type(read) is Completion
    assert (read, repr(read)) == (completion, repr(completion))
    assert pickle.loads(pickle.dumps(read)) == completion
    with pytest.raises(dataclasses.FrozenInstanceError):
        read.task = "other"  # type: ignore[misc]
    example = Example.from_json(Example("p", "c", 1).to_json())
    assert {example: 1}[Example("p", "c", 1)] == 1


def test_a_stream_of_records_is_read_and_written_a_line_at_a_time(tmp_path: Path) -> None:
    numbers: list[int] = []

    def examples() -> Iterator[Example]:
        for number in range(5):
            numbers.append(number)
            yield Example("p" * 10, "c", number)

    write_records(tmp_path / "whole.jsonl", examples())
    assert numbers == [0, 1, 2, 3, 4]
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(b"".join([*lines[:3], b"{\n", *lines[3:]]))
    found = stream_records(damaged, Example)
    assert [next(found).sample_index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="line 4: not valid JSON"):
        next(found)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lines_end_at_newlines_only_and_a_byte_order_mark_is_read_over(tmp_path: Path, ending: str) -> None:
    content = b'\xef\xbb\xbf{"a": "\xe2\x80\xa8\xc2\x85"}\r\n \xc2\xa0\n{"a": "2"}'
    path = tmp_path / f"x{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    assert list(read_jsonl(path)) == [(1, {"a": "\u2028\x85"}), (3, {"a": "2"})]


def test_a_line_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xe9"}\n')
    with pytest.raises(InputError, match=r"x.jsonl, line 2: not UTF-8 text"):
        list(read_jsonl(tmp_path / "x.jsonl"))


@pytest.mark.parametrize("failures", [1, STALE, STALE + 1])
def test_a_file_that_is_replaced_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    write_records(tmp_path / "x.jsonl", [Example("p", "c", 0)])
    opened: list[Path] = []
    real = Path.open

    def stale(path: Path, *arguments: object, **named: object) -> object:
        opened.append(path)
        if len(opened) <= failures:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", stale)
    if failures > STALE:
        with pytest.raises(InputError, match="Stale file handle"):
            read_records(tmp_path / "x.jsonl", Example)
    else:
        assert len(read_records(tmp_path / "x.jsonl", Example)) == 1
        assert len(opened) == failures + 1
