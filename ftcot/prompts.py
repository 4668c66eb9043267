"""Methods and the templates they speak in.

One MultiArith question on its way to a decoder under `method=fine_tune_cot`:

    prompt       For Halloween Debby and her sister ... how many pieces do they have left? ###
    completion    Debby and her sister have a total of 32 + 42 = 74 pieces ... 74 - 35 = 39 pieces left. --> 39

A template is data: strings with the fields {question}, {rationale}, {answer} and {demonstrations}. The student's
family (decoder or encoder_decoder) picks the column, `method.template` the row, and any of the strings can be
replaced from the config (`method.prompt='{question} =>'`).

Source: METHOD sections 3, 4 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from string import Formatter
from typing import Literal

from ftcot.errors import InputError
from ftcot.records import Example, Sample

Family = Literal["decoder", "encoder_decoder"]
MethodName = Literal["zero_shot", "zero_shot_cot", "few_shot_cot", "fine_tune", "fine_tune_cot"]

STEP_BY_STEP = "Q: {question}\nA: Let's think step by step."
"""Stage 1 of Zero-shot-CoT, for the teacher and for students."""

THEREFORE = "\nTherefore, the answer is"
"""Stage 2 of Zero-shot-CoT, after the raw rationale. MultiArith's recorded one differs: conf/task/multiarith.yaml."""


@dataclass(frozen=True)
class Template:
    """How a question is put to a model and what it is taught to answer."""

    prompt: str
    """With {question}."""
    completion: str | None = None
    """With {answer}, and {rationale} for Fine-tune-CoT; None where nothing is trained."""
    marker: str | None = None
    """What stands before the answer in a completion; the scorers look behind it."""
    stop: str | None = None
    """Generation ends where this appears; it is not part of the text."""
    answer_prompt: str | None = None
    """Second call of a two-stage method: follows prompt and rationale."""
    strip_question: bool = True
    """The camera-ready formatter strips question and answer; the GPT-3 files leave them as they are."""

    def __post_init__(self) -> None:
        self._check_fields("method.prompt", self.prompt, {"question"}, {"question", "demonstrations"})
        if self.completion is not None:
            self._check_fields("method.completion", self.completion, {"answer"}, {"answer", "rationale"})

    @staticmethod
    def _check_fields(key: str, text: str, needed: set[str], allowed: set[str]) -> None:
        try:
            used = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise InputError(f"{key}={text!r}: {error} (write a literal brace twice)") from None
        if missing := needed - used:
            raise InputError(f"{key}={text!r} has no {{{missing.pop()}}} in it")
        if unknown := used - allowed:
            known = ", ".join(f"{{{name}}}" for name in sorted(allowed))
            raise InputError(f"{key}={text!r}: {{{unknown.pop()}}} is not one of {known}")

    @property
    def needs_rationale(self) -> bool:
        return self.completion is not None and "{rationale}" in self.completion

    def ask(self, question: str, demonstrations: str = "") -> str:
        """The prompt for one question."""
        question = question.strip() if self.strip_question else question
        return self.prompt.format(question=question, demonstrations=demonstrations)

    def example(self, sample: Sample, rationale: str = "", draw: int | None = None) -> Example:
        """The training pair for one sample; the label holds the gold answer, not the teacher's answer text."""
        if self.completion is None:
            raise ValueError("this template is not for training")
        answer = sample.answer.strip() if self.strip_question else sample.answer
        completion = self.completion.format(rationale=rationale.strip(), answer=answer)
        if self.stop is not None:
            completion += f" {self.stop}"
        return Example(self.ask(sample.question), completion, sample.sample_index, draw)


def _gpt3(prompt: str, completion: str, marker: str | None) -> dict[Family, Template]:
    template = Template(prompt, completion, marker, stop="END", strip_question=False)
    return {"decoder": template, "encoder_decoder": template}


