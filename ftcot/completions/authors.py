"""The authors' two formats, written.

    completions   {"metadata": {"dataset_key": "multiarith", "base_model": "text-davinci-002", ...},
                   "data": {"0": [{"sample_index": 0, "completion_index": 0, "question": "For ...", ...}], ...}}
    pairs         {"prompt": "For Halloween ...\\n\\n###\\n\\n", "completion": " Debby and ...\\n\\n-->\\n\\n39 END"}

Both are of one teacher, task and set, in the order of the samples, and need the task's questions. Pairs are what
curation makes of the right completions of the training split; their template is method.template (gpt3 is the authors').

Source: reasoning_teacher/completion_data and finetune_data of the authors' archives; teacher/recordings.py reads both.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ftcot.completions.questions import Questions
from ftcot.completions.writing import lines
from ftcot.errors import InputError
from ftcot.records import Completion, Sample
from ftcot.teacher.store_lines import reading_order

if TYPE_CHECKING:
    from ftcot.prompts import Template
    from ftcot.teacher import Diversity


class Sorted:
    """Texts that come in any order and are wanted in another one. They wait on disk; a context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="ftcot-export-")  # noqa: SIM115 (closed in __exit__)
        self._places: list[tuple[tuple[int, int, int], int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, order: tuple[int, int, int], text: str) -> None:
        data = text.encode()
        self._places.append((order, self._file.tell(), len(data)))
        self._file.write(data)

    def __iter__(self) -> Iterator[tuple[tuple[int, int, int], str]]:
        for order, start, length in sorted(self._places):
            self._file.seek(start)
            yield order, self._file.read(length).decode()


def write_pairs(
    out: Path,
    completions: Iterable[Completion],
    questions: Questions,
    template: Template,
    diversity: Diversity | None,
) -> int:
    """Write training pairs of right completions; returns how many.

    Args:
        diversity: which draws; None: all.
    Raises:
        InputError: a completion's question is not the task's.
    """
    with Sorted() as pairs, lines(out) as write:
        for completion in completions:
            sample = _sample(completion, questions)
            judged = questions.judge(completion)
            wanted = diversity is None or diversity.selects(completion)
            if sample.key in questions.train and judged.correct and wanted:
                example = template.example(sample, completion.rationale)
                pair = {"prompt": example.prompt, "completion": example.completion}
                pairs.add(reading_order(completion), json.dumps(pair))
        # The authors' files have no newline at their end.
        for number, (_, text) in enumerate(pairs):
            write(f"\n{text}" if number else text)
        return len(pairs)


def write_completions(out: Path, completions: Iterable[Completion], questions: Questions, teacher: str) -> int:
    """Write the authors' completion JSON; returns how many completions it holds.

    Args:
        teacher: its name, the file's `base_model`.
    Raises:
        InputError: a completion has no draw, prompt or answer, or its question is not the task's.
    """
    told: dict[str, Any] = {}
    with Sorted() as rows, lines(out) as write:
        for completion in completions:
            told = told or dict(completion.teacher)
            row = _row(completion, _sample(completion, questions))
            rows.add(reading_order(completion), json.dumps(row, indent=4))
        metadata = {
            "dataset_key": questions.task.name,
            "base_model": teacher,
            "completion_key": "zs_cot",
            "finetune_key": None,
            "train_key": None,
            "method": "ft_cot",
            "prediction_template": None,
            "parameters": {
                "temperature": 0,
                "max_tokens": told.get("max_tokens_answer"),
                "reasoning_temperature": told.get("temperature"),
                "reasoning_max_tokens": told.get("max_tokens_rationale"),
            },
            "epoch": None,
        }
        write(f'{{\n    "metadata": {_indented(json.dumps(metadata, indent=4), 4)},\n    "data": {{')
        before: int | None = None
        for (index, _, _), text in rows:
            if index != before:
                end = "" if before is None else "\n        ],"
                write(f'{end}\n        "{index}": [')
            write(f"{',' if index == before else ''}\n            {_indented(text, 12)}")
            before = index
        write("\n    }\n}" if before is None else "\n        ]\n    }\n}")
        return len(rows)


def _row(completion: Completion, sample: Sample) -> dict[str, Any]:
    where = f"sample {sample.sample_index} of {sample.task}"
    if completion.draw is None:
        raise InputError(f"{where}: which draw a completion is, is not known; export it as jsonl, or as pairs")
    if completion.prompt is None or completion.answer_text is None:
        raise InputError(f"{where}: a completion has no prompt or no answer text; export it as jsonl, or as pairs")
    row: dict[str, Any] = {
        "sample_index": sample.sample_index,
        "completion_index": completion.draw,
        "question": sample.question,
        "answer": sample.answer,
        "prompt": completion.prompt + completion.rationale + (completion.answer_prompt or ""),
        "completion": completion.answer_text,
        "reasoning_prompt": completion.prompt,
        "reasoning_completion": completion.rationale,
    }
    if completion.finish_reason is not None:
        row["reasoning_finish_reason"] = completion.finish_reason
    return row


def _sample(completion: Completion, questions: Questions) -> Sample:
    sample = questions.sample(completion)
    if sample is None:
        raise InputError(
            f"sample {completion.sample_index} (version {completion.version}) of {completion.task}: its question is "
            f"not the one that {questions.task.name} has now; export it as jsonl"
        )
    return sample


def _indented(text: str, by: int) -> str:
    return text.replace("\n", "\n" + " " * by)
