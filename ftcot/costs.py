"""What jobs would take: tokens, time on their devices, and until all are done.

Cost(tokens=5.1M to train, 86k of at most 1.8M to generate, seconds=4120 on 1 device, "3 earlier runs")

seconds = start-up + epochs x tokens of the pairs / tokens a second + tokens of the answers / tokens a second
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from ftcot import hardware, published
from ftcot.checks import Checker
from ftcot.devices import n_threads, ranks_here, uses_gpus
from ftcot.expected import CHARACTERS, Asked, Expecting, Work
from ftcot.nodes import here
from ftcot.probing import Probes, Request, probe
from ftcot.running import progress_bar
from ftcot.speeds import NEVER_ENDS, Answers, Earlier, Speed, Use, read_earlier
from ftcot.student.checkpoint import has_config
from ftcot.student.specs import Pretrained

TASKS = 6
"""Whose texts one student is timed on, at most."""


@dataclass(frozen=True)
class Sharing:
    """How the jobs of a command run."""

    side_by_side: int | None = 1
    """On this machine; None: as a cluster has room."""
    slots: bool = True
    """A sweep gives each its part of the machine; a job alone has all of it."""
    local: bool = True
    """They run here."""
    probes: bool = True
    """Students that nothing is known of may be timed."""


@dataclass(frozen=True)
class Cost:
    """What one job would take."""

    job: Asked
    work: Work
    device: str
    is_new: bool
    """The paper has no such cell."""
    pairs: float = 0.0
    supervised: float = 0.0
    """Tokens to train on, over all epochs."""
    generated: float = 0.0
    """New tokens of all tests, expected."""
    seconds: float | None = 0.0
    """None: not known."""
    ranks: int = 1
    source: str = ""
    """Where the speed is from; why it is not known."""

    @property
    def device_seconds(self) -> float:
        """Of all its devices; 0 where that is not known."""
        return (self.seconds or 0.0) * self.ranks


@dataclass
class _Known:
    """Speeds, and why some are not known."""

    earlier: Earlier
    probes: dict[Use, Speed] = field(default_factory=dict)
    why: dict[Use, str] = field(default_factory=dict)
    same: dict[Use, Use] = field(default_factory=dict)
    """Students that are not trained, as they are timed where they are."""


@dataclass(frozen=True)
class _Job:
    asked: Asked
    work: Work
    use: Use
    alone: Use
    """The same on one device, as a probe times it."""
    ranks: int
    environment: Mapping[str, str]


class Costs:
    """Tells what jobs would take."""

    def __init__(self, console: Console, checker: Checker, sharing: Sharing) -> None:
        self.console, self.checker, self.sharing = console, checker, sharing
        self.unkept: str | None = None
        """Why a probe could not be kept for the next time."""

    def of(self, asked: Sequence[Asked]) -> list[Cost]:
        """The cost of each job; students that nothing is known of are timed first, where that is wanted.

        Raises:
            InputError: a recording, the store, or what an earlier attempt left is damaged.
        """
        expecting = Expecting(self.checker)
        with progress_bar(self.console, "counting") as report:
            jobs = []
            for number, job in enumerate(asked, start=1):
                jobs.append(self._job(job, expecting.work(job)))
                report(number, len(asked))
        if not jobs:
            return []
        cache = asked[0].checked.job.cache
        known = _Known(read_earlier(cache / "jobs", {job.use.name for job in jobs}))
        self._time([job for job in jobs if job.work.tests and not _is_known(job, known)], known, cache)
        return [_cost(job, known) for job in jobs]

    def _job(self, asked: Asked, work: Work) -> _Job:
        config, job = asked.checked.config, asked.checked.job
        trainer, trains = config["trainer"], job.method.trains
        if not self.sharing.local:  # whatever earlier runs were made on
            use = Use.of(config, "", trains=trains)
            return _Job(asked, work, use, use, max(1, int(trainer.get("num_nodes", 1))), {})
        ranks, needed = here(trainer).world, ranks_here(trainer)
        threads: int | None = None
        if self.sharing.slots:
            threads = n_threads(config["devices"], self.sharing.side_by_side or 1, needed)
        environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        if uses_gpus(str(trainer.get("accelerator", "auto"))) and config["devices"]["gpus"] != "auto":
            environment["CUDA_VISIBLE_DEVICES"] = str(config["devices"]["gpus"][0])
        use = Use.of(config, hardware.describe(trainer, ranks, threads), trains=trains)
        alone = replace(use, device=hardware.describe(trainer, 1, threads))
        return _Job(asked, work, use, alone, ranks, environment)

    def _time(self, jobs: Sequence[_Job], known: _Known, cache: Path) -> None:
        """See to it that the speeds these jobs lack are known, as far as they can be."""
        kept = Probes(cache / "probes.json")
        requests: dict[Use, Request] = {}
        jobs = sorted(jobs, key=lambda job: not job.use.training)  # how fast it answers is told by the way
        for job in jobs:
            if not job.use.training and (same := [use for use in requests if use.tested == job.alone.tested]):
                known.same[job.alone] = same[0]
                continue
            if job.alone in known.probes or job.alone in requests or job.alone in known.why:
                continue
            if not self.sharing.local:
                known.why[job.alone] = "no earlier run"
            elif (speed := kept.find(job.alone)) is not None:
                known.probes[job.alone] = speed
            elif not self.sharing.probes:
                known.why[job.alone] = "no earlier run, and no probe (dry_run=true makes one)"
            elif (lack := self.checker.missing.get(job.use.name)) is not None and not _has_config(job):
                known.why[job.alone] = lack
            else:
                requests[job.alone] = _request(job, jobs)
        asked = list(requests.values())
        if not asked:
            return
        with progress_bar(self.console, "timing students") as report:
            report(0, len(asked), asked[0].use.name)

            def told(number: int, answer: Speed | str) -> None:
                use = asked[number].use
                if isinstance(answer, str):
                    known.why[use] = answer
                else:
                    known.probes[use] = answer
                    kept.add(use, answer)
                report(number + 1, len(asked), asked[number + 1].use.name if number + 1 < len(asked) else "")

            probe(asked, told)
        self.unkept = kept.unkept


def _has_config(job: _Job) -> bool:
    """Whether a student whose weights cannot be had can be timed with others."""
    spec = job.asked.checked.job.student
    return isinstance(spec, Pretrained) and bool(spec.checkpoint) and has_config(str(spec.checkpoint), spec.revision)


def _is_known(job: _Job, known: _Known) -> bool:
    speed = _earlier(job, known)[0]
    return speed.decode is not None and (speed.train is not None or not job.work.epochs)


def _earlier(job: _Job, known: _Known) -> tuple[Speed, int]:
    use = job.use
    if use.device == "":  # a cluster: as on the machine where such a job ran last
        alike = [run.use for run in known.earlier.runs if replace(run.use, device="", batch=use.batch) == use]
        use = replace(use, device=alike[0].device) if alike else use
    return known.earlier.speed(use)


def _request(job: _Job, jobs: Sequence[_Job]) -> Request:
    """A request to time a job's student on texts of all tasks that it is to learn here."""
    texts: dict[str, Sequence[tuple[str, str]]] = {}
    for other in jobs:
        if other.alone == job.alone and other.work.pairs.shown and len(texts) < TASKS:
            texts.setdefault(other.asked.checked.job.task.name, other.work.pairs.shown)
    return Request(job.alone, job.asked.checked.config, texts, job.work.prompts, job.environment)


