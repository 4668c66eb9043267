"""`export`: completions out of the store, in one of five formats.

mine.jsonl, mine.jsonl.gz   rows of ours, everything kept but the servers' replies (--raw keeps those)
mine.parquet                the same as columns
mine (a folder)             the same for datasets.load_from_disk; --hub ORG/NAME: for datasets.load_dataset
mine.json, mine.json.gz     the authors' completion JSON, of one teacher and task
mine.jsonl --format pairs   training pairs as in the authors' fine-tuning files, of one teacher and task
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ftcot.completions import authors, writing
from ftcot.completions.arrow import is_saved_folder
from ftcot.completions.questions import Questions, compose, option
from ftcot.completions.rows import is_verdict, values_of
from ftcot.completions.selection import SHOWN, Count, how, set_of
from ftcot.completions.writing import Format
from ftcot.errors import InputError
from ftcot.records import Completion
from ftcot.teacher import Diversity, Progress, no_progress

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".parquet": "parquet",
    ".json": "authors",
    ".json.gz": "authors",
}


@dataclass(frozen=True)
class Destination:
    """Where an export goes, and how it is written."""

    out: str
    """A path, or ORG/NAME on the hub."""
    format: Format
    hub: bool = False
    public: bool = False

    @classmethod
    def of(cls, out: str | None, hub: str | None, given: str | None, *, public: bool, force: bool) -> Destination:
        """What the command line asks for.

        Raises:
            InputError: it asks for none, for two, for an ending that does not fit, or for a file that is there.
        """
        if (out is None) == (hub is None):
            raise InputError("export: name one destination, a file, a folder, or --hub ORG/NAME")
        if hub is not None:
            if given not in (None, "datasets"):
                raise InputError(f"--format {given}: what goes to the hub is a data set; leave --format out")
            return cls(hub, "datasets", hub=True, public=public)
        assert out is not None
        if public:
            raise InputError("--public: goes with --hub; a file is as public as where it lies")
        path = Path(out).expanduser()
        ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if out.endswith(ending)), None)
        if ending is None and path.suffix and given != "datasets":
            raise InputError(f"{out}: expected {', '.join(ENDINGS)} or a folder (--format datasets)")
        chosen: Format = ENDINGS[ending] if ending else "datasets"
        if given is not None and given != chosen:
            fits = {"pairs": "jsonl", "jsonl": "jsonl", "authors": "authors"}.get(given)
            if given not in get_args(Format) or (fits != chosen and given != "datasets"):
                raise InputError(f"{out}: does not fit --format {given}")
            chosen = given  # type: ignore[assignment]
        if path.exists() and not force:
            raise InputError(f"{out}: is there already; --force replaces it")
        if path.is_dir() and chosen != "datasets":
            raise InputError(f"{out}: is a folder")
        if path.is_dir() and not is_saved_folder(path) and any(path.iterdir()):
            raise InputError(f"{out}: holds something else than an export; --force does not replace it")
        return cls(str(path), chosen)


@dataclass(frozen=True)
class Exported:
    """What became of the rows."""

    n: int
    left: int
    """Rationales whose answer was never had."""
    repeated: int


def export(
    count: Count,
    destination: Destination,
    *,
    raw: bool = False,
    words: Sequence[str] = (),
    report: Progress = no_progress,
) -> Exported:
    """Write the rows that count.

    Args:
        raw: whether to keep the servers' replies.
        words: of a job, for pairs (method.template, diversity) and for tasks of one's own.
    Raises:
        InputError: nothing is selected, or what is selected does not fit into the format.
        JobError: it could not be written.
    """
    if destination.hub:
        writing.check_hub(destination.out)
    elif destination.format == "datasets":
        writing.check_library()
    count.selection.check()
    count.look(report)
    if not count.n:
        raise InputError(f"{destination.out}: nothing to export{_left(count)}")
    if destination.format in ("pairs", "authors"):
        n = _of_one_task(count, destination, words, report)
    else:
        n = count.n
        with _writer(destination) as put:
            for done, row in enumerate(count.rows(), start=1):
                put(values_of(row, raw=raw))
                if done % 1000 == 0:
                    report(done, count.n)
    return Exported(n, count.left, count.repeated)


def _writer(destination: Destination) -> AbstractContextManager[writing.Put]:
    if destination.hub:
        return writing.hub(destination.out, public=destination.public)
    writers: dict[str, Callable[[Path], AbstractContextManager[writing.Put]]] = {
        "jsonl": writing.jsonl,
        "parquet": writing.parquet,
        "datasets": writing.datasets_folder,
    }
    return writers[destination.format](Path(destination.out))


def _of_one_task(count: Count, destination: Destination, words: Sequence[str], report: Progress) -> int:
    """Both formats of the authors."""
    teacher, task = _only_one(count)
    pairs = destination.format == "pairs"
    given = [f"task={option(task)}", *words] if not any(word.startswith("task=") for word in words) else [*words]
    if pairs and not any(word.startswith("method") for word in words):
        given.append("method.template=gpt3")
    job = compose(given)
    if job.task.name != task:
        raise InputError(f"task={job.task.name}: what is exported is of {task}; add --task {job.task.name}")
    questions = Questions.of(job.task)

    def completions() -> Iterator[Completion]:
        for done, row in enumerate(count.rows(), start=1):
            if done % 1000 == 0:
                report(done, count.n)
            if not is_verdict(row.completion):
                yield row.completion

    out = Path(destination.out)
    if not pairs:
        return authors.write_completions(out, completions(), questions, teacher)
    template = job.method.template_for("decoder")
    if not template.needs_rationale:
        raise InputError(f"method={job.method.name}: pairs of completions are those of method=fine_tune_cot")
    chosen: Diversity | None = job.diversity if any(word.startswith("diversity") for word in words) else None
    return authors.write_pairs(out, completions(), questions, template, chosen)


def _only_one(count: Count) -> tuple[str, str]:
    """The teacher and task of all that is exported."""
    found: dict[tuple[str, str, str], Completion] = {}
    for row in count.rows():
        if not is_verdict(row.completion):
            found.setdefault((row.key.teacher, row.completion.task, set_of(row)), row.completion)
    if len(found) > 1:
        sets = "; ".join(
            f"--teacher {teacher} --task {task} --set {name[:SHOWN]} ({how([completion])})"
            for (teacher, task, name), completion in sorted(found.items(), key=lambda item: item[0])
        )
        raise InputError(
            f"this format holds completions of one teacher and task that were asked for alike; choose one of: {sets}"
        )
    if not found:
        raise InputError("nothing to export but what judges said")
    teacher, task, _ = next(iter(found))
    return teacher, task


def _left(count: Count) -> str:
    return f" but {count.left} rationales without an answer (--incomplete)" if count.left else ""
