"""`curation.filter=math_verify`: the package math-verify decides whether the answer text has gold's value.

    gold "3.6666666666666665"   " 11/3"             kept        (the paper's rule reads 11.0)
    gold "39"                   " \\\\boxed{41}"       wrong answer
    gold "39"                   " 9^(9^(9^9))"      not verified: it took too long

For answers that are written as formulas, by chat models above all. sympy, which does the work, may run for ever or take
all memory on a text that nobody foresaw, so it runs in processes that can be killed (pool.py). A completion whose
recording kept no answer text is judged by its prediction.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from ftcot.answers import Number, Text
from ftcot.errors import InputError
from ftcot.filters import Context, Filter, Reason, Verdicts
from ftcot.filters.pool import Pool
from ftcot.records import Completion, Sample, SampleKey
from ftcot.task import Task
from ftcot.teacher import Teacher

REASONS: Mapping[str | None, Reason] = {
    "equal": None,
    "different": "wrong answer",
    "nothing": "no answer",
    None: "not verified",
}


class MathVerify(Filter):
    """Keeps what math-verify finds equal to gold."""

    at_once = True

    def check(self, task: Task, teacher: Teacher) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise InputError("curation.filter=math_verify needs the package math-verify: pip install 'ftcot[math]'")
        if not isinstance(task.answer, Number | Text):
            raise InputError(
                f"curation.filter=math_verify compares numbers and formulas, and the answers of {task.name} are "
                f"{type(task.answer).__name__}: use curation.filter=answer"
            )

    def verdicts(
        self, completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], context: Context
    ) -> Verdicts:
        pairs = [(samples[completion.sample_key].answer, _said(completion)) for completion in completions]
        distinct = list(dict.fromkeys(pairs))
        verdicts = dict(zip(distinct, Pool().verify(distinct, context.session.progress), strict=True))
        found = [verdicts[pair] for pair in pairs]
        return Verdicts([REASONS[verdict] for verdict in found], {"not_verified": found.count(None)})


def _said(completion: Completion) -> str:
    return completion.answer_text if completion.answer_text is not None else completion.prediction or ""
