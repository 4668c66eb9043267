"""`curation.filter=duplicate`: of a question's rationales that say the same, the first draw stays.

    draw 0  "She has 32 + 42 = 74."        kept
    draw 3  " \\n\\nShe has 32+42 = 74"      duplicate

The same is what is equal without case, white space and punctuation (rationales.normalise).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftcot.filters import Context, Filter, Reason, Verdicts
from ftcot.rationales import normalise
from ftcot.records import Completion, Sample, SampleKey


class FirstOfItsKind(Filter):
    """Keeps the first of equal ones; where the draw is not known, the one that was recorded first."""

    def verdicts(
        self, completions: Sequence[Completion], samples: Mapping[SampleKey, Sample], context: Context
    ) -> Verdicts:
        said: set[tuple[SampleKey, str]] = set()
        reasons: list[Reason] = [None] * len(completions)
        draws = [completion.draw if completion.draw is not None else -1 for completion in completions]
        for place in sorted(range(len(completions)), key=draws.__getitem__):
            key = (completions[place].sample_key, normalise(completions[place].rationale))
            if key in said:
                reasons[place] = "duplicate"
            said.add(key)
        return Verdicts(reasons)
