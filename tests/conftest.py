"""Where the tests find real data and local checkpoints, and what keeps them offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# No test may reach a hub or W&B's server: the code under test is the real one, told to be offline.
os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true", TOKENIZERS_PARALLELISM="false")


def _folder(variable: str, name: str) -> Path | None:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    return folder.resolve() if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the paper's data."""
    if (folder := _folder("FTCOT_DATA", "data")) is None:
        pytest.skip("no real data: set FTCOT_DATA, or put it at ../shared/data")
    return folder


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder with local checkpoints and tokenizers."""
    if (folder := _folder("FTCOT_MODELS", "models")) is None:
        pytest.skip("no local checkpoints: set FTCOT_MODELS, or put them at ../shared/models")
    return folder
