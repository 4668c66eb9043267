"""What live teachers share: what they refuse, what a completion is known by, a judge's words, and a whole job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ftcot import pipeline
from ftcot.errors import InputError, JobError
from ftcot.files import read_json
from ftcot.job import build as build_job
from ftcot.records import Completion, Sample, Score, read_records
from ftcot.status import Status
from ftcot.teacher import Diversity, Session
from ftcot.teacher.asks import REFUSED, Ask, Reply, seed_of
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.store import CompletionStore
from tests.generated_tasks import build, solve_coin_flip
from tests.scripted_backend import SCRIPTS, Script, Scripted, plain

TASK = build("coin_flip", n_flips=2, n_train=8, n_test=4)
SPLITS = TASK.splits()
GREEDY, EIGHT = Diversity(1, 0.0), Diversity(8, 0.7)


def live(**values: Any) -> Scripted:
    defaults: dict[str, Any] = {"model": "m", "script": Script()}
    return Scripted(**(defaults | values))


def completion(sample: Sample, **values: Any) -> Completion:
    task, version, index = sample.key
    return Completion(task, version, index, draw=0, prompt=None, rationale="", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": ""}, r"^teacher.model: which model shall answer\? \(teacher.model=NAME\)$"),
        ({"top_p": 0}, r"^teacher.top_p=0: expected more than 0, up to 1$"),
        ({"top_p": 1.5}, r"^teacher.top_p=1.5: "),
        ({"budget_usd": -1}, r"^teacher.budget_usd=-1: expected 0 or more, or null for no limit$"),
        ({"budget_usd": float("nan")}, r"^teacher.budget_usd=nan: expected 0 or more"),
        ({"budget_usd": float("inf")}, r"^teacher.budget_usd=inf: expected 0 or more"),
        ({"budget_tokens": -5}, r"^teacher.budget_tokens=-5: "),
        ({"prices": {"input": 1.0}}, r"^teacher.prices.output: missing"),
        ({"prices": {"input": -1.0, "output": 1.0}}, r"^teacher.prices.input=-1.0: "),
    ],
)
def test_wrong_settings_are_refused_when_it_is_built(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        live(**values)


def test_a_budget_in_money_needs_a_price() -> None:
    teacher = live(model="nobody/knows-7b", budget_usd=1.0)
    with pytest.raises(InputError, match=r"^teacher.budget_usd=1.0: what nobody/knows-7b costs is not known; set teac"):
        teacher.check(TASK, SPLITS, EIGHT)
    for fine in (
        replace(teacher, prices={"input": 1, "output": 2}),
        replace(teacher, budget_usd=None, budget_tokens=100),
        replace(teacher, model="gpt-4o-mini"),
    ):
        assert fine.check(TASK, SPLITS, EIGHT) is False


def test_a_prompt_beyond_the_context_is_refused_at_the_check() -> None:
    with pytest.raises(InputError, match=r"^teacher.context=500: question \d+ of generated_coin_flip needs \d+ tokens"):
        live(context=500).check(TASK, SPLITS, EIGHT)
    live(context=2000).check(TASK, SPLITS, EIGHT)


def test_a_teacher_is_named_after_its_model() -> None:
    assert live(model="gpt-4o-mini").name == "gpt-4o-mini"
    assert live(model="gpt-4o-mini", name="mini").name == "mini"


@pytest.mark.parametrize(
    "values",
    [
        {"model": "m2", "name": "m"},
        {"top_p": 0.9},
        {"seed": 1},
        {"seed": None},
        {"speaks": True},
        {"prompting": Prompting(max_tokens=128)},
        {"prompting": Prompting(answer_max_tokens=32)},
        {"prompting": Prompting(stop=["Q:"])},
        {"prompting": Prompting(style="single_call")},
        {"prompting": Prompting(answer_prompt=" So the answer is")},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_decides_the_words_is_part_of_what_they_are_known_by(values: dict[str, Any]) -> None:
    assert live(**values).parameters(TASK, EIGHT) != live().parameters(TASK, EIGHT)
    assert live().parameters(TASK, GREEDY) != live().parameters(TASK, EIGHT)


def test_what_does_not_decide_the_words_is_not() -> None:
    other = live(budget_usd=1.0, prices={"input": 1, "output": 2}, tokenizer="x", context=9)
    assert other.parameters(TASK, EIGHT) == live().parameters(TASK, EIGHT)
    assert live().parameters(TASK, Diversity(4, 0.7)) == live().parameters(TASK, EIGHT)


def test_a_seed_depends_on_the_draw_alone() -> None:
    sample = ("multiarith", 1, 17)
    assert seed_of(0, sample, 3, "rationale") == 213005365
    assert seed_of(None, sample, 3, "rationale") is None
    seeds = {seed_of(0, ("t", 1, index), draw, part) for index in range(50) for draw in range(8) for part in PARTS}
    assert len(seeds) == 800
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds)


PARTS: Any = ("rationale", "answer")


def test_a_refusal_counts_as_wrong() -> None:
    sample = SPLITS.train[0]
    right = completion(sample, answer_text=f" {sample.answer}.")
    refused = replace(right, draw=1, answer_text=None, finish_reason=REFUSED)
    assert live().accuracy(TASK, SPLITS, [right]) == 1.0
    assert live().accuracy(TASK, SPLITS, [right, refused]) == 0.5
    assert live().accuracy(TASK, SPLITS, []) is None


def test_the_cost_is_known_where_all_of_it_is() -> None:
    one = completion(SPLITS.train[0], cost_usd=0.25)
    assert live().cost([one, replace(one, draw=1, cost_usd=0.5)]) == 0.75
    assert live().cost([one, replace(one, draw=1, cost_usd=None)]) is None


# A judge


def test_a_judge_says_one_greedy_word_on_each_prompt(tmp_path: Path) -> None:
    store, (first, second, *_) = CompletionStore(tmp_path), SPLITS.train
    prompts = {(first.key, 0): "Sound? A", (first.key, 5): "Sound? B", (second.key, 0): "Sound? C"}
    script = Script(lambda ask, draw: Reply(ask, draw, f"<think>hm</think>yes to {ask.text[-1]}", "stop", raw={"a": 1}))
    teacher = live(script=script, prompting=Prompting(system="You reason."), top_p=0.5)
    said = teacher.say(TASK, prompts, Session(store), max_tokens=16)
    assert {draw: row.rationale for draw, row in said.items()} == {
        (first.key, 0): "yes to A",
        (first.key, 5): "yes to B",
        (second.key, 0): "yes to C",
    }
    assert all((row.thinking, row.raw, row.answer_text) == ("hm", None, None) for row in said.values())
    assert {(ask.decoding.temperature, ask.decoding.max_tokens, ask.part) for ask in script.asked} == {
        (0.0, 16, "rationale")
    }
    more = prompts | {(second.key, 1): "Sound? D", (first.key, 0): "Sound, again? A"}
    assert len(teacher.say(TASK, more, Session(CompletionStore(tmp_path)), max_tokens=16)) == 4
    assert [ask.text for ask in script.asked[3:]] == ["Sound, again? A", "Sound? D"]  # the others were there


def test_a_judge_that_refuses_has_no_words(tmp_path: Path) -> None:
    prompts = {(SPLITS.train[0].key, 0): "Sound?"}
    script = Script(lambda ask, draw: Reply(ask, draw, "", REFUSED))
    (said,) = live(script=script).say(TASK, prompts, Session(CompletionStore(tmp_path)), 16).values()
    assert (said.rationale, said.finish_reason) == ("", REFUSED)


# A whole job


def job(compose: Callable[..., dict[str, Any]], name: str, *overrides: str, **teacher: Any) -> Any:
    config = compose(
        *("task=generated/coin_flip", "task.n_flips=2", "task.n_train=12", "task.n_test=4", "diversity='2'"),
        *("student=tiny-0.2m", "method=few_shot_cot", "evaluation.max_new_tokens=4", "allow=[tests]", *overrides),
    )
    prompting = {"_target_": "ftcot.teacher.prompting.Prompting"} | teacher.pop("prompting", {})
    config["teacher"] = {
        "_target_": "tests.scripted_backend.Scripted",
        "model": "m",
        "script": name,
        "prompting": prompting,
        "prices": {"input": 1.0, "output": 10.0},
    } | teacher
    return build_job(config)


def run(job: Any, folder: Path) -> Score | None:
    folder.mkdir()
    with (folder / "log.txt").open("a") as log:
        return pipeline.run(job, folder, Status(folder), Console(file=log, width=160))


def right(ask: Ask, draw: int) -> Reply:
    """The right answer, but a refusal where Zoe is in it."""
    said = plain(ask, draw)
    said = replace(said, usage={**(said.usage or {}), "thinking": 2})  # of the completion's tokens
    if "Zoe" in ask.text:
        return Reply(ask, draw, "", REFUSED)
    return said if ask.part == "rationale" else replace(said, text=f" {solve_coin_flip(ask.text)}.")


def test_a_job_with_a_live_teacher_from_end_to_end(
    compose: Callable[..., dict[str, Any]], tmp_path: Path, one_thread: None
) -> None:
    SCRIPTS["job"] = Script(right, seed=1)
    folder = tmp_path / "run"
    score = run(job(compose, "job"), folder)
    completions = read_records(folder / "completions.jsonl", Completion)
    questions = [sample.sample_index for sample in build("coin_flip", n_flips=2, n_train=12, n_test=4).splits().train]
    assert [(row.sample_index, row.draw) for row in completions] == [(i, draw) for i in questions for draw in (0, 1)]
    assert all(row.raw is None for row in completions)
    assert all(row.correct for row in completions if row.answer_text is not None)
    counts = Status(folder).get("counts", {})
    assert counts["completions"] == 24
    usages = [row.usage or {} for row in completions]
    assert counts["teacher_tokens"] == sum(u.get("prompt", 0) + u.get("completion", 0) for u in usages) > 0
    assert {row.finish_reason for row in completions} == {"stop", REFUSED}
    assert score is not None
    assert score.cost_usd == pytest.approx(sum(row.cost_usd or 0 for row in completions))
    assert score.teacher_accuracy == sum(row.answer_text is not None for row in completions) / 24
    assert Score.from_json(read_json(folder / "score.json")).cost_usd == score.cost_usd
    n = len(SCRIPTS["job"].asked)
    run(job(compose, "job", "until=teach"), tmp_path / "second")  # finds all in the store
    assert read_records(tmp_path / "second" / "completions.jsonl", Completion) == completions
    assert Status(tmp_path / "second")["teacher_cost_usd"] == score.cost_usd
    assert len(SCRIPTS["job"].asked) == n


def test_a_job_that_reaches_its_budget_keeps_what_it_bought(
    compose: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    SCRIPTS["poor"] = Script(plain)
    with pytest.raises(JobError, match=r"^teacher.budget_usd=0.009 is reached: "):
        run(job(compose, "poor", "until=teach", budget_usd=0.009), tmp_path / "first")
    bought = SCRIPTS["poor"].calls("rationale")
    assert 0 < len(bought) < 24
    run(job(compose, "poor", "until=teach", budget_usd=1.0), tmp_path / "second")
    assert sorted(SCRIPTS["poor"].calls("rationale")) == sorted(set(SCRIPTS["poor"].calls("rationale")))
