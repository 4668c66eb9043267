"""Every template, letter by letter."""

from __future__ import annotations

import pytest

from ftcot.errors import InputError
from ftcot.prompts import DEMONSTRATION, Family, Method, MethodName
from ftcot.records import Sample

SAMPLE = Sample("t", 1, 7, " How many? ", "39", "train")
RATIONALE = " \n\n32 + 7 = 39. "

PAIRS: list[tuple[MethodName, str, Family, str, str]] = [
    # method, template, family, prompt, completion: METHOD section 4
    ("fine_tune", "token", "decoder", "How many? ###", " 39"),
    ("fine_tune", "token", "encoder_decoder", "How many?", "39"),
    ("fine_tune", "natural", "decoder", "Q: How many?\n\nA:", " 39"),
    ("fine_tune", "natural", "encoder_decoder", "Q: How many?", "39"),
    ("fine_tune", "gpt3", "decoder", " How many? \n\n ### \n\n", " 39 END"),
    ("fine_tune_cot", "token", "decoder", "How many? ###", " 32 + 7 = 39. --> 39"),
    ("fine_tune_cot", "token", "encoder_decoder", "How many?", "32 + 7 = 39. --> 39"),
    (
        "fine_tune_cot",
        "natural",
        "decoder",
        "Q: How many?\n\nA: Let's think step by step.\n\n",
        " 32 + 7 = 39.\n\nTherefore the answer is 39",
    ),
    (
        "fine_tune_cot",
        "natural",
        "encoder_decoder",
        "solve step by step: How many?",
        "32 + 7 = 39.\n\nTherefore, the answer is 39",
    ),
    ("fine_tune_cot", "gpt3", "decoder", " How many? \n\n###\n\n", " 32 + 7 = 39.\n\n-->\n\n39 END"),
    (
        "fine_tune_cot",
        "gpt3_natural",
        "decoder",
        "Q:  How many? \n\nA: Let's think step by step.\n\n",
        " 32 + 7 = 39.\n\nTherefore, the answer is\n\n39 END",
    ),
]


@pytest.mark.parametrize(("method", "template", "family", "prompt", "completion"), PAIRS)
def test_training_pairs_read_as_the_authors_wrote_them(
    method: MethodName, template: str, family: Family, prompt: str, completion: str
) -> None:
    example = Method(method, template).template_for(family).example(SAMPLE, RATIONALE, draw=3)
    assert (example.prompt, example.completion) == (prompt, completion)
    assert (example.sample_index, example.draw) == (7, 3)


@pytest.mark.parametrize(
    ("method", "family", "prompt"),
    [
        ("zero_shot", "decoder", "Q: How many?\n\nA:"),
        ("zero_shot", "encoder_decoder", "question: How many?"),
        ("zero_shot_cot", "decoder", "Q: How many?\nA: Let's think step by step."),
        ("few_shot_cot", "decoder", "Q: a\nA: b. The answer is c.\nQ: How many?\nA:"),
    ],
)
def test_untrained_students_are_asked_as_in_the_paper(method: MethodName, family: Family, prompt: str) -> None:
    template = Method(method, "natural").template_for(family)
    assert template.ask(SAMPLE.question, "Q: a\nA: b. The answer is c.") == prompt


def test_zero_shot_cot_asks_again_for_the_answer() -> None:
    assert Method("zero_shot_cot", "natural").template_for("decoder").answer_prompt == "\nTherefore, the answer is"


def test_a_demonstration_reads_like_the_authors() -> None:
    example = DEMONSTRATION.example(SAMPLE, RATIONALE)
    assert example.prompt + example.completion == "Q: How many?\nA: 32 + 7 = 39. The answer is 39."


def test_braces_in_a_question_are_left_alone() -> None:
    sample = Sample("t", 1, 0, "What is {x} in {0}?", "{y}", "train")
    example = Method("fine_tune_cot", "token").template_for("decoder").example(sample, "{z}")
    assert (example.prompt, example.completion) == ("What is {x} in {0}? ###", " {z} --> {y}")


def test_the_config_can_replace_a_part() -> None:
    method = Method("fine_tune", "token", prompt="{question} =>", stop="END")
    example = method.template_for("decoder").example(SAMPLE)
    assert (example.prompt, example.completion) == ("How many? =>", " 39 END")


def test_an_empty_marker_or_stop_phrase_is_none() -> None:
    template = Method("few_shot_cot", "natural", marker="", stop="").template_for("decoder")
    assert (template.marker, template.stop) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"name": "fine_tuen", "template": "token"}, "method.name='fine_tuen': expected one of"),
        ({"name": "fine_tune", "template": "tokens"}, "fine_tune has the templates token, natural, gpt3"),
        ({"name": "fine_tune", "template": "token", "prompt": "Q:"}, r"method.prompt='Q:' has no \{question\}"),
        ({"name": "fine_tune", "template": "token", "prompt": "{question} {x}"}, r"\{x\} is not one of"),
        ({"name": "fine_tune", "template": "token", "prompt": "{question"}, "write a literal brace twice"),
        ({"name": "fine_tune_cot", "template": "token", "completion": " {rationale}"}, r"has no \{answer\}"),
        ({"name": "fine_tune_cot", "template": "token", "marker": "=>"}, "method.marker='=>' does not occur"),
        ({"name": "fine_tune_cot", "template": "token", "completion": " {answer}"}, r"has no \{rationale\} in it"),
        ({"name": "fine_tune", "template": "token", "completion": "{rationale} {answer}"}, "fine_tune has no"),
        ({"name": "few_shot_cot", "template": "natural", "prompt": "Q: {question}"}, r"has no \{demonstrations\}"),
        ({"name": "zero_shot", "template": "natural", "prompt": "{demonstrations}{question}"}, "zero_shot shows none"),
        ({"name": "few_shot_cot", "template": "natural", "n_demonstrations": 0}, "expected 1 or more"),
    ],
)
def test_a_template_that_cannot_work_is_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Method(**arguments)  # type: ignore[arg-type]
