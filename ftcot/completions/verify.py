"""`verify`: every line of the store is read, and held against what a line has to be.

/cache/completions/gpt-4o/multiarith/node7-4242-9f3a01cc.jsonl, line 31: the prompt is not the one its key was made of
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ftcot.completions.digests import Digests, digest
from ftcot.completions.rows import flaw_of
from ftcot.completions.selection import count_lines
from ftcot.errors import InputError
from ftcot.teacher import Progress, no_progress
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.store_folder import segments_in
from ftcot.teacher.store_index import ChangedError, Segment
from ftcot.teacher.store_lines import read_rows

SHOWN = 20
"""Damaged lines of one segment that are named one by one."""


@dataclass
class Findings:
    """What was found."""

    n_lines: int = 0
    n_segments: int = 0
    repeated: int = 0
    damaged: list[str] = field(default_factory=list)
    """Places, and what is wrong there."""
    remarks: list[str] = field(default_factory=list)
    """What is no damage."""

    @property
    def lines(self) -> Iterator[str]:
        """The report."""
        yield from self.damaged
        yield from self.remarks
        if self.repeated:
            yield f"{self.repeated:,} lines repeat another one's key; the one stored first counts, and merge joins them"
        what = f"{self.n_lines:,} lines in {self.n_segments:,} segments"
        if not self.damaged:
            yield f"{what}: no damage"
        else:
            yield (
                f"{what}: {len(self.damaged)} places are damaged. Take the segment from a backup, or delete the lines "
                "named, to have them made (and paid for) again; --rebuild-index makes an index anew"
            )


def verify(
    store: CompletionStore,
    teacher: str | None = None,
    task: str | None = None,
    *,
    rebuild: bool = False,
    report: Progress = no_progress,
) -> Findings:
    """Read every line.

    Args:
        rebuild: whether to make the indexes anew.
    Raises:
        InputError: a segment cannot be read, or there is none.
    """
    findings = Findings()
    folders = list(_folders(store, teacher, task))
    total = sum(count_lines(path) for folder in folders for path in segments_in(folder))

    def told(done: int) -> None:
        report(done, total)

    if not folders:
        raise InputError(f"{store.root}: no such completions are stored there (another cache: --cache FOLDER)")
    for folder in folders:
        seen = Digests()
        for path in segments_in(folder):
            try:
                _check_segment(store, path, seen, findings, told)
                _check_index(path, findings, rebuild=rebuild)
            except FileNotFoundError:
                findings.remarks.append(f"{path}: merged with others meanwhile; verify again to see those")
    return findings


def _folders(store: CompletionStore, teacher: str | None, task: str | None) -> Iterator[Path]:
    for folder in sorted(store.root.glob("*/*")):
        chosen = store.folder(teacher or folder.parent.name, task or folder.name)
        named = (teacher is None or chosen.parent == folder.parent) and (task is None or chosen.name == folder.name)
        if folder.is_dir() and not folder.parent.name.startswith(".") and named:
            yield folder


def _check_segment(
    store: CompletionStore, path: Path, seen: Digests, findings: Findings, report: Callable[[int], None]
) -> None:
    flaws: list[str] = []
    findings.n_segments += 1
    last = 0
    for row in read_rows(path, lambda error: flaws.append(str(error))):
        findings.n_lines += 1
        last = row.line
        if (flaw := flaw_of(row)) is not None:
            flaws.append(f"{path}, line {row.line}: {flaw}")
        elif store.folder(row.key.teacher, row.completion.task) != path.parent:
            flaws.append(
                f"{path}, line {row.line}: is of {row.key.teacher} and {row.completion.task}, and nobody looks for it "
                f"here; move it to {store.folder(row.key.teacher, row.completion.task)}"
            )
        findings.repeated += not seen.add(digest(*row.key))
        if row.line % 1000 == 0:
            report(findings.n_lines)
    findings.damaged += flaws[:SHOWN]
    if len(flaws) > SHOWN:
        findings.damaged.append(f"{path}: and {len(flaws) - SHOWN} more lines")
    if _is_torn(path, last):
        findings.remarks.append(
            f"{path}: ends in the middle of a line; its writer died before it was told that the line was kept, "
            "so nothing is lost"
        )


def _is_torn(path: Path, last: int) -> bool:
    """Whether it ends in a line that nobody reads.

    Args:
        last: the number of the last line that could be read.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(end - 1, 0))
        if file.read(1) in (b"\n", b""):
            return False
        file.seek(0)
        return sum(1 for _ in file) > last


def _check_index(path: Path, findings: Findings, *, rebuild: bool) -> None:
    """Hold the index file against its segment; one of a damaged segment is left alone."""
    index = path.with_suffix(".index")
    if not (rebuild or index.exists()):
        return
    anew = Segment(path)
    try:
        anew.refresh()
    except InputError:
        return
    except ChangedError:
        raise FileNotFoundError(path) from None
    if rebuild:
        index.unlink(missing_ok=True)
        anew.save_index()
    elif not len((claimed := Segment.open(path)).entries):
        findings.damaged.append(f"{index}: is damaged; it is not used, and made anew when it is needed")
    elif not _agree(claimed, anew):
        findings.damaged.append(f"{index}: does not fit its segment; --rebuild-index makes it anew")


def _agree(claimed: Segment, anew: Segment) -> bool:
    """Whether what an index says of the lines it knows is what they say themselves."""
    ours, theirs = claimed.entries, anew.entries[: len(claimed.entries)]
    if len(ours) != len(theirs):
        return False
    if any((ours[name] != theirs[name]).any() for name in ours.dtype.names or () if name != "group"):
        return False
    groups, own = ({number: group for group, number in one.groups.items()} for one in (claimed, anew))
    pairs = set(zip(ours["group"].tolist(), theirs["group"].tolist(), strict=True))
    return all(groups.get(number) == own.get(other) for number, other in pairs)
