"""Figures, tables and a page of runs: `python -m ftcot.report FOLDER...`.

    python -m ftcot.report multirun/2026-11-23/10-15-00-ab12            what a sweep found; report/ in its folder
    python -m ftcot.report multirun/2026-11-23 outputs --output mine    all runs below these folders, together
    python -m ftcot.report multirun/2026-11-23/10-15-00-ab12 --watch    while it runs

Exit codes: 0 done, 1 it could not be made, 2 wrong input.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from ftcot.errors import FtcotError, InputError, cause_of
from ftcot.log import screen
from ftcot.report.making import Asked, make
from ftcot.report.output import FORMATS, write
from ftcot.report.telling import size, tell
from ftcot.report.watch import watch
from ftcot.running import progress_bar


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return report(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except FtcotError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except (OSError, ImportError) as error:
        print(f"error: {cause_of(error)}", file=sys.stderr)
        return 1


def report(options: argparse.Namespace) -> int:
    """Make what is asked for; returns the exit code.

    Raises:
        InputError: it cannot be made of these folders.
    """
    formats = tuple(options.formats.split(","))
    if unknown := [name for name in formats if name not in FORMATS]:
        raise InputError(f"--formats {unknown[0]}: expected some of {','.join(FORMATS)}")
    if options.detail < 0:
        raise InputError(f"--detail {options.detail}: expected a number of runs")
    if options.watch is not None and options.watch < 1:
        raise InputError(f"--watch {options.watch}: expected a number of seconds")
    names = tuple(name for word in options.figure for name in word.split(","))
    asked = Asked(tuple(path.expanduser() for path in options.folders), names, options.config_dir)
    folder = options.output.expanduser() if options.output else place_of(asked.folders)
    console = screen()
    if options.watch is None:
        with progress_bar(console, "reading runs") as progress:
            found = make(asked, progress)
        tell(console, found, write(found, folder, formats, options.detail))
        return 0
    _watch(console, asked, folder, formats, options)
    return 0


def place_of(folders: Sequence[Path]) -> Path:
    """Where a report goes: into the only sweep's folder, else under ./reports."""
    if len(folders) == 1 and (folders[0] / "sweep.jsonl").is_file():
        return folders[0] / "report"
    return Path("reports") / datetime.now().strftime("%Y-%m-%d-%H-%M-%S")


def _watch(console: Console, asked: Asked, folder: Path, formats: Sequence[str], options: argparse.Namespace) -> None:
    def again(running: bool) -> None:
        try:
            found = make(asked)
        except InputError as error:
            if not running:
                raise
            console.print(f"nothing to show yet: {error}", soft_wrap=True, highlight=False, markup=False)
            return
        page = write(found, folder, formats if not running else (), options.detail, options.watch if running else None)
        if running:
            states = [f"{n} {state}" for sweep in found.found.sweeps for state, n in sweep.states.items()]
            line = f"{datetime.now():%H:%M:%S}  {size(found)} ({', '.join(states)}); page {page}"
            console.print(line, soft_wrap=True, highlight=False, markup=False)
            console.file.flush()
        else:
            tell(console, found, page)

    watch(asked.folders, options.watch, again)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ftcot.report",
        description="Figures as in the paper, tables, and one page that needs no network: findings in words and "
        "numbers, curves with intervals and the published values, every run, every question, what it cost.",
        epilog="It writes index.html, findings.md, figures/NAME.svg|pdf|png and tables/NAME.md|tex|csv. "
        "A sweep over axes is drawn over what varies in it; a figure's sweep (figure=NAME) as that figure.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="sweeps, runs, or folders of either")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: SWEEP/report of one sweep, else reports/")
    parser.add_argument(
        "--figure", action="append", default=[], metavar="NAME", help="draw this figure over all runs: diversity"
    )
    parser.add_argument("--formats", default=",".join(FORMATS), help="of pictures (default: %(default)s)")
    parser.add_argument(
        "--detail", type=int, default=10, metavar="N", help="runs of which the page holds all epochs (default: 10)"
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=int,
        const=10,
        metavar="SECONDS",
        help="while a sweep runs: look every so often (default: 10), write the page again when something has happened",
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with figures of your own")
    return parser


if __name__ == "__main__":
    sys.exit(main())
