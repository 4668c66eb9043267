"""What running jobs through ftcot costs beyond the jobs: `python -m bench.overhead [--rounds 3] [--jobs 50]`.

    launcher     `python -m ftcot.run` for one job, without its worker: to the worker's first line and from its last
    reused       the same for a job that is done already: no worker at all
    sweep        wall time of a sweep of tiny real jobs over the sum of its workers' wall times (joblib: two at once)
    many         a sweep of jobs that are all done already: composing a job, and all the rest of the command

Everything is measured in the same rounds, one after the other, so that a busy machine weighs on all of it alike; the
table gives medians. A worker's time is that of its process, from its creation to its end as the kernel sees them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.files import read_json, write_json
from ftcot.folder import fill, freeze
from ftcot.grid import expand, plan
from ftcot.hashes import FileHashes
from ftcot.jobs import JobIndex

ROOT = Path(__file__).resolve().parent.parent

JOB = ("logger=none", "trainer=cpu", "task.n_train=16", "task.n_test=8", "diversity=1", "student=tiny-0.2m")
JOB = (*JOB, "training.epochs=1", "training.truncation_limit=1", "evaluation.max_new_tokens=8")
"""Trains for a moment; its worker spends its time on importing torch."""

_CPUS = Path("/proc/cpuinfo")

TWO_AT_ONCE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


class Workers:
    """How long each worker process lived, in seconds."""

    def __init__(self, folder: Path) -> None:
        """Workers write the moment of their creation into `folder` (bench/clock/sitecustomize.py)."""
        self.folder = folder
        self.lived: list[float] = []
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for workers as long as this is open."""
        watching = threading.Thread(target=self._watch)
        watching.start()
        yield
        self._over.set()
        watching.join()

    def _watch(self) -> None:
        alive: dict[int, float] = {}
        ends = select.poll()
        while alive or not self._over.is_set():
            for path in self.folder.glob("[0-9]*"):
                handle = os.pidfd_open(int(path.name))
                alive[handle] = float(path.read_text())
                ends.register(handle, select.POLLIN)
                path.unlink()
            for handle, _ in ends.poll(50):
                self.lived.append(time.clock_gettime(time.CLOCK_BOOTTIME) - alive.pop(handle))
                ends.unregister(handle)
                os.close(handle)


