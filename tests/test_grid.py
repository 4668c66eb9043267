"""Which jobs a sweep asks for: axes, figures and what narrows them, each job once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.grid import expand, plan
from ftcot.hashes import FileHashes
from ftcot.run import run


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
    assert [" ".join(job) for job in expand(composer, words.split())[1]] == jobs


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
    assert [" ".join(job) for job in expand(composer, ["figure=two", *given.split()])[1]] == jobs


def test_several_figures_are_one_sweep(composer: Composer) -> None:
    both, diversity = expand(composer, ["figure=diversity,two"])[1], expand(composer, ["figure=diversity"])[1]
    assert len(both) == len(diversity) + len(expand(composer, ["figure=two"])[1])


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("{a: 1}", "figure=mine", "figure=mine: expected a list of grids"),
        ("[]", "figure=mine", "figure=mine: expected a list of grids"),
        ("- {seed: []}", "figure=mine", "figure=mine: seed is to have a value"),
        ("- {seed: [[0, 1]]}", "figure=mine", "figure=mine: seed is to have a value"),
        ("- {seed: [0, 1]}", "figure=mine seed=interval(0,1)", "seed=interval(0,1): an interval has no list"),
        ("- {task: [svamp, gsm8k]}\n- {task: aqua, seed: 0}", "figure=mine task=svamp,gsm8k", None),
        (
            "- {task: svamp, seed: 1}\n- {task: aqua, seed: 0}",
            "figure=mine task=svamp seed=0",
            "no grid of it has task",
        ),
        ("- {seed: 0}", "figure=mien", "figure=mien: no such option; did you mean mine? Options: diversity, mine"),
    ],
)
def test_a_figure_that_will_not_do(tmp_path: Path, text: str, words: str, line: str | None) -> None:
    (tmp_path / "figure").mkdir()
    (tmp_path / "figure" / "mine.yaml").write_text(text)
    composer = Composer(conf_dir(), extra=tmp_path)
    if line is None:
        assert len(expand(composer, words.split())[1]) == 2
        return
    with pytest.raises(InputError) as refused:
        expand(composer, words.split())
    assert line in str(refused.value)


def test_a_figure_is_for_a_sweep(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["figure=diversity"]) == 2
    assert capsys.readouterr().err == (
        "error: figure=diversity is many jobs: python -m ftcot.run -m figure=diversity\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_one_hash_are_one_job(tmp_path: Path) -> None:
    composer = Composer(conf_dir())
    words = [f"paths.cache={tmp_path}", "logger=none", "method=fine_tune,fine_tune_cot", "diversity=1,2"]
    jobs = plan(composer, expand(composer, words)[1], Checker(FileHashes(tmp_path / "hashes.json")))
    assert [job.overrides for job in jobs] == [
        ("method=fine_tune", "diversity=1"),
        ("method=fine_tune_cot", "diversity=1"),
        ("method=fine_tune_cot", "diversity=2"),
    ]
    assert [job.number for job in jobs] == [0, 1, 2]


@pytest.mark.data
@pytest.mark.slow
def test_the_diversity_figure_is_ready_to_be_taught(data_dir: Path, tmp_path: Path) -> None:
    # Offline, and its students are not at hand: training pairs can be made all the same.
    composer = Composer(conf_dir())
    words = ["figure=diversity", "until=curate", f"paths.data={data_dir}", f"paths.cache={tmp_path}", "logger=none"]
    jobs = plan(composer, expand(composer, words)[1], Checker(FileHashes(tmp_path / "hashes.json")))
    asked = Counter((job.checked.job.task.name, job.checked.job.diversity.degree) for job in jobs)
    assert {task: max(degree for name, degree in asked if name == task) for task, _ in asked} == {
        **{"multiarith": 64, "svamp": 64, "single_eq": 8, "addsub": 8, "date_understanding": 8},
        **{"tracking_shuffled_objects": 8, "last_letter_concatenation": 8, "coin_flip": 8, "strategy_qa": 8},
    }
    assert len({job.checked.hash for job in jobs}) == len(jobs) == 9 * (2 * 5 + 2 * 7 + 7 * 2)
