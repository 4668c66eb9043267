"""`curation.filter=vote`: self-consistency. The answer that most of a question's samples give is taken for right.

    predictions of one question    39  39  74  39  none
    kept                            x   x       x            outvoted, no answer

No gold answer is used, so it works on questions that have none; of several answers that are said equally often the one
said first wins. Answers are the same where the task's kind of answer says that their values are. It counts what the
filters before it have left: listed after `answer` it has nothing to decide.

Source: Wang et al., Self-Consistency Improves Chain of Thought Reasoning (arXiv 2203.11171).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcot.answers import AnswerKind
from ftcot.filters import Context, Filter, Reason, Verdicts
from ftcot.records import Completion, Sample, SampleKey


class Majority(Filter):
    """Keeps what agrees with most."""

    def verdicts(
        self, completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], context: Context
    ) -> Verdicts:
        groups: dict[SampleKey, list[list[int]]] = {}
        draws = [completion.draw if completion.draw is not None else -1 for completion in completions]
        for place in sorted(range(len(completions)), key=draws.__getitem__):
            prediction = completions[place].prediction
            if prediction is None:
                continue
            said = groups.setdefault(completions[place].sample_key, [])
            for group in said:
                if _same(context.task.answer, prediction, completions[group[0]].prediction or ""):
                    group.append(place)
                    break
            else:
                said.append([place])
        winners = {place for said in groups.values() for place in max(said, key=len)}  # the first of equals
        reasons: list[Reason] = [None if place in winners else "outvoted" for place in range(len(completions))]
        for place, completion in enumerate(completions):
            if completion.prediction is None:
                reasons[place] = "no answer"
        return Verdicts(reasons)


def _same(kind: AnswerKind, one: str, other: str) -> bool:
    return one == other or kind.equivalent(one, other)
