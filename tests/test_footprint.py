"""What a job takes of a GPU's memory, by its config: sizes that are known, and sizes that are not."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcot.footprint import GIB, Shape, footprint, shape_of
from ftcot.job import build
from ftcot.student.specs import Decoder, Tiny, TinyT5

GPT2 = Shape(124_439_808, 768, 12, 50257, 1024)
MEDIUM = Shape(354_823_168, 1024, 24, 50257, 1024)

Compose = Callable[..., dict[str, Any]]


def checkpoint(folder: Path, shape: Shape, **more: Any) -> Path:
    """A GPT-2 of this shape, as far as one can tell without reading its weights: they are a hole in the file."""
    folder.mkdir()
    config = {"model_type": "gpt2", "n_embd": shape.width, "n_layer": shape.layers, "vocab_size": shape.vocabulary}
    (folder / "config.json").write_text(json.dumps(config | {"n_positions": shape.context} | more))
    (folder / "tokenizer.json").write_text("{}")
    entry = {"dtype": "F32", "shape": [shape.parameters], "data_offsets": [0, 4 * shape.parameters]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weights": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 4 * shape.parameters)
    return folder


@pytest.fixture
def gib(compose: Compose, tmp_path: Path) -> Callable[..., float]:
    """What a job with a student of this shape takes, in GiB."""

    def told(shape: Shape, *words: str) -> float:
        folder = tmp_path / f"{shape.parameters}"
        if not folder.exists():
            checkpoint(folder, shape)
        found = footprint(build(compose("student=decoder", f"student.checkpoint={folder}", *words)))
        assert found is not None
        return found / GIB

    return told


@pytest.mark.parametrize(
    ("student", "shape"),
    [
        (Tiny("tiny"), Shape(722_048, 128, 4, 512, 1024)),
        (TinyT5("tiny-t5", width=64), Shape(230_400, 64, 4, 512, None)),
        (Decoder("none", checkpoint="nobody/none"), None),
        (Decoder("none", checkpoint="/no/such/folder"), None),
        (object(), None),
    ],
    ids=["tiny", "t5", "hub", "folder", "own class"],
)
def test_the_shape_of_a_student_is_known_where_it_is_here(student: Any, shape: Shape | None) -> None:
    assert shape_of(student) == shape


@pytest.mark.parametrize("shape", [GPT2, MEDIUM], ids=["gpt2", "gpt2-medium"])
def test_a_checkpoint_tells_its_shape(shape: Shape, tmp_path: Path) -> None:
    assert shape_of(Decoder("own", checkpoint=str(checkpoint(tmp_path / "own", shape)))) == shape


def test_a_checkpoint_that_says_other_things_is_not_known(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "own", GPT2, n_embd=None)
    assert shape_of(Decoder("own", checkpoint=str(folder))) is None


def test_weights_gradients_and_averages_are_four_numbers_a_parameter(gib: Any) -> None:
    """And a fifth where a copy is tested meanwhile; a student that is not trained has one."""
    in_turns = [gib(shape, "evaluation.overlap=false") for shape in (GPT2, MEDIUM)]
    assert in_turns[0] > 16 * GPT2.parameters / GIB + 1.25
    assert in_turns[1] > 16 * MEDIUM.parameters / GIB + 1.25
    assert gib(GPT2) > in_turns[0] + 4 * GPT2.parameters / GIB
    assert gib(GPT2, "method=zero_shot") < 4 * GPT2.parameters / GIB + 1.25 + 3.5


def test_known_students_need_about_what_they_need(gib: Any, compose: Compose) -> None:
    """The paper's settings: 8 pairs of 512 and 512 tokens at once. So a GPU of 80 GB has room for five GPT-2."""
    tiny = footprint(build(compose("student=tiny", "training=paper")))
    assert tiny is not None
    assert tiny / GIB == pytest.approx(1.9, abs=0.1)
    assert gib(GPT2, "training=paper") == pytest.approx(13.7, abs=0.1)
    assert gib(MEDIUM, "training=paper") == pytest.approx(30.0, abs=0.1)


def test_smaller_batches_lora_and_short_texts_take_less(gib: Any) -> None:
    whole = gib(MEDIUM)
    for words in (
        ("training.device_batch_size=2",),
        ("training.device_batch_tokens=2048",),
        ("training=lora",),
        ("student.max_prompt_tokens=128", "student.max_target_tokens=128"),
        ("trainer.precision=bf16-mixed",),
        ("evaluation.overlap=false",),
    ):
        assert gib(MEDIUM, *words) < whole
