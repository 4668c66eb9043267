"""`curation.filter=length`: the rationale has so many words, parted by white space.

curation.min_words=3    "Debby has 39."    kept
                        "39."              too short
"""

from __future__ import annotations

from dataclasses import dataclass

from ftcot.filters import Each, Reason
from ftcot.records import Completion


@dataclass(frozen=True)
class Length(Each):
    """Keeps what is neither too short nor too long."""

    min_words: int | None
    max_words: int | None

    def reason(self, completion: Completion) -> Reason:
        n_words = len(completion.rationale.split())
        if self.min_words is not None and n_words < self.min_words:
            return "too short"
        return "too long" if self.max_words is not None and n_words > self.max_words else None
