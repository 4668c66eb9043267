"""No key reaches a file: real runs with keys in the environment, and every byte they left searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.command import Command

KEYS = {
    "WANDB_API_KEY": "marker0wandb" + "a1b2c3d4" * 4,
    "OPENAI_API_KEY": "sk-marker-openai-e5f6a7b8",
    "HF_TOKEN": "hf_marker_token_c9d0e1f2",
}

JOB = ("task.n_train=16", "task.n_test=8", "diversity=1", "student=tiny-0.2m", "training.epochs=1")
JOB = (*JOB, "training.truncation_limit=1", "evaluation.max_new_tokens=8", "trainer=cpu", "logger.timeout=2")


@pytest.mark.parametrize(
    ("words", "folder"),
    [((*JOB, "hydra.run.dir=run"), "run"), (("-m", *JOB, "seed=0", "hydra.sweep.dir=sweep"), "sweep")],
    ids=["run", "sweep"],
)
@pytest.mark.parametrize("server", [None, "http://127.0.0.1:9"], ids=["offline", "no server"])
@pytest.mark.slow
def test_no_key_is_in_any_file(words: Sequence[str], folder: str, server: str | None, tmp_path: Path) -> None:
    """`no server`: wandb is given the key and tries to use it, before it goes on offline."""
    ftcot = Command(tmp_path)
    # wandb's own logs and caches are searched too, hence a home of its own.
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    home |= {"WANDB_MODE": "offline"} if server is None else {"WANDB_MODE": "online", "WANDB_BASE_URL": server}
    done = ftcot(*words, **home, **KEYS)
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    def written(holds: Callable[[Path], bool]) -> bool:
        return any(holds(path) for path in files)

    assert written(lambda path: path.suffix == ".wandb" and folder in path.parts)
    assert written(lambda path: path.name == "log.txt")
    assert written(lambda path: path.name.startswith("core-debug"))
    for name, key in KEYS.items():
        assert [path for path in files if key.encode() in path.read_bytes()] == [], name
        assert key not in done.stdout + done.stderr, name
