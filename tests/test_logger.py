"""metrics.csv, the logger's settings, and secrets. What W&B gets is in test_logger_wandb.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from ftcot.errors import InputError
from ftcot.logger import Csv, RunLogger, Silent, Wandb, build, logged_in, secrets, without_secrets
from ftcot.logger.settings import run_id
from tests.conftest import ROOT
from tests.wandb_job import PREDICTIONS, SAMPLES, SCORE, log

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is logged in, and nothing is said of W&B."""
    for name in ("API_KEY", "IDENTITY_TOKEN_FILE", "MODE", "BASE_URL", "SWEEP_ID", "RUN_ID"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


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


def test_a_rank_above_0_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logger = Silent()
    log(logger, range(1, 3))
    logger.rewind(1)
    logger.summarize(SCORE, PREDICTIONS, SAMPLES)
    logger.finish(0)
    assert list(tmp_path.iterdir()) == []


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


def test_the_run_is_known_by_the_job_or_by_what_a_sweep_has_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_id("5f0c") == "5f0c"
    monkeypatch.setenv("WANDB_RUN_ID", "left-over")
    assert run_id("5f0c") == "5f0c"
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    assert run_id("5f0c") == "left-over"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "wandb.init"}, "logger._target_=wandb.init"),
        ({"_target_": "ftcot.logger.Wandb", "projekt": "x"}, "logger: .*'projekt'"),
        ({"_target_": "ftcot.logger.Wandb"}, "logger: .*'project'"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "mode": "on"}, "logger.mode='on'"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "mode": "online"}, "not logged in"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "timeout": 0}, "logger.timeout=0"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "table_rows": -1}, "logger.table_rows=-1"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "table_rows": 1.5}, "logger.table_rows=1.5"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "table_rows": 10**6}, "which is what W&B shows"),
        ({"_target_": "ftcot.logger.Wandb", "project": "x", "upload_model": "no"}, "logger.upload_model='no'"),
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


def test_a_secret_is_blanked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("TEACHER_API_KEY", "sk-teacher-" + SECRET)
    assert secrets()[SECRET] == "WANDB_API_KEY"
    config = {"teacher": {"url": f"https://x/?key=sk-teacher-{SECRET}"}, "list": [SECRET, 3]}
    assert without_secrets(config) == {"teacher": {"url": "https://x/?key=***"}, "list": ["***", 3]}


def test_settings_and_secrets_come_without_wandb() -> None:
    code = "import sys, ftcot.logger; print([name for name in ('wandb', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
