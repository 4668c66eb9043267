"""The completion store, looked at and moved: `python -m ftcot.completions stats|export|import|verify|merge`.

    stats                                  what there is: how much, how varied, how right, what it cost
    export davinci.parquet --teacher text-davinci-002
                                           take completions out (JSONL, Parquet, datasets, the authors' formats)
    import davinci.parquet                 bring them into this store; a job that asks for them buys nothing
    import hub:my-lab/rationales           the same from the Hugging Face hub
    verify                                 read every line; says what is damaged, and what to do
    merge                                  join the files of ended jobs into bigger ones
    merge /mnt/other/cache                 take what another machine's cache has and this one lacks

The store is CACHE/completions, CACHE being $FTCOT_CACHE or ~/.cache/ftcot; --cache names another one.
`python -m ftcot.completions COMMAND --help` says more. Exit code 0, 1 if something is damaged or could not be done, 2
for wrong input.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ftcot.errors import FtcotError, InputError

if TYPE_CHECKING:
    from ftcot.completions.selection import Selection
    from ftcot.teacher import Progress
    from ftcot.teacher.store import CompletionStore

WORD = re.compile(r"[~+]{0,2}[A-Za-z_][\w/.@-]*=.*", re.DOTALL)
"""A word of a job, as `ftcot.run` takes it: KEY=VALUE."""

EXPORT = """Takes completions out of the store. The ending of OUT says in which format:

  .jsonl, .jsonl.gz   rows of ours: everything is kept (but the servers' replies, without --raw)
  .parquet            the same as columns, for pandas, DuckDB, polars
  a folder            the same for datasets.load_from_disk (pip install datasets)
  --hub ORG/NAME      the same as a data set on the hub; private, the token is HF_TOKEN
  .json, .json.gz     the authors' completion JSON: one teacher and task, their questions needed
  .jsonl --format pairs
                      training pairs of the right completions of the training questions, as in the authors' fine-tuning
                      files; words of a job choose the draws and the template: diversity=8 method.template=natural

The first five can be imported again, and `teacher=replay teacher.path=OUT.jsonl` trains on an export of one task.

examples:
  python -m ftcot.completions export all.jsonl.gz
  python -m ftcot.completions export gpt4o.parquet --teacher gpt-4o --task multiarith
  python -m ftcot.completions export F_mine.jsonl --format pairs --teacher gpt-4o --task multiarith diversity=8
"""

IMPORT = """Brings completions into the store. What it has already is left out; a damaged file is refused as a whole.

FILE is an export (JSONL, Parquet, a folder of datasets, hub:ORG/NAME or hub:ORG/NAME@REVISION), a file of the authors
(completion JSON, fine-tuning JSONL), a run's completions.jsonl, JSONL of your own, or a folder of such files.

Exports keep their keys (teacher, question, prompt, parameters, draw): a job that would have bought them finds them.
Files of others have none. Two ways for them:

  import D_multiarith.json.gz
      for teacher=replay teacher.path=D_multiarith.json.gz, and for stats, export and merge
  import D_multiarith.json.gz teacher=api teacher.model=text-davinci-002 teacher.endpoint=completions
         teacher.prompting.max_tokens=128 task=multiarith diversity=greedy
      for a live teacher: this very job finds them and does not buy them. They are refused if the recording says
      another model, temperature, length or prompt than the job. What it says nothing of is believed.

To lay a recording where teacher=replay finds it by its name, export it into the data folder:
  python -m ftcot.completions export $FTCOT_DATA/recorded/NAME-t70/TASK.jsonl.gz --teacher NAME --task TASK
"""

VERIFY = """Reads every line of every segment: is it JSON, are its fields what they should be, does its key fit its
prompt, does the index agree? A torn last line is no damage: its writer died before it was told that the line was kept.
Exit code 1 if anything is damaged.
"""

MERGE = """Joins the segments of jobs that have ended (each job leaves one for each teacher and task) into bigger ones,
while others read and write. With OTHER caches: takes what they have and this one lacks; they are only read.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    try:
        # Words of a job may stand among options, which argparse does not take from a command of a command.
        given, rest = parser.parse_known_args(sys.argv[1:] if arguments is None else list(arguments))
        if unknown := [word for word in rest if word.startswith("-") or "words" not in given]:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if rest:
            given.words += rest
        return int(given.run(given))
    except FtcotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print("stopped; what was not finished left nothing behind", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """One whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m ftcot.completions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, what: str, run: Callable[[Any], int], more: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=what, description=more or what, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        added.set_defaults(run=run)
        added.add_argument("--cache", type=Path, metavar="FOLDER", help="else $FTCOT_CACHE or ~/.cache/ftcot")
        added.add_argument("--teacher", metavar="NAME", help="only this one's; import: the name to store them under")
        added.add_argument("--task", metavar="NAME", help="only this one's; import of files of others: their task")
        return added

    stats = command("stats", "what there is", _stats)
    stats.add_argument("words", nargs="*", metavar="KEY=VALUE", help="words of a job, for a task of your own")
    stats.add_argument("--json", action="store_true", help="for another program")

    export = command("export", "take completions out", _export, EXPORT)
    export.add_argument("words", nargs="*", metavar="OUT | KEY=VALUE", help="where to; words of a job, for pairs")
    for chosen in (stats, export):
        chosen.add_argument("--set", metavar="HASH", help="only what was asked for alike: first digits, see stats")
    export.add_argument("--format", choices=("jsonl", "parquet", "datasets", "pairs", "authors"), help="not by ending")
    export.add_argument("--hub", metavar="ORG/NAME", help="push to the Hugging Face hub")
    export.add_argument("--public", action="store_true", help="with --hub: for everybody to see")
    export.add_argument("--raw", action="store_true", help="keep the servers' replies as they came")
    export.add_argument("--incomplete", action="store_true", help="also rationales whose answer was never had")
    export.add_argument("--force", action="store_true", help="replace what is there")

    taken = command("import", "bring completions in", _import, IMPORT)
    taken.add_argument("words", nargs="+", metavar="FILE | KEY=VALUE", help="what to bring in; words of a job")

    verify = command("verify", "look for damage", _verify, VERIFY)
    verify.add_argument("--rebuild-index", action="store_true", help="throw the indexes away; they are made anew")

    merge = command("merge", "join files, or take over another store", _merge, MERGE)
    merge.add_argument("others", nargs="*", type=Path, metavar="OTHER", help="caches to take from")
    merge.add_argument("--dry-run", action="store_true", help="say what would be done")
    return parser


def _stats(given: argparse.Namespace) -> int:
    from ftcot.completions.showing import show
    from ftcot.completions.stats import figures, to_json
    from ftcot.log import screen

    _, words = _apart(given.words, files=False)
    with _bar("reads the store") as report:
        found = figures(_selection(given), words, report)
    if given.json:
        print(json.dumps(to_json(found), ensure_ascii=False, indent=2))
    else:
        show(screen(), found)
    return 0


def _export(given: argparse.Namespace) -> int:
    from ftcot.completions.export import Destination, export
    from ftcot.completions.selection import Count

    outs, words = _apart(given.words)
    if len(outs) > 1:
        raise InputError(f"export: one destination at a time ({', '.join(outs)})")
    out = next(iter(outs), None)
    destination = Destination.of(out, given.hub, given.format, public=given.public, force=given.force)
    count = Count(_selection(given), given.incomplete)
    with _bar("exports") as report:
        done = export(count, destination, raw=given.raw, words=words, report=report)
    what = "pairs" if destination.format == "pairs" else "completions"
    print(f"{done.n:,} {what} in {destination.out}")
    if done.left:
        print(f"{done.left:,} rationales whose answer was never had are left out; --incomplete exports them")
    if done.repeated:
        print(f"{done.repeated:,} lines repeat another one's key; the one stored first was taken")
    return 0


def _import(given: argparse.Namespace) -> int:
    from ftcot.completions.importing import take_files
    from ftcot.completions.showing import tell

    names, words = _apart(given.words)
    if not names:
        raise InputError("import: which file? (a path, or hub:ORG/NAME)")
    with _bar("imports") as report:
        done = take_files(_store(given), names, teacher=given.teacher, task=given.task, words=words, report=report)
        for imported in done:
            tell(imported)
    return 0


def _verify(given: argparse.Namespace) -> int:
    from ftcot.completions.verify import verify

    with _bar("reads the store") as report:
        found = verify(_store(given), given.teacher, given.task, rebuild=given.rebuild_index, report=report)
    print("\n".join(found.lines))
    return 1 if found.damaged else 0


def _merge(given: argparse.Namespace) -> int:
    from ftcot.completions.importing import take_store
    from ftcot.completions.merging import join
    from ftcot.completions.showing import tell

    store = _store(given)
    options = {"teacher": given.teacher, "task": given.task, "dry_run": given.dry_run}
    with _bar("merges") as report:
        for other in given.others:
            tell(take_store(store, other, report=report, **options), dry_run=given.dry_run)
        if not given.others:
            for line in join(store, report=report, **options):
                print(line)
    return 0


def _apart(words: Sequence[str], *, files: bool = True) -> tuple[list[str], list[str]]:
    """File names, and words of a job."""
    given = [word for word in words if WORD.fullmatch(word) and not (files and Path(word).exists())]
    names = [word for word in words if word not in given]
    if names and not files:
        raise InputError(f"{names[0]}: expected KEY=VALUE (--teacher NAME and --task NAME choose what is shown)")
    return names, given


def _selection(given: argparse.Namespace) -> Selection:
    from ftcot.completions.selection import Selection

    return Selection(_store(given), given.teacher, given.task, given.set)


def _store(given: argparse.Namespace) -> CompletionStore:
    from ftcot.teacher.store import CompletionStore

    begins = given.run is _import or (given.run is _merge and given.others)
    if given.cache is not None and not given.cache.expanduser().is_dir() and not begins:
        raise InputError(f"--cache {given.cache}: no such folder")
    return CompletionStore((given.cache.expanduser() if given.cache is not None else _cache()) / "completions")


def _cache() -> Path:
    """paths.cache as the config has it."""
    from ftcot.compose import Composer, conf_dir

    return Path(Composer(conf_dir()).job([])["paths"]["cache"])


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    """A bar on the terminal, on stderr: what is printed may be for another program."""
    from rich.console import Console

    from ftcot.running import progress_bar

    with progress_bar(Console(stderr=True, highlight=False), what) as report:
        yield report


if __name__ == "__main__":
    sys.exit(main())
