"""`curation.filter=none`: every completion is kept, right or wrong, finished or not."""

from __future__ import annotations

from ftcot.filters import Each, Reason
from ftcot.records import Completion


class Everything(Each):
    """Keeps all."""

    def reason(self, completion: Completion) -> Reason:
        return None
