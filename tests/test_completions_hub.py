"""To the Hugging Face hub and back, through its own client libraries, against a stand-in for its server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftcot.records import Completion
from ftcot.teacher.store import CompletionStore
from tests.conftest import ROOT
from tests.hub_server import TOKEN, Hub, serving


def run(hub: Hub, folder: Path, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: where the hub is, its client reads when it is imported."""
    # Without Xet, whose protocol the stand-in does not speak.
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "ftcot.completions", *words],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def bought(folder: Path) -> list[Completion]:
    rows = [
        Completion("sums", 1, 0, draw, "Q: 1 + 1?\nA:", f" Way {draw}.", answer_text=" 2.", teacher={"name": "t"})
        for draw in range(3)
    ]
    CompletionStore(folder / "completions").put("t", {"temperature": 0.7}, rows)
    return rows


@pytest.mark.slow
def test_what_is_pushed_comes_back_into_another_cache(tmp_path: Path) -> None:
    rows = bought(tmp_path / "cache")
    with serving() as hub:
        pushed = run(hub, tmp_path, "export", "--hub", "lab/set", "--cache", str(tmp_path / "cache"))
        fetched = run(hub, tmp_path, "import", "hub:lab/set", "--cache", str(tmp_path / "other"))
    assert (pushed.returncode, pushed.stdout, pushed.stderr) == (0, "3 completions in lab/set\n", "")
    assert (fetched.returncode, fetched.stderr) == (0, "")
    assert ": 3 added, 0 were there" in fetched.stdout
    other = CompletionStore(tmp_path / "other" / "completions")
    assert other.rows("t", "sums", {"temperature": 0.7}) == rows
    assert hub.private
    assert hub.refused == 0
    assert set(hub.files) == {"README.md", "data/train-00000-of-00001.parquet"}
    assert not any(TOKEN.encode() in content for content in hub.files.values())


@pytest.mark.slow
def test_a_hub_that_refuses_is_one_line_without_the_token(tmp_path: Path) -> None:
    bought(tmp_path / "cache")
    wrong = "hf_aTokenThatNobodyKnows"
    with serving() as hub:
        pushed = run(hub, tmp_path, "export", "--hub", "lab/set", "--cache", str(tmp_path / "cache"), token=wrong)
        fetched = run(hub, tmp_path, "import", "hub:lab/set", "--cache", str(tmp_path / "other"), token=wrong)
    assert (pushed.returncode, pushed.stderr.count("\n")) == (1, 1)
    assert pushed.stderr.startswith("error: --hub lab/set: the hub did not take it (")
    assert (fetched.returncode, fetched.stderr.count("\n")) == (2, 1)
    assert fetched.stderr.startswith("error: hub:lab/set: cannot be had (")
    assert "401" in pushed.stderr
    assert "401" in fetched.stderr
    assert wrong not in pushed.stderr + fetched.stderr
    assert hub.files == {}
