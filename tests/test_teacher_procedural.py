"""The procedural teacher: true at skill 1, wrong in known ways below, and the same whatever was asked before."""

from __future__ import annotations

import multiprocessing
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ftcot.answers import candidate
from ftcot.errors import InputError
from ftcot.records import Completion, Sample
from ftcot.task import Splits
from ftcot.task.generated import Hand
from ftcot.task.generated.reasoning import voice_of_draw
from ftcot.teacher import Diversity, Session, procedural
from ftcot.teacher.procedural import Procedural
from ftcot.teacher.store import CompletionStore
from tests.generated_tasks import CONF, SOLVERS, TASKS, build, each_task


def teacher(**changes: Any) -> Procedural:
    """The teacher as its option file has it, with changes."""
    config: Any = OmegaConf.to_container(OmegaConf.load(CONF / "teacher" / "procedural.yaml"))
    assert config.pop("_target_") == "ftcot.teacher.procedural.Procedural"
    return Procedural(**config | changes)


def sampled(degree: int) -> Diversity:
    return Diversity(degree, 0.7)


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "completions")


def complete(
    store: CompletionStore, name: str, n: int, degree: int, changes: dict[str, Any] | None = None, **task: Any
) -> tuple[list[Completion], Splits, Any]:
    built = build(name, n_train=n, n_test=1, **task)
    splits = built.splits()
    rows = teacher(**changes or {}).complete(built, splits.train, sampled(degree), Session(store))
    return rows, splits, built


def right(task: Any, row: Completion, sample: Sample) -> bool:
    return candidate(task.answer, row.answer_text or "", sample.answer, task.filter_candidate).correct


# What a skilled teacher says is true. Each check reads the text of a rationale in the plainest words, and goes through
# it with rules of its own.


def check_coin(question: str, text: str) -> None:
    deeds = re.findall(r"(\w+) (flips|keeps) the coin\.", question)
    steps = re.findall(r"(\w+) (flips|keeps): (heads|tails)\.", text)
    assert [step[:2] for step in steps] == deeds
    up = "heads"
    for _, deed, state in steps:
        up = {"heads": "tails", "tails": "heads"}[up] if deed == "flips" else up
        assert state == up
    assert len(steps) == 8


def check_letters(question: str, text: str) -> None:
    steps = re.findall(r"(\w+) ends in (\w): (\w+)\.", text)
    assert ", ".join(word for word, _, _ in steps) == question.partition(": ")[2].rstrip(".")
    for i, (word, letter, joined) in enumerate(steps):
        assert word.endswith(letter)
        assert joined == "".join(letter for _, letter, _ in steps[: i + 1])


def check_tracking(question: str, text: str) -> None:
    start, *swaps, _ = text.split(". ")
    held = dict(part.split(" has ") for part in start.split(", "))
    assert held == dict(part.split(" has a ") for part in question.partition(".")[0].split(", "))
    assert len(swaps) == 3
    for swap in swaps:
        who, _, state = swap.partition(": ")
        assert f"{who}." in question
        first, _, second = who.removesuffix(" swap").partition(" and ")
        held[first], held[second] = held[second], held[first]
        assert dict(part.split(" has ") for part in state.split(", ")) == held


def check_date(question: str, text: str) -> None:
    def read(text: str) -> date:
        month, day, year = map(int, text.split("/"))
        return date(year, month, day)

    steps = re.findall(r"(\S+) ([-+]) (\d) (day|week)s? = (\d\S+\d)\.", text)
    assert [(number, unit) for _, _, number, unit, _ in steps] == re.findall(r" is (\d) (day|week)s? ", question)
    now = read(question[9:19])
    for before, sign, number, unit, after in steps:
        assert read(before) == now
        now += timedelta(days=int(sign + number) * (7 if unit == "week" else 1))
        assert read(after) == now
    assert f"({text[-3]}) {now:%m/%d/%Y}" in question


