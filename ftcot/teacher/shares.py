"""Shares of a budget: what each job has set aside of it for what it has under way, for all to see.

    budget_usd = 2.00, in slices of 0.01      job A holds 37 of them, job B 12: there is 1.51 less what was spent left

Slices are leased, as draws are (leases.py), so a job that dies frees what it held. A job says what it sets aside
before it looks at what others hold and, last, at what is spent: of two jobs at least one sees the other, and money that
goes from a share into the store meanwhile is seen twice rather than never.
"""

from __future__ import annotations

import math
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from ftcot.teacher.leases import Leases

SLICES = 1000
"""Of a budget, at most; at least a tenth of that."""


class Share:
    """What this job has set aside of one budget. A context manager: on leaving all of it is given back."""

    def __init__(self, path: Path, limit: float) -> None:
        self._leases = Leases(path, path.name)
        self._exponent = math.ceil(math.log10(limit / SLICES)) if limit > 0 else 0
        self._job = secrets.randbelow(2**31)
        self._n = 0

    def __enter__(self) -> Self:
        self._leases.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leases.__exit__(kind, error, trace)

    def hold(self, amount: float) -> None:
        """Set so much aside from now on."""
        n = math.ceil(amount / 10.0**self._exponent)
        # Jobs may have budgets, hence slices, of different sizes: the size is part of a slice's name.
        changed = [((self._leases.task, self._exponent, self._job), slice_) for slice_ in range(*sorted((n, self._n)))]
        if n > self._n:
            self._leases.take(changed)
        elif n < self._n:
            self._leases.release(changed)
        self._n = n

    def of_others(self) -> float:
        """What other living jobs have set aside."""
        return math.fsum(10.0**exponent for (_, exponent, _), _ in self._leases.held())
