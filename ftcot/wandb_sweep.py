"""Write the W&B sweep of an ablation: `python -m ftcot.wandb_sweep OVERRIDES... --output FILE`, as for `ftcot.run -m`.

    $ python -m ftcot.wandb_sweep task=multiarith student=gpt2 diversity=1,8 --output sweep.yaml
    sweep.yaml: 2 jobs. wandb sweep sweep.yaml, then on each machine the `wandb agent ...` it names
    $ cat sweep.yaml
    command: ['${env}', python, -m, ftcot.run, '${args_no_hyphens}']
    parameters: {task: {value: multiarith}, student: {value: gpt2}, diversity: {values: [1, 8]}}
    ...

Every agent calls `ftcot.run` for one job at a time, so a job that is done already is not run again, wherever it was.
All jobs are composed and checked first, as by `-m`. A W&B sweep is one product of values; where the jobs are not (a
figure is a list of grids), each product becomes a file of its own, and an agent is started for each.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ftcot.checks import Checker
from ftcot.complaints import bare_integers
from ftcot.compose import Composer, conf_dir
from ftcot.errors import FtcotError, InputError
from ftcot.files import write_atomic
from ftcot.grid import expand, plan
from ftcot.hashes import FileHashes
from ftcot.logger import Wandb
from ftcot.logger import build as build_logger

METHODS = ("grid", "random", "bayes")

COMMAND, PARAMETERS = ("${env}", "python", "-m", "ftcot.run"), "${args_no_hyphens}"
"""What an agent calls; the last word becomes `key=value` of every parameter."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 2 for wrong input, with no file written."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        sweeps = compose(options.overrides, options.method, options.config_dir)
        if options.output is None:
            return _print(sweeps)
        files = _files(options.output, len(sweeps))
        for file, sweep in zip(files, sweeps, strict=True):
            write_atomic(file, dump(sweep))
    except FtcotError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for file, sweep in zip(files, sweeps, strict=True):
        sweep_command = shlex.join(["wandb", "sweep", str(file)])
        print(f"{file}: {_n_jobs(sweep)} jobs. {sweep_command}, then on each machine the `wandb agent ...` it names")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ftcot.wandb_sweep",
        description="Write the W&B sweep whose agents run the jobs that `python -m ftcot.run -m OVERRIDES` would run.",
    )
    parser.add_argument(
        "overrides", nargs="+", help="as for ftcot.run -m: task=svamp diversity=1,8 or figure=diversity"
    )
    parser.add_argument("--method", choices=METHODS, default="grid", help="how W&B chooses the next job")
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="options of your own, as for ftcot.run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="else the screen; FILE-1, FILE-2, ... for several")
    return parser


def compose(overrides: Sequence[str], method: str = "grid", config_dir: Path | None = None) -> list[dict[str, Any]]:
    """The configs of the sweeps that together have the jobs of these overrides.

    Raises:
        InputError: a job is refused, or its logger is not W&B's.
    """
    for word in overrides:
        if word.lstrip("+~").startswith("hydra"):
            raise InputError(f"{word}: Hydra launches nothing here, the agents do; leave it out")
        if word.startswith("~"):
            raise InputError(f"{word}: W&B has no parameter that takes a key away; set the key to null")
    composer = Composer(conf_dir(), extra=config_dir)
    jobs = expand(composer, overrides).jobs
    hashes = FileHashes(Path(str(composer.job(jobs[0])["paths"]["cache"])) / "hashes.json")
    planned = plan(composer, jobs, Checker(hashes, local=False))
    place = _project([composer.job(job)["logger"] for job in jobs])
    command = [*COMMAND, *([] if config_dir is None else [f"--config-dir={config_dir.absolute()}"])]
    metric = "score/validation_accuracy" if all(job.checked.splits.validation for job in planned) else "score/accuracy"
    asked = " ".join(bare_integers(word) for word in overrides)
    return [
        {
            "name": asked if len(parts) == 1 else f"{asked} ({number} of {len(parts)})",
            "program": "ftcot.run",  # W&B wants one; the command names what is called
            **place,
            "method": method,
            "metric": {"name": metric, "goal": "maximize"},
            "parameters": _parameters(product),
            "command": [*command, *_not_parameters(product), PARAMETERS],
        }
        for parts in [list(products(jobs))]
        for number, product in enumerate(parts, start=1)
    ]


