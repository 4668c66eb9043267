"""The sweep file for W&B agents: what an agent would call are the jobs that `-m` would run."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ftcot import wandb_sweep
from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.figures import find
from ftcot.grid import expand, plan
from ftcot.hashes import FileHashes
from tests import wandb_records
from tests.command import Command
from tests.wandb_server import SweepServer, serving

SMALL = ("task.n_train=16", "task.n_test=8")


def agents_words(sweep: Mapping[str, Any]) -> list[list[str]]:
    """What agents of a grid sweep hand to ftcot.run, by wandb's own function."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    parameters = {key: found.get("values", [found.get("value")]) for key, found in sweep["parameters"].items()}
    before = [word for word in sweep["command"][4:] if not word.startswith("${")]
    calls = []
    for chosen in itertools.product(*parameters.values()):
        # The server keeps the values as JSON, and may write 1.0 as 1.
        arguments = json.loads(
            json.dumps({key: {"value": value} for key, value in zip(parameters, chosen, strict=True)})
        )
        calls.append([*before, *create_sweep_command_args({"args": arguments})["args_no_hyphens"]])
    return calls


def hashes(jobs: Sequence[Sequence[str]], tmp_path: Path) -> set[str]:
    composer, checker = Composer(conf_dir()), Checker(FileHashes(tmp_path / "hashes.json"))
    return {job.checked.hash for job in plan(composer, jobs, checker)}


@pytest.mark.parametrize(
    "words",
    [
        ("diversity=1,8", "seed=0,1"),
        ("diversity=greedy,8", "method=fine_tune,fine_tune_cot"),
        ("training.optimizer.lr=1e-5,0.0003,1.0", "training.gradient_clip=null,1"),
        ("curation.filter=[answer,format],answer", "seed=choice(2,3)"),
        ("task.answer_prompt='Well, then: ',\"a=b\"", "seed=range(0,2)"),
        ("+training.optimizer.weight_decay=0.1", "trainer=cpu", "logger.tags=[a,b]", "evaluation.scorer=paper,strict"),
        ("task=generated/coin_flip,generated/last_letter_concatenation", "training.evaluate_every=1"),
        ("reuse=true,false",),
    ],
    ids=lambda words: words[0],
)
def test_agents_call_the_jobs_that_a_sweep_of_ours_would_run(words: tuple[str, ...], tmp_path: Path) -> None:
    asked = [f"paths.cache={tmp_path / 'cache'}", *SMALL, *words]
    (sweep,) = (yaml.safe_load(wandb_sweep.dump(sweep)) for sweep in wandb_sweep.compose(asked))
    jobs = expand(Composer(conf_dir()), asked).jobs
    assert hashes(agents_words(sweep), tmp_path) == hashes(jobs, tmp_path)


def test_a_figure_is_as_many_sweeps_as_it_has_products(tmp_path: Path) -> None:
    composer = Composer(conf_dir())
    jobs = expand(composer, ["figure=diversity", "student=tiny"]).jobs
    products = list(wandb_sweep.products(jobs))
    grids = [grid for figure in find(composer, "diversity") for grid in (*figure.grids, *figure.recorded)]
    assert 1 < len(products) <= len(grids)
    together = [
        [f"{key}={value}" for key, value in zip(product, chosen, strict=True)]
        for product in products
        for chosen in itertools.product(*product.values())
    ]
    assert sorted(together) == sorted(jobs)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["task", "seed", "diversity"]), st.lists(st.integers(0, 9), min_size=1, unique=True)
        ),
        max_size=3,
    )
)
def test_products_have_every_job_once(grids: list[dict[str, list[int]]]) -> None:
    jobs = [
        [f"{key}={value}" for key, value in zip(grid, chosen, strict=True)]
        for grid in grids
        for chosen in itertools.product(*grid.values())
    ]
    found = [
        frozenset(f"{key}={value}" for key, value in zip(product, chosen, strict=True))
        for product in wandb_sweep.products(jobs)
        for chosen in itertools.product(*product.values())
    ]
    assert len(found) == len(set(found))
    assert set(found) == set(map(frozenset, jobs))
    if len(grids) == 1:
        assert len(list(wandb_sweep.products(jobs))) == 1


