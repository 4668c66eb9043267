"""The W&B run of a job, offline, read back with wandb's own reader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ftcot.logger import facts, lineage, open_logger
from tests import wandb_records
from tests.command import Command, read, wait_for
from tests.conftest import ROOT
from tests.wandb_job import HASH, PREDICTIONS, SAMPLES, SCORE, job, log, record, status
from tests.wandb_server import SyncServer, serving

SECRET = "0123456789abcdef0123456789abcdef01234567"

CHEAP = ("task.n_train=16", "task.n_test=8", "diversity=1", "student=tiny-0.2m", "training.truncation_limit=1")
CHEAP = (*CHEAP, "evaluation.max_new_tokens=8", "trainer=cpu")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is logged in, no sweep is under way."""
    for name in ("API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL", "SWEEP_ID", "RUN_ID", "DATA_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job with one W&B run."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        words = ("logger.group=sweep", "logger.tags=[mine]", "logger.table_rows=3", "task.n_train=16", "diversity=8")
        assert record(folder, folder / "cache", *words) == ["W&B: offline, in wandb/; `wandb sync` sends it"]
    return folder


@pytest.fixture(scope="module")
def records(run: Path) -> wandb_records.Records:
    """Of that run."""
    return wandb_records.only(run)


@pytest.fixture(scope="module")
def ended(run: Path) -> dict[str, Any]:
    """That run as it ended up."""
    (file,) = wandb_records.files(run)
    return wandb_records.summary(file)


def test_a_job_is_one_run_known_by_its_hash(records: wandb_records.Records) -> None:
    (about,) = records["run"]
    assert about["run_id"] == HASH
    assert about["display_name"] == f"fine_tune_cot generated_coin_flip tiny D=8 {HASH[:8]}"
    assert (about["project"], about["run_group"], about["job_type"]) == ("ftcot", "sweep", "fine_tune_cot")
    assert about["tags"] == ["mine", "generated_coin_flip", "tiny", "procedural", "D=8"]
    assert about["resume"] is True


def test_the_config_is_the_jobs_and_says_what_figures_are_drawn_over(ended: dict[str, Any]) -> None:
    config = ended["config"]
    assert config["training"]["optimizer"]["lr"] == 0.002
    assert config["diversity"]["degree"] == 8
    assert config[facts.JOB] == {
        "task": "generated_coin_flip",
        "method": "fine_tune_cot",
        "student": "tiny",
        "teacher": "procedural",
        "diversity": 8,
        "temperature": 0.7,
        "n_train": 420,
        "n_validation": 0,
        "n_test": 4,
        "n_examples": 323,
        "n_parameters": 124_000_000,
        "scorer": "paper",
        "seed": 0,
    }


def test_each_phase_has_its_own_axis(records: wandb_records.Records) -> None:
    history = [row["item"] for row in records["history"]]
    assert [row["train/step"] for row in history if "train/step" in row] == [1, 2, 3, 4]
    assert [row["epoch/loss"] for row in history if "epoch/epoch" in row] == [1.0, 0.5]
    assert [row["evaluation/accuracy"] for row in history if "evaluation/epoch" in row] == [0.25, 0.5]
    axes = {metric.get("name") or metric.get("glob_name"): metric.get("step_metric") for metric in records["metric"]}
    assert axes["train/*"] == "train/step"
    assert axes["epoch/*"] == "epoch/epoch"
    assert axes["evaluation/*"] == "evaluation/epoch"


def test_the_summary_is_the_score_and_what_it_cost(ended: dict[str, Any], records: wandb_records.Records) -> None:
    assert {key: value for key, value in ended["summary"].items() if key.startswith("score/")} == {
        "score/accuracy": 0.75,
        "score/accuracy_low": 0.3,
        "score/accuracy_high": 0.95,
        "score/n": 4,
        "score/epoch": 2,
        "score/validation_accuracy": 0.625,
        "score/best_on_test": 0.8,
        "score/random_accuracy": 0.5,
        "score/n_examples": 323,
        "score/seconds": 7.5,
        "score/device_seconds": 14,
        "score/devices": 2,
        "score/cost_usd": 0.25,
        "score/tokens_supervised": 9000,
        "score/tokens_generated": 72,
        "score/tokens_teacher": 0,
        "score/study_right": 0.75,
        "score/study_wrong_answer_no_equation": 0.25,
        "score/diversity_n": 323,
        "score/diversity_effective_degree": 5.9,
        "score/diversity_paths": 3.3,
    }
    assert wandb_records.exit_code(records) == 0


@pytest.mark.parametrize(("keep", "accuracy"), [("last", 0.625), ("none", 0.625), ("best", 0.875)])
def test_the_validation_score_is_that_of_the_weights_that_are_kept(keep: str, accuracy: float) -> None:
    assert facts.summary(SCORE, keep)["score/validation_accuracy"] == accuracy


def test_predictions_are_a_table_of_no_more_rows_than_asked_for(run: Path) -> None:
    (file,) = wandb_records.files(run)
    table = wandb_records.table(file, "predictions")
    assert table["columns"] == ["sample_index", "question", "text", "prediction", "answer", "verdict", "error"]
    assert len(table["data"]) == 3
    assert [20, "Question 20?", " Heads, then tails. --> yes END", "yes", "yes", "correct", None] in table["data"]


def test_the_result_is_a_table_of_one_row_for_charts_with_error_bars(run: Path) -> None:
    (file,) = wandb_records.files(run)
    table = wandb_records.table(file, "result")
    (row,) = table["data"]
    values = dict(zip(table["columns"], row, strict=True))
    assert (values["diversity"], values["accuracy"], values["low"], values["high"]) == (8, 0.75, 0.3, 0.95)


def test_a_run_is_whole_in_its_folder(run: Path, records: wandb_records.Records) -> None:
    # Tables are staged for `wandb sync`; under the home directory they would be lost to another machine.
    artifacts = records["artifact"]
    staged = [
        entry["local_path"] for one in artifacts for entry in one["manifest"]["contents"] if "local_path" in entry
    ]
    assert staged
    assert all(Path(path).is_relative_to(run) for path in staged)


def test_lineage_is_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-in-a-path")
    questions = tmp_path / "my questions.jsonl"
    questions.write_text("".join(f'{{"question": "{i} + 1?", "answer": "{i + 1}"}}\n' for i in range(40)))
    folder = tmp_path / "run"
    (folder / "student" / "sk-in-a-path").mkdir(parents=True)
    (folder / "student" / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "student" / "sk-in-a-path" / "more.json").write_text("{}")
    words = ("method=fine_tune", "task=jsonl", f"task.path='{questions}'", "task.answer=number")
    assert len(record(folder, tmp_path / "cache", *words)) == 1
    artifacts = {one["type"]: one for one in wandb_records.only(folder)["artifact"] if one["type"] != "run_table"}

    dataset = artifacts["dataset"]
    assert dataset["use_after_commit"] is True  # an input
    (entry,) = dataset["manifest"]["contents"]
    assert entry["ref"] == questions.as_uri()
    assert set(json.loads(dataset["metadata"])["sha256"]) == {"my questions.jsonl"}

    student = artifacts["model"]
    assert "use_after_commit" not in student  # an output
    assert student["name"] == f"fine_tune-my_questions-tiny-{HASH[:8]}"
    assert json.loads(student["metadata"])["accuracy"] == 0.75
    (entry,) = student["manifest"]["contents"]  # the path with a secret in it stays here
    assert entry["ref"] == (folder / "student" / "model.safetensors").as_uri()
    assert "local_path" not in entry
    copies = [path for path in (folder / "wandb").rglob("*") if path.is_file() and b"weights" in path.read_bytes()]
    assert copies == []


def test_weights_go_to_wandb_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "student").mkdir(parents=True)
    (folder / "student" / "model.safetensors").write_bytes(b"weights")
    record(folder, tmp_path / "cache", "logger.upload_model=true")
    (student,) = [one for one in wandb_records.only(folder)["artifact"] if one["type"] == "model"]
    (entry,) = student["manifest"]["contents"]
    assert entry["local_path"] == str(folder / "student" / "model.safetensors")
    assert "ref" not in entry


