"""Counting tokens: by a tokenizer, and by an estimate that real texts were measured for."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.teacher.asks import Turn
from ftcot.teacher.tokens import PER_TURN, Counter

HALLOWEEN = (
    "Q: For Halloween Debby and her sister combined the candy they received. Debby had 32 pieces of candy while her "
    "sister had 42. If they ate 35 pieces the first night, how many pieces do they have left?\n"
    "A: Let's think step by step."
)


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "n"), [("gpt2-tokenizer", 55), ("smollm2-135m-tokenizer/tokenizer.json", 61)], ids=["folder", "file"]
)
def test_a_tokenizer_counts(models_dir: Path, name: str, n: int) -> None:
    counter = Counter.of(models_dir / name)
    assert counter.count(HALLOWEEN) == n
    assert counter.each([HALLOWEEN, "", "Yes"]) == [n, 0, counter.count("Yes")]
    assert counter.words == "with the model's tokenizer"


@pytest.mark.models
def test_a_tokenizer_that_cuts_and_fills_counts_all_the_same(models_dir: Path, tmp_path: Path) -> None:
    values = json.loads((models_dir / "gpt2-tokenizer/tokenizer.json").read_text())
    values["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    values["padding"] = {
        **{"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None},
        **{"pad_id": 50256, "pad_type_id": 0, "pad_token": "<|endoftext|>"},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    assert Counter.of(tmp_path).each([HALLOWEEN, "Yes"]) == [55, 1]


def test_without_a_tokenizer_it_is_an_estimate_and_says_so() -> None:
    counter = Counter.of(None)
    assert counter.words == "estimated from characters"
    assert counter.count(HALLOWEEN) == 63
    assert counter.count("") == 0
    assert counter.count("1234567890") == 10  # digits count more than letters
    assert counter.count("abcdefghi") == 2


@pytest.mark.data
@pytest.mark.models
@pytest.mark.parametrize(("name", "low", "high"), [("gpt2-tokenizer", 0.95, 1.3), ("smollm2-135m-tokenizer", 0.9, 1.1)])
@pytest.mark.parametrize("task", ["multiarith", "strategy_qa", "date_understanding"])
def test_the_estimate_is_close_on_what_real_teachers_read_and_wrote(
    data_dir: Path, models_dir: Path, task: str, name: str, low: float, high: float
) -> None:
    with gzip.open(data_dir / f"recorded/text-davinci-002-t70/{task}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(200), file, strict=False)]
    texts = [text for row in rows for text in (row["prompt"], row["rationale"])]
    ratio = sum(Counter.of(None).each(texts)) / sum(Counter.of(models_dir / name).each(texts))
    assert low < ratio < high


@given(text=st.text(), more=st.text())
def test_an_estimate_grows_with_the_text(text: str, more: str) -> None:
    counter = Counter.of(None)
    one, other, both = counter.each([text, more, text + more])
    assert max(one, other) <= both <= one + other
    assert both <= len(text + more)


def test_a_chat_template_puts_marks_around_every_turn() -> None:
    counter, turns = Counter.of(None), (Turn("system", "Be brief. "), Turn("user", HALLOWEEN))
    assert counter.conversation(turns, chat=False) == counter.count("Be brief. " + HALLOWEEN)
    assert counter.conversation(turns, chat=True) == counter.conversation(turns, chat=False) + 3 * PER_TURN


@pytest.mark.parametrize(("name", "line"), [("none.json", "no such file"), ("folder", "no such file")])
def test_a_tokenizer_that_is_not_there(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"teacher.tokenizer=.*{name}.*{line}"):
        Counter.of(tmp_path / name)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"version": "1.0", "model": {"type": "None"}}'])
def test_a_damaged_tokenizer(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="not a tokenizer"):
        Counter.of(tmp_path)