class Bench:
    """A folder to run commands in, and what was measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: dict[str, list[float]] = {}

    def run(self, *words: str) -> tuple[float, list[float]]:
        """Run the command; returns its wall time, and those of its workers."""
        clock = self.folder / "clock"
        clock.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "bench" / "clock"), str(ROOT)]),
            "FTCOT_CACHE": str(self.folder / "cache"),
            "FTCOT_CLOCK": str(clock),
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, "-m", "ftcot.run", *words]
        workers = Workers(clock)
        with workers.watched():
            began = time.perf_counter()
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
            )
            wall = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"ftcot.run {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return wall, workers.lived

    def note(self, figure: str, value: float) -> None:
        """Keep a figure of this round."""
        self.figures.setdefault(figure, []).append(value)
        print(f"  {figure}: {value:.3f}", flush=True)

    # -- rounds --------------------------------------------------------------------------------------------------

    def one(self, number: int) -> None:
        """One job, new and then done already."""
        wall, workers = self.run(*JOB, f"seed={number}")
        self.note("launcher, seconds a new job", wall - sum(workers))
        wall, workers = self.run(*JOB, f"seed={number}")
        assert not workers
        self.note("launcher, seconds a reused job", wall)

    def sweep(self, number: int, n_jobs: int, name: str, at_once: int, *words: str) -> None:
        """A sweep of new jobs."""
        first = 1000 * (number + 1) * (10 if at_once > 1 else 1)
        wall, workers = self.run("-m", *JOB, f"seed=range({first},{first + n_jobs})", *words)
        assert len(workers) == n_jobs, f"{len(workers)} workers"
        self.note(f"sweep ({name}), seconds", wall)
        self.note(f"sweep ({name}), sum of its workers' seconds", sum(workers))
        self.note(f"sweep ({name}), cost in %", 100 * (at_once * wall / sum(workers) - 1))

    def many(self, words: Sequence[str], n_jobs: int) -> None:
        """A sweep of jobs that are all done."""
        composer = Composer(conf_dir())
        grid = expand(composer, words).jobs
        composer.job(grid[0])  # what all jobs share
        began, began_cpu = time.perf_counter(), time.process_time()
        for overrides in grid:
            composer.job(overrides)
        composing, composing_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        self.note("many, milliseconds to compose a job", 1000 * composing / n_jobs)
        before = os.times()
        wall, workers = self.run("-m", *words)
        after = os.times()
        assert not workers
        self.note("many, seconds beyond composing", wall - composing)
        cpu = sum(after[2:4]) - sum(before[2:4])  # of the children; a busy machine makes them wait, not work
        self.note("many, CPU seconds beyond composing", cpu - composing_cpu)
        shutil.rmtree(self.folder / "multirun")

    def options(self) -> None:
        """Composing where every job is another choice of options."""
        composer = Composer(conf_dir())
        grid = expand(composer, ["figure=diversity"]).jobs
        composer.job(grid[0])
        began = time.perf_counter()
        for overrides in grid[1:]:
            composer.job(overrides)
        self.note(
            "figure=diversity, milliseconds to compose a job", 1000 * (time.perf_counter() - began) / len(grid[1:])
        )

    def prepare(self, n_jobs: int) -> list[str]:
        """Make as many finished jobs as the sweep of `many` has, by copies of one that ran; returns its overrides."""
        words = [*JOB, f"paths.cache={self.folder / 'cache'}", f"seed=range(0,{n_jobs})"]
        self.run(*JOB, "seed=0", "hydra.run.dir=finished")
        home = self.folder / "finished"
        composer = Composer(conf_dir())
        checker = Checker(FileHashes(self.folder / "cache" / "hashes.json"))
        index = JobIndex(self.folder / "cache" / "jobs")
        for job in plan(composer, expand(composer, words).jobs, checker):
            folder = self.folder / "done" / job.name
            fill(home, folder)
            (folder / "status.json").unlink()
            freeze(folder, job.checked.config, job.checked.hash, durable=False)
            status = read_json(home / "status.json") | {"hash": job.checked.hash}
            write_json(folder / "status.json", status)
            index.write(job.checked.hash, folder, "complete", None)
        return words


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.overhead", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=50, help="of the sweeps; 0: no sweeps")
    parser.add_argument("--many", type=int, default=1000, help="jobs that are done already; 0: none")
    given = parser.parse_args()
    print(about())
    with tempfile.TemporaryDirectory(prefix="ftcot-bench-") as scratch:
        bench = Bench(Path(scratch))
        words = bench.prepare(given.many) if given.many else []
        steps: list[Callable[[int], None]] = [lambda number: bench.one(number + 100_000)]
        if given.many:
            steps += [lambda number: bench.many(words, given.many), lambda number: bench.options()]
        if given.jobs:
            steps += [lambda number: bench.sweep(number, given.jobs, "basic", 1)]
            steps += [lambda number: bench.sweep(number, given.jobs, "joblib", 2, *TWO_AT_ONCE)]
        for number in range(given.rounds):
            print(f"round {number + 1} of {given.rounds}", flush=True)
            for step in steps:
                step(number)
    print(f"\n| figure ({given.rounds} rounds) | median | lowest | highest |\n|---|---|---|---|")
    for figure, values in bench.figures.items():
        print(f"| {figure} | {median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")


def about() -> str:
    """The machine and the versions, in a line."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("hydra-core", "omegaconf", "torch", "joblib")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    models = [
        line.partition(":")[2].strip() for line in _CPUS.read_text().splitlines() if line.startswith("model name")
    ]
    machine = f"{models[0] if models else platform.machine()}, {cores} cores, load {load}"
    return f"{platform.system()}, {machine}; Python {platform.python_version()}, {', '.join(versions)}"


if __name__ == "__main__":
    main()
