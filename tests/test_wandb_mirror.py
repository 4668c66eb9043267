"""Finished run folders, sent to W&B: offline, and read back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from ftcot import mirror
from ftcot.files import write_json
from ftcot.logger import RunLogger, facts
from ftcot.records import Prediction, write_records
from tests import wandb_records
from tests.wandb_job import HASH, PREDICTIONS, SCORE, job, log, record, status


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL", "SWEEP_ID", "RUN_ID", "DATA_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def finished(folder: Path, cache: Path, *overrides: str, state: str = "complete") -> Path:
    """A run folder as a job with logger=csv leaves it."""
    done = job(cache, "logger=csv", "task.n_train=16", "task.n_test=8", *overrides)
    status(folder).update(state=state)
    (folder / "job.yaml").write_text(yaml.safe_dump(dict(done.config)))
    log(RunLogger(folder), range(1, 3))
    samples = done.task.splits().test
    said = [
        Prediction.from_json(prediction.to_json() | {"sample_index": sample.sample_index, "epoch": epoch})
        for epoch in (1, 2)
        for prediction, sample in zip(PREDICTIONS, samples, strict=False)
    ]
    write_records(folder / "predictions.jsonl", said)
    write_json(folder / "score.json", SCORE.to_json())
    return folder


def test_a_mirrored_run_is_the_run_as_it_would_have_been_logged(tmp_path: Path) -> None:
    folder = finished(tmp_path / "mirrored", tmp_path / "cache")
    assert mirror.main([str(folder)]) == 0
    logged = tmp_path / "logged"
    record(logged, tmp_path / "cache", "logger=wandb", "task.n_train=16", "task.n_test=8")
    (mirrored_file,), (logged_file,) = wandb_records.files(folder), wandb_records.files(logged)
    mirrored, other = wandb_records.summary(mirrored_file), wandb_records.summary(logged_file)

    assert wandb_records.read(mirrored_file)["run"][0]["run_id"] == HASH
    assert mirrored["config"][facts.JOB] == other["config"][facts.JOB]
    assert mirrored["tags"] == other["tags"]
    for key, value in other["summary"].items():
        if key.startswith(("score/", "evaluation/", "epoch/")):
            assert mirrored["summary"][key] == value, key
    rows = wandb_records.table(mirrored_file, "predictions")["data"]
    assert len(rows) == len(PREDICTIONS)
    assert all(question for _, question, *_ in rows)
    kinds = {one["type"] for one in wandb_records.read(mirrored_file)["artifact"]}
    assert kinds == {"dataset", "run_table"}


def test_a_job_of_a_sweep_agent_is_mirrored_under_the_id_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(tmp_path / "run", tmp_path / "cache")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    assert mirror.main([str(folder)]) == 0
    assert wandb_records.only(folder)["run"][0]["run_id"] == "given"


def test_a_sweep_folder_stands_for_its_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "10-15-00-ab12"
    states = {"10-cc": "complete", "2-bb": "failed", "0-aa": "stopped"}
    for name, state in states.items():
        finished(sweep / name, tmp_path / "cache", state=state)
    (sweep / "sweep.jsonl").write_text("")
    assert mirror.main([str(sweep), "--project", "paper"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["0-aa", "2-bb", "10-cc"]
    failed, complete = wandb_records.only(sweep / "2-bb"), wandb_records.only(sweep / "10-cc")
    assert (wandb_records.exit_code(failed), wandb_records.exit_code(complete)) == (1, 0)
    about = complete["run"][0]
    assert (about["project"], about["run_group"]) == ("paper", sweep.name)
    assert not (sweep / "0-aa" / "wandb").exists()


def test_a_run_whose_data_is_gone_is_mirrored_without_its_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(f'{{"question": "{i} + 1?", "answer": "{i + 1}"}}\n' for i in range(40)))
    folder = tmp_path / "run"
    words = ("method=fine_tune", "task=jsonl", f"task.path={questions}", "task.answer=number")
    done = job(tmp_path / "cache", "logger=csv", *words)
    finished(folder, tmp_path / "cache")
    (folder / "job.yaml").write_text(yaml.safe_dump(dict(done.config)))
    questions.unlink()
    assert mirror.main([str(folder)]) == 0
    assert "no lineage" in capsys.readouterr().out
    (file,) = wandb_records.files(folder)
    assert {question for _, question, *_ in wandb_records.table(file, "predictions")["data"]} == {""}


@pytest.mark.parametrize(
    ("state", "mode", "message"),
    [
        ("running", "offline", "not finished (running)"),
        ("complete", None, "not logged in"),
        (None, "offline", "neither a run folder nor a sweep folder"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(
    state: str | None,
    mode: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    if state is not None:
        finished(folder, tmp_path / "cache", state=state)
    if mode is None:
        monkeypatch.delenv("WANDB_MODE")
    assert mirror.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    shutil.rmtree(folder / "wandb", ignore_errors=True)