def products(jobs: Sequence[Sequence[str]]) -> Iterator[dict[str, list[str]]]:
    """The jobs as full products, in their order: `{"seed": ["0", "1"], "diversity": ["'1'", "'8'"]}` for four of them.

    As few as taking the longest product from the front each time gives.
    """
    rest = list({frozenset(job): tuple(job) for job in jobs}.values())
    while rest:
        axes: dict[str, dict[str, None]] = {}
        whole, size = axes, 0
        for number, job in enumerate(rest, start=1):
            words = dict(word.split("=", 1) for word in job)
            if number > 1 and words.keys() != axes.keys():
                break
            axes = {key: axes.get(key, {}) | {value: None} for key, value in words.items()}
            # The jobs differ, and each is in the product of what they have: as many of them are all of it.
            if math.prod(map(len, axes.values())) == number:
                whole, size = axes, number
        yield {key: list(values) for key, values in whole.items()}
        rest = rest[size:]


def _parameters(product: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    parameters: dict[str, dict[str, Any]] = {}
    for key, words in product.items():
        if _is_parameter(key):
            values = [_plain(bare_integers(word)) for word in words]
            parameters[key] = {"values": values} if len(values) > 1 else {"value": values[0]}
    return parameters


def _not_parameters(product: Mapping[str, Sequence[str]]) -> list[str]:
    """Overrides with a sign, which W&B has no name for."""
    several = [f"{key}={','.join(values)}" for key, values in product.items() if not _is_parameter(key) and values[1:]]
    if several:
        raise InputError(f"{several[0]}: W&B can only sweep over keys that exist; leave out the sign, or the values")
    return [f"{key}={bare_integers(values[0])}" for key, values in product.items() if not _is_parameter(key)]


def _is_parameter(key: str) -> bool:
    return not key.startswith("+")


def _plain(text: str) -> int | float | str:
    """A value that comes back as `text` when an agent writes `key=value`.

    A number only where every way of writing it is the same number to Hydra; `null`, `true` and lists as text, since the
    agent would write None, True and its own idea of a list.
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and abs(number) < 2**53 and not (kind is float and float(text).is_integer()):
            return number
    return text


def _project(loggers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    places = set()
    for config in loggers:
        logger = build_logger(config)
        if not isinstance(logger, Wandb):
            raise InputError("logger: a sweep agent reports to W&B; leave out logger=csv or logger=none")
        places.add((("project", logger.project), ("entity", logger.entity or "")))
    if len(places) > 1:
        raise InputError("logger.project, logger.entity: one sweep is in one project")
    return {key: value for key, value in places.pop() if value}


def _n_jobs(sweep: Mapping[str, Any]) -> int:
    return math.prod(len(parameter.get("values", [None])) for parameter in sweep["parameters"].values())


def dump(sweep: Mapping[str, Any]) -> str:
    """The YAML of one sweep."""
    return yaml.safe_dump(dict(sweep), sort_keys=False, allow_unicode=True, width=120)


def _print(sweeps: Sequence[Mapping[str, Any]]) -> int:
    if len(sweeps) > 1:
        raise InputError(
            f"these jobs are {len(sweeps)} products of values, which W&B takes as {len(sweeps)} sweeps: "
            "say --output FILE"
        )
    print(dump(sweeps[0]), end="")
    return 0


def _files(output: Path, n: int) -> list[Path]:
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: {output.absolute().parent} is no folder")
    if n == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(1, n + 1)]


if __name__ == "__main__":
    sys.exit(main())
