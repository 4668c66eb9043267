"""Frees what nothing needs: `python -m ftcot.clean [FOLDER...]` shows it, `--yes` frees it.

      size  why                              what
    8.4 MB  checkpoints of a finished run    outputs/2026-11-22/10-15-00-ab12/checkpoints
    2.9 MB  W&B has it                       outputs/2026-11-22/10-15-00-ab12/wandb/offline-run-20261122_101500-5f0c12ab

It looks through ./outputs, ./multirun and the cache, or through the FOLDERs named. What can go:
  - checkpoints of finished runs (a run that can go on keeps them), and of runs moved aside (NAME.old1)
  - weights that no entry of the job index, no sweep and no link leads to, and of runs moved aside
  - offline W&B runs that were synced
  - files and sweep folders that were never finished, after an hour
  - entries of the job index whose folder is gone
  - with --weights: weights of finished runs, but for the best of each sweep
Never: anything of a run that is running, and scores, predictions, completions, examples, logs and configs of any.

Exit code 0, 1 if something could not be freed, 2 for wrong input.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ftcot.durations import seconds
from ftcot.errors import InputError
from ftcot.folder import WEIGHTS
from ftcot.leftovers import Leftover, find
from ftcot.status import Status


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ftcot.clean", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="runs, sweeps, folders of them, caches")
    parser.add_argument("--yes", action="store_true", help="free it; without, it is only shown")
    parser.add_argument("--weights", action="store_true", help="also weights of finished runs")
    parser.add_argument("--older-than", metavar="AGE", help="only what was not touched for so long: 30d, 12h")
    given = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    try:
        age = _age(given.older_than)
        for folder in given.folders:
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder")
        usual = [folder for folder in (Path("outputs"), Path("multirun"), _cache()) if folder.is_dir()]
        leftovers = find(given.folders or usual, others=usual, weights=given.weights)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    leftovers = [leftover for leftover in leftovers if leftover.age >= age]
    if not leftovers:
        print("nothing to free")
        return 0
    _show(leftovers)
    total = f"{_size(sum(leftover.size for leftover in leftovers))} in {len(leftovers)} places"
    if not given.yes:
        print(f"{total}; --yes frees them")
        return 0
    kept = [leftover for leftover in leftovers if not _free(leftover)]
    freed = sum(leftover.size for leftover in leftovers if leftover not in kept)
    print(f"freed {_size(freed)} in {len(leftovers) - len(kept)} of {len(leftovers)} places")
    return 1 if kept else 0


def _age(text: str | None) -> float:
    try:
        return seconds(text) or 0.0
    except InputError:
        raise InputError(f"--older-than {text}: expected a time such as 30d, 12h or 90m") from None


def _cache() -> Path:
    """paths.cache as the config has it."""
    from ftcot.compose import Composer, conf_dir

    return Path(Composer(conf_dir()).job([])["paths"]["cache"])


def _free(leftover: Leftover) -> bool:
    """Remove it, unless somebody has begun to work on its run; returns whether it is gone."""
    run, path = leftover.run, leftover.path
    # Under its hidden name it is nobody's: if this is killed half-way, the next `clean` finds it.
    doomed = path.with_name(f".{path.name.lstrip('.')}.{secrets.token_hex(4)}")
    try:
        # Whoever wants to run the job takes its lease under this lock.
        with run.index.lock() if run and run.index else nullcontext():
            if run and run.is_running():
                print(f"{path}: left, its run is running now", file=sys.stderr)
                return False
            for link in leftover.links:
                link.unlink(missing_ok=True)
            path.rename(doomed)
            if run and path == run.folder / WEIGHTS:
                Status(run.folder).update(kept="none")
        shutil.rmtree(doomed) if doomed.is_dir() else doomed.unlink()
    except OSError as error:
        print(f"{path}: cannot be removed ({error.strerror})", file=sys.stderr)
        return False
    return True


def _show(leftovers: Sequence[Leftover]) -> None:
    from ftcot.display import place

    width = max(len(leftover.why) for leftover in leftovers)
    print(f"{'size':>9}  {'why':<{width}}  what")
    for leftover in leftovers:
        with_links = f" (and {len(leftover.links)} links to it)" if leftover.links else ""
        print(f"{_size(leftover.size):>9}  {leftover.why:<{width}}  {place(leftover.path)}{with_links}")


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


if __name__ == "__main__":
    sys.exit(main())
