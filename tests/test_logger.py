"""metrics.csv and Weights & Biases, read back with wandb's own reader. Offline throughout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ftcot.errors import InputError
from ftcot.job import Job
from ftcot.logger import Csv, RunLogger, Wandb, build, logged_in, open_logger, open_wandb, without_secrets
from ftcot.records import Score
from ftcot.status import Status
from tests.conftest import ROOT

SECRET = "0123456789abcdef0123456789abcdef01234567"

SCORE = Score(
    task="coin_flip",
    method="fine_tune_cot",
    student="tiny",
    teacher="procedural",
    scorer="paper",
    accuracy=0.75,
    n=40,
    interval=(0.6, 0.86),
    epoch=2,
    best_on_test=None,
    best_on_validation=None,
    random_accuracy=0.5,
    teacher_accuracy=None,
    n_examples=80,
    seconds={},
    tokens={},
    cost_usd=None,
)


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is logged in, and nothing is said of W&B."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def log(logger: RunLogger, epochs: range) -> None:
    """Two steps and an evaluation an epoch."""
    for epoch in epochs:
        for step in (2 * epoch - 1, 2 * epoch):
            logger.log_step(step=step, epoch=epoch, loss=1 / step, tokens_per_second=1000.0, learning_rate=3e-4)
        metrics = {"accuracy": epoch / 4, "format_rate": 1.0}
        logger.log_epoch(
            step=2 * epoch, epoch=epoch, loss=1 / epoch, tokens_per_second=1000.0, learning_rate=3e-4, metrics=metrics
        )


def read_back(folder: Path) -> Mapping[str, Any]:
    """What wandb's reader finds in the one run of a folder: its records by type."""
    (file,) = (folder / "wandb").glob("*run-*/*.wandb")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[Any]] = {}
    for line in output.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record.get(record["type"]))
    return found


def test_an_epoch_is_a_row_and_what_an_evaluation_adds_comes_after(tmp_path: Path) -> None:
    log(RunLogger(tmp_path), range(1, 3))
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,epoch,loss,tokens_per_second,learning_rate,accuracy,format_rate",
        "2,1,1,1000,0.0003,0.25,1",
        "4,2,0.5,1000,0.0003,0.5,1",
    ]


