"""What a live teacher is asked, and how its words are taken apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.answers import Choice, Number, Text
from ftcot.errors import InputError
from ftcot.files import read_jsonl
from ftcot.job import build as build_job
from ftcot.records import Sample
from ftcot.task import Demonstrations, Task
from ftcot.teacher.asks import Turn, flatten
from ftcot.teacher.demonstrations import one_line, worked_examples
from ftcot.teacher.prompting import Prompting
from tests.generated_tasks import build

PAPER = (
    *("single_eq", "addsub", "multiarith", "gsm8k", "aqua", "svamp", "date_understanding"),
    *("tracking_shuffled_objects", "last_letter_concatenation", "coin_flip", "commonsense_qa", "strategy_qa"),
)


@pytest.fixture
def task(compose: Callable[..., dict[str, Any]], data_dir: Path) -> Callable[[str], Task]:
    """A task of the paper, on the real data."""

    def built(name: str) -> Task:
        return build_job(compose(f"task={name}", f"paths.data={data_dir}")).task

    return built


# The prompts of the paper


@pytest.mark.parametrize("name", PAPER)
def test_zero_shot_cot_asks_what_the_paper_asked(name: str, task: Callable[[str], Task]) -> None:
    """METHOD section 3; MultiArith is the one exception in its recorded data."""
    asked = task(name)
    sample = asked.splits().train[0]
    prompting = Prompting()
    (first,) = prompting.first(asked, [sample])
    assert first == (Turn("user", f"Q: {sample.question}\nA: Let's think step by step."),)
    second = prompting.second(first, "\n\nStep one.", prompting.answer_text(asked))
    trigger = " Therefore, the answer (arabic numerals) is" if name == "multiarith" else "\nTherefore, the answer is"
    assert flatten(second) == f"{first[0].text}\n\nStep one.{trigger}"
    assert [turn.role for turn in second] == ["user", "assistant", "user"]


@pytest.mark.parametrize("name", ["addsub", "coin_flip", "date_understanding", "multiarith", "single_eq"])
def test_the_prompts_of_the_recordings_are_asked_again(name: str, task: Callable[[str], Task], data_dir: Path) -> None:
    """Stage 1 byte for byte, and what stage 2 adds to it and the raw rationale."""
    asked, prompting = task(name), Prompting()
    recorded = [row for _, row in read_jsonl(data_dir / "recorded" / "text-davinci-002-paper" / f"{name}.jsonl")]
    prompts = {row["sample_index"]: row["prompt"] for row in recorded}
    splits = asked.splits()
    samples = [sample for sample in (*splits.train, *splits.test) if sample.sample_index in prompts]
    assert len(samples) == len(prompts) > 100
    for sample, turns in zip(samples, prompting.first(asked, samples), strict=True):
        assert flatten(turns) == prompts[sample.sample_index]
    most = Counter(row["answer_prompt"] for row in recorded).most_common(1)[0][
        0
    ]  # 8 of MultiArith were asked otherwise
    assert most == prompting.answer_text(asked)


# Every style on one question

QUESTION = "Ann has 3 apples and eats 1. How many are left?"
SHOWN = "Q: One and one?\nA: 1 + 1 = 2. The answer is 2."


@pytest.mark.parametrize(
    ("values", "prompt"),
    [
        ({"verbosity": "short"}, f"Q: {QUESTION}\nA: Let's think step by step, in as few words as possible."),
        ({"verbosity": "long"}, f"Q: {QUESTION}\nA: Let's think step by step and explain every step in detail."),
        (
            {"style": "single_call"},
            f"{QUESTION}\n\nThink step by step. Then end with one line of this form: The answer is ANSWER.",
        ),
        (
            {"style": "single_call", "verbosity": "short"},
            f"{QUESTION}\n\nThink step by step, in as few words as possible. "
            "Then end with one line of this form: The answer is ANSWER.",
        ),
        (
            {"style": "single_call", "verbosity": "long"},
            f"{QUESTION}\n\nThink step by step and explain every step in detail. "
            "Then end with one line of this form: The answer is ANSWER.",
        ),
        ({"style": "few_shot_cot"}, f"{SHOWN}\nQ: {QUESTION}\nA:"),
        ({"prompt": "{{x}} {question}!"}, f"{{x}} {QUESTION}!"),
        ({"style": "single_call", "prompt": "{demonstrations}\n\n{question}"}, f"{SHOWN}\n\n{QUESTION}"),
        ({"system": "Be brief.", "prompt": "{question}"}, f"Be brief.\n\n{QUESTION}"),
    ],
    ids=lambda value: ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_every_style(values: dict[str, Any], prompt: str) -> None:
    sample = Sample("t", 1, 0, QUESTION, "2", "train")
    (turns,) = Prompting(**values).first(_Shows(SHOWN), [sample])
    assert flatten(turns) == prompt


class _Shows:
    """A task with demonstrations."""

    name = "t"

    def __init__(self, text: str, *indices: int) -> None:
        self._shown = Demonstrations(text, indices)

    def demonstrations(self) -> Demonstrations:
        return self._shown

    def __getattr__(self, name: str) -> Any:
        return getattr(build("coin_flip"), name)


# Worked examples


@pytest.mark.parametrize("name", sorted({*PAPER} - {"tracking_shuffled_objects"}))
def test_a_question_is_never_shown_its_own_worked_example(name: str, task: Callable[[str], Task]) -> None:
    asked = task(name)
    shown = asked.demonstrations()
    assert shown is not None
    n = shown.text.count("Q: ")
    ask = Prompting(style="few_shot_cot").asker(asked)
    splits = asked.splits()
    alone = []
    for sample in (*splits.train[:400], *splits.test[:400]):
        (turn,) = ask(sample)
        before = turn.text.removesuffix(f"\nQ: {sample.question}\nA:")
        assert one_line(sample.question) not in one_line(before)
        if before == shown.text:
            continue
        assert before.count("Q: ") == n - 1
        alone.append(sample.sample_index)
    assert set(alone) <= set(shown.sample_indices)
    assert bool(alone) == bool(set(shown.sample_indices) & {s.sample_index for s in (*splits.train, *splits.test)})


def test_the_examples_of_the_authors_come_together_again(data_dir: Path) -> None:
    for name, prompt in json.loads((data_dir / "few_shot_cot_prompts.json").read_text()).items():
        if isinstance(prompt, dict):
            examples = worked_examples(Demonstrations(prompt["prompt"], tuple(prompt["sample_indices"])))
            assert "\n".join(example.text for example in examples) == prompt["prompt"], name


def test_worked_examples_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "shown.jsonl"
    rows = [
        {"question": "One and one? ", "rationale": "1 + 1 = 2.", "answer": 2},
        {"question": QUESTION.replace(" ", "  "), "rationale": "3 - 1 = 2.", "answer": "2"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompting = Prompting(style="few_shot_cot", demonstrations=str(file), marker="So it is")
    assert prompting.files() == (file,)
    samples = [Sample("t", 1, 1, QUESTION, "2", "train"), Sample("t", 1, 0, "Two and two?", "4", "train")]
    own, other = (flatten(turns) for turns in prompting.first(build("coin_flip"), samples))
    assert own == f"Q: One and one?\nA: 1 + 1 = 2. So it is 2.\nQ: {QUESTION}\nA:"
    assert other.count("Q: ") == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "shown.jsonl: is empty$"),
        ('{"question": "x", "answer": "1"}', "shown.jsonl, line 1: has no rationale$"),
        ("{", "shown.jsonl, line 1: not valid JSON"),
        (None, "shown.jsonl: no such file$"),
    ],
    ids=["empty", "rationale missing", "no JSON", "no file"],
)
def test_a_damaged_file_of_worked_examples_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "shown.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message):
        Prompting(style="few_shot_cot", demonstrations=file).check(build("coin_flip"))


def test_a_task_without_worked_examples_is_refused() -> None:
    task = build("coin_flip")
    with pytest.raises(InputError, match=r"there are no demonstrations for generated_coin_flip; name a JSONL file"):
        Prompting(style="few_shot_cot").check(task)


# Words taken apart

CHAT = "First 32 + 42 = 74.\nThen 74 - 35 = 39.\n"


@pytest.mark.parametrize(
    ("text", "rationale", "marker", "answer"),
    [
        (CHAT + "The answer is 39.", CHAT, "The answer is", " 39."),
        (CHAT + "**The answer is 39.**", CHAT, "**The answer is", " 39."),
        (CHAT + "**The answer is: 39**", CHAT, "**The answer is:", " 39"),
        (CHAT + "**The answer is:** 39", CHAT, "**The answer is:**", " 39"),
        (CHAT + "### The answer is **39**.", CHAT, "### The answer is", " 39."),
        (CHAT + "The answer is\n\n39\n\nLet me know!", CHAT, "The answer is", "\n\n39"),
        (CHAT + "The answer is 39.\nIs there more to do?", CHAT, "The answer is", " 39."),
        (CHAT + "So the answer is 39.", CHAT + "So ", "the answer is", " 39."),
        (
            "The answer is not known yet. It is 3.\nThe answer is 3.",
            "The answer is not known yet. It is 3.\n",
            None,
            " 3.",
        ),
        (" 1 + 1 = 2. The answer is 2.", " 1 + 1 = 2. ", "The answer is", " 2."),
        (CHAT + "39 it is.", CHAT + "39 it is.", "", ""),
        (CHAT + "The answer is", CHAT, "The answer is", ""),
        ("", "", "", ""),
    ],
)
def test_a_single_call_is_split_before_its_answer(text: str, rationale: str, marker: str | None, answer: str) -> None:
    parts = Prompting(style="single_call").split(text)
    assert (parts.rationale, parts.answer) == (rationale, answer)
    assert parts.marker == ("The answer is" if marker is None else marker or None)


def test_with_an_empty_marker_the_answer_is_anywhere() -> None:
    assert Prompting(style="single_call", marker="").split("It is 39.") == ("It is 39.", None, "It is 39.")


@given(rationale=st.text(), answer=st.text(alphabet="abc 123.-", min_size=1).filter(str.strip))
def test_what_was_put_together_comes_apart_again(rationale: str, answer: str) -> None:
    parts = Prompting(style="single_call", marker="####").split(f"{rationale}\n#### {answer}")
    assert parts.answer == f" {answer}"
    assert parts.rationale + (parts.marker or "") == f"{rationale}\n####"


@pytest.mark.parametrize(
    ("text", "thinking", "words"),
    [
        ("<think>hm</think>\n\nIt is 3.", "hm", "\n\nIt is 3."),
        ("hm, so</think>It is 3.", "hm, so", "It is 3."),  # the chat template wrote the first mark
        ("\n<think>\nhm\n</think>It is 3.", "\nhm\n", "It is 3."),
        ("<think>hm, let me", "hm, let me", ""),
        ("It is 3.", None, "It is 3."),
        ("I <think> so", None, "I <think> so"),
        ("<think></think>3", "", "3"),
        ("", None, ""),
    ],
)
def test_thoughts_are_kept_apart(text: str, thinking: str | None, words: str) -> None:
    assert Prompting().apart(text) == (thinking, words)


def test_other_marks_and_none() -> None:
    assert Prompting(thinking=("[T]", "[/T]")).apart("[T]hm[/T]3") == ("hm", "3")
    assert Prompting(thinking=()).apart("<think>hm</think>3") == (None, "<think>hm</think>3")


@pytest.mark.parametrize(
    ("kind", "said", "prediction"),
    [
        (Number(), "**The answer is: 1,039.**", "1039"),
        (Choice("ABCDE"), "The answer is (B) 1156.", "B"),
        (Text(), "**The answer is: yno.**", "yno"),
    ],
    ids=["number", "choice", "text"],
)
def test_the_answer_of_a_single_call_is_found_by_the_rule_of_the_paper(kind: Any, said: str, prediction: str) -> None:
    from ftcot.answers import candidate

    parts = Prompting(style="single_call").split(f"Some steps. {said}\nBye.")
    assert candidate(kind, parts.answer, prediction, "first").correct


# What is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"style": "chat"},
            r"^teacher.prompting.style='chat': expected one of zero_shot_cot, single_call, few_shot_co",
        ),
        ({"max_tokens": 0}, r"^teacher.prompting.max_tokens=0: expected 1 or more$"),
        ({"answer_max_tokens": -1}, r"^teacher.prompting.answer_max_tokens=-1: "),
        ({"verbosity": "loud"}, r"^teacher.prompting.verbosity='loud': style zero_shot_cot has short, normal, long$"),
        ({"style": "few_shot_cot", "verbosity": "long"}, r"has normal; its demonstrations set the length$"),
        ({"prompt": "{question}", "verbosity": "long"}, r"^teacher.prompting.verbosity does nothing beside"),
        ({"prompt": "Why?"}, r"^teacher.prompting.prompt='Why\?' has no {question} in it$"),
        ({"prompt": "{question} {answer}"}, r"{answer} is not one of {question}, {demonstrations}$"),
        ({"prompt": "{question} {"}, r"\(write a literal brace twice\)$"),
        ({"prompt": "{question} {}"}, r"{} is not one of {question}, {demonstrations}$"),
        ({"prompt": "{question.x}"}, r"{question.x} is not one of {question}, {demonstrations}$"),
        ({"prompt": "{question:{width}}"}, r"write a literal brace twice"),
        ({"marker": "So"}, r"^teacher.prompting.marker: zero_shot_cot asks for the answer in a call of its own$"),
        (
            {"style": "single_call", "answer_prompt": "So"},
            r"^teacher.prompting.answer_prompt: single_call is one call;",
        ),
        ({"demonstrations": "x.jsonl"}, r"^teacher.prompting.demonstrations: zero_shot_cot shows none; use style=few"),
        ({"stop": "END"}, r"^teacher.prompting.stop='END': expected a list of texts, \['END'\]$"),
        ({"thinking": "ab"}, r"^teacher.prompting.thinking: expected two texts"),
        ({"thinking": ["<t>"]}, r"^teacher.prompting.thinking: expected two texts"),
        ({"thinking": ["<t>", ""]}, r"^teacher.prompting.thinking: expected two texts"),
    ],
    ids=lambda value: ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_wrong_prompting_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Prompting(**values)
