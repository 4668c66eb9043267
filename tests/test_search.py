"""Optuna's search: what it goes by, and that a study goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ftcot.errors import InputError
from ftcot.ledger import Ledger
from ftcot.search import validation_accuracy
from ftcot.study import Study, optuna
from tests.command import TRAINED, Command, read
from tests.sweeps import CURATED, states, until_running

OPTUNA = "hydra/sweeper=optuna"
RATE = "training.optimizer.lr=tag(log,interval(1e-4,1e-2))"
SEARCH = ("-m", *TRAINED, "task.validation_size=4", OPTUNA, "hydra.sweeper.sampler.seed=1")


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def trials(ftcot: Command) -> list[dict[str, Any]]:
    [path] = (ftcot.cache / "studies").glob("*.json")
    found: list[dict[str, Any]] = read(path)["trials"]
    return found


# -- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param([RATE], "task.validation_size is 0, so there is nothing to choose by", id="no validation split"),
        pytest.param([RATE, "task.validation_size=4", "until=train"], "a search needs until=evaluate", id="no score"),
        pytest.param(
            [RATE, "hydra.sweeper.storage=sqlite:///x.db"], "hydra.sweeper.storage: leave it out", id="storage"
        ),
        pytest.param([RATE, "hydra.sweeper.direction=up"], "hydra.sweeper.direction=up", id="direction"),
        pytest.param(["task.train_sise=interval(1,2)"], "task.train_sise: no such key", id="key"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(ftcot: Command, words: list[str], line: str) -> None:
    done = ftcot("-m", "logger=none", OPTUNA, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert ftcot.files() == []


def test_an_interval_without_optuna_is_refused(ftcot: Command) -> None:
    done = ftcot("-m", *CURATED, RATE)
    assert done.returncode == 2
    assert "an interval has no list of values" in done.stderr


# -- searching ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_goes_on_up_to_the_number_of_trials(ftcot: Command) -> None:
    first = ftcot(*SEARCH, RATE, "hydra.sweeper.n_trials=1", "hydra.sweep.dir=mine")
    assert (first.returncode, first.stderr) == (0, "")
    assert "0 trials done already, 1 to run" in first.stdout
    assert states(ftcot.cwd / "mine") == ["complete"]

    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=more")
    second = ftcot(*SEARCH, RATE, "hydra.sweeper.n_trials=3", *joblib)
    assert (second.returncode, second.stderr) == (0, "")
    assert "1 trials done already, 2 to run" in second.stdout
    known = [row["state"] for row in Ledger(ftcot.cwd / "more").news()]
    assert known == ["frozen"] * 2 + ["running"] * 2 + ["complete"] * 2  # side by side
    assert [trial["state"] for trial in trials(ftcot)] == ["COMPLETE"] * 3
    rates = {trial["params"]["training.optimizer.lr"] for trial in trials(ftcot)}
    assert len(rates) == len(ftcot.entries()) == 3  # the seed of the sampler does not make it propose the same again

    third = ftcot(*SEARCH, RATE, "hydra.sweeper.n_trials=3")
    assert "3 trials done already, 0 to run" in third.stdout
    best = max(trials(ftcot), key=lambda trial: trial["value"])
    assert f"training.optimizer.lr={best['params']['training.optimizer.lr']}" in third.stdout.splitlines()[-1]
    assert third.stdout.splitlines()[-1].startswith("python -m ftcot.run logger=none ")


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_study_and_is_tried_again(ftcot: Command) -> None:
    words = (*SEARCH[:-1], "hydra/sweeper/sampler=grid", "curation.filter=length", "curation.min_words=choice(999,1)")
    done = ftcot(*words, "hydra.sweep.dir=mine")
    assert done.returncode == 1
    assert sorted(states(ftcot.cwd / "mine")) == ["complete", "failed"]
    assert "best of 1 trials" in done.stdout
    assert "curation.min_words=1\n" in done.stdout
    assert sorted(trial["state"] for trial in trials(ftcot)) == ["COMPLETE", "FAIL"]
    again = ftcot(*words, "hydra.sweeper.n_trials=2")
    assert "1 trials done already, 1 to run" in again.stdout
    assert again.stderr.startswith("job 0 failed: no training pair is left")


@pytest.mark.slow
def test_an_interrupted_trial_is_asked_again(ftcot: Command) -> None:
    words = (*SEARCH, RATE, "hydra.sweeper.n_trials=1", "task.n_train=20000", "diversity=64", "hydra.sweep.dir=mine")
    process = ftcot.start(*words)
    until_running(process, ftcot.cwd / "mine")
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    [before] = trials(ftcot)
    assert before["state"] == "RUNNING"
    process = ftcot.start(*words)
    until_running(process, ftcot.cwd / "mine", jobs=2)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    [after] = trials(ftcot)
    assert after["params"] == before["params"]
    assert len(ftcot.entries()) == 1


# -- the study ---------------------------------------------------------------------------------------------------

UNIFORM = optuna.distributions.LogUniformDistribution(1e-4, 1e-2)


def ask(study: Study) -> optuna.trial.Trial:
    trial = optuna.load_study(study.name, study.storage).ask()
    trial._suggest("lr", UNIFORM)
    return trial


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    study = Study(tmp_path / "mine.json", "maximize")
    assert (study.complete, study.best) == ([], None)
    trial, failed = ask(study), ask(study)
    known = optuna.load_study("mine", study.storage)
    known.tell(trial, 0.5)
    known.tell(failed, state=optuna.trial.TrialState.FAIL)
    left = ask(study)
    study.save()

    again = Study(tmp_path / "mine.json", "maximize")
    assert again.best is not None
    assert (again.best.params, again.best.value) == (trial.params, 0.5)
    assert [one.params for one in again.complete] == [trial.params]
    assert [ask(again).params for _ in range(2)] == [failed.params, left.params]


def test_a_study_has_one_direction(tmp_path: Path) -> None:
    study = Study(tmp_path / "mine.json", "maximize")
    study.save()
    with pytest.raises(InputError, match="is to maximize: name another one"):
        Study(tmp_path / "mine.json", "minimize")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"direction": "maximize", "trials": [{}]}'])
def test_a_damaged_study_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(InputError, match=r"mine\.json"):
        Study(tmp_path / "mine.json", "maximize")


@pytest.mark.parametrize(("keep", "accuracy"), [("last", 0.4), ("none", 0.4), ("best", 0.6)])
def test_a_search_goes_by_the_validation_accuracy_of_the_weights_that_are_kept(keep: str, accuracy: float) -> None:
    epochs = [
        {"epoch": epoch, "split": split, "accuracy": value}
        for epoch, split, value in [
            (1, "test", 0.9),
            (1, "validation", 0.6),
            (2, "test", 0.1),
            (2, "validation", 0.4),
        ]
    ]
    assert validation_accuracy(json.loads(json.dumps({"epochs": epochs})), keep) == accuracy
