"""Sweeps: expansion, what runs and what does not, the ledger."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.ledger import Ledger
from ftcot.sweep import expand
from tests.command import ENDLESS, SMALL, Command, is_gone, read


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "jobs"),
    [
        (["seed=0,1"], [["seed=0"], ["seed=1"]]),
        (["diversity=1,8"], [["diversity='1'"], ["diversity='8'"]]),
        (["diversity=choice(1,8)"], [["diversity='1'"], ["diversity='8'"]]),
        (["seed=range(0,2)", "until=teach"], [["seed=0", "until=teach"], ["seed=1", "until=teach"]]),
        (["task=glob(s*)"], [["task=single_eq"], ["task=strategy_qa"], ["task=svamp"]]),
        (
            ["method=fine_tune,fine_tune_cot", "seed=0,1"],
            [[f"method={m}", f"seed={s}"] for m in ("fine_tune", "fine_tune_cot") for s in (0, 1)],
        ),
        (["hydra.sweep.dir=x", "seed=0"], [["seed=0"]]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_a_sweep_expands_to_every_combination(overrides: list[str], jobs: list[list[str]]) -> None:
    assert expand(Composer(conf_dir()), overrides)[1] == jobs


def test_sweeper_parameters_of_a_config_are_swept(tmp_path: Path) -> None:
    (tmp_path / "hydra" / "sweeper").mkdir(parents=True)
    (tmp_path / "hydra" / "sweeper" / "mine.yaml").write_text(
        "defaults: [basic]\nparams: {diversity: '1,8', seed: '0'}\n"
    )
    composer = Composer(conf_dir(), extra=tmp_path)
    assert expand(composer, ["hydra/sweeper=mine", "seed=5"])[1] == [
        ["diversity='1'", "seed=5"],
        ["diversity='8'", "seed=5"],
    ]


@pytest.mark.parametrize("override", ["seed=interval(0,1)", "hydra.run.dir=a,b", "task=glob(nothing*)"])
def test_what_cannot_be_enumerated_is_refused(override: str) -> None:
    with pytest.raises(InputError, match=override.partition("=")[0]):
        expand(Composer(conf_dir()), [override])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["diversity=1,3"], "diversity=3: no such option"),
        (["seed=0,-1", "diversity=1,2"], "seed=-1: expected a whole number"),
        (["task.train_size=8,999", "seed=0,1"], "task.train_size=999: "),
    ],
)
def test_one_wrong_job_stops_the_sweep_before_it_starts(ftcot: Command, words: list[str], line: str) -> None:
    done = ftcot("-m", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert ftcot.files() == []


def folders(ftcot: Command) -> list[Path]:
    return sorted((ftcot.cwd / "multirun").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)


def test_a_sweep_goes_on_after_a_failure_and_a_second_one_runs_what_is_missing(ftcot: Command) -> None:
    words = ("-m", *SMALL, "until=curate", "curation.filter=length", "curation.min_words=1,999,2")
    first = ftcot(*words)
    assert first.returncode == 1
    assert "job 1 failed" in first.stderr
    assert "1 of 3 jobs failed" in first.stderr
    [folder] = folders(ftcot)
    states = Ledger(folder).states()
    assert [states[number]["state"] for number in range(3)] == ["partial", "failed", "partial"]
    assert "no training pair is left" in states[1]["cause"]
    names = [f"{number}-{states[number]['hash'][:8]}" for number in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "sweep.jsonl", "sweep.yaml"])
    assert all(name in first.stdout for name in names)

    second = ftcot(*words)
    assert "sweep of 3 jobs: 2 done already, 1 to run" in second.stdout
    again = folders(ftcot)[-1]
    assert (again / names[0] / "examples.jsonl").exists()
    assert read(again / names[0] / "status.json")["reused_from"] == str(folder / names[0])
    actions = {number: row.get("action") for number, row in Ledger(again).states().items()}
    assert actions == {0: "reused", 1: "continued", 2: "reused"}


def test_jobs_that_are_the_same_run_once(ftcot: Command) -> None:
    done = ftcot("-m", *SMALL, "until=curate", "method=fine_tune,fine_tune_cot", "diversity=1,2")
    assert done.returncode == 0, done.stderr
    assert "sweep of 3 jobs (from 4 combinations)" in done.stdout
    assert len(ftcot.entries()) == 3


def test_a_named_sweep_folder_is_used_and_used_again(ftcot: Command) -> None:
    words = ("-m", *SMALL, "until=teach", "seed=0,1", "hydra.sweep.dir=mine")
    assert ftcot(*words).returncode == 0
    done = ftcot(*words)
    assert "2 done already, 0 to run" in done.stdout
    assert len([path for path in (ftcot.cwd / "mine").iterdir() if path.is_dir()]) == 2
    assert not (ftcot.cwd / "multirun").exists()


def test_a_stopped_sweep_starts_no_further_job(ftcot: Command) -> None:
    process = ftcot.start("-m", *ENDLESS, "seed=0,1")
    folder, worker = ftcot.until_running(process)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command runs what is missing" in error
    assert is_gone(worker)
    states = Ledger(folder.parent).states()
    assert [states[number]["state"] for number in range(2)] == ["stopped", "frozen"]


# -- ledger ------------------------------------------------------------------------------------------------------

events = st.lists(st.fixed_dictionaries({"number": st.integers(0, 3), "state": st.text(max_size=9)}), max_size=9)


@given(rows=events)
def test_the_last_line_of_a_job_is_its_state(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("sweep"))
    for row in rows:
        ledger.append(row)
    last = {row["number"]: row["state"] for row in rows}
    assert {number: row["state"] for number, row in ledger.states().items()} == last


def test_a_torn_line_is_dropped_and_costs_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append({"number": 0, "state": "complete"})
    with ledger.path.open("a") as file:
        file.write(json.dumps({"number": 1, "state": "complete"})[:20])
    ledger.append({"number": 2, "state": "complete"})
    assert sorted(ledger.states()) == [0, 2]
