"""log.txt: what it keeps of what is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ftcot.log import Log


def test_the_log_has_whole_lines_without_colours_and_the_last_state_of_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout
    with Log(tmp_path / "log.txt", "worker 1") as log:
        print("\x1b[1mbold\x1b[0m")
        print("10 %\r20 %\r30 %")
        log.console.print("told")
        print("no end", end="")
    assert sys.stdout is before
    assert (tmp_path / "log.txt").read_text().splitlines()[1:] == ["bold", "30 %", "told", "no end"]
    assert capsys.readouterr().out.endswith("told\nno end")