TEMPLATES: Mapping[MethodName, Mapping[str, Mapping[Family, Template]]] = {
    "zero_shot": {
        "natural": {
            "decoder": Template("Q: {question}\n\nA:"),
            "encoder_decoder": Template("question: {question}"),
        },
    },
    "zero_shot_cot": {
        "natural": {
            "decoder": Template(STEP_BY_STEP, answer_prompt=THEREFORE),
            "encoder_decoder": Template(STEP_BY_STEP, answer_prompt=THEREFORE),
        },
    },
    "few_shot_cot": {
        "natural": {
            "decoder": Template("{demonstrations}\nQ: {question}\nA:", marker="The answer is", stop="Q:"),
            "encoder_decoder": Template("{demonstrations}\nQ: {question}\nA:", marker="The answer is", stop="Q:"),
        },
    },
    "fine_tune": {
        "token": {
            "decoder": Template("{question} ###", " {answer}"),
            "encoder_decoder": Template("{question}", "{answer}"),
        },
        "natural": {
            "decoder": Template("Q: {question}\n\nA:", " {answer}"),
            "encoder_decoder": Template("Q: {question}", "{answer}"),
        },
        # Mind the spaces around ###: the authors' vanilla files have them, their Fine-tune-CoT files do not.
        "gpt3": _gpt3("{question}\n\n ### \n\n", " {answer}", None),
    },
    "fine_tune_cot": {
        "token": {
            "decoder": Template("{question} ###", " {rationale} --> {answer}", "-->"),
            "encoder_decoder": Template("{question}", "{rationale} --> {answer}", "-->"),
        },
        # Differs: upstream teaches "Therefore the answer is" and looks for "Therefore, the answer is", so its marker
        # never matches. Here one string is both. The encoder-decoder variant is the first public code's.
        "natural": {
            "decoder": Template(
                "Q: {question}\n\nA: Let's think step by step.\n\n",
                " {rationale}\n\nTherefore the answer is {answer}",
                "Therefore the answer is",
            ),
            "encoder_decoder": Template(
                "solve step by step: {question}",
                "{rationale}\n\nTherefore, the answer is {answer}",
                "Therefore, the answer is",
            ),
        },
        "gpt3": _gpt3("{question}\n\n###\n\n", " {rationale}\n\n-->\n\n{answer}", "-->"),
        "gpt3_natural": _gpt3(
            "Q: {question}\n\nA: Let's think step by step.\n\n",
            " {rationale}\n\nTherefore, the answer is\n\n{answer}",
            "Therefore, the answer is",
        ),
    },
}


@dataclass(frozen=True)
class Method:
    """One of the paper's five methods, with the template it uses."""

    name: MethodName
    template: str
    """A row of TEMPLATES: token, natural, gpt3, gpt3_natural."""
    prompt: str | None = None
    """Replaces the template's prompt."""
    completion: str | None = None
    """Replaces the template's completion."""
    marker: str | None = None
    """Replaces the template's answer marker; empty: none."""
    stop: str | None = None
    """Replaces the template's stop phrase; empty: none."""
    n_demonstrations: int = 8
    """Of few_shot_cot, where they come from the training split; a prompt file has its own number."""

    def __post_init__(self) -> None:
        if self.name not in TEMPLATES:
            raise InputError(f"method.name={self.name!r}: expected one of {', '.join(TEMPLATES)}")
        if self.template not in TEMPLATES[self.name]:
            known = ", ".join(TEMPLATES[self.name])
            raise InputError(f"method.template={self.template!r}: {self.name} has the templates {known}")
        if self.n_demonstrations < 1:
            raise InputError(f"method.n_demonstrations={self.n_demonstrations}: expected 1 or more")
        for family in ("decoder", "encoder_decoder"):
            self.template_for(family)

    @property
    def trains(self) -> bool:
        return self.name in ("fine_tune", "fine_tune_cot")

    def template_for(self, family: Family) -> Template:
        """The template for a student of this family, with what the config replaces."""
        names = ("prompt", "completion", "marker", "stop")
        replaced = {name: value for name in names if (value := getattr(self, name)) is not None}
        template = replace(TEMPLATES[self.name][self.template][family], **replaced)
        template = replace(template, marker=template.marker or None, stop=template.stop or None)
        if template.needs_rationale != (self.name == "fine_tune_cot"):
            needs = "has no {rationale} in it" if self.name == "fine_tune_cot" else f"{self.name} has no {{rationale}}"
            raise InputError(f"method.completion={template.completion!r}: {needs}")
        if ("{demonstrations}" in template.prompt) != (self.name == "few_shot_cot"):
            needs = "has no {demonstrations} in it" if self.name == "few_shot_cot" else f"{self.name} shows none"
            raise InputError(f"method.prompt={template.prompt!r}: {needs}")
        marker = template.marker
        if marker and template.completion is not None and marker not in template.completion:
            raise InputError(f"method.marker={marker!r} does not occur in the completion {template.completion!r}")
        return template


DEMONSTRATION = Template("Q: {question}\nA:", " {rationale} The answer is {answer}.")
"""One worked example of a Few-shot-CoT prompt, in the form of the authors' prompt file."""
