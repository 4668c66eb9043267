"""The command a user gives: help, configs, wrong input, and one job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ftcot.compose import Composer, conf_dir, freeze, quote_integers
from ftcot.errors import InputError
from ftcot.run import run
from tests.command import SMALL, TRAINED, Command, read
from tests.conftest import ROOT


@pytest.fixture
def ftcot(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.mark.parametrize(
    ("written", "read_by_hydra"),
    [
        pytest.param("diversity=8", "diversity='8'", id="bare"),
        pytest.param("diversity=1,8", "diversity='1','8'", id="list"),
        pytest.param("diversity=choice(1,8)", "diversity=choice('1','8')", id="choice"),
        pytest.param("diversity=choice(greedy, 16)", "diversity=choice(greedy, '16')", id="mixed"),
        pytest.param("diversity='8'", "diversity='8'", id="quoted already"),
        pytest.param('diversity="8",16', "diversity=\"8\",'16'", id="half quoted"),
        pytest.param("diversity=shuffle(1,8)", "diversity=shuffle('1','8')", id="shuffle"),
        pytest.param("diversity=range(1,3)", "diversity=range(1,3)", id="range needs numbers"),
        pytest.param("diversity@other=8", "diversity@other='8'", id="package"),
        pytest.param("diversity.degree=8", "diversity.degree=8", id="a key, not an option"),
        pytest.param("seed=8", "seed=8", id="not a group"),
        pytest.param("student=gpt2", "student=gpt2", id="no integer options"),
        pytest.param("~diversity", "~diversity", id="no value"),
    ],
)
def test_integers_are_quoted_where_they_name_an_option(written: str, read_by_hydra: str) -> None:
    groups = {"diversity": ["1", "8", "16", "greedy"], "student": ["gpt2", "t5-small"]}
    assert quote_integers(written, lambda group: groups.get(group, [])) == read_by_hydra


@pytest.mark.parametrize("degree", [1, 2, 4, 8, 16, 32, 64])
def test_a_bare_degree_is_an_option(degree: int) -> None:
    config = freeze(Composer(conf_dir()).compose([f"diversity={degree}"]))
    assert config["diversity"]["degree"] == degree


WRONG = {
    "an option": ("student=gpt2-meduim", "student=gpt2-meduim: no such option; did you mean gpt2-medium? Options: "),
    "an option in a folder": ("task=generated/coinflip", "did you mean generated/coin_flip?"),
    "a folder of options": ("task=genrated/coin_flip", "did you mean generated/coin_flip?"),
    "a degree": ("diversity=3", "diversity=3: no such option; Options: 1, 2, 4, 8, 16, 32, 64, greedy"),
    "a group": ("studnt=gpt2", "studnt: no such key; did you mean student?"),
    "a key": ("task.tain_size=8", "task.tain_size: no such key; did you mean task.train_size?"),
    "a key without its part": ("train_size=8", "train_size: no such key; did you mean task.train_size?"),
    "a key that is like no other": ("task.xyzzy=8", "task.xyzzy: no such key; task has answer_prompt, "),
    "an added key": ("+sed=1", "sed: no such key; did you mean seed?"),
    "a list without -m": ("diversity=1,8", "diversity=1,8: several values are a sweep: add -m"),
    "a launcher": ("hydra/launcher=slurm", "hydra/launcher=slurm: no such option; Options: basic"),
    "a bracket": ("seed=[1", "seed=[1: not a valid override"),
    "a flag": ("--multrun", "unrecognized arguments: --multrun; see --help"),
    "a value": ("seed=-1", "seed=-1: expected a whole number, 0 or more"),
    "a stage": ("until=trian", "until='trian': expected one of teach, curate, train, evaluate"),
    "a template": ("method.prompt='no field'", "method.prompt='no field' has no {question} in it"),
    "a combination": ("diversity.temperature=0 diversity.degree=8", "diversity.degree=8 at temperature 0"),
    "a size": ("task.train_size=401", "train_size=401"),
    "a target": ("task._target_=os.getcwd", "task._target_=os.getcwd: not trusted"),
    "a run folder": ("hydra.run.dir=/dev/null", "hydra.run.dir=/dev/null"),
    "a cache": ("paths.cache=/dev/null/cache", "paths.cache=/dev/null/cache: /dev/null is not a folder"),
}


@pytest.mark.parametrize(("words", "line"), list(WRONG.values()), ids=list(WRONG))
def test_wrong_input_gets_one_line_and_leaves_nothing(
    words: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTCOT_CACHE", str(tmp_path / "cache"))
    code = run([words] if "'" in words else words.split())
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert line in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_command_ends_with_that_code(ftcot: Command) -> None:
    done = ftcot("student=gpt2-meduim")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert ftcot.files() == []


def test_a_secret_in_the_config_is_refused_and_not_repeated(ftcot: Command) -> None:
    done = ftcot("method.stop=sk-marker-value", OPENAI_API_KEY="sk-marker-value")
    assert done.returncode == 2
    assert "method.stop holds the secret of $OPENAI_API_KEY" in done.stderr
    assert "sk-marker-value" not in done.stderr + done.stdout
    assert ftcot.files() == []


def test_hydra_full_error_shows_the_traceback(ftcot: Command) -> None:
    assert "Traceback" in ftcot("student=x", HYDRA_FULL_ERROR="1").stderr


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--cfg", "job"], ["--info", "searchpath"], ["-m", "diversity=1,3"]],
    ids=" ".join,
)
def test_quick_answers_import_nothing_heavy(ftcot: Command, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ftcot.run", *words],
        cwd=ftcot.cwd,
        env=ftcot.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "hydra" in imported
    assert not imported & {"torch", "transformers", "pytorch_lightning", "wandb", "datasets", "pyarrow"}


def test_help_names_groups_options_and_examples(ftcot: Command) -> None:
    done = ftcot("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("EXIT CODES", "student: decoder, encoder_decoder", "python -m ftcot.run -m task=svamp"):
        assert words in done.stdout


def test_the_printed_config_is_the_composed_one(ftcot: Command) -> None:
    done = ftcot("-c", "job", "--resolve", "diversity=8", "task=multiarith")
    assert (done.returncode, done.stderr) == (0, "")
    config = yaml.safe_load(done.stdout)
    assert (config["diversity"]["degree"], config["task"]["name"]) == (8, "multiarith")


def test_flags_and_overrides_may_stand_in_any_order(ftcot: Command) -> None:
    first, last = ftcot("--cfg", "job", "seed=3"), ftcot("seed=3", "--cfg", "job")
    assert (first.stdout, first.returncode) == (last.stdout, 0)


def test_an_installed_package_finds_its_own_conf(tmp_path: Path) -> None:
    # What the wheel looks like once installed: conf inside the package.
    copied = tmp_path / "wheel" / "ftcot"
    copied.mkdir(parents=True)
    for path in (ROOT / "ftcot").iterdir():
        if path.name not in ("conf", "__pycache__"):
            (copied / path.name).symlink_to(path)
    for name in ("compose.py", "__init__.py", "run.py"):
        (copied / name).unlink()
        (copied / name).write_bytes((ROOT / "ftcot" / name).read_bytes())
    (copied / "conf").symlink_to(ROOT / "conf")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "ftcot.run", "--info", "searchpath"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path / "wheel")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(copied / "conf") in done.stdout


def test_a_folder_of_ones_own_adds_options(ftcot: Command) -> None:
    (ftcot.cwd / "mine" / "training").mkdir(parents=True)
    (ftcot.cwd / "mine" / "training" / "two_epochs.yaml").write_text("defaults: [fast, _self_]\nepochs: 2\n")
    done = ftcot("--config-dir", "mine", "--cfg", "job", "training=two_epochs", "-p", "training.epochs")
    assert (done.stdout.strip(), done.returncode) == ("2", 0)
    assert ftcot("training=two_epochs").returncode == 2


def test_a_value_without_default_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"^seed: has no default; say seed=\.\.\.$"):
        freeze(Composer(conf_dir()).compose(["seed=???"]))


def test_one_job_from_command_to_folder(ftcot: Command) -> None:
    done = ftcot(*SMALL, "until=curate")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fine_tune_cot on generated_coin_flip\n")
    [entry] = ftcot.entries()
    folder = Path(entry["folder"])
    assert folder.parent.parent == ftcot.cwd / "outputs"
    assert (entry["state"], entry["lease"]) == ("partial", None)
    status = read(folder / "status.json")
    assert (status["state"], status["stages"], status["hash"]) == ("partial", ["teach", "curate"], entry["hash"])
    assert len((folder / "examples.jsonl").read_text().splitlines()) == 16
    config = yaml.safe_load((folder / "job.yaml").read_text())
    assert "hydra" not in config
    assert config["paths"]["cache"] == str(ftcot.cache)
    # What was on the screen is in the log, the plan included.
    log = (folder / "log.txt").read_text()
    assert all(line in log for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("kept", "words", "notice"),
    [
        ("none", (), "its weights were not kept: reuse=false makes those of keep=last\n"),
        ("best", (), "its weights are those of keep=best: reuse=false makes those of keep=last\n"),
        ("last", (), ""),
        ("last", ("keep=none",), ""),
    ],
)
def test_a_reused_job_says_which_weights_it_has_not(
    ftcot: Command, kept: str, words: tuple[str, ...], notice: str
) -> None:
    assert ftcot(*SMALL, "until=teach", "hydra.run.dir=one").returncode == 0
    status = ftcot.cwd / "one" / "status.json"
    status.write_text(json.dumps(read(status) | {"kept": kept}))
    done = ftcot(*SMALL, "until=teach", *words)
    assert done.stdout.endswith(f"reused from {ftcot.cwd / 'one'} (reuse=false runs it anew)\n{notice}")


def test_a_sweep_agent_of_wandb_gets_its_run_of_a_reused_job_too(ftcot: Command) -> None:
    words = ("until=teach", *SMALL[1:], "logger=wandb")
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1"}
    assert ftcot(*words, "hydra.run.dir=one").returncode == 0
    done = ftcot(*words, "hydra.run.dir=two", **agent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "two: offline" in done.stdout
    assert list(ftcot.cwd.rglob("run-r1.wandb"))


@pytest.mark.slow
def test_a_trained_job_is_shown_again_not_run_again(ftcot: Command) -> None:
    first = ftcot(*TRAINED)
    assert first.returncode == 0, first.stderr
    again = ftcot(*TRAINED, "hydra.run.dir=again", "seed=0", "logger=csv")
    assert (again.returncode, again.stderr) == (0, "")
    [entry] = ftcot.entries()
    home, folder = Path(entry["folder"]), ftcot.cwd / "again"
    assert f"reused from {home}" in again.stdout
    small = {"job.yaml", "status.json", "score.json", "metrics.csv", "log.txt"}
    small |= {"completions.jsonl", "examples.jsonl", "predictions.jsonl", "student"}
    assert {path.name for path in folder.iterdir()} == small
    assert (folder / "score.json").read_text() == (home / "score.json").read_text()
    assert (folder / "student").resolve() == home / "student"
    assert read(folder / "status.json")["reused_from"] == str(home)
    # The table is the same, whoever prints it.
    table = [line for line in first.stdout.splitlines() if line.startswith(("  student tiny", "  scorers"))]
    assert len(table) == 2
    assert all(line in again.stdout for line in table)


def test_relative_paths_are_frozen_as_absolute_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?", "answer": 2}\n')
    monkeypatch.chdir(tmp_path)
    config = freeze(Composer(conf_dir()).compose(["task=jsonl", "task.path=mine.jsonl", "task.answer=number"]))
    assert config["task"]["path"] == str(tmp_path / "mine.jsonl")
    assert freeze(Composer(conf_dir()).compose(["student=gpt2"]))["student"]["checkpoint"] == "openai-community/gpt2"


def test_a_live_teachers_files_are_frozen_with_absolute_paths_and_a_servers_model_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    said = ("teacher.model=mine", "teacher.tokenizer=mine", "teacher.prompting.style=few_shot_cot")
    said += ("teacher.prompting.demonstrations=mine.jsonl",)
    models = {}
    for option in ("api", "huggingface"):
        teacher = freeze(Composer(conf_dir()).compose([f"teacher={option}", *said]))["teacher"]
        models[option] = teacher["model"]
        assert teacher["tokenizer"] == str(tmp_path / "mine")
        assert teacher["prompting"]["demonstrations"] == str(tmp_path / "mine.jsonl")
    assert models == {"api": "mine", "huggingface": str(tmp_path / "mine")}