def _cost(job: _Job, known: _Known) -> Cost:
    work, asked = job.work, job.asked
    found, n_runs = _earlier(job, known)
    alone = known.same.get(job.alone, job.alone)
    timed = known.probes.get(alone, Speed())
    density = _density(asked.checked.job.task.name, found, timed)
    pairs = work.pairs
    answers = _answers(job, known.earlier, density)
    generated = work.tests * work.questions * work.calls * answers.tokens
    cost = Cost(
        job=asked,
        work=work,
        device=job.use.device,
        is_new=is_new(asked),
        pairs=pairs.n,
        supervised=work.epochs * (pairs.targets * density + pairs.n),  # an end-of-text token each
        generated=min(generated, work.most_new_tokens),
        ranks=job.ranks,
    )
    if not work.tests:
        return cost
    train = found.train or (timed.train and timed.train * job.ranks)
    decode = found.decode or (timed.decode and timed.decode * job.ranks)
    if decode is None or (work.epochs and train is None):
        return replace(cost, seconds=None, source=f"not known: {known.why.get(alone, 'no speed')}")
    seconds = found.startup or timed.startup
    if train is not None:
        seconds += work.epochs * pairs.characters * density / train
    seconds += generated / decode * (1 - found.overlap)
    source = f"{n_runs} earlier run{'s' * (n_runs > 1)}" if found.decode and (found.train or not train) else "a probe"
    return replace(cost, seconds=seconds, source=source)


def _density(task: str, *speeds: Speed) -> float:
    """Tokens a character: of this task, else of others, else a rule of thumb."""
    for speed in speeds:
        if task in speed.density:
            return speed.density[task]
    everything = [density for speed in speeds for density in speed.density.values()]
    return sum(everything) / len(everything) if everything else 1 / CHARACTERS


def _answers(job: _Job, earlier: Earlier, density: float) -> Answers:
    """How long its answers will be: as they were, or as what it is trained to say; of a student that is not trained, as
    long as they may be."""
    work, built = job.work, job.asked.checked.job
    known = earlier.answers(job.use, built.task.name, built.method.name, work.limit)
    if known is not None:
        return known
    if not built.method.trains:
        return Answers(work.limit, 1.0)
    target = min(work.limit, work.pairs.targets * density / work.pairs.n + 1 if work.pairs.n else work.limit)
    return Answers((1 - NEVER_ENDS) * target + NEVER_ENDS * work.limit, NEVER_ENDS)


def is_new(asked: Asked) -> bool:
    """Whether the paper, though it has the task, has no such cell."""
    job, config = asked.checked.job, asked.checked.config
    if not str(config["task"]["_target_"]).endswith(".PaperTask"):
        return False  # a user's file may have any name
    return published.is_new(
        task=job.task.name,
        method=job.method.name,
        student=job.student.name,
        degree=job.diversity.degree if job.needs_teacher else None,
        greedy=job.diversity.temperature == 0,
        train_size=len(asked.checked.splits.train) if job.method.trains else None,
        teacher=job.teacher.name if job.needs_teacher else None,
        split=str(config["task"]["split"]),
    )
