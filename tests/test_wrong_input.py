"""What a user gets wrong about data, recordings and checkpoints: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ftcot.run import run

Wrong = Callable[..., str]

HEADER = '{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
SAFETENSORS = len(HEADER).to_bytes(8, "little").decode() + HEADER + "x"
"""A file of one tensor of one byte."""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wrong:
    """Runs the command, which must refuse; returns its one line."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("FTCOT_CACHE", str(here / "cache"))

    def refused(*words: str) -> str:
        code = run(words)
        said = capsys.readouterr()
        assert (code, said.out) == (2, ""), said.err
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert list(here.iterdir()) == []
        return said.err

    return refused


@pytest.mark.data
def test_a_degree_above_what_was_recorded(wrong: Wrong, data_dir: Path) -> None:
    said = wrong(f"paths.data={data_dir}", "task=multiarith", "diversity=32")
    assert "diversity=32" in said
    assert "16" in said


@pytest.mark.data
def test_no_filter_on_recordings_of_correct_completions(wrong: Wrong, data_dir: Path) -> None:
    said = wrong(f"paths.data={data_dir}", "task=strategy_qa", "curation.filter=none")
    assert "curation.filter=none needs wrong completions too" in said
    assert "holds correct ones only" in said


@pytest.mark.data
def test_a_subset_larger_than_the_split(wrong: Wrong, data_dir: Path) -> None:
    said = wrong(f"paths.data={data_dir}", "task=multiarith", "task.train_size=421")
    assert "task.train_size=421" in said
    assert "420" in said


@pytest.mark.data
@pytest.mark.parametrize("damage", ["corrupt", "cut"])
def test_a_damaged_recording_is_named_by_line(wrong: Wrong, data_dir: Path, tmp_path: Path, damage: str) -> None:
    lines = (data_dir / "recorded/text-davinci-002-paper/multiarith.jsonl").read_text().splitlines(keepends=True)[:300]
    lines[41] = lines[41][: len(lines[41]) // 2] + "\n" if damage == "corrupt" else lines[41]
    lines[-1] = lines[-1][:50] if damage == "cut" else lines[-1]
    (tmp_path / "mine.jsonl").write_text("".join(lines))
    said = wrong(f"paths.data={data_dir}", "task=multiarith", f"teacher.path={tmp_path / 'mine.jsonl'}")
    assert f"mine.jsonl, line {42 if damage == 'corrupt' else 300}: not valid JSON" in said


@pytest.mark.data
def test_a_recording_cut_amid_its_compression(wrong: Wrong, data_dir: Path, tmp_path: Path) -> None:
    packed = (data_dir / "recorded/text-davinci-002-t70/multiarith.jsonl.gz").read_bytes()
    (tmp_path / "mine.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    said = wrong(
        f"paths.data={data_dir}", "task=multiarith", "diversity=8", f"teacher.path={tmp_path / 'mine.jsonl.gz'}"
    )
    assert "mine.jsonl.gz: cannot be read" in said


@pytest.mark.data
def test_a_raw_file_with_another_content(wrong: Wrong, data_dir: Path, tmp_path: Path) -> None:
    relative = "zero_shot_cot/dataset/MultiArith/MultiArith.json"
    (tmp_path / "data" / relative).parent.mkdir(parents=True)
    content = (data_dir / relative).read_text()
    (tmp_path / "data" / relative).write_text(content.replace("39.0", "40.0", 1))
    said = wrong(f"paths.data={tmp_path / 'data'}", "task=multiarith")
    assert "sha256" in said
    assert "MultiArith.json" in said


def test_a_missing_recording_names_where_it_was_looked_for(wrong: Wrong, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(20)))
    said = wrong("task=jsonl", f"task.path={mine}", "task.answer=number", f"paths.data={tmp_path}")
    assert "teacher.path" in said
    assert '"rationale"' in said  # what a line of it looks like


def test_a_generated_task_has_no_recordings(wrong: Wrong) -> None:
    assert "teacher=procedural" in wrong("teacher=replay")


def test_a_procedural_teacher_knows_generated_tasks_only(wrong: Wrong, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(20)))
    said = wrong("task=jsonl", f"task.path={mine}", "task.answer=number", "teacher=procedural")
    assert "task=generated/" in said


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"question": "2 + 2?"', "line 2: not valid JSON"),
        ('{"question": "2 + 2?"}', "line 2"),
        ('{"question": "2 + 2?", "answer": "four"}', "line 2"),
        ('{"question": " ", "answer": 4}', "line 2"),
    ],
)
def test_a_line_of_ones_own_task_that_does_not_fit(wrong: Wrong, tmp_path: Path, row: str, complaint: str) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?", "answer": 2}\n' + row + "\n")
    said = wrong("task=jsonl", f"task.path={tmp_path / 'mine.jsonl'}", "task.answer=number", "method=fine_tune")
    assert "mine.jsonl" in said
    assert complaint in said


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "config.json"),
        ({"config.json": '{"model_type": "gpt2"}', "pytorch_model.bin": "x"}, "safetensors"),
        (
            {
                "config.json": '{"model_type": "t5", "is_encoder_decoder": true}',
                "model.safetensors": SAFETENSORS,
                "tokenizer.json": "{}",
            },
            "encoder_decoder",
        ),
    ],
    ids=["nothing", "pickle", "family"],
)
def test_a_checkpoint_that_will_not_do(wrong: Wrong, tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert complaint in wrong("student=decoder", f"student.checkpoint={folder}")


def test_a_checkpoint_that_is_not_cached_offline(wrong: Wrong) -> None:
    said = wrong("student=decoder", "student.checkpoint=nobody/no-such-model")
    assert "nobody/no-such-model" in said


def test_several_devices_wait_for_another_release(wrong: Wrong) -> None:
    assert "trainer.devices=2: one process per job for now" in wrong("trainer.devices=2")


def test_an_online_tracker_needs_a_login(wrong: Wrong, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert "logger.mode=online: not logged in" in wrong("logger.mode=online")


@pytest.mark.data
def test_a_unified_list_that_was_cut(wrong: Wrong, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    whole = gzip.decompress((data_dir / "datasets/commonsense_qa.jsonl.gz").read_bytes())
    (tmp_path / "datasets/commonsense_qa.jsonl.gz").write_bytes(gzip.compress(whole[:100_000]))
    said = wrong(f"paths.data={tmp_path}", "task=commonsense_qa", "method=fine_tune")
    assert "commonsense_qa.jsonl.gz, line " in said
