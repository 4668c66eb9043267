"""Where the tests find real data and local checkpoints, and what keeps them offline."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Two shared cores: how long an example takes says nothing of the code.
settings.register_profile("ftcot", deadline=None)
settings.load_profile("ftcot")

# One thread a process: the workers of pytest-xdist share the cores, and oversubscribed small matrices crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test may reach a hub or W&B's server: the code under test is the real one, told to be offline.
os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true", TOKENIZERS_PARALLELISM="false")


def _folder(variable: str, name: str) -> Path | None:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    return folder.resolve() if folder.is_dir() else None


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In the background of a shell Ctrl-C is ignored, and so it would be in the commands that tests start and stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(autouse=True)
def _no_hydra_left_over() -> Iterator[None]:
    """Hydra keeps its state in a global; each test begins without it."""
    from hydra.core.global_hydra import GlobalHydra

    yield
    GlobalHydra.instance().clear()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a worker that has just started; afterwards the handlers are as they were."""
    from ftcot import stop

    before = {number: signal.getsignal(number) for number in stop.SIGNALS}
    monkeypatch.setattr(stop, "_requests", stop._Requests())
    stop.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For so small a model, threads that wait for each other cost far more than they save."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Composes the resolved config of a job from overrides, as the launcher does, with a cache of its own."""
    from ftcot.compose import Composer, conf_dir, freeze

    def composed(*overrides: str) -> dict[str, Any]:
        mine = [f"paths.cache={tmp_path / 'cache'}", "logger=none"]
        return freeze(Composer(conf_dir()).compose([*mine, *overrides]))

    return composed


@pytest.fixture
def pipeline_run(compose: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """Runs a job's pipeline in this process and returns its run folder."""
    from rich.console import Console

    from ftcot import pipeline
    from ftcot.job import build
    from ftcot.status import Status

    def ran(*overrides: str, name: str = "run") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        with (folder / "log.txt").open("a") as log:
            pipeline.run(build(compose(*overrides)), folder, Status(folder), Console(file=log))
        return folder

    return ran
