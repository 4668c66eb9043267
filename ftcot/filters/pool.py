"""Processes that can be killed, for work that may never end.

    [("39", " 39."), ("39", " 9^(9^(9^9))"), ("39", " 41")]    ->    ["equal", None, "different"]

Each process works on one item, whose time is watched from outside: no alarm, no thread and no good will of the library
is needed. One that takes too long is killed with SIGKILL and replaced. What counts is time of the processor, so that a
busy machine gives the verdicts of an idle one. A process that dies of itself (out of memory, or a person killed it) is
replaced, and its item is tried once more.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ftcot.errors import JobError
from ftcot.teacher import Progress

VERIFIER = Path(__file__).parent / "verifier.py"

WORTH_A_PROCESS = 100
"""Items that a process more should have to do: it takes half a second to start."""

Pair = tuple[str, str]
"""(gold, what was said)."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    deadline: float
    """When to look at it, at the latest."""
    began: float = 0.0
    """Its item, by the clock; and by the processor."""
    busy_before: float = 0.0
    item: int | None = None
    """Its place in the list; None: it is starting, or has nothing to do."""
    ready: bool = False
    late: bool = False
    """It was killed because it took too long."""
    said: bytes = b""


@dataclass
class Pool:
    """Verifies pairs, a deadline for each."""

    seconds: float = 5.0
    """Of a processor, for one pair."""
    patience: float = 120.0
    """Seconds by the clock for one pair, however little of them it was given."""
    starting: float = 120.0
    """Seconds for a process to be ready."""
    processes: int | None = None
    """None: one for each core, as far as they have enough to do."""
    program: Path = VERIFIER
    _workers: list[_Worker] = field(default_factory=list)

    def verify(self, pairs: Sequence[Pair], progress: Progress) -> list[str | None]:
        """What the verifier says of each pair, in order; None of those that it could not be made to say anything of.

        Raises:
            JobError: the processes do not start.
        """
        results: list[str | None] = [None] * len(pairs)
        waiting = deque(range(len(pairs)))
        tried = [0] * len(pairs)
        done = 0
        with self._running(min(self._wanted(len(pairs)), len(pairs))):
            while done < len(pairs):
                for worker in self._workers:
                    if worker.ready and worker.item is None and waiting:
                        worker.item = waiting.popleft()
                        tried[worker.item] += 1
                        self._give(worker, pairs[worker.item])
                for worker in self._heard():
                    if worker.process.returncode is not None and worker.item is None:
                        self._replace(worker, worker.ready)
                    elif worker.process.returncode is not None and worker.item is not None:
                        again = not worker.late and tried[worker.item] < 2
                        if again:
                            waiting.append(worker.item)
                        done += not again
                        self._replace(worker, True)
                    elif worker.item is not None and (verdict := _line(worker)) is not None:
                        results[worker.item] = None if verdict == "failed" else verdict
                        worker.item = None
                        done += 1
                    elif not worker.ready and _line(worker) is not None:
                        worker.ready = True
                progress(done, len(pairs))
        return results

    def _wanted(self, n: int) -> int:
        if self.processes is not None:
            return self.processes
        return max(1, min(len(os.sched_getaffinity(0)), n // WORTH_A_PROCESS))

    @contextmanager
    def _running(self, n: int) -> Iterator[None]:
        try:
            self._workers = [self._start() for _ in range(n)]
            yield
        finally:  # whatever it was that ended the work
            for worker in self._workers:
                _end(worker)
            self._workers = []

    def _start(self) -> _Worker:
        # -P: the folder of the program is no place to import from.
        command = [sys.executable, "-P", str(self.program), str(os.getpid())]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet
        )
        return _Worker(process, time.monotonic() + self.starting)

    def _replace(self, worker: _Worker, has_worked: bool) -> None:
        _end(worker)
        if not has_worked:
            raise JobError(
                f"curation.filter=math_verify: its process does not start (exit code {worker.process.returncode}); "
                f"see what `{sys.executable} -c 'import math_verify'` says"
            )
        self._workers[self._workers.index(worker)] = self._start()

    def _give(self, worker: _Worker, pair: Pair) -> None:
        worker.began, worker.busy_before = time.monotonic(), _processor_seconds(worker.process.pid)
        worker.deadline = worker.began + self.seconds
        assert worker.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, which its output tells too
            worker.process.stdin.write(json.dumps(pair).encode() + b"\n")
            worker.process.stdin.flush()

    def _heard(self) -> list[_Worker]:
        """The workers that said a line, ended, or were killed because their time is up; waits for one."""
        busy = [worker for worker in self._workers if worker.item is not None or not worker.ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            until = min(worker.deadline for worker in busy)
            events = selector.select(max(0.0, until - time.monotonic()))
        heard = []
        for key, _ in events:
            worker = key.data
            chunk = os.read(worker.process.stdout.fileno(), 65536)
            worker.said += chunk
            if not chunk:
                _end(worker)
            if not chunk or b"\n" in worker.said:
                heard.append(worker)
        now = time.monotonic()
        for worker in busy:
            if worker not in heard and now >= worker.deadline and self._is_late(worker, now):
                worker.late = True
                _end(worker)
                heard.append(worker)
        return heard

    def _is_late(self, worker: _Worker, now: float) -> bool:
        """Whether it has had its time; if not, it is looked at again when it may have."""
        if worker.item is None:
            return True
        used = _processor_seconds(worker.process.pid) - worker.busy_before
        worker.deadline = min(now + max(self.seconds - used, 0.01), worker.began + self.patience)
        return used >= self.seconds or now >= worker.began + self.patience


def _processor_seconds(pid: int) -> float:
    """What the process has used so far; 0 where the system does not tell (then the clock alone counts)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _line(worker: _Worker) -> str | None:
    """The line it has said, taken out; None: none is complete."""
    line, newline, rest = worker.said.partition(b"\n")
    if not newline:
        return None
    worker.said = rest
    return str(json.loads(line))


def _end(worker: _Worker) -> None:
    """Kill it, if it lives, and clear up what is left."""
    worker.process.kill()
    worker.process.wait()
    for pipe in (worker.process.stdin, worker.process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):  # what it was not told any more
            pipe.close()
