"""`curation.filter=format`: it ended by itself and holds an answer, right or wrong.

    Completion(finish_reason="stop", prediction="41")     kept
    Completion(finish_reason="length", prediction="41")   unfinished

Where a recording did not keep why a completion ended, it counts as ended by itself.
"""

from __future__ import annotations

from ftcot.filters import Each, Reason
from ftcot.records import Completion


class WellFormed(Each):
    """Keeps what is whole."""

    def reason(self, completion: Completion) -> Reason:
        if completion.finish_reason not in (None, "stop"):
            return "unfinished"
        return "no answer" if completion.prediction is None else None
