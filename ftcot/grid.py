"""Which jobs a sweep asks for: from the words of the command line to the overrides of each job, and to checked jobs.

    task=svamp diversity=1,8 seed=0,1     [task=svamp diversity='1' seed=0], [task=svamp diversity='1' seed=1], ...
    figure=diversity student=gpt2         [method=fine_tune_cot student=gpt2 task=multiarith diversity='1' ...], ...

A figure is a list of grids (figures.py); figure_jobs.py says what a value given beside it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from omegaconf import DictConfig, OmegaConf

from ftcot import figures
from ftcot.axes import axes_of, product
from ftcot.checks import Checked, Checker
from ftcot.complaints import bare_integers
from ftcot.compose import Composer
from ftcot.errors import InputError
from ftcot.figure_jobs import in_full, jobs_of

OF_THE_SWEEP = ("on_error", "dry_run", "paths.cache")
"""Keys of a job's config that the sweep goes by."""


@dataclass(frozen=True)
class Expanded:
    """What a command line asks for."""

    master: DictConfig
    """The config of the sweep itself."""
    jobs: list[list[str]]
    """The overrides of each job."""
    figures: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The jobs of each figure, as places in `jobs`."""
    left_out: Sequence[str] = ()
    """Why some of the figures have no job."""


@dataclass(frozen=True)
class Planned:
    """One job of a sweep."""

    number: int
    overrides: tuple[str, ...]
    """Those that differ from job to job."""
    checked: Checked
    figures: tuple[str, ...] = ()
    """That it is of."""

    @property
    def name(self) -> str:
        """Of its folder in the sweep folder."""
        return f"{self.number}-{self.checked.hash[:8]}"


def expand(composer: Composer, overrides: Sequence[str]) -> Expanded:
    """What each job of a sweep is told.

    Differs from Hydra's BasicSweeper in two things: a value may name an integer option wherever it stands, and there
    are figures.

    Raises:
        InputError: an override is not valid, sweeps over what cannot be enumerated, or leaves nothing of a figure.
    """
    parsed = composer.parse(composer.quote(in_full(composer, overrides)))
    words = [word for word in parsed if word.key_or_group != "figure"]
    asked = [word for word in parsed if word.key_or_group == "figure"]
    ours = [word.input_line or "" for word in words if word.is_hydra_override() and not word.is_sweep_override()]
    params = OmegaConf.select(composer.compose(ours), "hydra.sweeper.params", throw_on_missing=False) or {}
    own = composer.parse(composer.quote([f"{key}={value}" for key, value in params.items()]))
    named = {word.get_key_element() for word in words}
    axes = axes_of(composer, [*(word for word in own if word.get_key_element() not in named), *words])
    if not asked:
        jobs = product(axes)
        return Expanded(_master(composer, ours, jobs), jobs)
    names = [word.partition("=")[2].strip("'\"") for words in axes_of(composer, asked).values() for word in words]
    found = {figure.name: figure for name in names for figure in figures.find(composer, name)}
    of, left_out = jobs_of(composer, list(found.values()), axes)
    places: dict[tuple[str, ...], int] = {}
    parts = {name: [places.setdefault(tuple(job), len(places)) for job in jobs] for name, jobs in of.items()}
    jobs = [list(job) for job in places]
    return Expanded(_master(composer, ours, jobs), jobs, parts, left_out)


def _master(composer: Composer, ours: Sequence[str], jobs: Sequence[Sequence[str]]) -> DictConfig:
    """The first job's config, with Hydra's own settings: what is the sweep's is the same in all of them.

    Not the config of what is given for every job, without its axes: `teacher.draw_order=random` may be there for the
    tasks of an axis, and not for the default one.
    """
    for key in OF_THE_SWEEP:
        said = dict.fromkeys(next((word for word in job if word.startswith(f"{key}=")), f"no {key}") for job in jobs)
        if len(said) > 1:
            raise InputError(f"{', '.join(said)}: a sweep has one {key} for all of its jobs")
    master = composer.compose([*jobs[0], *ours])
    for key in ("on_error", "paths"):
        if key not in master:  # ~on_error
            raise InputError(f"{key}: no job can do without it")
    return master


def plan(
    composer: Composer,
    grid: Sequence[Sequence[str]],
    checker: Checker,
    progress: Callable[[int, int], None] | None = None,
    figures: Mapping[str, Sequence[int]] | None = None,
) -> list[Planned]:
    """The jobs, checked, each hash once.

    Args:
        composer: of the tree.
        grid: the overrides of each job.
        checker: knows whether the jobs run on this machine.
        progress: called with (done, total) as work goes on.
        figures: which places in `grid` are of which figure.
    Raises:
        InputError: a job is refused; the line begins with what makes it different.
    """
    special = _telling(grid)
    of: dict[int, list[str]] = {}
    for name, places in (figures or {}).items():
        for place in dict.fromkeys(places):
            of.setdefault(place, []).append(name)
    jobs: dict[str, Planned] = {}
    for place, (overrides, words) in enumerate(zip(grid, special, strict=True)):
        try:
            checked = checker.check(composer.job(overrides))
        except InputError as error:
            said = any(str(error).startswith(word) for word in words) or not words
            raise InputError(str(error) if said else f"{' '.join(words)}: {error}") from error
        job = jobs.setdefault(checked.hash, Planned(len(jobs), words, checked))
        its = dict.fromkeys([*job.figures, *of.get(place, ())])
        jobs[checked.hash] = replace(job, figures=tuple(its))
        if progress is not None:
            progress(place + 1, len(grid))
    return list(jobs.values())


def _telling(grid: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The overrides that tell each job from the others.

    Grids of a figure set keys that others do not, as `task.n_steps=3` where the task has steps. Where it is the same
    wherever it is set, a job is known without it.
    """
    values: dict[str, set[str]] = {}
    for word in dict.fromkeys(word for job in grid for word in job):
        values.setdefault(word.partition("=")[0], set()).add(word)
    common = set.intersection(*(set(job) for job in grid))
    short = [tuple(word for word in job if len(values[word.partition("=")[0]]) > 1) for job in grid]
    full = [tuple(word for word in job if word not in common) for job in grid]
    parted = len(set(short)) == len(set(full))
    return [tuple(map(bare_integers, words)) for words in (short if parted else full)]


def by_figure(jobs: Sequence[Planned]) -> dict[str, tuple[str, ...]]:
    """The hashes of each figure's jobs."""
    names = dict.fromkeys(name for job in jobs for name in job.figures)
    return {name: tuple(job.checked.hash for job in jobs if name in job.figures) for name in names}