def test_the_validation_score_is_what_a_sweep_maximises_where_there_is_one(tmp_path: Path) -> None:
    asked = [f"paths.cache={tmp_path / 'cache'}", "seed=0,1"]
    (sweep,) = wandb_sweep.compose(asked)
    assert sweep["metric"] == {"name": "score/accuracy", "goal": "maximize"}
    (sweep,) = wandb_sweep.compose([*asked, "task.validation_size=40"], "bayes")
    assert sweep["metric"] == {"name": "score/validation_accuracy", "goal": "maximize"}
    assert sweep["method"] == "bayes"


def test_agents_never_sweep_themselves(tmp_path: Path) -> None:
    (sweep,) = wandb_sweep.compose([f"paths.cache={tmp_path / 'cache'}", "seed=0,1", "logger.project=mine"])
    assert sweep["command"] == ["${env}", "python", "-m", "ftcot.run", "${args_no_hyphens}"]
    assert (sweep["project"], "entity" in sweep) == ("mine", False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=0,1", "logger=csv"], "logger: a sweep agent reports to W&B"),
        (["seed=0,1", "hydra/launcher=joblib"], "hydra/launcher=joblib: Hydra launches nothing here"),
        (["seed=0,1", "hydra.run.dir=x"], "hydra.run.dir=x: Hydra launches nothing here"),
        (["~trainer.log_every_n_steps"], "no parameter that takes a key away"),
        (["+training.optimizer.weight_decay=0.1,0.2"], "W&B can only sweep over keys that exist"),
        (["diversity=1,9"], "diversity=9: no such option"),
        (["seed=0,1", "logger.project=a,b"], "one sweep is in one project"),
        (["seed=0,1", "--output", "no/such/sweep.yaml"], "is no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_no_agent_can_run_is_refused(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert wandb_sweep.main([f"paths.cache={tmp_path / 'cache'}", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_several_products_are_files_with_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grids = "- {seed: [0, 1], diversity: [1]}\n- {seed: [2], diversity: [1, 2]}\n"  # the first three are a product
    conf = tmp_path / "conf" / "figure"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(grids)
    asked = [f"paths.cache={tmp_path / 'cache'}", "figure=mine", "--config-dir", str(tmp_path / "conf")]
    assert wandb_sweep.main(asked) == 2
    assert "2 products of values" in capsys.readouterr().err
    assert wandb_sweep.main([*asked, "--output", str(tmp_path / "sweep.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(tmp_path / f"sweep-{n}.yaml") for n in (1, 2)]
    assert f"wandb sweep {tmp_path / 'sweep-2.yaml'}" in lines[1]
    first = yaml.safe_load((tmp_path / "sweep-1.yaml").read_text())
    assert first["parameters"]["seed"] == {"values": [0, 1, 2]}
    assert first["name"].endswith("(1 of 2)")


@pytest.mark.slow
def test_agents_run_the_jobs_and_later_ones_find_them_done(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    asked = [*SMALL, "diversity=1", "student=tiny-0.2m", "training.epochs=1", "training.truncation_limit=1"]
    asked += ["evaluation.max_new_tokens=8", "trainer=cpu", "trainer.log_every_n_steps=1"]
    asked += [f"paths.cache={ftcot.cache}", "seed=0,1"]
    (sweep,) = wandb_sweep.compose(asked)
    jobs = [{key: found.get("value", seed) for key, found in sweep["parameters"].items()} for seed in (0, 1)]
    for prefix in ("first", "second"):
        with serving(SweepServer(sweep, jobs, prefix)) as server:
            home = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0123456789" * 4, "WANDB_MODE": "offline"}
            home |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
            command = [wandb_records.WANDB, "agent", "me/ftcot/abc"]
            environment = {name: value for name, value in ftcot.environment.items() if name != "WANDB_SERVICE"} | home
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
            )
        assert done.returncode == 0, done.stderr
        assert server.given == 2

    runs = [wandb_records.read(file) for file in tmp_path.glob("outputs/*/*/wandb/offline-run-*/*.wandb")]
    about = {run["run"][0]["run_id"]: run for run in runs}
    assert sorted(about) == ["first0", "first1", "second0", "second1"]
    assert {run["run"][0]["sweep_id"] for run in runs} == {"abc"}
    assert {wandb_records.exit_code(run) for run in runs} == {0}
    assert len(ftcot.entries()) == 2, "the second agent's jobs were the first's"
    # Trained once: the second agent's runs are mirrors, without the points between epochs.
    for name, run in about.items():
        history = [row["item"] for row in run["history"]]
        assert any("evaluation/accuracy" in row for row in history)
        assert any("train/loss" in row for row in history) == name.startswith("first")
