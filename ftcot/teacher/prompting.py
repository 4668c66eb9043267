"""How a live teacher is asked: what it is shown, and where in its words the answer stands.

    zero_shot_cot   two calls, as in the paper: "Q: ... A: Let's think step by step.", then "Therefore, the answer is"
    single_call     one call, for chat models: the question, "think step by step", and a last line for the answer
    few_shot_cot    one call: worked examples before the question; the paper suggests it for better rationales

    single_call     "First 32 + 42 = 74.\\nThen 74 - 35 = 39.\\nThe answer is 39."
                    rationale "First 32 + 42 = 74.\\nThen 74 - 35 = 39.\\n", answer text " 39."

A style is a row of STYLES, and each of its strings can be replaced from the config.

Source: METHOD sections 3 (zero_shot_cot) and 6 (few_shot_cot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal

from ftcot.errors import InputError
from ftcot.prompts import STEP_BY_STEP
from ftcot.records import Sample, read_jsonl
from ftcot.teacher.asks import Turn

if TYPE_CHECKING:
    from ftcot.task import Task

StyleName = Literal["zero_shot_cot", "single_call", "few_shot_cot"]
Verbosity = Literal["short", "normal", "long"]


@dataclass(frozen=True)
class Style:
    """One way of asking."""

    prompts: Mapping[Verbosity, str]
    """With {question}, and {demonstrations} where some are shown."""
    two_calls: bool = False
    """Whether the answer is asked for in a call of its own."""
    marker: str | None = None
    """What stands before the answer in the words of a single call."""
    stop: tuple[str, ...] = ()


STYLES: Mapping[StyleName, Style] = {
    "zero_shot_cot": Style(
        {
            "short": "Q: {question}\nA: Let's think step by step, in as few words as possible.",
            "normal": STEP_BY_STEP,
            "long": "Q: {question}\nA: Let's think step by step and explain every step in detail.",
        },
        two_calls=True,
    ),
    "single_call": Style(
        {
            "short": "{question}\n\nThink step by step, in as few words as possible. "
            "Then end with one line of this form: The answer is ANSWER.",
            "normal": "{question}\n\nThink step by step. Then end with one line of this form: The answer is ANSWER.",
            "long": "{question}\n\nThink step by step and explain every step in detail. "
            "Then end with one line of this form: The answer is ANSWER.",
        },
        marker="The answer is",
    ),
    "few_shot_cot": Style(
        {"normal": "{demonstrations}\nQ: {question}\nA:"},
        marker="The answer is",
        stop=("Q:",),
    ),
}


@dataclass(frozen=True)
class Prompting:
    """How the teacher is asked for rationale and answer."""

    style: StyleName = "zero_shot_cot"
    verbosity: Verbosity = "normal"
    """Asks for shorter or longer steps."""
    max_tokens: int = 512
    """Of a rationale. The paper's default is 128; its length ablation compares 128 and 512."""
    answer_max_tokens: int = 128
    """Of the second call of zero_shot_cot."""
    prompt: str | None = None
    """Replaces the style's prompt; with {question}."""
    answer_prompt: str | None = None
    """Replaces the task's own text of the second call, which follows the rationale."""
    system: str | None = None
    """A system message before everything."""
    marker: str | None = None
    """Replaces what stands before the answer, in a single call."""
    stop: Sequence[str] | None = None
    """Replaces the texts at which the teacher is to stop."""
    demonstrations: str | Path | None = None
    """JSONL with question, rationale and answer, for few_shot_cot; None: the authors' prompt for the task."""
    thinking: Sequence[str] = ("<think>", "</think>")
    """What stands around the thoughts of a reasoning model that writes them into its text. Empty: nothing is cut."""

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise InputError(f"teacher.prompting.style={self.style!r}: expected one of {', '.join(STYLES)}")
        for name in ("max_tokens", "answer_max_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"teacher.prompting.{name}={getattr(self, name)}: expected 1 or more")
        known = STYLES[self.style].prompts
        if self.prompt is None and self.verbosity not in known:
            raise InputError(
                f"teacher.prompting.verbosity={self.verbosity!r}: style {self.style} has {', '.join(known)}"
                + ("; its demonstrations set the length" if self.style == "few_shot_cot" else "")
            )
        if self.prompt is not None and self.verbosity != "normal":
            raise InputError("teacher.prompting.verbosity does nothing beside a teacher.prompting.prompt of your own")
        self._check_prompt()
        two_calls = STYLES[self.style].two_calls
        if self.marker is not None and two_calls:
            raise InputError(f"teacher.prompting.marker: {self.style} asks for the answer in a call of its own")
        if self.answer_prompt is not None and not two_calls:
            raise InputError(f"teacher.prompting.answer_prompt: {self.style} is one call; teacher.prompting.marker")
        if self.demonstrations is not None and "{demonstrations}" not in self.template:
            raise InputError(f"teacher.prompting.demonstrations: {self.style} shows none; use style=few_shot_cot")
        if len(self.thinking) not in (0, 2) or not all(self.thinking):
            raise InputError("teacher.prompting.thinking: expected two texts, before and after the thoughts, or []")

    def _check_prompt(self) -> None:
        try:
            used = {name for _, name, _, _ in Formatter().parse(self.template) if name is not None}
        except ValueError as error:
            raise InputError(
                f"teacher.prompting.prompt={self.template!r}: {error} (write a literal brace twice)"
            ) from None
        if "question" not in used:
            raise InputError(f"teacher.prompting.prompt={self.template!r} has no {{question}} in it")
        if unknown := used - {"question", "demonstrations"}:
            raise InputError(
                f"teacher.prompting.prompt={self.template!r}: {{{unknown.pop()}}} is not one of "
                "{question}, {demonstrations}"
            )

    @property
    def two_calls(self) -> bool:
        return STYLES[self.style].two_calls

    @property
    def template(self) -> str:
        return self.prompt if self.prompt is not None else STYLES[self.style].prompts[self.verbosity]

    @property
    def answer_marker(self) -> str | None:
        return self.marker if self.marker is not None else STYLES[self.style].marker

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(self.stop) if self.stop is not None else STYLES[self.style].stop

    def files(self) -> tuple[Path, ...]:
        """What it reads."""
        return () if self.demonstrations is None else (Path(self.demonstrations),)

    def check(self, task: Task) -> None:
        """Refuse a task that has no demonstrations where some are to be shown.

        Raises:
            InputError: it has none, or the file of them is damaged.
        """
        if "{demonstrations}" in self.template:
            self._demonstrations(task)

    def first(self, task: Task, samples: Sequence[Sample]) -> list[tuple[Turn, ...]]:
        """What each sample's first (or only) call says."""
        shown = self._demonstrations(task) if "{demonstrations}" in self.template else ""
        system = () if self.system is None else (Turn("system", self.system),)
        return [
            (*system, Turn("user", self.template.format(question=sample.question, demonstrations=shown)))
            for sample in samples
        ]

    def answer_text(self, task: Task) -> str:
        """What the second call adds to prompt and rationale."""
        return self.answer_prompt if self.answer_prompt is not None else task.answer_prompt

    def second(self, first: Sequence[Turn], rationale: str, answer_prompt: str) -> tuple[Turn, ...]:
        """What the second call says."""
        return (*first, Turn("assistant", rationale), Turn("user", answer_prompt))

    def split(self, text: str) -> tuple[str, str]:
        """Rationale and answer text of a single call; no answer text where the marker is missing.

        The last marker counts: a rationale may well say "The answer is not yet known".
        """
        marker = self.answer_marker
        if not marker:
            return text, text
        rationale, found, answer = text.rpartition(marker)
        return (rationale, answer) if found else (text, "")

    def apart(self, text: str) -> tuple[str | None, str]:
        """Thoughts and words of a text that may begin with thoughts; a thought that was cut off has no words."""
        if not self.thinking:
            return None, text
        before, after = self.thinking
        head, closed, words = text.partition(after)
        if closed:
            return head.partition(before)[2] if before in head else head, words
        opened, found, thoughts = text.partition(before)
        return (thoughts, "") if found and not opened.strip() else (None, text)

    def describe(self, task: Task) -> dict[str, Any]:
        """What decides the words of an answer beside the prompt itself."""
        if self.two_calls:
            return {"answer_prompt": self.answer_text(task), "answer_max_tokens": self.answer_max_tokens}
        return {"marker": self.answer_marker}

    def _demonstrations(self, task: Task) -> str:
        if self.demonstrations is not None:
            return demonstrations_of(Path(self.demonstrations), self.answer_marker or "The answer is")
        if (shown := task.demonstrations()) is None:
            raise InputError(
                f"teacher.prompting.style={self.style}: there are no demonstrations for {task.name}; name a JSONL file "
                "of question, rationale and answer with teacher.prompting.demonstrations=FILE"
            )
        return shown.text


def demonstrations_of(path: Path, marker: str) -> str:
    """The worked examples of a JSONL file, in the form of the authors' prompt file.

    Raises:
        InputError: it cannot be read, or a line lacks question, rationale or answer.
    """
    shown = []
    for number, row in read_jsonl(path):
        if missing := {"question", "rationale", "answer"} - row.keys():
            raise InputError(f"{path}, line {number}: has no {', '.join(sorted(missing))}")
        question, rationale = str(row["question"]).strip(), str(row["rationale"]).strip()
        shown.append(f"Q: {question}\nA: {rationale} {marker} {str(row['answer']).strip()}.")
    if not shown:
        raise InputError(f"{path}: is empty")
    return "\n".join(shown)
