"""The launcher: `python -m ftcot.run [GROUP=OPTION | KEY=VALUE]...`, with `-m` for a sweep.

    command line ──> compose ──> check ──> hash ──> reuse, continue, or freeze to job.yaml and start a worker

It imports no torch, so that help, a printed config or a mistyped option answers in about a second. Exit codes: 0 done,
1 a job failed, 2 wrong input (nothing was started, nothing is left), 130 stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ftcot.compose import HYDRA_VERSION_BASE, Composer, conf_dir, freeze
from ftcot.errors import FtcotError, InputError, cause_of

if TYPE_CHECKING:
    from ftcot.checks import Checked
    from ftcot.launch import Launch, Outcome
    from ftcot.nodes import Node
    from ftcot.teacher import Estimate


def main() -> None:
    """The command; ends the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit code."""
    from ftcot.launch import Interrupted, RefusedError

    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        options = _parse(arguments)
        if options.experimental_rerun is not None:
            raise InputError("--experimental-rerun: give the same command again instead, it goes on where it stopped")
        composer = _composer(options)
        if options.help or options.hydra_help or options.cfg or options.info or options.shell_completion:
            return _inform(options, composer, arguments)
        if options.multirun or any(word.lower() == "hydra.mode=multirun" for word in options.overrides):
            if "hydra/sweeper=optuna" in options.overrides:
                from ftcot.search import search

                return search(composer, options.overrides)
            from ftcot.sweep import sweep

            return sweep(composer, options.overrides)
        return _single(composer, options.overrides)
    except RefusedError:
        return 2  # the worker has said why
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except FtcotError as error:
        if full:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except OSError as error:
        if full:
            raise
        print(f"error: {cause_of(error)}", file=sys.stderr)
        return 1
    except Exception as error:
        if full:
            raise
        print(f"error: {cause_of(error)} (a bug: HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags and overrides, in any order (Hydra wants all overrides in one place)."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(list(arguments))


def _composer(options: argparse.Namespace) -> Composer:
    folder = conf_dir() if options.config_path is None else Path(options.config_path).absolute()
    extra = None if options.config_dir is None else Path(options.config_dir)
    return Composer(folder, options.config_name or "config", extra)


def _inform(options: argparse.Namespace, composer: Composer, arguments: Sequence[str]) -> int:
    """--help, --cfg, --info and completion are Hydra's own; only its errors are worded by us."""
    if not options.shell_completion:
        composer.compose(options.overrides)  # says in one line what Hydra would say in many
    flags = list(arguments)
    for word in options.overrides:
        flags.remove(word)
    sys.argv = [sys.argv[0], *composer.quote(options.overrides), *flags]
    if options.config_path is not None:
        sys.argv += ["--config-path", str(Path(options.config_path).absolute())]
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise, do not print and exit
    GlobalHydra.instance().clear()  # there can be one only
    try:
        hydra.main(version_base=HYDRA_VERSION_BASE, config_path=str(conf_dir()), config_name="config")(_never)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(composer.explain(error, options.overrides)) from error
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before
    return 0


def _never(config: DictConfig) -> None:
    raise AssertionError("jobs do not run inside hydra.main")


def _single(composer: Composer, overrides: Sequence[str]) -> int:
    """One job, from its overrides to its exit code."""
    config = composer.compose(overrides)
    folder = OmegaConf.select(config, "hydra.run.dir", throw_on_missing=False)
    explicit = None if not _says(overrides, "hydra.run.dir") else Path(str(folder)).expanduser().absolute()
    values = freeze(config)

    from ftcot.checks import Checker, check_writable
    from ftcot.estimate import Asked, Sharing, estimate, is_dry, may_probe
    from ftcot.folder import check_space
    from ftcot.hashes import FileHashes
    from ftcot.launch import Interrupted, Launch, describe
    from ftcot.log import screen
    from ftcot.nodes import here, requeue

    hashes, dry = FileHashes(Path(values["paths"]["cache"]) / "hashes.json"), is_dry(values)
    checker = Checker(hashes, dry=dry)
    checked = checker.check(values)
    launch = Launch(values, checked.hash, explicit)
    if dry:
        launch.refuse_folder()
        job = Asked(f"{checked.job.method.name} on {checked.job.task.name}", checked, launch.peek())
        estimate(screen(), [job], checker, Sharing(slots=False, probes=may_probe(values)))
        return 0
    check_writable("hydra.run.dir", explicit or Path("outputs").absolute())
    node = here(values["trainer"])
    if node.first:
        launch.refuse()
    purchase = None
    if (decision := launch.peek()).action != "reused":
        check_space(decision.home, values)
        purchase = checker.reach(checked, decision.stages) if node.first else None
    hashes.save()
    try:
        if node.first:
            command = f"python -m ftcot.run {' '.join(overrides)}"
            outcome = _claimed(launch, checked, purchase, node, command)
        else:
            print(f"{node}: takes part once the first one runs this job", flush=True)
            outcome = launch.follow(node)
    except Interrupted as interrupted:
        print(describe(interrupted.outcome), file=sys.stderr, flush=True)
        if (queued := requeue(interrupted.number)) is not None:
            print(queued, file=sys.stderr)
        raise
    _show(outcome, checked)
    return 0 if outcome.ok else 1


def _claimed(launch: Launch, checked: Checked, purchase: Estimate | None, node: Node, command: str) -> Outcome:
    """Run the job, unless it is done; the plan stands on the screen and in its log before the worker starts."""
    from ftcot import display
    from ftcot.log import Log

    with launch.claim() as decision:
        if decision.action != "reused":
            with Log(decision.home / "log.txt", command) as log:
                display.plan(log.console, checked.job, checked.splits, decision.home, purchase)
                if decision.action == "continued":
                    log.console.print(f"goes on where it stopped: {decision.home}", soft_wrap=True)
                if node.count > 1:
                    log.console.print(f"{node}: waits for the others, which need the same command", soft_wrap=True)
        sys.stdout.flush()
        return launch.run(decision)


def _show(outcome: Outcome, checked: Checked) -> None:
    """What the worker has not said: where else the result is, that it was there before, or why there is none."""
    from ftcot import display
    from ftcot.folder import read_status
    from ftcot.launch import describe
    from ftcot.log import screen

    console = screen()
    if outcome.action == "reused":
        if (outcome.folder / "score.json").exists():
            display.result(console, outcome.folder, checked.config, len(checked.splits.train))
        console.print(f"reused from {outcome.home} (reuse=false runs it anew)", soft_wrap=True)
        wanted = checked.config["keep"]
        kept = read_status(outcome.home).get("kept", wanted)
        if wanted not in ("none", kept):
            what = "were not kept" if kept == "none" else f"are those of keep={kept}"
            console.print(f"its weights {what}: reuse=false makes those of keep={wanted}")
        if "WANDB_SWEEP_ID" in os.environ:  # its agent waits for a run with this result
            subprocess.run([sys.executable, "-m", "ftcot.mirror", str(outcome.folder)], check=False)
    elif outcome.folder != outcome.home:
        console.print(f"also in {outcome.folder}", soft_wrap=True)
    if not outcome.ok:
        print(describe(outcome), file=sys.stderr)


def _says(overrides: Sequence[str], key: str) -> bool:
    return any(word.lstrip("+").partition("=")[0] == key for word in overrides)


if __name__ == "__main__":
    main()
