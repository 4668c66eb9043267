"""Worked examples that a few-shot teacher is shown, each sample without its own.

    Q: There are 15 trees in the grove. ... How many trees did the grove workers plant today?
    A: There are 15 trees originally. ... So there must have been 21 - 15 = 6. The answer is 6.
    Q: If there are 3 cars ...

The authors drew some of their examples from the training questions: asked one of those, a teacher would copy the
answer. Such a question is shown the other examples only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftcot.errors import InputError
from ftcot.files import read_jsonl
from ftcot.records import Sample
from ftcot.task import Demonstrations

_EXAMPLE = re.compile(r"\n+(?=Q:)")
"""Between two worked examples of the authors' prompt file."""


@dataclass(frozen=True)
class WorkedExample:
    """A question with its rationale and answer."""

    text: str
    """As it is shown."""
    question: str
    """In one line."""
    sample_index: int | None = None
    """Of the task's sample that it is, where that is known."""


def show(examples: Sequence[WorkedExample], sample: Sample) -> str:
    """What this sample is shown: all but itself."""
    own = one_line(sample.question)
    others = [it for it in examples if it.question != own and it.sample_index != sample.sample_index]
    return "\n".join(example.text for example in others)


def one_line(text: str) -> str:
    """`text` with single spaces: the authors' prompts join the lines of a question."""
    return " ".join(text.split())


def worked_examples(shown: Demonstrations) -> list[WorkedExample]:
    """The authors' prompt of a task, taken apart. One of another form is a single example, shown to every sample."""
    texts = _EXAMPLE.split(shown.text.strip("\n"))
    # Some of the authors' prompts are of questions that are no samples of the task: they have no indices.
    known = len(shown.sample_indices) == len(texts)
    indices = shown.sample_indices if known else [None] * len(texts)
    return [
        WorkedExample(text, one_line(text.removeprefix("Q:").partition("\nA:")[0]), index)
        for text, index in zip(texts, indices, strict=True)
    ]


def read_examples(path: Path, marker: str) -> list[WorkedExample]:
    """The worked examples of a JSONL file with question, rationale and answer, in the form of the authors' prompt.

    Raises:
        InputError: it cannot be read, or a line lacks one of the three.
    """
    examples = []
    for number, row in read_jsonl(path):
        if missing := {"question", "rationale", "answer"} - row.keys():
            raise InputError(f"{path}, line {number}: has no {', '.join(sorted(missing))}")
        question, rationale, answer = (str(row[name]).strip() for name in ("question", "rationale", "answer"))
        examples.append(WorkedExample(f"Q: {question}\nA: {rationale} {marker} {answer}.", one_line(question)))
    if not examples:
        raise InputError(f"{path}: is empty")
    return examples