def test_a_checkpoint_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    commit = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    # As huggingface_hub lays out what it has downloaded.
    (tmp_path / "models--org--tiny" / "refs").mkdir()
    (tmp_path / "models--org--tiny" / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text('{"model_type": "gpt2"}')
    (snapshot / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros(1)}, snapshot / "model.safetensors")
    code = (
        "from pathlib import Path\n"
        "from ftcot.logger import lineage\n"
        "from tests.wandb_job import job\n"
        f"asked = job(Path({str(tmp_path)!r}), 'student=decoder', 'student.checkpoint=org/tiny')\n"
        "print(lineage.inputs(asked)[-1].references)\n"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert f"https://huggingface.co/org/tiny/tree/{commit}" in done.stdout, done.stderr


def test_recorded_completions_are_an_input(tmp_path: Path) -> None:
    recording = tmp_path / "recorded.jsonl"
    recording.write_text("{}\n")
    kinds = {one.kind: one for one in lineage.inputs(job(tmp_path, "teacher=replay", f"teacher.path={recording}"))}
    assert kinds["completions"].references == {"recorded.jsonl": recording.as_uri()}
    # A generated task has no file; it is what its config says.
    assert kinds["dataset"].metadata["config"]["n_flips"] == 8


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_same_questions_are_shown_for_every_student(limit: int) -> None:
    rows = facts.prediction_rows(PREDICTIONS, SAMPLES, limit)
    other = facts.prediction_rows(list(reversed(PREDICTIONS)), SAMPLES, limit)
    assert rows == other
    assert len(rows) == limit
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_a_job_that_fails_closes_its_run_with_exit_code_1(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        open_logger(job(tmp_path), tmp_path, status(tmp_path), online=True, say=str),
    ):
        raise ZeroDivisionError
    assert wandb_records.exit_code(wandb_records.only(tmp_path)) == 1

    import wandb

    assert wandb.run is None


def test_a_job_that_is_stopped_is_preempted(tmp_path: Path) -> None:
    class Stop(BaseException):
        number = signal.SIGUSR1

    with pytest.raises(Stop), open_logger(job(tmp_path), tmp_path, status(tmp_path), online=True, say=str):
        raise Stop
    records = wandb_records.only(tmp_path)
    assert wandb_records.exit_code(records) == 128 + signal.SIGUSR1
    assert "preempting" in records


def test_disabled_leaves_metrics_csv_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = tmp_path / "run"
    assert record(folder, tmp_path / "cache") == []
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.csv", "status.json"]


def test_two_attempts_offline_become_one_run_when_they_are_synced(tmp_path: Path) -> None:
    for epochs in (range(1, 3), range(3, 4)):
        with open_logger(job(tmp_path), tmp_path / "run", status(tmp_path / "run"), online=True, say=str) as logger:
            log(logger, epochs)
    files = wandb_records.files(tmp_path / "run")
    assert len(files) == 2
    assert {wandb_records.read(file)["run"][0]["run_id"] for file in files} == {HASH}

    with serving(SyncServer()) as server:
        home = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": SECRET, "WANDB_CACHE_DIR": str(tmp_path / "wandb-cache")}
        command = [wandb_records.WANDB, "sync", *(str(file.parent) for file in reversed(files))]
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | home
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        history = server.history[HASH]
    assert [row["train/step"] for row in history if "train/step" in row] == [1, 2, 3, 4, 5, 6]
    steps = [row["_step"] for row in history]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("lost", ["no server", "no service"])
def test_wandb_that_goes_away_costs_a_line_and_not_the_run(tmp_path: Path, lost: str) -> None:
    # In a process (and with a wandb service) of its own: both keep the settings of a first login for life.
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from ftcot.logger import open_logger\n"
        "from tests.wandb_job import *\n"
        f"folder = Path({str(tmp_path / 'run')!r})\n"
        f"asked = job(Path({str(tmp_path)!r}), 'logger.timeout=2')\n"
        "with open_logger(asked, folder, status(folder), online=True) as logger:\n"
        "    log(logger, range(1, 2))\n"
        f"    if {lost == 'no service'}:\n"
        "        (service,) = Path('/proc/self/task', str(os.getpid()), 'children').read_text().split()\n"
        "        os.kill(int(service), signal.SIGKILL)\n"
        "        os.waitpid(int(service), 0)\n"
        "    log(logger, range(2, 4))\n"
        "    logger.summarize(SCORE, PREDICTIONS, SAMPLES)\n"
        "print('done')\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_MODE")}
    if lost == "no server":
        environment |= {"WANDB_API_KEY": SECRET, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *said, last = done.stdout.splitlines()
    assert last == "done"
    assert len(said) == (1 if lost == "no server" else 2), said
    assert ("going on offline" if lost == "no server" else "ftcot.mirror --again") in said[-1]
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_stopped_job_goes_on_in_the_run_it_began(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    words = (*CHEAP, "training.epochs=20", "training.evaluate_every=20", "hydra.run.dir=run", "logger.project=mine")
    process = ftcot.start(*words)
    metrics = tmp_path / "run" / "metrics.csv"
    wait_for(lambda: True if metrics.exists() and len(metrics.read_text().splitlines()) > 3 else None)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, said
    done = ftcot(*words)
    assert done.returncode == 0, done.stderr

    first, second = map(wandb_records.read, wandb_records.files(tmp_path / "run"))
    job_hash = read(tmp_path / "run" / "status.json")["hash"]
    assert first["run"][0]["run_id"] == second["run"][0]["run_id"] == job_hash
    assert wandb_records.exit_code(first) == 128 + signal.SIGTERM
    assert wandb_records.exit_code(second) == 0
    epochs = [
        row["item"]["epoch/epoch"] for run in (first, second) for row in run["history"] if "epoch/epoch" in row["item"]
    ]
    assert epochs == list(range(1, 21))
