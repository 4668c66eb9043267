"""What a person sees of a sweep."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftcot.ledger import Member
from ftcot.table import Board

SCORE = {"accuracy": 0.5333, "interval": [0.46, 0.6048], "seconds": 71.2}


def members(n: int) -> list[Member]:
    return [Member(number, f"{number:08x}" * 8, ("method=fine_tune_cot", f"seed={number}")) for number in range(n)]


def board(folder: Path, n: int, *, terminal: bool = False, width: int = 80, height: int = 24) -> Board:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height, color_system=None)
    return Board(console, folder, members(n))


def printed(board: Board) -> str:
    file = board.console.file
    assert isinstance(file, io.StringIO)
    text = file.getvalue()
    file.truncate(file.seek(0))
    return text


def seen(board: Board) -> str:
    board.console.print(board.view())
    return printed(board)


def ran(board: Board, *numbers: int, state: str = "complete", **values: Any) -> None:
    for number in numbers:
        job = board.jobs[number]
        board.tell([job.row(state="running")])
        board.tell([job.row(state=state, **(SCORE if state == "complete" else {})) | values])


def test_a_line_for_each_thing_that_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = board(tmp_path, 4)
    ran(shown, 0)
    ran(shown, 1, state="failed", cause="no training pair is left")
    job = shown.jobs[2]
    shown.tell([job.row(state="elsewhere", cause="it runs since 10:15:00, pid 4242, in /x")])
    shown.tell([job.row(state="complete", action="reused", **SCORE)])
    shown.tell([shown.jobs[3].row(state="running", attempt=2)])
    assert printed(shown).splitlines() == [
        "job 0 starts: method=fine_tune_cot seed=0",
        "job 0 complete: 53.33 % [46.00, 60.48] in 1 min 11 s",
        "job 1 starts: method=fine_tune_cot seed=1",
        "job 2 is left to another command: it runs since 10:15:00, pid 4242, in /x",
        "job 2 complete (reused): 53.33 % [46.00, 60.48] in 1 min 11 s",
        "job 3 goes on (attempt 2): method=fine_tune_cot seed=3",
    ]
    told = capsys.readouterr().err
    assert told.startswith("job 1 failed: no training pair is left (method=fine_tune_cot seed=1; ")
    assert told.endswith("log.txt)\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 10), (200, 50)])
def test_hundreds_of_jobs_fit_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    shown = board(tmp_path, 300, terminal=True, width=width, height=height)
    ran(shown, *range(0, 100), 102)
    ran(shown, 101, state="failed", cause="it broke")
    shown.tell([shown.jobs[number].row(state="running") for number in (103, 104)])
    printed(shown)
    lines = seen(shown).rstrip("\n").split("\n")
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("sweep: 101 of 300 done, 2 running, 1 failed, 196 to go")
    listed = [line.split()[0] for line in lines[3:-1]]
    assert {"103", "104", "101", "102"} <= set(listed)  # what runs, what failed, what ended last
    assert lines[-1] == f"and {300 - len(listed)} more"


def test_a_running_job_shows_its_stage_epoch_and_accuracy(tmp_path: Path) -> None:
    shown = board(tmp_path, 1, terminal=True)
    folder = tmp_path / shown.jobs[0].name
    folder.mkdir()
    (folder / "job.yaml").write_text("training: {epochs: 8}\n")
    shown.tell([shown.jobs[0].row(state="running")])
    assert "starts" in seen(shown)
    (folder / "status.json").write_text(json.dumps({"stage": "train"}))
    assert "train, 0 of 8 epochs" in seen(shown)
    (folder / "metrics.csv").write_text("step,epoch,loss,accuracy\n41,1,2.1,0.117\n82,2,1.7,\n")
    assert "train, 2 of 8 epochs" in seen(shown)
    assert "11.70 %" in seen(shown)


def test_a_job_that_goes_on_elsewhere_is_watched_there(tmp_path: Path) -> None:
    shown = board(tmp_path / "sweep", 1, terminal=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "status.json").write_text(json.dumps({"stage": "curate"}))
    shown.tell([shown.jobs[0].row(state="running", home=str(tmp_path / "home"))])
    assert "curate" in seen(shown)


def test_the_time_left_is_told_once_a_job_has_run(tmp_path: Path) -> None:
    shown = board(tmp_path, 3, terminal=True)
    assert "left" not in shown.summary()
    ran(shown, 0)
    assert shown.summary().endswith("about 1 s left")
    ran(shown, 1, 2)
    assert "left" not in shown.summary()


def test_what_was_reused_says_nothing_of_the_time_left(tmp_path: Path) -> None:
    shown = board(tmp_path, 2, terminal=True)
    ran(shown, 0, action="reused")
    assert "left" not in shown.summary()


def test_the_last_table_has_every_job_its_folder_and_the_cause_of_a_failure(tmp_path: Path) -> None:
    shown = board(tmp_path, 40, terminal=True, width=120)
    ran(shown, 0)
    ran(shown, 1, state="failed", cause="no training pair is left")
    ran(shown, 2, state="complete", action="reused")
    printed(shown)
    shown.console.print(shown.table())
    lines = printed(shown).split("\n")
    assert [line.split()[0] for line in lines if line[:1].isdigit()] == [job.name for job in members(40)]
    assert "[46.00, 60.48]" in lines[2]
    assert "no training pair is left" in lines[4]
    assert "complete (reused)" in lines[5]
    assert "not started" in lines[6]


def test_in_a_pipe_a_job_is_a_line_of_the_table(tmp_path: Path) -> None:
    shown = board(tmp_path, 3, width=160)
    ran(shown, 0)
    printed(shown)
    shown.console.print(shown.table())
    assert len(printed(shown).rstrip("\n").split("\n")) == 4
