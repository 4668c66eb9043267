"""Which jobs a sweep asks for: axes, figures and what narrows them, each job once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.grid import expand, plan
from ftcot.hashes import FileHashes


@pytest.fixture
def composer(tmp_path: Path) -> Composer:
    """Of the shipped tree, and a figure of two grids."""
    (tmp_path / "figure").mkdir()
    (tmp_path / "figure" / "two.yaml").write_text(
        "- {method: fine_tune_cot, task: [svamp, gsm8k], diversity: [1, 64], task.train_size: null}\n"
        "- {method: fine_tune, task: aqua, seed: 'range(0,2)', reuse: [true, false]}\n"
    )
    return Composer(conf_dir(), extra=tmp_path)


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        pytest.param("seed=0,1", ["seed=0", "seed=1"], id="list"),
        pytest.param("diversity=1,8", ["diversity='1'", "diversity='8'"], id="integers that name options"),
        pytest.param("seed=range(0,2) until=teach", ["seed=0 until=teach", "seed=1 until=teach"], id="range"),
        pytest.param("task=glob(s*)", ["task=single_eq", "task=strategy_qa", "task=svamp"], id="glob"),
        pytest.param("seed=0,1 keep=none,last", [f"seed={s} keep={k}" for s in (0, 1) for k in ("none", "last")]),
        pytest.param("hydra.sweep.dir=x seed=0", ["seed=0"], id="hydra's own are of the sweep"),
    ],
)
def test_every_combination(composer: Composer, words: str, jobs: list[str]) -> None:
    assert [" ".join(job) for job in expand(composer, words.split()).jobs] == jobs


@pytest.mark.parametrize("word", ["on_error=stop,continue", "dry_run=true,false", "paths.cache=a,b"])
def test_what_is_the_whole_sweeps_is_no_axis(composer: Composer, word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(InputError, match=f"a sweep has one {key} for all of its jobs"):
        expand(composer, [word, "seed=0,1"])


def test_what_a_sweep_goes_by_cannot_be_left_out(composer: Composer) -> None:
    with pytest.raises(InputError, match="on_error: no job can do without it"):
        expand(composer, ["~on_error", "seed=0,1"])


def test_what_a_figure_says_for_all_of_its_jobs_is_the_sweeps(tmp_path: Path) -> None:
    (tmp_path / "figure").mkdir()
    text = "- {on_error: stop, method: fine_tune, seed: [0, 1]}\n- {on_error: stop, seed: 2}\n"
    (tmp_path / "figure" / "all.yaml").write_text(text)
    (tmp_path / "figure" / "some.yaml").write_text(f"{text}- {{seed: 3}}\n")
    tree = Composer(conf_dir(), extra=tmp_path)
    assert expand(tree, ["figure=all"]).master.on_error == "stop"
    assert expand(tree, ["figure=all", "on_error=continue"]).master.on_error == "continue"
    assert expand(tree, ["figure=all", "hydra.sweep.dir=x"]).master.hydra.sweep.dir == "x"
    with pytest.raises(InputError, match="on_error=stop, no on_error: a sweep has one on_error"):
        expand(tree, ["figure=some"])


COT = "method=fine_tune_cot task={} diversity='{}' task.train_size=null"
PLAIN = "method=fine_tune task={} seed={} reuse={}"


@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        pytest.param(
            "",
            [COT.format(task, degree) for task in ("svamp", "gsm8k") for degree in (1, 64)]
            + [PLAIN.format("aqua", seed, reuse) for seed in (0, 1) for reuse in ("True", "False")],
            id="all of it",
        ),
        pytest.param("task=svamp", [COT.format("svamp", 1), COT.format("svamp", 64)], id="a listed value narrows"),
        pytest.param(
            "task=gsm8k,aqua diversity=64 reuse=true",
            [COT.format("gsm8k", 64) + " reuse=true"]
            + [PLAIN.format("aqua", seed, "true") + " diversity='64'" for seed in (0, 1)],
            id="several narrow together, and are added where a grid says nothing of them",
        ),
        pytest.param(
            "task=multiarith diversity=1 seed=0 reuse=true",
            [
                COT.format("multiarith", 1) + " seed=0 reuse=true",
                PLAIN.format("multiarith", 0, "true") + " diversity='1'",
            ],
            id="a value that no grid lists wins",
        ),
    ],
)
def test_a_figure_is_a_list_of_grids(composer: Composer, given: str, jobs: list[str]) -> None:
    assert [" ".join(job) for job in expand(composer, ["figure=two", *given.split()]).jobs] == jobs


def test_jobs_of_one_hash_are_one_job(tmp_path: Path) -> None:
    composer = Composer(conf_dir())
    words = [f"paths.cache={tmp_path}", "logger=none", "method=fine_tune,fine_tune_cot", "diversity=1,2"]
    jobs = plan(composer, expand(composer, words).jobs, Checker(FileHashes(tmp_path / "hashes.json")))
    assert [job.overrides for job in jobs] == [
        ("method=fine_tune", "diversity=1"),
        ("method=fine_tune_cot", "diversity=1"),
        ("method=fine_tune_cot", "diversity=2"),
    ]
    assert [job.number for job in jobs] == [0, 1, 2]
