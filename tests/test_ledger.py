"""The ledger of a sweep: the last line of a job is its state, whatever happened to the writer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.files import write_json
from ftcot.handoff import ended
from ftcot.ledger import Ledger, Member
from ftcot.outcome import Outcome

events = st.lists(st.fixed_dictionaries({"number": st.integers(0, 3), "state": st.text(max_size=9)}), max_size=9)


@given(given_rows=events, at_once=st.booleans())
def test_the_last_line_of_a_job_is_its_state(
    given_rows: list[dict[str, Any]], at_once: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("sweep"))
    if at_once:
        ledger.extend(given_rows)
    for row in given_rows if not at_once else ():
        ledger.append(row)
    last = {row["number"]: row["state"] for row in given_rows}
    assert {number: row["state"] for number, row in ledger.states().items()} == last


def test_news_are_told_once_and_a_line_that_is_being_written_later(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.news() == []
    ledger.append({"number": 0, "state": "running"})
    assert [row["state"] for row in ledger.news()] == ["running"]
    whole = json.dumps({"number": 0, "state": "complete"}) + "\n"
    with ledger.path.open("a") as file:
        file.write(whole[:9])
        file.flush()
        assert ledger.news() == []
        file.write(whole[9:])
    assert [row["state"] for row in ledger.news()] == ["complete"]
    assert ledger.news() == []


def test_a_torn_line_is_dropped_and_costs_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append({"number": 0, "state": "complete"})
    with ledger.path.open("a") as file:
        file.write(json.dumps({"number": 1, "state": "complete"})[:20])
    ledger.append({"number": 2, "state": "complete"})
    assert sorted(ledger.states()) == [0, 2]


def test_a_line_that_is_written_in_parts_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    Ledger(tmp_path).append({"number": 0, "state": "complete"})
    assert [row["state"] for row in Ledger(tmp_path).states().values()] == ["complete"]


STUDY = {"right": 0.5, "truncated": 0.5}


@pytest.mark.parametrize(
    ("score", "study", "diversity"),
    [
        (
            {"epoch": 2, "epochs": [{"epoch": 2, "split": "test", "study": STUDY}], "diversity": {"paths": 3.3}},
            STUDY,
            {"paths": 3.3},
        ),
        ({"epoch": 2, "epochs": [{"epoch": 2, "split": "test"}]}, None, None),  # of an earlier version
    ],
)
def test_the_line_of_a_job_that_has_ended_says_how_it_errs(
    tmp_path: Path, score: dict[str, Any], study: object, diversity: object
) -> None:
    write_json(tmp_path / "score.json", score | {"accuracy": 0.5, "seconds": {}})
    row = ended(Member(3, "5f0c12ab", ()), Outcome("new", "complete", tmp_path, tmp_path))
    assert (row["accuracy"], row["study"], row["diversity"]) == (0.5, study, diversity)


def test_the_line_of_a_job_that_failed_has_no_rates(tmp_path: Path) -> None:
    row = ended(Member(3, "5f0c12ab", ()), Outcome("new", "failed", tmp_path, tmp_path, "no"))
    assert (row["cause"], row["study"], row["diversity"]) == ("no", None, None)
