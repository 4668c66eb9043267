"""Sweeps: what runs and what does not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.folder import began, sweep_began
from ftcot.grid import expand, plan
from ftcot.hashes import FileHashes
from ftcot.ledger import Ledger
from ftcot.sweep_folder import Settings, SweepFolder
from tests.command import Command, read
from tests.sweeps import CURATED, rows, states, workers


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


def folders(ftcot: Command) -> list[Path]:
    return sorted((ftcot.cwd / "multirun").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)


def jobs_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# -- before it starts --------------------------------------------------------------------------------------------


def test_sweeper_parameters_of_a_config_are_swept(tmp_path: Path) -> None:
    (tmp_path / "hydra" / "sweeper").mkdir(parents=True)
    (tmp_path / "hydra" / "sweeper" / "mine.yaml").write_text(
        "defaults: [basic]\nparams: {diversity: '1,8', seed: '0'}\n"
    )
    composer = Composer(conf_dir(), extra=tmp_path)
    assert expand(composer, ["hydra/sweeper=mine", "seed=5"]).jobs == [
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


def planned(tmp_path: Path, *words: str) -> tuple[list[Any], Settings]:
    composer = Composer(conf_dir())
    overrides = ["logger=none", f"paths.cache={tmp_path / 'cache'}", *words]
    jobs = plan(composer, expand(composer, overrides).jobs, Checker(FileHashes(tmp_path / "hashes.json")))
    return jobs, Settings(tuple(overrides), str(tmp_path), (), "continue", str(tmp_path / "cache"))


def test_a_sweep_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    jobs, settings = planned(tmp_path, "seed=0,1,2")
    broken = replace(jobs[2], checked=replace(jobs[2].checked, config={**jobs[2].checked.config, "x": object()}))
    folder = SweepFolder(tmp_path / "sweep")
    with pytest.raises(yaml.YAMLError):
        folder.add([*jobs[:2], broken], settings)
    assert list(tmp_path.iterdir()) == []
    folder.add(jobs, settings)
    assert jobs_of(folder.path) == [job.name for job in jobs]
    assert states(folder.path) == ["frozen"] * 3
    assert folder.settings() == settings
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


def test_a_sweep_began_when_its_first_jobs_were_frozen(tmp_path: Path) -> None:
    jobs, settings = planned(tmp_path, "seed=0,1,2")
    folder = SweepFolder(tmp_path / "sweep")
    folder.add(jobs[:1], settings)
    first = sweep_began(folder.path)
    assert first is not None
    os.utime(folder.path / "sweep.yaml", (0, 0))  # another machine's copy of it
    folder.add(jobs, settings)
    assert sweep_began(folder.path) == first
    assert {began(folder.path / job.name) for job in jobs} == {first}


def test_the_sweep_is_the_group_of_its_runs_in_w_and_b(tmp_path: Path) -> None:
    jobs, settings = planned(tmp_path, "logger=wandb", "logger.group=null,mine")
    assert len(jobs) == 1  # where it is logged does not make another job of it
    for name in ("one", "two"):
        SweepFolder(tmp_path / name).add(jobs, settings)
        job = yaml.safe_load((tmp_path / name / jobs[0].name / "job.yaml").read_text())
        assert job["logger"]["group"] == name


# -- what runs ---------------------------------------------------------------------------------------------------


def test_a_sweep_goes_on_after_a_failure_and_a_second_one_runs_what_is_missing(ftcot: Command) -> None:
    words = ("-m", *CURATED, "curation.filter=length", "curation.min_words=1,999,2")
    first = ftcot(*words)
    assert first.returncode == 1
    [folder] = folders(ftcot)
    known = Ledger(folder).states()
    assert states(folder) == ["partial", "failed", "partial"]
    assert "no training pair is left" in known[1]["cause"]
    names = [f"{number}-{known[number]['hash'][:8]}" for number in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, ".lock", "sweep.jsonl", "sweep.yaml"])
    assert all(name in first.stdout for name in names)
    told, end = first.stderr.splitlines()
    assert told.startswith("job 1 failed: ")
    assert str(folder / names[1] / "log.txt") in told
    assert end.startswith("1 of 3 jobs failed; the same command runs what is missing")

    second = ftcot(*words)
    assert "sweep of 3 jobs: 2 done already, 1 to run" in second.stdout
    again = folders(ftcot)[-1]
    assert (again / names[0] / "examples.jsonl").exists()
    assert read(again / names[0] / "status.json")["reused_from"] == str(folder / names[0])
    actions = {number: row.get("action") for number, row in Ledger(again).states().items()}
    assert actions == {0: "reused", 1: "continued", 2: "reused"}


def test_a_pipe_gets_a_line_when_a_job_starts_and_when_it_ends(ftcot: Command) -> None:
    done = ftcot("-m", *CURATED, "seed=0,1")
    lines = done.stdout.splitlines()
    assert lines[1] == "job 0 starts: seed=0"
    assert lines[2].startswith("job 0 partial in ")
    assert lines[3] == "job 1 starts: seed=1"
    assert lines[-1] == f"folder {folders(ftcot)[0]}"
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_what_a_worker_says_is_in_its_log_alone(ftcot: Command) -> None:
    done = ftcot("-m", *CURATED, "seed=0,1")
    [folder] = folders(ftcot)
    assert "questions have none" not in done.stdout
    assert all("questions have none" in path.read_text() for path in folder.glob("*/log.txt"))


def test_on_error_stop_starts_no_job_after_a_failure(ftcot: Command) -> None:
    words = ("-m", *CURATED, "curation.filter=length", "curation.min_words=1,999,2", "on_error=stop")
    done = ftcot(*words)
    assert done.returncode == 1
    assert states(folders(ftcot)[0]) == ["partial", "failed", "frozen"]
    assert "1 of 3 jobs failed, 1 did not run to the end (on_error=stop); " in done.stderr


def test_jobs_that_are_the_same_run_once(ftcot: Command) -> None:
    done = ftcot("-m", *CURATED, "method=fine_tune,fine_tune_cot", "diversity=1,2")
    assert done.returncode == 0, done.stderr
    assert "sweep of 3 jobs (from 4 combinations)" in done.stdout
    assert len(ftcot.entries()) == 3


def test_reuse_false_runs_all_again_and_loses_nothing(ftcot: Command) -> None:
    words = ("-m", *CURATED, "seed=0,1", "hydra.sweep.dir=mine")
    ftcot(*words)
    done = ftcot(*words, "reuse=false")
    assert "0 done already, 2 to run" in done.stdout
    mine = ftcot.cwd / "mine"
    assert len(workers(mine)) == 4
    assert [name.partition(".")[2] for name in jobs_of(mine)] == ["", "old1", "", "old1"]


def test_a_named_sweep_folder_is_used_again_for_the_same_sweep_only(ftcot: Command) -> None:
    assert ftcot("-m", *CURATED, "seed=0,1", "hydra.sweep.dir=mine").returncode == 0
    done = ftcot("-m", *CURATED, "seed=0,1,2", "hydra.sweep.dir=mine")
    assert "2 done already, 1 to run" in done.stdout
    before = ftcot.files()
    assert len(jobs_of(ftcot.cwd / "mine")) == 3
    other = ftcot("-m", *CURATED, "seed=1,0", "hydra.sweep.dir=mine")
    assert other.returncode == 2
    assert "holds another sweep, whose job 0 differs" in other.stderr
    assert ftcot.files() == before
    assert not (ftcot.cwd / "multirun").exists()


def test_a_finished_job_tells_what_it_cost(ftcot: Command) -> None:
    ftcot("-m", *CURATED, "method=zero_shot", "until=evaluate", "trainer=cpu", "evaluation.max_new_tokens=4", "seed=0")
    [row] = rows(folders(ftcot)[0], "complete")
    assert row["attempt"] == 1
    assert row["started"] <= row["ended"]
    assert row["seconds"] > 0
    assert row["device_seconds"] > 0
    assert row["tokens"]["generated"] > 0
    assert len(row["interval"]) == 2
