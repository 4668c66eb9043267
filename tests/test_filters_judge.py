"""A judge reads what is left, says yes or no, and is paid once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.answers import Number
from ftcot.curation import Curation, curate
from ftcot.curation import judge as judged
from ftcot.errors import InputError
from ftcot.filters import Context
from ftcot.filters.judge import PROMPT, Judge, fill, numbered, verdict
from ftcot.prompts import Method
from ftcot.records import Completion, Sample
from ftcot.teacher import Diversity, Session
from ftcot.teacher.asks import REFUSED, Ask, Reply
from ftcot.teacher.replay import Replay
from ftcot.teacher.store import CompletionStore
from tests.generated_tasks import build
from tests.scripted_backend import Script, Scripted

TASK = build("multi_step_arithmetic")
TEMPLATE = Method("fine_tune_cot", "token").template_for("decoder")
SAMPLES = [Sample(TASK.name, TASK.version, index, f"How many? {index}", "7", "train") for index in range(3)]


def completion(index: int, draw: int | None, rationale: str, answer: str = " 7.") -> Completion:
    return Completion(TASK.name, TASK.version, index, draw, None, rationale, answer_text=answer)


def says(ask: Ask, draw: int) -> Reply:
    text = "Step 1 is right.\n**Yes**" if "sound" in ask.text else "It subtracts twice.\n\nNo."
    text = "I am not sure." if "odd" in ask.text else text
    usage = {"prompt": 100, "completion": 10}
    return Reply(ask, draw, text, REFUSED if "rude" in ask.text else "stop", usage=usage, model="m")


def scripted(reply: Any = says, **more: Any) -> Scripted:
    return Scripted(model="judge", script=Script(reply=reply), prices={"input": 10.0, "output": 100.0}, **more)


def context(folder: Path, teacher: Any) -> Context:
    return Context(TASK, teacher, Session(CompletionStore(folder)))


SAID = [
    completion(0, 0, "sound"),
    completion(0, 1, "unsound of course, wrong"),
    completion(1, 0, "odd"),
    completion(1, 1, "rude"),
    completion(2, 0, "sound", answer=" 8."),
]


def test_the_judge_keeps_what_it_finds_sound_and_sees_only_what_is_left(tmp_path: Path) -> None:
    script = Script(reply=says)
    teacher = Scripted(model="judge", script=script, prices={"input": 10.0, "output": 100.0})
    completions = [c if "unsound" not in c.rationale else completion(0, 1, "bad") for c in SAID]
    rows = judged(completions, SAMPLES, Number(), "first")
    curation = Curation(filter=["answer", "judge"])
    found = curate(SAMPLES, rows, TEMPLATE, Diversity(2, 0.7), curation, context(tmp_path, teacher))
    assert [(example.sample_index, example.draw) for example in found.examples] == [(0, 0)]
    assert found.counts["dropped"] == {"no verdict": 2, "judged unsound": 1, "wrong answer": 1}
    assert len(script.asked) == 4  # the wrong answer was not judged
    assert all(ask.decoding.temperature == 0 for ask in script.asked)
    assert found.counts["judged"] == 4
    assert found.counts["judge_cost_usd"] == pytest.approx(4 * (100 * 10 + 10 * 100) / 1e6)


def test_a_second_job_asks_nothing(tmp_path: Path) -> None:
    scripts = [Script(reply=says), Script(reply=says)]
    samples = {sample.key: sample for sample in SAMPLES}
    verdicts = [
        Judge(Scripted(model="judge", script=script), None).verdicts(SAID, samples, context(tmp_path, None))
        for script in scripts
    ]
    assert [len(script.asked) for script in scripts] == [5, 0]
    assert verdicts[0].reasons == verdicts[1].reasons


def test_another_prompt_is_another_verdict(tmp_path: Path) -> None:
    script = Script(reply=says)
    teacher = Scripted(model="judge", script=script)
    samples = {sample.key: sample for sample in SAMPLES}
    for prompt in (None, "Is {rationale} sound? Yes or no."):
        Judge(None, prompt).verdicts(SAID[:1], samples, context(tmp_path, teacher))
    assert [ask.text for ask in script.asked] == [
        PROMPT.format(question="How many? 0", rationale="sound", answer="7."),
        "Is sound sound? Yes or no.",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", True),
        ("no.", False),
        ("All steps are right.\n\n**YES**\n", True),
        ("Verdict: No", False),
        ("**Final answer:** yes", True),
        ("My verdict is yes", None),
        ("Yes\nOn second thought:\nNo", False),
        ("No\nbecause the second step is wrong", False),
        ("yes, every step is right", None),
        ("Yes or no?", None),
        ("I know", None),
        ("", None),
    ],
)
def test_only_a_line_that_says_nothing_else_is_a_verdict(text: str, said: bool | None) -> None:
    assert verdict(text) is said


@given(st.text(max_size=30), st.text(max_size=30))
def test_braces_in_a_question_or_a_rationale_do_no_harm(question: str, rationale: str) -> None:
    row = completion(0, 0, rationale + "{answer}{question}")
    found = fill("Q {question} R {rationale} A {answer}", question, row)
    assert found == f"Q {question.strip()} R {row.rationale.strip()} A 7."


def test_an_answer_that_was_not_found_is_shown_as_none() -> None:
    assert fill("{answer}", "", completion(0, 0, "r", answer=" ")) == "(none)"


def test_verdicts_of_unknown_draws_are_kept_by_row() -> None:
    rows = [completion(0, None, "a"), completion(0, None, "b"), completion(1, None, "c"), completion(2, 5, "d")]
    assert [draw for _, draw in numbered(rows)] == [0, 1, 0, 5]


def test_only_a_live_teacher_can_judge() -> None:
    with pytest.raises(InputError, match=r"only a live teacher can judge, and text-davinci-002 is none"):
        Curation(filter="judge").check(TASK, Replay(name="text-davinci-002", folder=Path()))
    Curation(filter="judge", judge=scripted()).check(TASK, Replay(name="text-davinci-002", folder=Path()))
    Curation(filter="judge").check(TASK, scripted())


def test_a_prompt_without_the_rationale_is_refused() -> None:
    with pytest.raises(InputError, match=r"curation.judge_prompt: it does not hold \{rationale\}"):
        Curation(filter="judge", judge_prompt="Is {answer} right?").check(TASK, scripted())
