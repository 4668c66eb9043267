"""Runs what is missing of a sweep, in its own folder: `python -m ftcot.resume SWEEP_FOLDER [LAUNCHER SETTING]...`.

    sweep.jsonl: 0 complete, 1 failed, 2 running (its process is gone), 3 frozen   ──>   1, 2 and 3 are run

From the frozen jobs alone: nothing is composed again, so it does not matter what has become of conf/ or of the command.
A job that had begun goes on where it was, also after `kill -9` of everything. Exit codes as for a sweep.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ftcot.compose import Composer, conf_dir
from ftcot.errors import FtcotError, InputError, cause_of
from ftcot.launchers import Launcher, refuse_missing
from ftcot.log import screen
from ftcot.sweep import run_missing
from ftcot.sweep_folder import SweepFolder

OWN = ("hydra/launcher=", "hydra.launcher.", "on_error=")
"""Overrides that say how jobs are launched, not what they are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return resume(options.sweep_folder, options.settings, options.config_dir)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except FtcotError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except OSError as error:
        print(f"error: {cause_of(error)}", file=sys.stderr)
        return 1


def resume(path: Path, overrides: Sequence[str], config_dir: Path | None = None) -> int:
    """Run what is missing of the sweep in a folder; returns the exit code.

    Raises:
        InputError: it is no sweep folder, it is running, or an override is none of the launcher's.
    """
    folder = SweepFolder(path.expanduser().absolute())
    settings = folder.settings()
    for word in overrides:
        if not word.lstrip("+").startswith(OWN):
            raise InputError(
                f"{word}: the jobs are frozen; only hydra/launcher, hydra.launcher.* and on_error may be set"
            )
    # A launcher named now has none of the old one's settings.
    named = any(word.lstrip("+").startswith("hydra/launcher=") for word in overrides)
    words = [*(() if named else settings.launcher), *overrides]
    refuse_missing(words)
    extra = config_dir or _still_there(settings.config_dir)
    master = Composer(conf_dir(), extra=extra).compose([f"on_error={settings.on_error}", *words])
    launcher = Launcher.of(master, words)
    settings = dataclasses.replace(settings, on_error=str(master.on_error))
    with folder.alone():
        jobs = folder.members()
        what = f"sweep of {len(jobs)} job{'s' * (len(jobs) != 1)}"
        return run_missing(folder, jobs, launcher, settings, screen(), what)


def _still_there(config_dir: str | None) -> Path | None:
    """The folder of the user's own launchers; frozen jobs can do without it."""
    return Path(config_dir) if config_dir and Path(config_dir).is_dir() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ftcot.resume",
        description="Run what is missing of a sweep, in its own folder and from its frozen jobs. "
        "Jobs that are done are not run again; jobs that had begun go on where they were.",
    )
    parser.add_argument("sweep_folder", type=Path, help="multirun/DATE/TIME-RANDOM, or what hydra.sweep.dir named")
    parser.add_argument(
        "settings",
        nargs="*",
        help="another launcher, or settings of it (default: as the sweep was started): "
        "hydra/launcher=joblib hydra.launcher.n_jobs=2 on_error=stop",
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with launcher options of your own (default: as then)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
