"""What a command would do and cost: `dry_run=true`, for one job and for a sweep. Nothing is sent, written or trained.

    $ python -m ftcot.run -m dry_run=true diversity=1,8 student=tiny-0.2m
    dry run of 2 jobs: nothing is sent, written or trained
         job          would be  pairs  to train  to generate   time
      0  diversity=1  new         400       77k  58k to 614k   21 s
      1  diversity=8  new       3,200      614k  58k to 614k  1 min
         all                    3,600      691k  116k to 1.2M
    time  0.02 device-hours (2 threads of ...); all done in about 80 s, 1 at a time; speeds from a probe
    money  nothing is bought

Tokens: what students are taught to say, over all epochs; what they would say in all tests, expected and at most. Times
come from earlier runs (speeds.py); a student without one is timed for some seconds, and that alone is kept, in
paths.cache/probes.json (probing.py). `dry_run=quick` times none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from ftcot.buying import show_purchases
from ftcot.checks import Checker
from ftcot.costs import Costs, Sharing
from ftcot.errors import InputError
from ftcot.expected import Asked
from ftcot.matrix import show_matrix

__all__ = ["Asked", "Sharing", "estimate", "is_dry", "may_probe"]

QUICK = "quick"


def is_dry(config: Mapping[str, Any]) -> bool:
    """Whether a command only wants to know.

    Raises:
        InputError: `dry_run` is neither true nor false, nor quick.
    """
    dry = config.get("dry_run", False)
    if dry == QUICK:
        return True
    if not isinstance(dry, bool):
        raise InputError(f"dry_run={dry}: expected true or false, or quick: true, but students are not timed")
    return dry


def may_probe(config: Mapping[str, Any]) -> bool:
    """Whether a dry run may time students for some seconds."""
    return config.get("dry_run", False) is True


def estimate(console: Console, jobs: Sequence[Asked], checker: Checker, sharing: Sharing) -> None:
    """Say what these jobs, in this order, would do, take and buy.

    Raises:
        InputError: the store, a recording or the folder of an earlier attempt is damaged.
    """
    several = f" of {len(jobs)} jobs" if len(jobs) > 1 else ""
    console.print(f"dry run{several}: nothing is sent, written or trained", soft_wrap=True, highlight=False)
    costs = Costs(console, checker, sharing)
    show_matrix(console, costs.of(jobs), sharing)
    show_purchases(console, jobs, checker)

    def say(line: str) -> None:
        # On a terminal between words; in a pipe a line is a line.
        console.print(line, soft_wrap=not console.is_terminal, highlight=False, markup=False)

    if costs.unkept is not None:
        say(f"the speeds could not be kept for the next time: {costs.unkept}")
    if checker.lacks:
        more = f" (and {len(checker.lacks) - 1} more for the like)" if len(checker.lacks) > 1 else ""
        say(f"a run would be refused: {checker.lacks[0]}{more}")