def test_rows_of_an_epoch_that_is_repeated_are_not_doubled(tmp_path: Path) -> None:
    log(RunLogger(tmp_path), range(1, 4))
    again = RunLogger(tmp_path)
    again.rewind(1)
    log(again, range(2, 5))
    whole = tmp_path / "whole"
    log(RunLogger(whole), range(1, 5))
    assert (tmp_path / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_an_offline_run_holds_config_history_and_exit_code(tmp_path: Path) -> None:
    settings = Wandb(project="ftcot", group="sweep", tags=("a", "b"))
    config = {"seed": 3, "training": {"optimizer": {"lr": 3e-4}}}
    logger = open_wandb(settings, tmp_path, run_id="5f0cabc1", name="job", config=config)
    assert logger.notice is not None
    assert logger.notice.startswith("W&B: offline")
    log(logger, range(1, 3))
    logger.summarize(SCORE)
    logger.finish(0)

    found = read_back(tmp_path)
    (run,) = found["run"]
    assert (run["run_id"], run["project"], run["run_group"], run["display_name"]) == (
        "5f0cabc1",
        "ftcot",
        "sweep",
        "job",
    )
    assert sorted(run["tags"]) == ["a", "b"]
    history = [record["item"] for record in found["history"]]
    assert [item["train/step"] for item in history if "train/step" in item] == [1, 2, 3, 4]
    assert [item["evaluation/accuracy"] for item in history if "evaluation/epoch" in item] == [0.25, 0.5]
    assert found["exit"][0].get("exit_code", 0) == 0
    assert "seed" in json.dumps(run["config"])
    axes = {metric.get("name") or metric.get("glob_name"): metric.get("step_metric") for metric in found["metric"]}
    assert (axes["train/*"], axes["evaluation/*"]) == ("train/step", "evaluation/epoch")


def test_a_job_that_fails_closes_its_run_with_exit_code_1(tmp_path: Path) -> None:
    parts = {"method": "fine_tune", "task": "coin_flip", "student": "tiny"}
    named = {part: SimpleNamespace(name=name) for part, name in parts.items()}
    logger = {"_target_": "ftcot.logger.Wandb", "project": "ftcot"}
    job = cast(Job, SimpleNamespace(config={"seed": 0}, logger=logger, **named))
    status = Status(tmp_path)
    status.update(hash="00ff")
    with pytest.raises(ZeroDivisionError), open_logger(job, tmp_path, status, online=True):
        raise ZeroDivisionError
    found = read_back(tmp_path)
    assert found["exit"][0]["exit_code"] == 1
    assert found["run"][0]["run_id"] == "00ff"

    import wandb

    assert wandb.run is None


def test_no_secret_reaches_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TEACHER_API_KEY", "sk-teacher-" + SECRET)
    config = {"teacher": {"url": f"https://x/?key=sk-teacher-{SECRET}"}, "list": [SECRET]}
    logger = open_wandb(Wandb("ftcot"), tmp_path, run_id="a1", name="job", config=config)
    log(logger, range(1, 2))
    logger.finish(0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert without_secrets(config) == {"teacher": {"url": "https://x/?key=***"}, "list": ["***"]}


def test_a_server_that_does_not_answer_costs_a_line_and_not_the_run(tmp_path: Path) -> None:
    # In a process (and with a wandb service) of its own: both keep the settings of a first login for life.
    code = (
        "from pathlib import Path\n"
        "from ftcot.logger import Wandb, open_wandb\n"
        "settings = Wandb('ftcot', timeout=2)\n"
        f"logger = open_wandb(settings, Path({str(tmp_path)!r}), run_id='a1', name='job', config={{}})\n"
        "print(logger.notice)\n"
        "logger.finish(0)\n"
    )
    environment = os.environ | {"WANDB_API_KEY": SECRET, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    environment.pop("WANDB_SERVICE", None)
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "going on offline" in result.stdout
    assert SECRET not in result.stdout + result.stderr


def test_disabled_leaves_metrics_csv_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = open_wandb(Wandb("ftcot"), tmp_path, run_id="a1", name="job", config={})
    log(logger, range(1, 2))
    logger.finish(0)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize(
    ("mode", "said", "key", "expected"),
    [
        ("auto", None, False, "offline"),
        ("auto", None, True, "online"),
        ("auto", "offline", True, "offline"),
        ("auto", "dryrun", True, "offline"),
        ("auto", "disabled", True, "disabled"),
        ("auto", "online", False, "offline"),
        ("offline", "online", True, "offline"),
        ("online", "offline", True, "online"),
    ],
)
def test_online_only_when_logged_in(
    monkeypatch: pytest.MonkeyPatch, mode: str, said: str | None, key: bool, expected: str
) -> None:
    if said is not None:
        monkeypatch.setenv("WANDB_MODE", said)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert Wandb("ftcot", mode=mode).resolved() == expected


def test_a_netrc_entry_of_the_server_is_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not logged_in()
    (tmp_path / "netrc").write_text(f"machine wandb.example.org login user password {SECRET}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert not logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert logged_in()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "wandb.init"}, "logger._target_=wandb.init"),
        ({"_target_": "ftcot.logger.Wandb", "projekt": "x"}, "logger: .*'projekt'"),
        ({"_target_": "ftcot.logger.Wandb"}, "logger: .*'project'"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "mode": "on"}, "logger.mode='on'"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "mode": "online"}, "not logged in"),
    ],
)
def test_a_logger_that_cannot_be_is_refused_by_key(config: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(config)


@pytest.mark.parametrize(("name", "kind"), [("wandb", Wandb), ("csv", Csv), ("none", Csv)])
def test_every_logger_option_builds(name: str, kind: type) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(ROOT / "conf" / "logger"), version_base="1.3"):
        config = OmegaConf.to_container(compose(name))
    assert isinstance(build(cast(Mapping[str, Any], config)), kind)
