"""The batches of earlier jobs: what they hold is waited for, and not bought again.

    4f1c09ab2e77.plan, made by a job that died     ──>   draw 3 of sample 17, rationale: request 2 of that plan
    its state names a file and no batch            ──>   the server is asked whether it made one of it

A draw is looked for here once it is leased: from then on nobody else plans a batch with it, and every plan that has it
is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ftcot.errors import JobError
from ftcot.records import SampleKey
from ftcot.teacher.asks import Ask, Part
from ftcot.teacher.batch_client import BatchClient
from ftcot.teacher.batch_state import Plan, load

COARSEST = 2.0
"""Seconds: no file system's clock is coarser."""

FORGOTTEN = 45 * 86400.0
"""Seconds after which a server has the results of a batch no more; OpenAI keeps them for 30 days."""


class Place(NamedTuple):
    """Where a draw is."""

    plan: Plan
    number: int
    """Of its request."""


class Earlier:
    """What the plans in a folder hold."""

    def __init__(self, folder: Path, client: BatchClient) -> None:
        self._folder, self._client = folder, client
        self._places: dict[tuple[SampleKey, int, Part, str], Place] = {}
        self._known: set[str] = set()
        self._unsure: list[Plan] = []
        """Those that another job is about to send."""
        self._seen = -1.0

    def is_ours(self, plan: str) -> None:
        """A plan that this job makes is none of them."""
        self._known.add(plan)

    def places(self, ask: Ask, asked: str) -> Mapping[int, Place]:
        """The draws of an ask that are in a batch already.

        Args:
            asked: as in batch_state.Row.
        Raises:
            JobError: they are in a batch at another server, or it cannot be found out whether there is one.
        """
        self._look()
        keys = {draw: (ask.sample, draw, ask.part, asked) for draw in ask.draws}
        found = {draw: self._places.pop(key) for draw, key in keys.items() if key in self._places}
        for place in found.values():
            if place.plan.server != self._client.address.url:
                raise JobError(
                    f"what is asked is in a batch at {place.plan.server}: set teacher.base_url={place.plan.server} to "
                    f"collect it, or delete {place.plan.path} to have it bought again"
                )
        return found

    def tidy(self) -> None:
        """Remove old plans that nobody asks for: their job died after it had kept the last replies, or wanted more."""
        for plan in {id(plan): plan for plan, _ in self._places.values()}.values():
            if time.time() - plan.made > FORGOTTEN and plan.lock():
                plan.drop()

    def _look(self) -> None:
        """Look through the plans that have come to the folder since the last time."""
        changed = self._folder.stat().st_mtime if self._folder.exists() else 0.0
        if changed == self._seen and not self._unsure:
            return
        # A second change within a file system's smallest unit of time could not be told from the first.
        self._seen = changed if time.time() - changed > COARSEST else -1.0
        new, self._unsure = [*self._unsure, *load(self._folder, self._known)], []
        for plan in new:
            self._known.add(plan.id)
            if plan.batch is None and plan.server == self._client.address.url and not self._is_batch(plan):
                continue
            for number, row in enumerate(plan.rows):
                for draw in row.draws:
                    if (number, draw) not in plan.settled:
                        self._places[row.sample, draw, row.part, row.asked] = Place(plan, number)

    def _is_batch(self, plan: Plan) -> bool:
        """Whether a plan became a batch; one that did not, and whose maker is dead, is dropped."""
        if not plan.lock():
            if plan.path.exists():
                self._unsure.append(plan)
            return False
        try:
            if plan.batch is None and plan.file is not None and (made := self._client.made_of(plan)):
                plan.has_batch(made)
            elif plan.batch is None:
                plan.drop()
        finally:
            plan.unlock()
        return plan.batch is not None
