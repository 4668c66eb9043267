"""dry_run=true: what a command would do and cost is said, and nothing is done."""

from __future__ import annotations

import io
import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftcot import display, pipeline
from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError, JobError
from ftcot.estimate import is_dry
from ftcot.folder import freeze, read_status
from ftcot.job import build
from ftcot.records import Completion
from ftcot.run import run
from ftcot.status import Status
from ftcot.teacher.asks import Ask, Reply, flatten
from ftcot.teacher.live import Live
from ftcot.teacher.store import CompletionStore, Paid
from tests.command import SMALL, Command
from tests.scripted_backend import SCRIPTS, Script, plain

ASKED = ("teacher=api", "teacher.model=gpt-4o-mini", "logger=none", "task.n_train=10", "task.n_test=4")
QUICK = "dry_run=quick"
"""As true, but no student is timed, which would take each test some seconds (test_probe.py)."""

DRY = (QUICK, *ASKED)


@pytest.fixture
def ftcot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Command(tmp_path)


@pytest.fixture
def dry(ftcot: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command in this process: it must end well, leave everything as it was, and say nothing on stderr."""
    for name, value in ftcot.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FTCOT_DATA", raising=False)
    monkeypatch.chdir(ftcot.cwd)

    def asked(*words: str) -> str:
        before = ftcot.files()
        assert run(words) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert ftcot.files() == before
        return said.out

    return asked


def row(said: str, label: str) -> list[str]:
    """The figures of a purchase: would be, completions, there, to buy, calls, tokens in, tokens out, cost."""
    return _row(said.partition("to be bought\n")[2], label)


def work(said: str, label: str) -> list[str]:
    """The figures of a job's line: would be, pairs, tokens to train on, tokens to generate, time."""
    return _row(said.partition("to be bought\n")[0], label)


def _row(said: str, label: str) -> list[str]:
    [line] = [line for line in said.splitlines() if f"  {label}  " in line]
    return re.split(r"\s{2,}", line.strip().partition(label)[2].strip())


def buy(ftcot: Command, *words: str, n: int) -> None:
    """Put the first `n` completions of a job into the store, as if they had been bought."""
    config = Composer(conf_dir()).job([*ASKED, f"paths.cache={ftcot.cache}", *words])
    job = build(config)
    assert isinstance(job.teacher, Live)
    samples = job.task.splits().train
    prompts = [flatten(turns) for turns in job.teacher.prompting.first(job.task, samples)]
    asked = list(zip(samples, prompts, strict=True))
    rows = [
        Completion(*sample.key, draw, prompt, " It is.", " So.", " yes.", usage={"prompt": 200, "completion": 40})
        for draw in range(job.diversity.degree)
        for sample, prompt in asked
    ][:n]
    store = CompletionStore(ftcot.cache / "completions")
    halves = [replace(row, answer_text=None, answer_prompt=None) for row in rows]
    first = job.teacher.parameters(job.task, job.diversity, "rationale")
    store.put(job.teacher.name, first, halves, [Paid(80, 30, 0.0001)] * n)
    store.put(job.teacher.name, job.teacher.parameters(job.task, job.diversity), rows, [Paid(120, 10, 0.0001)] * n)


def test_a_job_is_not_run_and_nothing_is_left(ftcot: Command) -> None:
    done = ftcot(*DRY, "diversity=8")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dry run: nothing is sent, written or trained\n")
    assert row(done.stdout, "fine_tune_cot on generated_coin_flip")[:5] == ["new", "80", "0", "80", "90"]
    assert ftcot.files() == []


def test_a_sweep_counts_shared_draws_once(dry: Any) -> None:
    said = dry("-m", *DRY, "diversity=1,2,8", "seed=0,1")
    assert said.startswith("dry run of 6 jobs: ")
    assert [row(said, f"diversity={degree} seed=0")[1:5] for degree in (1, 2, 8)] == [
        ["10", "0", "10", "20"],
        ["20", "10", "10", "20"],
        ["80", "20", "60", "70"],
    ]
    assert all(row(said, f"diversity={degree} seed=1")[3:5] == ["0", "0"] for degree in (1, 2, 8))
    assert row(said, "all")[:4] == ["220", "140", "80", "110"]
    single = row(dry(*DRY, "diversity=8"), "fine_tune_cot on generated_coin_flip")
    assert single[3] == row(said, "all")[2]  # one job of the highest degree buys as much


def test_what_is_in_the_store_is_not_bought_again_and_tells_how_long_answers_are(ftcot: Command, dry: Any) -> None:
    none = row(dry(*DRY, "diversity=2"), "fine_tune_cot on generated_coin_flip")
    assert none[6] == display.short(20 * (512 + 128))  # as many tokens as are allowed
    buy(ftcot, "diversity=2", n=14)
    some = row(dry(*DRY, "diversity=2"), "fine_tune_cot on generated_coin_flip")
    assert some[1:5] == ["20", "14", "6", "12"]
    assert some[6] == f"{6 * (30 + 10)} to {display.short(6 * (512 + 128))}"
    assert re.fullmatch(r"\$0\.00\d+ to \$0\.00\d+", some[7])
    buy(ftcot, "diversity=2", n=20)
    assert row(dry(*DRY, "diversity=2"), "fine_tune_cot on generated_coin_flip")[1:] == [
        "20",
        "20",
        "0",
        "0",
        "0",
        "0",
        "$0",
    ]


def test_an_index_is_not_written_either(ftcot: Command, dry: Any) -> None:
    buy(ftcot, "task.n_train=400", "diversity=2", n=800)
    dry(*DRY, "task.n_train=400", "diversity=2")
    assert not list(ftcot.cache.rglob("*.index"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("teacher.budget_usd=10", "teacher.budget_usd=10 is enough"),
        ("teacher.budget_usd=0.0001", "teacher.budget_usd=0.0001 would stop it on the way to $0."),
        ("teacher.budget_tokens=1000", "teacher.budget_tokens=1000 would stop it on the way to "),
        ("teacher.model=my-llama", "price unknown, teacher.prices={input: ..., output: ...} says it"),
        ("teacher.prices={input: 1, output: 2}", "a million cost $1 in, $2 out (teacher.prices)"),
        ("teacher.model=gpt-4o-mini", "a million cost $0.15 in, $0.60 out (prices.yaml, 2026-10-14)"),
        ("teacher.model=gpt-4o-mini", "a run would be refused: no key for https://api.openai.com/v1: $OPENAI_API_KEY"),
        ("teacher.model=gpt-4o-mini", "tokens estimated from characters"),
        ("teacher=batch", "a million cost $0.075 in, $0.30 out"),
        ("teacher.n=1", "none of its answers to these questions is stored"),
    ],
    ids=lambda value: value if value.startswith("teacher") and " " not in value else "",
)
def test_what_is_said_of_a_teacher(dry: Any, words: str, line: str) -> None:
    assert line in dry(*DRY, "diversity=2", words)


def test_a_budget_that_lasts_for_what_is_expected(ftcot: Command, dry: Any) -> None:
    buy(ftcot, "diversity=8", n=40)
    said = dry(*DRY, "diversity=8", "teacher.budget_usd=0.006")
    assert "teacher.budget_usd=0.006 is enough for what is expected ($0.00" in said
    assert ", not for the most ($0.0" in said


def test_an_unknown_price_is_not_nothing(dry: Any) -> None:
    said = dry("-m", *DRY, "teacher.model=gpt-4o-mini,my-llama")
    assert row(said, "teacher.model=my-llama")[-1] == "unknown"
    assert row(said, "all")[-1] == "unknown"


def test_with_a_key_nothing_is_missing(dry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    said = dry(*DRY)
    assert "would be refused" not in said
    assert "sk-0123456789abcdef" not in said


@pytest.mark.models
def test_tokens_are_counted_with_a_tokenizer_that_is_named(dry: Any, models_dir: Path) -> None:
    said = dry(*DRY, f"teacher.tokenizer={models_dir / 'gpt2-tokenizer'}")
    assert "gpt-4o-mini: tokens with the model's tokenizer; " in said


def test_a_judge_costs_at_most_a_verdict_a_completion(dry: Any) -> None:
    said = dry("-m", *DRY, "diversity=1,2", "curation.filter=judge")
    rows = [line for line in said.splitlines() if "judged by gpt-4o-mini" in line]
    assert [re.split(r"\s{2,}", line.strip())[1:6] for line in rows] == [
        ["at most", "10", "0", "10", "10"],
        ["at most", "20", "10", "10", "10"],
    ]
    assert all(line.split("  ")[-1].strip().startswith("$0 to $0.0") for line in rows)
    assert row(said, "all")[:4] == ["30", "10", "20", "60"]
    assert "judged by" not in dry(*DRY, "curation.filter=judge", "until=teach")


def test_jobs_whose_completions_differ_share_no_verdicts(dry: Any) -> None:
    judge = ("+teacher@curation.judge=api", "curation.judge.model=gpt-4o-mini", "curation.filter=judge")
    judge += ("curation.judge.budget_usd=0.0001", "logger=none", "task.n_train=10", "task.n_test=4")
    said = dry("-m", QUICK, *judge, "teacher.skill=0.5,0.9", "seed=0,1", "diversity=1")
    rows = [line for line in said.splitlines() if "judged by gpt-4o-mini" in line]
    assert [re.split(r"\s{2,}", line.strip())[2:5] for line in rows] == [
        ["10", "0", "10"],
        ["10", "10", "0"],
        ["10", "0", "10"],
        ["10", "10", "0"],
    ]
    assert row(said, "all")[0] == "20"  # calls: of completions nothing is bought
    assert "gpt-4o-mini: curation.judge.budget_usd=0.0001 " in said


def test_recordings_and_procedures_cost_nothing(dry: Any) -> None:
    said = dry("-m", QUICK, *SMALL[:3], "diversity=1,2")
    assert work(said, "diversity=2")[:2] == ["new", "32"]
    assert "money  nothing is bought\n" in said
    assert "to be bought" not in said


def test_jobs_that_are_done_are_reused_and_those_that_began_continued(ftcot: Command, dry: Any) -> None:
    assert ftcot(*SMALL, "until=curate").returncode == 0
    label = "fine_tune_cot on generated_coin_flip"
    assert work(dry(QUICK, *SMALL, "until=teach"), label) == ["reused"]
    assert work(dry(QUICK, *SMALL, "until=train", "student=tiny-0.2m"), label)[0] == "new"
    assert work(dry(QUICK, *SMALL, "until=train"), label)[0] == "continued after curate"
    said = dry("-m", QUICK, *SMALL, "until=curate,teach", "seed=0")
    assert work(said, "until=curate")[0] == "reused"


def test_no_student_need_be_there(dry: Any) -> None:
    said = dry(*DRY, "student=decoder", "student.checkpoint=nobody/no-such-model")
    assert "a run would be refused: student.checkpoint=nobody/no-such-model: not in the local cache" in said


def test_no_folder_need_be_there_that_can_be_written_to(dry: Any) -> None:
    assert "dry run" in dry(*DRY, "paths.cache=/proc/none/cache", "hydra.run.dir=/proc/none/run")
    assert "dry run" in dry("-m", *DRY, "paths.cache=/proc/none/cache", "hydra.sweep.dir=/proc/none/sweep")


@pytest.mark.data
def test_a_figure_shows_the_jobs_that_buy(dry: Any, data_dir: Path) -> None:
    asked = (QUICK, "logger=none", "teacher=api", "teacher.model=gpt-4o-mini", f"paths.data={data_dir}")
    said = dry("-m", *asked, "figure=diversity", "task=multiarith", "student=tiny", "seed=range(0,9)")
    jobs = int(re.match(r"dry run of (\d+) jobs", said)[1])  # type: ignore[index]
    shown = len([line for line in said.partition("to be bought\n")[2].splitlines() if " new " in line])
    assert f"  {jobs - shown} more jobs would buy nothing" in said
    assert shown < 10


@pytest.mark.parametrize("value", ["maybe", 1, None])
def test_a_dry_run_is_one_or_it_is_not(value: Any) -> None:
    with pytest.raises(InputError, match=f"dry_run={value}: expected true or false"):
        is_dry({"dry_run": value})
    assert not is_dry({})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "-m hydra/sweeper=optuna task.validation_size=4 seed=choice(0,1)",
            "dry_run=true: which jobs a search runs",
        ),
        ("teacher.budget_usd=-1", "teacher.budget_usd=-1: expected 0 or more"),
        ("-m diversity=1,3", "diversity=3: no such option"),
        ("logger=wandb logger.mode=online", "logger.mode=online: not logged in"),
    ],
    ids=["search", "budget", "option", "login"],
)
def test_what_is_wrong_is_refused_all_the_same(
    ftcot: Command, dry: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, line: str
) -> None:
    monkeypatch.setenv("NETRC", str(ftcot.cwd / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert run([*DRY, *words.split()]) == 2
    assert line in capsys.readouterr().err
    assert ftcot.files() == []


def test_a_damaged_store_is_refused(ftcot: Command, dry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    buy(ftcot, "diversity=2", n=3)
    [segment] = ftcot.cache.rglob("*.jsonl")
    segment.write_text("{broken\n" + segment.read_text())
    assert run([*DRY, "diversity=2"]) == 2
    assert f"{segment.name}, line 1: " in capsys.readouterr().err


# -- the same jobs, when they are run ----------------------------------------------------------------------------------


def test_a_job_whose_completions_are_all_stored_needs_no_key_and_no_server(ftcot: Command) -> None:
    buy(ftcot, "diversity=2", n=20)
    done = ftcot(*ASKED, "diversity=2", "until=teach")
    assert (done.returncode, done.stderr) == (0, "")
    assert "teacher    gpt-4o-mini, D = 2 at T = 0.7: 20 of 20 in the store\n" in done.stdout
    assert "all 20 completions were in the store" in done.stdout
    status = read_status(Path(ftcot.entries()[0]["folder"]))
    assert (status["counts"]["teacher_bought"], status["counts"]["teacher_spent_usd"]) == (0, 0)
    # Nor does one that is done, whatever has become of the store.
    shutil.rmtree(ftcot.cache / "completions")
    again = ftcot(*ASKED, "diversity=2", "until=teach")
    assert (again.returncode, again.stderr) == (0, "")
    assert "reused from" in again.stdout
    # But one completion more does.
    more = ftcot(*ASKED, "diversity=4", "until=teach")
    assert (more.returncode, more.stdout) == (2, "")
    assert "$OPENAI_API_KEY is not set" in more.stderr


def test_a_sweep_asks_for_a_teacher_only_where_something_is_missing(ftcot: Command) -> None:
    buy(ftcot, "diversity=2", n=20)
    assert ftcot("-m", *ASKED, "diversity=1,2", "until=teach").returncode == 0
    files = ftcot.files()
    refused = ftcot("-m", *ASKED, "diversity=2,4", "until=teach")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "$OPENAI_API_KEY is not set" in refused.stderr
    assert ftcot.files() == files


def test_what_was_bought_is_said_and_counted_over_all_attempts(compose: Any, tmp_path: Path) -> None:
    def first_draws(ask: Ask, draw: int) -> Reply | None:
        return plain(ask, draw) if draw == 0 else None

    config = compose("until=teach", "task.n_train=6", "task.n_test=2", "diversity=2", "allow=[tests]")
    prices = {"input": 1.0, "output": 100.0}
    config["teacher"] = {"_target_": "tests.scripted_backend.Scripted", "model": "m", "script": "s", "prices": prices}
    job, folder, said = build(config), tmp_path / "run", io.StringIO()
    freeze(folder, config, "5f0c")
    SCRIPTS["s"] = Script(reply=first_draws)
    with pytest.raises(JobError, match="6 of 12 completions could not be had"):
        pipeline.run(job, folder, Status(folder), Console(file=said, width=160))
    half = read_status(folder)["counts"]
    assert half["teacher_bought"] == 6
    SCRIPTS["s"] = Script()
    pipeline.run(job, folder, Status(folder), Console(file=said, width=160))
    counts = read_status(folder)["counts"]
    spent = CompletionStore(job.cache / "completions").spent("m", 0.0)
    assert (counts["teacher_bought"], counts["teacher_spent_usd"]) == (12, pytest.approx(spent.usd))
    assert 0 < half["teacher_spent_usd"] < counts["teacher_spent_usd"]
    money = display.money(spent.usd - half["teacher_spent_usd"])
    assert f"6 of 12 completions bought for {money} (" in said.getvalue()
    assert " tokens), 6 were in the store\n" in said.getvalue()


# -- the run matrix ----------------------------------------------------------------------------------------------------


def matrix(said: str) -> list[list[str]]:
    """The table that counts jobs: its head and its rows, as words."""
    lines = said[said.index("jobs by ") if "jobs by " in said else said.index("jobs to run by ") :].splitlines()[1:]
    rows = itertools.takewhile(lambda line: line.startswith("  "), lines)
    return [re.split(r"\s{2,}", line.strip()) for line in rows]


def test_many_jobs_are_counted_in_a_table(dry: Any) -> None:
    said = dry("-m", QUICK, *SMALL[:3], "student=tiny,tiny-0.2m", "diversity=1,2,16", "seed=range(0,6)")
    assert said.startswith("dry run of 36 jobs: nothing is sent, written or trained\njobs  36 to run\n")
    assert "jobs by D, each cell over 2 students and 6 seeds\n" in said
    assert matrix(said) == [["D=1", "D=2", "D=16", "jobs"], ["generated_coin_flip", "12", "12", "12", "36"]]
    assert re.search(r"^  tiny +18 .* not known$", said, re.MULTILINE)
    assert re.search(r"^  all +36 ", said, re.MULTILINE)


def test_what_is_done_is_not_counted_again(ftcot: Command, dry: Any) -> None:
    assert ftcot("-m", *SMALL[:3], "until=teach", "diversity=1,2", "seed=0").returncode == 0
    said = dry("-m", QUICK, *SMALL[:3], "until=teach", "diversity=1,2,4", "seed=range(0,10)")
    assert "jobs  2 done already, 28 to run\n" in said
    assert "jobs to run by D, each cell over 10 seeds\n" in said
    assert matrix(said) == [
        ["D=1", "D=2", "D=4", "jobs", "done"],
        ["generated_coin_flip", "9", "9", "10", "30", "2"],
    ]


@pytest.mark.data
def test_the_matrix_of_a_figure_is_the_papers(dry: Any, data_dir: Path) -> None:
    asked = (QUICK, "logger=none", f"paths.data={data_dir}", "figure=diversity/all_questions")
    said = dry("-m", *asked, "figure.tasks=multiarith,svamp", "figure.students=gpt2,t5-small", "seed=0,1,2")
    assert matrix(said) == [
        ["D=1", "D=2", "D=4", "D=8", "D=16", "jobs"],
        ["multiarith", "6", "6", "6", "6", "6", "30"],
        ["svamp", "6", "6", "6", "6", "6", "30"],
    ]
    assert "each cell over 2 students and 3 seeds" in said
    assert "not in the local cache" in said  # gpt2 is not known, and that is no error


def test_what_rows_have_in_common_is_said_once(dry: Any) -> None:
    said = dry("-m", QUICK, "figure=mini", "logger=none", "trainer=cpu")
    assert matrix(said)[0] == ["no D", "D=1", "D=2", "D=4", "D=8", "jobs"]
    assert "; where nothing else is said skill=0.9 epochs=4\n" in said
    assert ["generated_coin_flip fine_tune_cot", "3", "3", "3", "3", "12"] in matrix(said)
    assert sum(int(row[-1]) for row in matrix(said)[1:]) == int(re.match(r"dry run of (\d+)", said)[1])  # type: ignore[index]


@pytest.mark.data
def test_cells_that_the_paper_has_not_are_marked(dry: Any, data_dir: Path) -> None:
    asked = (QUICK, "logger=none", f"paths.data={data_dir}", "student=tiny", "task=coin_flip")
    said = dry("-m", *asked, "diversity=greedy,8", "task.train_size=null,64")
    labels = [line for line in said.splitlines() if "diversity=" in line]
    assert [" *  " in line for line in labels] == [False, True, False, True]
    assert "* new: the paper has this task, but no such cell\n" in said


@pytest.mark.parametrize("width", [60, 100, 200])
def test_on_a_terminal_no_line_is_wider_than_it(width: int, compose: Any) -> None:
    from ftcot.checks import Checker
    from ftcot.estimate import Asked, Sharing, estimate
    from ftcot.hashes import FileHashes
    from ftcot.launch import Launch

    checker, jobs = Checker(FileHashes(Path("none")), dry=True), []
    config = compose("task.n_train=20", "task.n_test=8", "trainer=cpu")
    for seed in range(30):
        checked = checker.check(config | {"seed": seed})
        decision = Launch(checked.config, checked.hash, None).peek()
        jobs.append(Asked(f"seed={seed}", checked, decision, (f"seed={seed}",)))
    said = io.StringIO()
    console = Console(file=said, width=width, force_terminal=True, color_system=None, highlight=False)
    estimate(console, jobs, checker, Sharing(probes=False))
    lines = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", said.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= width
    assert any("30" in line for line in lines)
