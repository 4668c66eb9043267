"""`curation.filter=format`: it ended by itself and holds an answer, right or wrong.

    Completion(finish_reason="stop", prediction="41")     kept
    Completion(finish_reason="length", prediction="41")   unfinished

Where a recording did not keep why a completion ended, it counts as ended by itself. Most servers call that `stop`.
"""

from __future__ import annotations

from ftcot.filters import Each, Reason
from ftcot.records import Completion

ENDED = frozenset({None, "stop", "eos", "eos_token", "stop_sequence", "end_turn"})
"""Finish reasons of what is whole: OpenAI's and nearly everybody's, Together's, TGI's two, Anthropic's."""


class WellFormed(Each):
    """Keeps what is whole."""

    def reason(self, completion: Completion) -> Reason:
        if completion.finish_reason not in ENDED:
            return "unfinished"
        return "no answer" if completion.prediction is None else None
