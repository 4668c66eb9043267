"""`curation.filter=judge`: a model reads each rationale and says whether it is sound.

    prompt    Question: For Halloween ...  Solution: Debby and her sister ...  Answer: 39 ...
    reply     "32 + 42 is 74, and 74 - 35 is 39.\\n\\nYes"     kept
              "The second step subtracts twice.\\nNo"         judged unsound
              "I am not sure."                               no verdict

Any live teacher can judge: the job's own, or another one (`+teacher@curation.judge=api curation.judge.model=...`). Each
verdict is bought once and kept in the completion store, so a second job pays nothing. Only what the filters listed
before it have left is judged, so list the cheap ones first: `curation.filter=[answer,equations,judge]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftcot.errors import InputError
from ftcot.filters import Context, Filter, Reason, Verdicts
from ftcot.records import Completion, Sample, SampleKey
from ftcot.task import Task
from ftcot.teacher import Teacher
from ftcot.teacher.asks import REFUSED, TOO_LONG
from ftcot.teacher.live import Live

PROMPT = """\
A student was asked this question:

{question}

The student reasoned:

{rationale}

and answered: {answer}

Is every step of this reasoning right, and does it lead to that answer? Check it briefly, step by step. Then write \
your verdict, yes or no, alone in the last line."""

FIELDS = ("{question}", "{rationale}", "{answer}")

MAX_TOKENS = 512
"""Of what the judge says."""

VERDICT = re.compile(r"\W*(?:(?:final |my )?(?:verdict|answer|judg[e]?ment)\W+)?(yes|no)\W*", re.IGNORECASE)
"""A line that says nothing else."""


@dataclass(frozen=True)
class Judge(Filter):
    """Keeps what the judge finds sound."""

    at_once = True

    teacher: Teacher | None
    """None: the job's own."""
    prompt: str | None

    def check(self, task: Task, teacher: Teacher) -> None:
        judge = self.teacher or teacher
        if not isinstance(judge, Live):
            raise InputError(
                f"curation.filter=judge: only a live teacher can judge, and {judge.name} is none; "
                "name one with +teacher@curation.judge=api (or huggingface)"
            )
        if self.prompt is not None and "{rationale}" not in self.prompt:
            raise InputError("curation.judge_prompt: it does not hold {rationale}, so there would be nothing to judge")

    def verdicts(
        self, completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], context: Context
    ) -> Verdicts:
        judge = self.teacher or context.teacher
        assert isinstance(judge, Live)  # `check` has seen to it
        draws = numbered(completions)
        prompts = {
            draw: fill(self.prompt or PROMPT, samples[completion.sample_key].question, completion)
            for draw, completion in zip(draws, completions, strict=True)
        }
        said = judge.say(context.task, prompts, context.session, MAX_TOKENS)
        costs = [completion.cost_usd for completion in said.values()]
        known = [cost for cost in costs if cost is not None]
        counts = {"judged": len(said), "judge_cost_usd": round(sum(known), 9) if len(known) == len(costs) else None}
        return Verdicts([_reason(said.get(draw)) for draw in draws], counts)


def fill(prompt: str, question: str, completion: Completion) -> str:
    """The prompt about a completion. Braces that a question or a rationale holds are left as they are."""
    answer = completion.prediction if completion.prediction is not None else (completion.answer_text or "").strip()
    values = dict(zip(FIELDS, (question.strip(), completion.rationale.strip(), answer or "(none)"), strict=True))
    return re.sub(r"\{(?:question|rationale|answer)\}", lambda found: values[found[0]], prompt)


def verdict(text: str) -> bool | None:
    """What the last line that says yes or no and nothing else says; None: there is none."""
    for line in reversed(text.splitlines()):
        if (found := VERDICT.fullmatch(line)) is not None:
            return found[1].lower() == "yes"
    return None


def numbered(completions: Sequence[Completion]) -> list[tuple[SampleKey, int]]:
    """What each verdict is stored under: its draw or, where a recording does not know it, its row of the question."""
    seen: dict[SampleKey, int] = {}
    found = []
    for completion in completions:
        row = seen.setdefault(completion.sample_key, 0)
        seen[completion.sample_key] += 1
        known = completion.draw if completion.draw is not None else completion.completion_index
        found.append((completion.sample_key, row if known is None else known))
    return found


def _reason(reply: Completion | None) -> Reason:
    if reply is None or reply.finish_reason in ("length", REFUSED, TOO_LONG):
        return "no verdict"
    if (said := verdict(reply.rationale)) is None:
        return "no verdict"
    return None if said else "judged unsound"
