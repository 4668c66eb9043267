"""Figures: their files, the jobs that they stand for, what narrows and widens them, and how a sweep keeps them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftcot.axes import product
from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.figure_jobs import grid_of
from ftcot.figures import Claim, figure_of, find, of_users
from ftcot.grid import Expanded, Planned, by_figure, expand, plan
from ftcot.hashes import FileHashes
from ftcot.run import run
from ftcot.sweep_folder import Settings, SweepFolder
from tests.command import Command
from tests.conftest import ROOT
from tests.sweeps import CURATED, resume, states

PAPERS = {
    # figure: jobs with the recorded teacher, and with one that can be asked
    "main": (513, 540),
    "diversity": (468, 612),
    "data_size": (144, 144),
    "teacher": (45, 12),
    "student_size": (144, 144),
    "template_split": (36, 36),
    "filtering": (36, 90),
    "teacher_length": (24, 24),
    "student_length": (72, 72),
    "few_shot_diversity": (198, 198),
    "hyperparameters": (1152, 1152),
}

ASKED = ("teacher=api", "teacher.model=m")


def composer(folder: Path | None = None, **files: str) -> Composer:
    """Of the shipped tree, and of these figures."""
    if folder is not None:
        (folder / "figure").mkdir()
        for name, text in files.items():
            (folder / "figure" / f"{name}.yaml").write_text(text)
    return Composer(conf_dir(), extra=folder)


def planned(tree: Composer, tmp_path: Path, *words: str) -> list[Planned]:
    own = ["logger=none", f"paths.cache={tmp_path / 'cache'}", *words]
    asked = expand(tree, own)
    return plan(tree, asked.jobs, Checker(FileHashes(tmp_path / "hashes.json")), figures=asked.figures)


# -- files -------------------------------------------------------------------------------------------------------


def test_a_file_says_what_is_drawn(tmp_path: Path) -> None:
    text = """
    title: Mine
    caption: >-
      Accuracy
      by seed.
    kind: bars
    x: seed
    series: null
    panel: teacher
    chart: family
    paper: [fig:teacher_performance]
    finding: {claim: Eight is best., test: highest, value: 8}
    grids: [{seed: [0, 1]}]
    """
    [mine] = find(composer(tmp_path, mine=text), "mine")
    assert (mine.name, mine.title, mine.caption, mine.kind) == ("mine", "Mine", "Accuracy by seed.", "bars")
    assert (mine.x, mine.series, mine.panel, mine.chart) == ("seed", None, "teacher", "family")
    assert mine.paper == ("fig:teacher_performance",)
    assert mine.finding == Claim("Eight is best.", "highest", "8")
    assert mine.grids == ({"seed": [0, 1]},)


def test_a_bare_list_is_a_figure_of_these_grids(tmp_path: Path) -> None:
    [mine] = find(composer(tmp_path, mine="- {seed: [0, 1]}"), "mine")
    assert (mine.title, mine.grids) == ("mine", ({"seed": [0, 1]},))


def test_several_figures_under_one_name_come_in_order_and_once(tmp_path: Path) -> None:
    tree = composer(
        tmp_path, a="[{seed: 0}]", b="[{seed: 1}]", both="figures: [b, a]", all="{title: All, figures: [a, both]}"
    )
    assert [figure.name for figure in find(tree, "both")] == ["b", "a"]
    assert [figure.name for figure in find(tree, "all")] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{a: 1}", "a: no such key; Keys: title, caption, kind"),
        ("{titel: T, grids: [{seed: 0}]}", "titel: no such key; did you mean title?"),
        ("[]", "grids: expected a list of grids"),
        ("", "grids: expected a list of grids"),
        ("{title: T}", "grids: expected a list of grids"),
        ("grids: {seed: 0}", "grids: expected a list of grids"),
        ("live: [1]", "live: expected a list of grids"),
        ("- {seed: []}", "grids, grid 1: seed: is to have a value"),
        ("- {seed: 1}\n- {seed: [[0, 1]]}", "grids, grid 2: seed: is to have a value"),
        ("- {task: ['*']}", "grids, grid 1: task: is to have a value"),
        ("- {figure: main}", "grids, grid 1: figure: no override that a job could have"),
        ("- {hydra.sweep.dir: x}", "grids, grid 1: hydra.sweep.dir: no override that a job could have"),
        ("{title: 3, grids: [{seed: 0}]}", "title: 3 is no text"),
        ("{kind: pie, grids: [{seed: 0}]}", "kind: pie: no such thing; curve, bars, table, heatmap"),
        ("{x: diversty, grids: [{seed: 0}]}", "x: diversty: no such thing; did you mean diversity? task, split"),
        ("{x: null, grids: [{seed: 0}]}", "x: None is no text"),
        ("{chart: families, grids: [{seed: 0}]}", "chart: families: no such thing; did you mean family?"),
        ("{paper: fig:x, grids: [{seed: 0}]}", "paper: expected a list of labels"),
        ("{finding: More is better., grids: [{seed: 0}]}", "finding: expected claim"),
        ("{finding: {claim: C, test: rising}, grids: [{seed: 0}]}", "finding.test: rising: no such thing"),
        ("{finding: {claim: C, test: highest}, grids: [{seed: 0}]}", "finding.value: goes with test: highest"),
        ("{finding: {claim: C, test: increasing, value: 1}, grids: [{seed: 0}]}", "finding.value: goes with"),
        ("{finding: {claim: C, test: increasing, p: 1}, grids: [{seed: 0}]}", "finding: p: no such thing"),
        ("figures: [main, nope]", "figures: figure=nope: no such option"),
        ("figures: []", "figures: expected a list of their names"),
        ("figures: [mine]", "figures: mine is part of itself"),
        ("{figures: [main], x: seed}", "x: a file of several figures has a title and figures, nothing else"),
        ("title: [", "figure/mine.yaml: while parsing"),
    ],
)
def test_a_file_that_is_no_figure_is_named(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(InputError) as refused:
        find(composer(tmp_path, mine=text), "mine")
    assert "figure/mine.yaml: " in str(refused.value)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


# -- the paper's -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("teacher", [(), ASKED], ids=["recorded", "asked"])
def test_a_figure_of_the_paper_has_so_many_jobs(name: str, teacher: tuple[str, ...]) -> None:
    found = expand(composer(), [f"figure={name}", *teacher])
    assert len(found.jobs) == PAPERS[name][bool(teacher)]
    assert len(set(map(frozenset, found.jobs))) == len(found.jobs)
    assert {place for places in found.figures.values() for place in places} == set(range(len(found.jobs)))


def test_every_figure_has_words_and_the_papers_labels() -> None:
    known = {"table:template_split", "tab:sample_filtering", "tab:inference_length", "tab:fine_tune_length"}
    known |= {"fig:length_distribution", "early version"}  # METHOD section 8: without a value on record
    for file in (ROOT / "ftcot/paper").glob("*.csv"):
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
            known |= set(row.get("figure", "").replace(" (", " / ").split(" / "))
    tree = composer()
    names = [name for name in tree.options("figure") if not name.startswith("mini")]
    assert set(PAPERS) <= set(names)
    for figure in (figure for name in names for figure in find(tree, name)):
        assert figure.title != figure.name
        assert figure.caption.endswith(".")
        assert figure.note.endswith(".")
        assert set(figure.paper) <= known


def test_every_grid_of_every_figure_composes() -> None:
    tree = composer()
    for name in tree.options("figure"):
        for figure in find(tree, name):
            for grid in (*figure.grids, *figure.recorded, *figure.live):
                jobs = product(grid_of(tree, grid).axes)
                words = [] if grid not in figure.live else list(ASKED)
                assert tree.job([*words, *jobs[-1]])["task"]["name"]


def test_students_are_trained_and_tested_as_in_the_paper() -> None:
    tree = composer()
    for name in PAPERS:
        [first, *_] = expand(tree, [f"figure={name}", "method=fine_tune_cot"]).jobs
        config = tree.job(first)
        training, tokens = config["training"], config["evaluation"]["max_new_tokens"]
        assert (training["epochs"], training["evaluate_every"], training["schedule"]) == (20, 1, "constant")
        assert tokens == (128 if name == "student_length" else 1024)
        if name != "hyperparameters/greedy" and name != "hyperparameters":
            assert (training["batch_size"], training["optimizer"]["lr"]) == (8, 3e-4)


# -- narrowing and widening --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "jobs", "figures"),
    [
        ("figure=main figure.tasks=gsm8k", 36, "main"),
        ("figure=main figure.tasks=gsm8k teacher=api teacher.model=m", 45, "main"),
        ("figure=main figure.students=glob(gpt2*)", 4 * 57, "main"),
        ("figure=main figure.students=t5-small method=fine_tune", 12, "main"),
        ("figure=main figure.tasks=generated/coin_flip figure.students=tiny", 5, "main"),
        ("figure=diversity task=svamp diversity=8", 18, "diversity/all_questions diversity/128_questions"),
        ("figure=diversity diversity=64", 18, "diversity/128_questions"),
        ("figure=diversity diversity=4 task=coin_flip student=gpt2", 1, "diversity/all_questions"),
        ("figure=diversity figure.tasks=generated/coin_flip student=tiny", 5, "diversity/all_questions"),
        ("figure=diversity figure.students=gpt2 seed=0,1,2", 3 * 52, "diversity/all_questions diversity/128_questions"),
        ("figure=data_size task.train_size=8,16 figure.tasks=svamp", 18, "data_size"),
        ("figure=teacher teacher=api teacher.model=a,b figure.tasks=svamp", 6, "teacher"),
        ("figure=teacher figure.tasks=generated/coin_flip teacher.skill=0.5,0.9", 6, "teacher"),
        ("figure=main,student_size figure.tasks=svamp", 9 * 5, "main student_size"),
    ],
)
def test_what_is_given_beside_a_figure_narrows_or_widens_it(words: str, jobs: int, figures: str) -> None:
    found = expand(composer(), words.split())
    assert list(found.figures) == figures.split()
    assert len(found.jobs) == jobs


def test_figure_tasks_is_task_by_another_name() -> None:
    tree = composer()
    long = expand(tree, ["figure=data_size", "figure.tasks=svamp,gsm8k", "figure.students=gpt2"])
    assert long.jobs == expand(tree, ["figure=data_size", "task=svamp,gsm8k", "student=gpt2"]).jobs


def test_a_value_that_no_grid_lists_goes_where_any_is_taken(tmp_path: Path) -> None:
    text = "- {task: [svamp, '*'], seed: 1}\n- {task: [svamp, gsm8k], seed: 2}"
    tree = composer(tmp_path, mine=text)

    def jobs(words: str) -> list[str]:
        return [" ".join(job) for job in expand(tree, ["figure=mine", *words.split()]).jobs]

    assert jobs("") == ["task=svamp seed=1", "task=svamp seed=2", "task=gsm8k seed=2"]
    assert jobs("task=aqua") == ["task=aqua seed=1"]
    assert jobs("task=aqua,gsm8k") == ["task=aqua seed=1", "task=gsm8k seed=2"]
    assert jobs("seed=5 task=aqua") == ["task=aqua seed=5"]
    with pytest.raises(InputError, match="figure=mine: no grid of it has task=gsm8k seed=1"):
        jobs("task=gsm8k seed=1")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("figure=mainn", "figure=mainn: no such option; did you mean main?"),
        ("figure=main figure.tasks=svmp", "figure.tasks=svmp: no such task; did you mean svamp? Options: addsub"),
        ("figure=main figure.students=gpt2-meduim", "no such student; did you mean gpt2-medium?"),
        ("figure=main figure.task=svamp", "figure.task: no such key; did you mean figure.tasks?"),
        ("figure=main figure.tasks=svamp task=svamp", "task= is there too"),
        ("figure.tasks=svamp", "figure.tasks=svamp: of which figure? Add figure=NAME: data_size"),
        ("figure=filtering/diversity", "not recorded; it takes a teacher that can be asked: teacher=api"),
        ("figure=diversity/all_questions diversity=64", "diversity=64 was not recorded; it takes a teacher"),
        ("figure=diversity figure.tasks=gsm8k", "task=gsm8k was not recorded; it takes a teacher"),
        ("figure=diversity/128_questions task=svamp diversity=1 task.train_size=128 seed=interval(0,1)", "an interval"),
    ],
)
def test_what_leaves_nothing_of_a_figure_is_said(words: str, line: str) -> None:
    with pytest.raises(InputError) as refused:
        expand(composer(), words.split())
    assert line in str(refused.value)


def test_a_part_without_jobs_is_said_and_the_others_run() -> None:
    found = expand(composer(), ["figure=filtering"])
    assert list(found.figures) == ["filtering/kinds"]
    [line] = found.left_out
    assert line.startswith("figure=filtering/diversity: not recorded")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("figure=diversity", "figure=diversity is many jobs: python -m ftcot.run -m figure=diversity"),
        ("figure=main diversity=8", "figure=main is many jobs: python -m ftcot.run -m figure=main diversity=8"),
        (
            "figure.tasks=svamp figure=teacher",
            "figure=teacher is many jobs: python -m ftcot.run -m figure.tasks=svamp figure=teacher",
        ),
        (
            "figure.students=gpt2",
            "figure.students=gpt2 goes with a figure: python -m ftcot.run -m figure=NAME figure.students=gpt2",
        ),
        ("--config-dir . figure=main", "figure=main is many jobs: python -m ftcot.run -m --config-dir . figure=main"),
        ("--cfg job figure=main", "figure=main is many jobs: python -m ftcot.run -m figure=main"),
        ("-m hydra/sweeper=optuna figure=main", "figure=main: a search proposes its own jobs"),
    ],
)
def test_a_figure_is_for_a_sweep(
    words: str, line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# -- jobs of several figures -------------------------------------------------------------------------------------

POOL = [
    *(["method=fine_tune", f"diversity='{degree}'", f"seed={seed}"] for seed in (0, 1) for degree in (1, 2)),
    *(["method=fine_tune_cot", f"diversity='{degree}'", "seed=0"] for degree in (1, 2)),
]
"""Vanilla fine-tuning is the same whatever the diversity: six lists of overrides, four jobs."""


@pytest.fixture
def pool(tmp_path: Path) -> tuple[Composer, Checker, list[list[str]]]:
    own = [f"paths.cache={tmp_path / 'cache'}", "logger=none", "task.n_train=16", "task.n_test=8"]
    return composer(), Checker(FileHashes(tmp_path / "hashes.json")), [[*own, *words] for words in POOL]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, len(POOL) - 1), min_size=1), min_size=1),
    st.permutations(range(len(POOL))),
)
def test_a_job_of_several_figures_is_one_job(
    pool: tuple[Composer, Checker, list[list[str]]], figures: dict[str, list[int]], order: list[int]
) -> None:
    tree, checker, words = pool
    jobs = plan(tree, [words[place] for place in order], checker, figures=figures)
    hashes = [job.checked.hash for job in jobs]
    assert len(set(hashes)) == len(hashes) == 4
    assert [job.number for job in jobs] == list(range(4))
    its = {name: {checker.check(tree.job(words[order[n]])).hash for n in places} for name, places in figures.items()}
    assert {name: set(found) for name, found in by_figure(jobs).items()} == its
    assert all(len(set(found)) == len(found) for found in by_figure(jobs).values())


def test_figures_share_the_jobs_that_both_list() -> None:
    tree = composer()
    main, size = (set(map(frozenset, expand(tree, [f"figure={name}"]).jobs)) for name in ("main", "student_size"))
    assert size < main
    assert set(map(frozenset, expand(tree, ["figure=main,student_size"]).jobs)) == main


TWO = {"one": "- {task: generated/coin_flip, seed: [0, 1]}", "two": "- {task: generated/coin_flip, seed: [1, 2]}"}


def folder_of(tree: Composer, tmp_path: Path, *words: str) -> SweepFolder:
    """A sweep folder to which the jobs of these words have been added."""
    folder = SweepFolder(tmp_path / "sweep")
    jobs = folder.numbered(planned(tree, tmp_path, *words))
    folder.refuse(jobs)
    kept = Settings(words, str(tmp_path), (), "continue", str(tmp_path / "cache"), by_figure(jobs))
    folder.add(jobs, kept)
    return folder


def test_a_sweep_folder_knows_the_jobs_of_each_figure_it_was_asked_for(tmp_path: Path) -> None:
    tree = composer(tmp_path, **TWO)
    folder = folder_of(tree, tmp_path, "figure=one")
    first = folder.settings().figures
    assert list(first) == ["one"]
    assert first["one"] == tuple(member.hash for member in folder.members())

    folder = folder_of(tree, tmp_path, "figure=two")  # one of its two jobs is there
    kept = folder.settings().figures
    assert list(kept) == ["one", "two"]
    assert kept["one"] == first["one"]
    assert kept["two"][0] == first["one"][1]
    assert [member.number for member in folder.members()] == [0, 1, 2]
    assert folder.members()[2].hash == kept["two"][1]

    folder = folder_of(tree, tmp_path, "figure=one", "seed=0,1,7")  # widened
    kept = folder.settings().figures
    assert kept["one"][:2] == first["one"]
    assert len(kept["one"]) == 3
    assert states(folder.path) == ["frozen"] * 4


def test_a_sweep_folder_knows_the_commands_that_together_ask_for_its_jobs(tmp_path: Path) -> None:
    tree = composer(tmp_path, **TWO)
    assert folder_of(tree, tmp_path, "figure=one").settings().earlier == ()
    folder_of(tree, tmp_path, "figure=two")
    kept = folder_of(tree, tmp_path, "figure=two", "seed=2").settings()
    assert (kept.earlier, kept.overrides) == ((("figure=one",), ("figure=two",)), ("figure=two", "seed=2"))
    kept = folder_of(tree, tmp_path, "figure=one,two").settings()  # which is all of them
    assert (kept.earlier, kept.overrides) == ((), ("figure=one,two",))


def test_a_sweep_keeps_what_figures_of_the_users_own_say(tmp_path: Path) -> None:
    tree = composer(tmp_path, mine="{title: Mine, x: seed, grids: [{seed: [0, 1], teacher.path: '${paths.data}/x'}]}")
    found = of_users(tree, ["mine", "teacher", "gone"])
    assert list(found) == ["mine"]
    [figure] = find(tree, "mine")
    assert figure_of(tmp_path / "sweep.yaml", "mine", yaml.safe_load(yaml.safe_dump(found["mine"]))) == figure


def test_another_sweep_in_the_folder_leaves_its_figures(tmp_path: Path) -> None:
    tree = composer(tmp_path, **TWO)
    folder = folder_of(tree, tmp_path, "figure=one")
    kept = folder.settings()
    jobs = folder.numbered(planned(tree, tmp_path, "task=generated/coin_flip", "seed=9"))
    folder.add(jobs, replace(kept, figures={}))
    assert folder.settings().figures == kept.figures


def test_a_sweep_from_before_there_were_figures_has_none(tmp_path: Path) -> None:
    folder = folder_of(composer(tmp_path, **TWO), tmp_path, "seed=0")
    file = folder.path / "sweep.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in yaml.safe_load(file.read_text()).items() if k != "figures"}))
    assert folder.settings().figures == {}


def test_a_sweep_without_figures_is_of_none(tmp_path: Path) -> None:
    asked = expand(composer(), ["seed=0,1"])
    assert asked == Expanded(asked.master, [["seed=0"], ["seed=1"]])
    assert by_figure(planned(composer(), tmp_path, "seed=0,1")) == {}


@pytest.mark.slow
def test_figures_survive_a_second_command_and_a_resume(tmp_path: Path) -> None:
    ftcot = Command(tmp_path)
    (tmp_path / "conf").mkdir()
    composer(tmp_path / "conf", **TWO)
    own = ("--config-dir", str(tmp_path / "conf"), "hydra.sweep.dir=sweep", *CURATED)
    assert ftcot("-m", *own, "figure=one").returncode == 0
    second = ftcot("-m", *own, "figure=two")
    assert second.returncode == 0, second.stderr
    assert "sweep of 2 jobs: 1 done already, 1 to run" in second.stdout
    again = ftcot("-m", *own, "figure=one,two")
    assert "sweep of 3 jobs: 3 done already, 0 to run" in again.stdout
    before = (tmp_path / "sweep/sweep.yaml").read_text()
    done = resume(ftcot, "sweep")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep/sweep.yaml").read_text() == before
    kept = SweepFolder(tmp_path / "sweep").settings()
    assert kept.own_figures == {name: yaml.safe_load(text) for name, text in TWO.items()}
    assert kept.config_dir == str(tmp_path / "conf")
    figures = kept.figures
    assert {name: len(hashes) for name, hashes in figures.items()} == {"one": 2, "two": 2}
    assert states(tmp_path / "sweep") == ["partial"] * 3
