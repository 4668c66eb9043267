"""Many jobs: expand, compose, check and freeze all of them first, then hand those that are missing to Hydra's launcher.

    -m task=svamp diversity=1,8 seed=0,1   ──>   4 jobs, known by their hashes   ──>   multirun/DATE/TIME-RANDOM/
                                                                                         sweep.yaml  sweep.jsonl
                                                                                         0-5f0c12ab/ 1-77aa01cd/ ...

Nothing starts before every job has passed its checks, and the sweep folder appears with all of them or not at all.
Hydra's launcher gets folders, not overrides (handoff.py), so the jobs cannot change while a sweep runs, and whatever
happens to it, what is missing can be run from the folder alone (resume.py).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from ftcot.brake import Brake
from ftcot.checks import Checker, check_writable, refuse_secrets
from ftcot.compose import Composer
from ftcot.display import place
from ftcot.estimate import Asked, Sharing, estimate, is_dry, may_probe
from ftcot.figures import of_users
from ftcot.folder import new_folder
from ftcot.grid import by_figure, expand, plan
from ftcot.hashes import FileHashes
from ftcot.launch import Launch
from ftcot.launchers import Launcher, refuse_missing
from ftcot.ledger import DONE, Member
from ftcot.log import screen
from ftcot.nodes import requeue
from ftcot.rounds import Rounds
from ftcot.running import progress_bar
from ftcot.sweep_folder import Settings, SweepFolder
from ftcot.table import Board


def sweep(composer: Composer, overrides: Sequence[str]) -> int:
    """Run a sweep; returns the exit code.

    Raises:
        InputError: a job is refused; none has been started.
    """
    refuse_missing(overrides)
    wanted = expand(composer, overrides)
    master, grid = wanted.master, wanted.jobs
    launcher = Launcher.of(master, overrides)
    console = screen()
    settings = settings_of(composer, master, launcher, overrides)
    hashes, dry = FileHashes(Path(settings.cache) / "hashes.json"), is_dry(master)
    checker = Checker(hashes, launcher.is_local, dry)
    with progress_bar(console, "checking jobs") as report:
        jobs = plan(composer, grid, checker, report, wanted.figures)
    launcher.check([job.checked.config for job in jobs])
    for line in wanted.left_out:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    folder = folder_of(master, overrides, dry=dry)
    if wanted.figures:
        jobs, of = folder.numbered(jobs), by_figure(jobs)
        settings = replace(settings, figures=of, own_figures=of_users(composer, of))
    folder.refuse(jobs)
    decided = [Launch(job.checked.config, job.checked.hash, folder.path / job.name).peek() for job in jobs]
    if dry:
        planned = zip(jobs, decided, strict=True)
        known = [Asked(" ".join(job.overrides), job.checked, decision, job.overrides) for job, decision in planned]
        n_missing = sum(decision.action != "reused" for decision in decided)
        sharing = Sharing(launcher.side_by_side(n_missing), True, launcher.is_local, may_probe(master))
        estimate(console, known, checker, sharing)
        return 0
    for job, decision in zip(jobs, decided, strict=True):
        if decision.action != "reused":
            checker.reach(job.checked, decision.stages)
    hashes.save()
    with folder.alone():
        folder.add(jobs, settings)
        asked_for = f"{len(jobs)} job{'s' * (len(jobs) != 1)}"
        if len(grid) > len(jobs):
            asked_for += f" (from {len(grid)} combinations)"
        members = [Member(job.number, job.checked.hash, job.overrides) for job in jobs]
        what = f"sweep of {asked_for}"
        return run_missing(folder, members, launcher, settings, console, what)


def run_missing(
    folder: SweepFolder,
    jobs: Sequence[Member],
    launcher: Launcher,
    settings: Settings,
    console: Console,
    what: str,
) -> int:
    """Run those of these frozen jobs that are not done, and show all of them; returns the exit code."""
    states = folder.ledger.states()
    missing = [job for job in jobs if states[job.number]["state"] not in DONE]
    console.print(
        f"{what}: {len(jobs) - len(missing)} done already, {len(missing)} to run; {folder.path}",
        soft_wrap=True,
        highlight=False,
    )
    console.file.flush()
    board = Board(console, folder.path, jobs)
    rounds = Rounds(folder.path, launcher, board, Path(settings.cache), settings.on_error == "stop")
    rounds.run(missing)
    show(board)
    code = verdict(board, rounds.request.number)
    if rounds.request.number is None and any(row.get("accuracy") is not None for row in board.states.values()):
        report(board, made=bool(settings.figures))
    return code


def report(board: Board, *, made: bool) -> None:
    """Have the report of a sweep made, which says what it found, or say how to make it. Whether it can be made changes
    nothing of how the sweep went.

    Args:
        made: now, in a process of its own: its libraries are none of the launcher's.
    """
    words = ["-m", "ftcot.report", place(board.folder)]
    try:
        if made and subprocess.run([sys.executable, *words], check=False).returncode == 0:
            return
    except KeyboardInterrupt:
        pass  # it has said that it was stopped
    failed = "the report could not be made; " if made else ""
    board.console.print(
        f"{failed}figures and a page: {shlex.join(['python', *words])}", soft_wrap=True, highlight=False
    )
    board.console.file.flush()


def show(board: Board) -> None:
    """All jobs, at the end."""
    board.console.print(board.table())
    board.console.print(f"folder {board.folder}", soft_wrap=True, highlight=False)
    board.console.file.flush()


def verdict(board: Board, signal: int | None) -> int:
    """Say what is missing, why, and what to do about it; returns the exit code."""
    states, folder = board.states, board.folder
    left = [row["state"] for row in states.values() if row["state"] not in DONE]
    failed = sum(state in ("failed", "interrupted") for state in left)
    again = f"the same command runs what is missing, and so does python -m ftcot.resume {place(folder)}"
    if signal is not None:
        print(f"stopped, {len(left)} of {len(states)} jobs are not done; {again}", file=sys.stderr)
        if (queued := requeue(signal)) is not None:
            print(queued, file=sys.stderr)
        return 128 + signal
    if not left:
        return 0
    words = f"{failed} of {len(states)} jobs failed"
    if len(left) > failed:
        why = " (on_error=stop)" if Brake(folder).holds() else ""
        words += f", {len(left) - failed} did not run to the end{why}"
    print(f"{words}; {again}", file=sys.stderr)
    return 1


def folder_of(master: DictConfig, overrides: Sequence[str], *, dry: bool = False) -> SweepFolder:
    """The sweep folder that a command line names, or a new one.

    Raises:
        InputError: it cannot be written to, and is to be.
    """
    said = any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in overrides)
    named = Path(str(OmegaConf.select(master, "hydra.sweep.dir", throw_on_missing=False))).expanduser().absolute()
    folder = SweepFolder(named if said else new_folder("multirun"))
    if not dry:
        check_writable("hydra.sweep.dir", folder.path)
    return folder


def settings_of(composer: Composer, master: DictConfig, launcher: Launcher, overrides: Sequence[str]) -> Settings:
    """What is to be kept of the command.

    Raises:
        InputError: it holds a secret; those of the jobs are refused with the jobs.
    """
    refuse_secrets({key: value for key, _, value in (word.partition("=") for word in overrides)})
    cache = Path(str(master.paths.cache)).expanduser().absolute()
    extra = None if composer.extra is None else str(composer.extra.expanduser().resolve())
    return Settings(
        tuple(overrides), str(Path.cwd()), launcher.words, str(master.on_error), str(cache), config_dir=extra
    )
