"""What a worker imports, and what it does not."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from ftcot.libraries import UNUSED, absent
from tests.command import TRAINED, Command
from tests.conftest import ROOT


def python(code: str) -> str:
    """What some code prints, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_absent_package_is_not_to_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ghost.py").write_text("there = True")
    (tmp_path / "ghost-1.0.dist-info").mkdir()
    (tmp_path / "ghost-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ghost\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with absent("ghost", "json", "no_such_package"):
        assert importlib.util.find_spec("ghost") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("ghost")
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version("ghost")
        import json  # imported already: nobody is to get another one

        assert json.dumps({}) == "{}"
        assert importlib.metadata.version("pytest") == pytest.__version__
    assert importlib.metadata.version("ghost") == "1.0"
    assert importlib.import_module("ghost").there
    assert "no_such_package" not in sys.modules


def test_a_package_is_there_again_after_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="wave"), absent("wave"):
        importlib.import_module("wave")
    assert importlib.util.find_spec("wave") is not None


def test_whoever_wants_them_later_has_them() -> None:
    code = """
import gc, sys
from ftcot.libraries import UNUSED, prepare
prepare()
left = [name for name in UNUSED if name in sys.modules]
import matplotlib.pyplot, scipy.optimize, pytorch_lightning, torchmetrics
from transformers.utils import is_scipy_available
prepare()
print(left, gc.isenabled(), is_scipy_available(), scipy.optimize.linear_sum_assignment([[1.0]])[0].tolist())
print(sorted(name for name, module in sys.modules.items() if module is None))
"""
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    assert python(code).splitlines() == ["[] True True [0]", "[]"]


def test_a_worker_imports_only_what_its_job_needs(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    assert ftcot(*TRAINED, "until=curate", "hydra.run.dir=job").returncode == 0
    unneeded = (*UNUSED, "wandb", "peft", "datasets", "openai", "vllm", "trl", "gguf", "networkx", "ray", "submitit")
    code = f"""
import sys
from ftcot import pipeline, worker
load = pipeline.load
def watched(*arguments):
    heavy = ("torch", "transformers", "pytorch_lightning")
    print("before the student:", [name for name in heavy if name in sys.modules])
    student = load(*arguments)
    from torch.optim.optimizer import register_optimizer_step_post_hook
    def step(*_):
        print("at its first step:", [name for name in {unneeded!r} if name in sys.modules])
        raise SystemExit
    register_optimizer_step_post_hook(step)
    return student
pipeline.load = watched
import pathlib
job = pathlib.Path("job/job.yaml")
job.write_text(job.read_text().replace("until: curate", "until: evaluate"))
worker.main(["job"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=ftcot.environment, capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(("before", "at its"))]
    assert said == ["before the student: []", "at its first step: []"], done.stdout + done.stderr
