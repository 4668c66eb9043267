"""What is packed into the page comes out again as it was, and cannot break out of it."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.files import read_json
from ftcot.records import Completion, Example
from ftcot.report.making import Asked, make
from ftcot.report.page.books import PAGE, Book, Entry, Question
from ftcot.report.page.packing import LARGEST, Words, inline_json, packed, packed_json, to_bytes
from ftcot.report.page.students import KIND_NUMBERS, chosen, epochs, test_books
from ftcot.report.page.teachers import MOST, reasons, train_books
from ftcot.report.reading import read
from tests.report_folders import make_run, make_sweep

test_books.__test__ = False  # type: ignore[attr-defined]

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
"""Half surrogate pairs, NUL and marks of direction among it."""


def inflated(part: str) -> bytes:
    return gzip.decompress(base64.b64decode(part))


def numbers_of(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        if data[at] < 192:
            yield data[at]
            at += 1
        elif data[at] < 255:
            yield 192 + (data[at] - 192 << 8) + data[at + 1]
            at += 2
        else:
            yield int.from_bytes(data[at + 1 : at + 4], "big")
            at += 4


def read_book(book: Book) -> list[list[Entry | None]]:
    """What assets/js/books.js reads, question by question."""
    about, parts = book.pack()
    words = json.loads(inflated(parts["words"]))
    planes = np.frombuffer(inflated(parts["marks"]), dtype=np.uint8).reshape(2, about["width"], about["n"])
    found: list[list[Entry | None]] = []
    for number, size in enumerate(about["pages"]):
        stream = numbers_of(inflated(parts[f"page-{number}"]))
        for _ in range(size):
            texts: list[str | None] = [None]
            for _ in range(next(stream)):
                parted = []
                while word := next(stream):
                    parted.append(words[word - 1])
                texts.append("".join(parted))
            row: list[Entry | None] = []
            for column in range(about["width"]):
                text, answer, before = (texts[next(stream)] for _ in range(3))
                low, high = (int(plane[column, len(found)]) for plane in planes)
                row.append(None if text is None else Entry(text, answer, before, low | high << 8))
            found.append(row)
    return found


@given(st.lists(st.integers(0, LARGEST - 1)))
def test_whole_numbers_come_back(values: list[int]) -> None:
    assert list(numbers_of(to_bytes(np.array(values, dtype=np.uint32)))) == values


@given(st.lists(ANY_TEXT))
def test_words_of_a_text_are_the_text(texts: list[str]) -> None:
    words = Words()
    numbers = words.numbers(texts)
    known, ranks = words.ranked([numbers])
    said = "".join("\n" if number == 0 else known[number - 1] for number in ranks[numbers])
    assert said == "".join(f"{text}\n" for text in texts)


@given(
    st.lists(
        st.lists(
            st.none() | st.builds(Entry, ANY_TEXT, st.none() | ANY_TEXT, st.none() | ANY_TEXT, st.integers(0, 65535)),
            min_size=3,
            max_size=3,
        ),
        max_size=5,
    )
)
def test_a_book_gives_back_what_was_said(rows: list[list[Entry | None]]) -> None:
    book = Book([Question(index, "", "") for index in range(len(rows))], 3)
    for row in rows:
        book.add(row)
    assert read_book(book) == rows


def test_a_long_book_has_several_pages() -> None:
    book = Book([Question(index, "", "") for index in range(4)], 1)
    rows = [[Entry(letter * (PAGE // 2))] for letter in "abcd"]
    for row in rows:
        book.add(row)
    assert book.pack()[0]["pages"] == [2, 2]
    assert read_book(book) == rows


def test_texts_of_one_teaching_shrink_more_than_tenfold() -> None:
    chance = random.Random(0)
    book = Book([Question(index, "", "") for index in range(30)], 200)
    size = 0
    for question in range(30):
        base = " ".join(f"{chance.choice('ABCDEFG')}{chance.randrange(999)}." for _ in range(40))
        said = []
        for _ in range(200):
            words = [f"x{chance.randrange(400)}" if chance.random() < 0.06 else word for word in base.split(" ")]
            said.append(Entry(f"{question} {' '.join(words)}"))
        size += sum(len(entry.text) for entry in said)
        book.add(said)
    assert sum(map(len, book.pack()[1].values())) < size / 10


@given(st.recursive(ANY_TEXT | st.none() | st.booleans() | st.integers(), st.lists, max_leaves=5))
def test_json_in_the_page_is_no_markup_and_comes_back(value: Any) -> None:
    text = inline_json({"value": [value, "</script><!--<script>&amp;\u2028\0"]})
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text)["value"][0] == value


def test_the_same_values_give_the_same_bytes() -> None:
    assert packed(b"abc") == packed(b"abc")
    assert json.loads(inflated(packed_json(["\ud800", "</script>"]))) == ["\ud800", "</script>"]


def test_last_and_best_epoch_are_embedded_and_all_of_a_few_runs(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=2, degrees=(1, 8), n_questions=12, epochs=(1, 2, 3), figure=None)
    report = make(Asked((tmp_path,)))
    detailed = chosen(report, 2)
    assert {report.found.runs[place].facts.diversity for place in detailed} == {1, 8}
    [one] = test_books(report, detail=2)
    for place, run in enumerate(report.found.runs):
        kept = [epoch for owner, epoch in one.columns if owner == place]
        best = run.score.best_on_test["epoch"]  # type: ignore[index]
        assert kept[0] == run.score.epoch
        assert set(kept) == ({1, 2, 3} if place in detailed else {3, best})
    assert epochs(report.found.runs[0], every=True) == (3, 1, 2)


def test_marks_say_what_the_scorers_and_the_sample_study_say(tmp_path: Path) -> None:
    make_run(tmp_path / "run", n_questions=20)
    report = make(Asked((tmp_path,)))
    [one] = test_books(report, detail=0)
    [run] = report.found.runs
    marks = one.book.column(0)
    for said, mark in zip(run.said(), marks.tolist(), strict=True):
        assert bool(mark & 16) == said.correct
        assert bool(mark & 64) == said.truncated
        assert [bool(mark & 256 << k) for k in range(3)] == list(said.verdicts.values())
        assert mark & 15 in KIND_NUMBERS.values()
        assert mark >> 15 == 1


def test_runs_with_other_questions_have_another_book(tmp_path: Path) -> None:
    make_run(tmp_path / "a", n_questions=12)
    make_run(tmp_path / "b", "task.seed=1", n_questions=12)
    make_run(tmp_path / "c", "seed=1", n_questions=12)
    report = make(Asked((tmp_path,)))
    asked = [{report.found.runs[place].folder.name for place in one.runs} for one in test_books(report, 0)]
    assert sorted(map(sorted, asked)) == [["a", "c"], ["b"]]


@pytest.mark.parametrize("filters", ["answer", "[answer,duplicate]", "[duplicate,format]", "vote"])
def test_reasons_add_up_to_what_the_run_counted(tmp_path: Path, filters: str) -> None:
    words = ("diversity=8", "teacher.skill=0.9", f"curation.filter={filters}")
    folder = make_run(tmp_path / "run", *words, n_questions=4)
    [run] = read([folder]).runs
    counted = read_json(folder / "status.json")["counts"]["curation"]
    found = reasons(run, run.completions, run.examples)
    assert found.count("") == counted["kept"]
    dropped = {reason: found.count(reason) for reason in set(found) - {""}}
    assert sum(dropped.values()) == sum(counted["dropped"].values())
    if filters != "vote":
        assert dropped == counted["dropped"]
    else:
        assert set(dropped) == {"by vote"}


def test_runs_taught_alike_share_a_teaching_and_degrees_share_a_book(tmp_path: Path) -> None:
    make_sweep(tmp_path / "sweep", n_seeds=2, degrees=(1, 4), n_questions=6, figure=None)
    [one] = train_books(make(Asked((tmp_path,))))
    assert [(lesson.width, len(lesson.runs)) for lesson in one.lessons] == [(1, 2), (4, 2)]
    first = read_book(one.book)[0]
    assert first[0] == first[1]  # D = 1 is the first draw of D = 4
    assert one.sampled is None


def test_of_many_training_questions_a_thousand_are_embedded(tmp_path: Path) -> None:
    make_run(tmp_path / "run", "task.n_train=1200", "diversity=1", n_questions=4)
    [one] = train_books(make(Asked((tmp_path,))))
    assert len(one.book.questions) == MOST
    assert one.sampled == "1,000 of 1,200 training questions, at even distances"


def test_a_judge_is_told_from_the_pairs(tmp_path: Path) -> None:
    [run] = read([make_run(tmp_path / "run", "diversity=1", n_questions=4)]).runs
    judged = {**run.config, "curation": {**run.config["curation"], "filter": ["answer", "judge"]}}
    completions = [Completion("t", 1, index, 0, None, "r", correct=True) for index in range(2)]
    by_judge = type(run)(**{**{n: getattr(run, n) for n in run.__dataclass_fields__}, "config": judged})
    assert reasons(by_judge, completions, [Example("q", "r", 0, 0)]) == ["", "by judge"]
