"""`curation.filter=answer`, the paper's: the answer is right by the task's rule.

    Completion(answer_text=" 39.", prediction="39", correct=True)    kept
    Completion(answer_text=" 41.", prediction="41", correct=False)   wrong answer

Source: METHOD section 5.
"""

from __future__ import annotations

from ftcot.filters import Each, Reason
from ftcot.records import Completion


class RightAnswer(Each):
    """Keeps what was judged right."""

    def reason(self, completion: Completion) -> Reason:
        if completion.correct:
            return None
        return "wrong answer" if completion.prediction is not None else "no answer"
