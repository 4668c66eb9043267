"""`merge`: the segments that ended jobs left, joined into bigger ones (teacher/store_merge.py does it)."""

from __future__ import annotations

from collections.abc import Iterator

from ftcot.errors import InputError
from ftcot.teacher import Progress, no_progress
from ftcot.teacher.store import CompletionStore


def join(
    store: CompletionStore,
    teacher: str | None = None,
    task: str | None = None,
    *,
    dry_run: bool = False,
    report: Progress = no_progress,
) -> Iterator[str]:
    """Merge what can be, a teacher and task at a time; yields a line on each.

    Raises:
        InputError: there is nothing of it, or a segment is damaged.
        JobError: a segment could not be written; nothing is lost.
    """
    places = [place for place in store.teachers() if teacher in (None, place[0]) and task in (None, place[1])]
    if not places:
        raise InputError(f"{store.root}: no such completions are stored there (another cache: --cache FOLDER)")
    for done, place in enumerate(places):
        name = f"{place[0]}, {place[1]}"
        report(done, len(places), name)
        if dry_run:
            n = len(store.idle_segments(*place))
            yield f"{name}: {n} segments would be joined" if n > 1 else f"{name}: nothing to join"
            continue
        merged = store.merge(*place)
        if merged.segments:
            dropped = f"; {merged.dropped:,} lines that repeat others are left out" if merged.dropped else ""
            yield f"{name}: {merged.segments} segments are one now, of {merged.lines:,} lines{dropped}"
        else:
            yield f"{name}: nothing to join"
