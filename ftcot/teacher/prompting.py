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

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ftcot.errors import InputError
from ftcot.prompts import STEP_BY_STEP
from ftcot.records import Sample
from ftcot.teacher.asks import Turn
from ftcot.teacher.demonstrations import WorkedExample, read_examples, show, worked_examples

if TYPE_CHECKING:
    from ftcot.task import Task

StyleName = Literal["zero_shot_cot", "single_call", "few_shot_cot"]
Verbosity = Literal["short", "normal", "long"]

_ANSWER = re.compile(r"\s*[^\n]*")
"""Of what follows a marker: the rest of its line, or else the next line with something on it."""

_EMPHASIS = re.compile(r"\*\*|`")


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


class Parts(NamedTuple):
    """The words of a single call."""

    rationale: str
    marker: str | None
    """What stood between the two; None: nothing."""
    answer: str


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
        if isinstance(self.stop, str):
            raise InputError(f"teacher.prompting.stop={self.stop!r}: expected a list of texts, [{self.stop!r}]")
        if isinstance(self.thinking, str) or len(self.thinking) not in (0, 2) or not all(self.thinking):
            raise InputError("teacher.prompting.thinking: expected two texts, before and after the thoughts, or []")

    def _check_prompt(self) -> None:
        key = f"teacher.prompting.prompt={self.template!r}"
        try:
            used = {name for _, name, _, _ in Formatter().parse(self.template) if name is not None}
            if unknown := used - {"question", "demonstrations"}:
                raise InputError(f"{key}: {{{unknown.pop()}}} is not one of {{question}}, {{demonstrations}}")
            self.template.format(question="", demonstrations="")
        except (ValueError, LookupError) as error:
            raise InputError(f"{key}: {error} (write a literal brace twice)") from None
        if "question" not in used:
            raise InputError(f"{key} has no {{question}} in it")

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
        ask = self.asker(task)
        return [ask(sample) for sample in samples]

    def asker(self, task: Task) -> Callable[[Sample], tuple[Turn, ...]]:
        """What makes a sample's first (or only) call, for those who want them one at a time."""
        shown = self._demonstrations(task) if "{demonstrations}" in self.template else None
        system = () if self.system is None else (Turn("system", self.system),)

        def ask(sample: Sample) -> tuple[Turn, ...]:
            demonstrations = "" if shown is None else show(shown, sample)
            text = self.template.format(question=sample.question, demonstrations=demonstrations)
            return (*system, Turn("user", text))

        return ask

    def answer_text(self, task: Task) -> str:
        """What the second call adds to prompt and rationale."""
        return self.answer_prompt if self.answer_prompt is not None else task.answer_prompt

    def second(self, first: Sequence[Turn], rationale: str, answer_prompt: str) -> tuple[Turn, ...]:
        """What the second call says."""
        return (*first, Turn("assistant", rationale), Turn("user", answer_prompt))

    def split(self, text: str) -> Parts:
        """The words of a single call, taken apart; no answer text where the marker is missing.

        The last marker counts: a rationale may well say "The answer is not yet known". What chat models put around it
        (`**The answer is: 39**`) is neither rationale nor answer, and what they say on the lines after it is left out.
        """
        if not (marker := self.answer_marker):
            return Parts(text, None, text)
        found = list(_around(marker).finditer(text)) or list(_around(marker, re.IGNORECASE).finditer(text))
        if not found:
            return Parts(text, None, "")
        start, end = found[-1].span()
        said = _ANSWER.match(text, end)
        return Parts(text[:start], text[start:end], _EMPHASIS.sub("", said[0]) if said else "")

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

    def named(self) -> dict[str, str]:
        """Which prompt it is, for whoever looks at what was said to it: a prompt as sent has its question in it."""
        own = {"prompt": self.prompt, "system": self.system, "demonstrations": self.demonstrations}
        told = {name: str(value) for name, value in own.items() if value is not None}
        return {"style": self.style, "verbosity": self.verbosity} | told

    def describe(self, task: Task) -> dict[str, Any]:
        """What decides the words of an answer beside the prompt itself."""
        if self.two_calls:
            return {"answer_prompt": self.answer_text(task), "answer_max_tokens": self.answer_max_tokens}
        return {"marker": self.answer_marker}

    def _demonstrations(self, task: Task) -> list[WorkedExample]:
        if self.demonstrations is not None:
            return read_examples(Path(self.demonstrations), self.answer_marker or "The answer is")
        if (shown := task.demonstrations()) is None:
            raise InputError(
                f"teacher.prompting.style={self.style}: there are no demonstrations for {task.name}; name a JSONL file "
                "of question, rationale and answer with teacher.prompting.demonstrations=FILE"
            )
        return worked_examples(shown)


@cache
def _around(marker: str, flags: int = 0) -> re.Pattern[str]:
    """Finds the marker, with the marks of Markdown before it and a colon after it."""
    return re.compile(rf"(?:[*`#]+[ \t]*)?{re.escape(marker)}(?:\**:)?\**", flags)
