"""The wheel holds everything the commands need: it works outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_a_wheel_runs_outside_the_repository(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("ftcot-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    files = [path for path in (ROOT / "ftcot").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    ours = {str(path.relative_to(ROOT)) for path in files}
    ours |= {f"ftcot/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert {"ftcot/py.typed", "ftcot/paper/performance.csv", "ftcot/report/page/assets/js/main.js"} <= ours
    assert {"ftcot/conf/config.yaml", "ftcot/conf/figure/mini/diversity.yaml"} <= ours
    assert ours <= set(names)
    assert not any(name.startswith(("tests/", "conf/")) for name in names)
    own = {"PYTHONPATH": str(tmp_path / "site"), "FTCOT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ftcot.run", "until=curate", "task.n_train=8", "hydra.run.dir=run", "logger=csv"],
        cwd=tmp_path,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "examples.jsonl").read_text().count("\n") == 64
    assert (
        str(tmp_path / "site")
        in subprocess.run(
            [sys.executable, "-P", "-c", "import ftcot; print(ftcot.__file__)"],
            env=os.environ | own,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