def check_arithmetic(question: str, text: str) -> None:
    steps = re.findall(r"(\d+) ([-+x]) (\d+) = (\d+)\.", text)
    assert ", ".join(f"{sign} {number}" for _, sign, number, _ in steps) in question
    now = question.split()[2].rstrip(".")
    for before, sign, number, after in steps:
        assert before == now
        assert (
            int(after)
            == {
                "+": int(before) + int(number),
                "-": int(before) - int(number),
                "x": int(before) * int(number),
            }[sign]
        )
        now = after


CHECKS = dict(zip(TASKS, (check_coin, check_letters, check_tracking, check_date, check_arithmetic), strict=True))


@each_task
@given(seed=st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_every_step_of_a_skilled_rationale_is_true(name: str, seed: int) -> None:
    task = build(name)
    problem = task.draw(random.Random(seed), seed % task.n_classes)
    voice = {part: phrases[0] for part, phrases in task.voices(1).items()}
    rationale = task.reason(problem, voice, Hand(1.0, random.Random(seed)))
    CHECKS[name](task.ask(problem), rationale.text)
    assert rationale.n_slips == 0


@each_task
@given(seed=st.integers(0, 10**9), draw=st.integers(0, 200), verbosity=st.sampled_from([0, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_skilled_rationales_end_with_the_right_answer_in_every_voice(
    name: str, seed: int, draw: int, verbosity: int
) -> None:
    task = build(name)
    problem = task.draw(random.Random(seed), seed % task.n_classes)
    voice = voice_of_draw(task.voices(verbosity), draw, random.Random(seed))
    rationale = task.reason(problem, voice, Hand(1.0, random.Random(seed)))
    gold = SOLVERS[name](task.ask(problem))
    assert rationale.conclusion == task.solve(problem) == gold
    assert task.answer.last(rationale.text) == gold
    assert "{" not in rationale.text
    assert "  " not in rationale.text


@each_task
def test_a_skilled_teacher_is_always_right(store: CompletionStore, name: str) -> None:
    rows, splits, task = complete(store, name, 40, 8)
    assert teacher().accuracy(task, splits, rows) == 1.0
    assert all(right(task, row, sample) for row, sample in zip(rows, _each(splits.train, 8), strict=True))


def _each(samples: Sequence[Sample], degree: int) -> list[Sample]:
    return [sample for sample in samples for _ in range(degree)]


# Wrong steps.


@each_task
def test_slips_make_wrong_answers_and_right_ones_with_wrong_reasoning(store: CompletionStore, name: str) -> None:
    rows, splits, task = complete(store, name, 100, 8, {"skill": 0.75})
    truth, _, _ = complete(store, name, 100, 8)
    wrong = lucky = 0
    for row, true_row, sample in zip(rows, truth, _each(splits.train, 8), strict=True):
        is_right = right(task, row, sample)
        wrong += not is_right
        lucky += is_right and row.rationale != true_row.rationale
        assert is_right or row.rationale != true_row.rationale
    assert wrong > 80
    assert lucky > 8
    assert teacher().accuracy(task, splits, rows) == pytest.approx(1 - wrong / 800)


@each_task
def test_accuracy_falls_with_skill(store: CompletionStore, name: str) -> None:
    accuracies = []
    for skill in (1.0, 0.95, 0.7):
        rows, splits, task = complete(store, name, 60, 4, {"skill": skill})
        accuracies.append(teacher().accuracy(task, splits, rows))
    assert accuracies[0] == 1.0
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[1] > 0.6


def test_one_slip_among_eight_flips_turns_the_answer(store: CompletionStore) -> None:
    """Two of them turn it back: (1 + 0.8 ** 8) / 2 of the answers are right at skill 0.9."""
    rows, splits, task = complete(store, "coin_flip", 300, 8, {"skill": 0.9})
    assert teacher().accuracy(task, splits, rows) == pytest.approx((1 + 0.8**8) / 2, abs=0.04)


# Draws.


@each_task
@pytest.mark.parametrize("verbosity", [0, 1, 2])
def test_eight_draws_are_eight_texts(store: CompletionStore, name: str, verbosity: int) -> None:
    rows, splits, _ = complete(store, name, 30, 8, {"verbosity": verbosity})
    for sample in splits.train:
        texts = [row.rationale for row in rows if row.sample_index == sample.sample_index]
        assert len(set(texts)) == 8
        bare = {re.sub(r"[^a-z0-9]+", " ", text.lower()) for text in texts}
        assert len(bare) >= 7  # no two are one text with other punctuation
        assert len({len(text) for text in texts}) >= 4


def test_draws_differ_in_order_where_order_is_free(store: CompletionStore) -> None:
    rows, splits, _ = complete(store, "coin_flip", 20, 8)
    for sample in splits.train:
        names = re.findall(r"(\w+) (?:flips|keeps) the coin", sample.question)
        orders = {
            tuple(re.findall("|".join(names), row.rationale)) for row in rows if row.sample_index == sample.sample_index
        }
        assert orders == {tuple(names), tuple(reversed(names))}


@each_task
def test_wordier_is_longer(store: CompletionStore, name: str) -> None:
    lengths = [
        mean(len(row.rationale) for row in complete(store, name, 30, 8, {"verbosity": verbosity})[0])
        for verbosity in (0, 1, 2)
    ]
    assert lengths[0] < lengths[1] < lengths[2] / 1.3


@each_task
def test_four_draws_are_the_first_of_eight(tmp_path: Path, name: str) -> None:
    """Neither the degree, nor the order of the samples, nor what is stored already changes a draw."""
    task = build(name, n_train=12, n_test=1)
    train = task.splits().train
    skill = teacher(skill=0.8)

    def ask(folder: str, samples: Sequence[Sample], degree: int) -> list[Completion]:
        store = CompletionStore(tmp_path / folder)
        return skill.complete(task, samples, sampled(degree), Session(store))

    eight = ask("a", train, 8)
    assert ask("b", train, 4) == [row for row in eight if row.draw is not None and row.draw < 4]
    assert ask("b", train, 8) == eight
    assert sorted(ask("c", train[::-1], 8), key=lambda row: row.sample_index) == eight


def test_greedy_is_one_plain_rationale(store: CompletionStore) -> None:
    task = build("coin_flip", n_train=30, n_test=1, n_flips=2)
    rows = teacher().complete(task, task.splits().train, Diversity(1, 0.0), Session(store))
    assert [row.draw for row in rows] == [0] * 30
    for row in rows:
        step = r"\w+ (flips|keeps): (heads|tails)\."
        assert re.fullmatch(rf" The start is heads\. {step} {step} So (yes|no)\.", row.rationale)


def test_seeds_say_it_otherwise(store: CompletionStore) -> None:
    one, _, _ = complete(store, "coin_flip", 20, 1)
    other, _, _ = complete(store, "coin_flip", 20, 1, {"seed": 1})
    assert [row.rationale for row in one] != [row.rationale for row in other]


def test_skill_changes_steps_and_not_the_voice(store: CompletionStore) -> None:
    good, _, _ = complete(store, "coin_flip", 20, 4)
    poor, _, _ = complete(store, "coin_flip", 20, 4, {"skill": 0.0})
    for one, other in zip(good, poor, strict=True):
        states = r"\b(heads|tails|yes|no)\b"
        assert re.sub(states, "?", one.rationale) == re.sub(states, "?", other.rationale)
        assert one.rationale != other.rationale


# Records and the store.


def test_a_completion_is_a_two_stage_answer(store: CompletionStore) -> None:
    rows, splits, _ = complete(store, "coin_flip", 2, 2, {"skill": 0.9})
    sample = splits.train[0]
    assert rows[0] == Completion(
        task="generated_coin_flip",
        version=1,
        sample_index=0,
        draw=0,
        prompt=f"Q: {sample.question}\nA: Let's think step by step.",
        rationale=rows[0].rationale,
        answer_prompt="\nTherefore, the answer is",
        answer_text=rows[0].answer_text,
        finish_reason="stop",
        teacher={"name": "procedural", "skill": 0.9, "verbosity": 1, "seed": 0, "temperature": 0.7},
    )
    assert rows[0].answer_text in (" yes.", " no.")
    assert rows[0].rationale.startswith(" ")
    assert [(row.sample_index, row.draw) for row in rows] == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_what_is_stored_is_not_written_again(store: CompletionStore) -> None:
    task = build("coin_flip", n_train=10, n_test=1)
    train = task.splits().train
    seen: list[tuple[int, int]] = []
    watched = Session(store, lambda done, total, note="": seen.append((done, total)))
    first = teacher().complete(task, train[:4], sampled(2), watched)
    assert seen == [(0, 8), (8, 8)]
    lines = [path.read_text() for path in store.root.rglob("*.jsonl")]
    again = teacher().complete(task, train[:4], sampled(2), watched)
    assert again == first
    assert seen[2:] == [(8, 8)]
    assert [path.read_text() for path in store.root.rglob("*.jsonl")] == lines
    teacher().complete(task, train, sampled(4), watched)
    assert seen[3:] == [(8, 40), (40, 40)]
    assert sum(len(path.read_text().splitlines()) for path in store.root.rglob("*.jsonl")) == 40


def _complete(root: Path, ready: Any) -> None:
    ready.wait()
    task = build("coin_flip", n_train=60, n_test=1)
    teacher().complete(task, task.splits().train, sampled(8), Session(CompletionStore(root)))


def test_jobs_at_once_write_each_completion_once(store: CompletionStore) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(3)
    jobs = [context.Process(target=_complete, args=(store.root, ready)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
        assert job.exitcode == 0
    assert sum(len(path.read_text().splitlines()) for path in store.root.rglob("*.jsonl")) == 60 * 8


def test_a_second_job_writes_what_the_first_does_not(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procedural, "CHUNK", 7)
    task = build("coin_flip", n_train=10, n_test=1)
    train = task.splits().train
    alone = teacher().complete(task, train, sampled(4), Session(CompletionStore(store.root.with_name("alone"))))
    held = [(sample.key, draw) for sample in train[3:5] for draw in range(4)]
    parameters = teacher()._parameters(sampled(4)) | {"writer": procedural.WRITER}
    rows: list[Completion] = []
    with store.leases("procedural", task.name, parameters) as other:
        other.take(held)
        second = threading.Thread(
            target=lambda: rows.extend(teacher().complete(task, train, sampled(4), Session(store)))
        )
        second.start()
        while len(stored := list(CompletionStore(store.root).scan())) < 32:
            assert second.is_alive()
        second.join(0.3)
        assert second.is_alive()
        assert {(row.key.sample, row.key.draw) for row in stored}.isdisjoint(held)
        # One of them is stored by who has it, the others are given up.
        store.put("procedural", parameters, [alone[12]])
    second.join()
    assert rows == alone
    assert len(list(store.scan())) == 40


def test_questions_of_another_difficulty_are_not_mixed_up(store: CompletionStore) -> None:
    """They have the same sample keys; the prompt tells them apart."""
    eight, _, _ = complete(store, "coin_flip", 5, 2)
    two, splits, task = complete(store, "coin_flip", 5, 2, n_flips=2)
    assert teacher().accuracy(task, splits, two) == 1.0
    assert max(len(row.rationale) for row in two) < min(len(row.rationale) for row in eight)


# What is refused.


def test_a_task_that_is_not_generated_is_refused() -> None:
    class Benchmark:
        name = "svamp"

    splits = Splits((), (), ())
    with pytest.raises(InputError, match=r"task=generated/\.\.\. only, not for svamp; use teacher=replay"):
        teacher().check(Benchmark(), splits, sampled(8))  # type: ignore[arg-type]
    task = build("coin_flip")
    assert teacher().check(task, splits, sampled(8)) is False
    assert teacher().files(task, sampled(8)) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"skill": 1.1}, r"teacher\.skill=1\.1: expected a probability", id="skill"),
        pytest.param({"skill": -0.1}, r"teacher\.skill=-0\.1", id="negative"),
        pytest.param({"verbosity": 3}, r"teacher\.verbosity=3: expected 0 \(terse\)", id="verbosity"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(teacher(), **changes)


def test_no_completions_have_no_accuracy() -> None:
    task = build("coin_flip")
    assert teacher().accuracy(task, Splits((), (), ()), []) is None
