"""How fast `teacher=api` asks a server: `python -m bench.api [--requests 20000] [--curator PYTHON]`.

    openai       the openai client alone, as its documentation has it, on the same transport (aiohttp)
    client       the same with what ftcot uses of it
    sender       the same load through ftcot's sender, whose replies go nowhere
    purchase     the same through all of it: a generated task, leases, a store on disk, one durable write a group
    memory       the resident set of one purchase when 10,000 are there, at its end, and at its largest
    curator      bespokelabs-curator on the same load, in an environment of its own

The server is a process of its own: 200 ms for a completion, 256 of them at once, hence 1,280 a second at best. Each
figure is that of a fresh process, which counts the CPU time of all its threads from the first request to the last.
More requests than the server makes at once may be on their way (--concurrency): while one is turned round, another
takes its place, as with any server that has a queue.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.overhead import about

ROOT = Path(__file__).resolve().parent.parent

LATENCY, SLOTS = 0.2, 256

IDEAL = SLOTS / LATENCY

EARLY = 10_000
"""Completions by which a purchase has all its connections, and everything imported."""

TEXT = (
    "Step {serial}. " + "The coin is heads up, then it is flipped, so that it is tails up. " * 4 + "The answer is yes."
)
"""Some 60 tokens, as rationales have."""


@contextmanager
def server() -> Iterator[str]:
    """The server's base URL."""
    options = json.dumps({"latency": LATENCY, "slots": SLOTS, "text": TEXT})
    command = [sys.executable, "-m", "tests.fault_server", options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Meter:
    """Wall and CPU time between two moments."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _cpu()

    def figures(self, n: int) -> dict[str, float]:
        """Of `n` requests."""
        wall, cpu = time.perf_counter() - self.wall, _cpu() - self.cpu
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"rate": n / wall, "of ideal": n / wall / IDEAL, "cpu ms": 1000 * cpu / n, "largest MiB": largest}


def resident() -> float:
    """MiB that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# -- what is measured, each in a process of its own ----------------------------------------------------------------


def openai_alone(url: str, n: int, concurrency: int, folder: Path) -> dict[str, float]:
    """The openai client as documented."""
    import asyncio

    import httpx2
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def load() -> dict[str, float]:
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        http = DefaultAioHttpClient(timeout=60.0, limits=limits)
        places = iter(range(n))
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as asked:

            async def slot() -> None:
                for place in places:
                    await asked.chat.completions.create(
                        model="model",
                        messages=[{"role": "user", "content": question(place)}],
                        max_tokens=128,
                        temperature=0.7,
                    )

            meter = Meter()
            await asyncio.gather(*(slot() for _ in range(concurrency)))
            return meter.figures(n)

    return asyncio.run(load())


def client(url: str, n: int, concurrency: int, folder: Path) -> dict[str, float]:
    """What ftcot uses of the openai client."""
    import asyncio

    from ftcot.teacher.address import Address
    from ftcot.teacher.client import Client

    async def load() -> dict[str, float]:
        address = Address(url, "none")
        asked = Client([address], at_once=concurrency, timeout=60.0)
        places = iter(range(n))

        async def slot() -> None:
            for place in places:
                body = {"model": "model", "messages": [{"role": "user", "content": question(place)}]}
                json.loads((await asked.post(address, "/chat/completions", body | {"max_tokens": 128})).content)

        meter = Meter()
        await asyncio.gather(*(slot() for _ in range(concurrency)))
        figures = meter.figures(n)
        await asked.close()
        return figures

    return asyncio.run(load())


def question(place: int) -> str:
    """As long as one of the task."""
    return f"A coin is heads up. {'Somebody flips the coin. Somebody does not flip the coin. ' * 2}Question {place}?"


def sender(url: str, n: int, concurrency: int, folder: Path) -> dict[str, float]:
    """ftcot's client alone."""
    from ftcot.teacher.api import Api
    from ftcot.teacher.asks import Ask, Decoding, Reply, Turn

    class Nobody:
        folder = Path()

        def stopping(self) -> bool:
            return False

        def abandon(self, ask: Ask, cause: str) -> None:
            sys.exit(cause)

        def say(self, line: str) -> None:
            print(line, file=sys.stderr)

        def note(self, words: str) -> None:
            pass

    def deliver(replies: Sequence[Reply]) -> list[Ask]:
        return []

    asks = (Ask(("task", 1, place), (0,), (Turn("user", question(place)),), Decoding(0.7, 128)) for place in range(n))
    import openai  # its second to load is no request's

    backend = Api(model="model", base_url=url, concurrency=concurrency).backend()
    meter = Meter()
    backend.run(asks, deliver, Nobody())
    assert openai
    return meter.figures(n)


def purchase(url: str, n: int, concurrency: int, folder: Path) -> dict[str, float]:
    """All of it: n draws of a task of a thousand questions, each a request."""
    import openai

    from ftcot.teacher import Diversity, Session
    from ftcot.teacher.api import Api
    from ftcot.teacher.orders import Rationales
    from ftcot.teacher.prompting import Prompting
    from ftcot.teacher.purchase import Purchase
    from ftcot.teacher.store import CompletionStore
    from tests.generated_tasks import build

    task = build("coin_flip", n_train=1000, n_test=4)
    samples = task.splits().train
    asked = Api(model="model", base_url=url, concurrency=concurrency, n=1, prompting=Prompting(style="single_call"))
    order = Rationales(asked, task, samples, Diversity(n // len(samples), 0.7))
    early: list[float] = []

    def look(done: int, total: int, note: str = "") -> None:
        if done >= EARLY and not early:
            early.append(resident())

    meter = Meter()
    Purchase(order, Session(CompletionStore(folder), look)).run()
    assert openai
    return meter.figures(n) | {"MiB at 10,000": early[0] if early else resident(), "at the end": resident()}


MEASURED = {"openai": openai_alone, "client": client, "sender": sender, "purchase": purchase}


# -- side by side --------------------------------------------------------------------------------------------------


def measure(name: str, url: str, n: int, concurrency: int) -> dict[str, float]:
    """A figure, of a fresh process in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ftcot-bench-"))
    try:
        command = [sys.executable, "-m", "bench.api", "--one", name, "--url", url, "--requests", str(n)]
        return run([*command, "--concurrency", str(concurrency), "--folder", str(folder)])
    finally:
        shutil.rmtree(folder)


def run(command: Sequence[str], **environment: str) -> dict[str, float]:
    """The JSON of a command's last line."""
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def curator(python: Path, url: str, n: int) -> dict[str, float]:
    """The same load through curator."""
    with tempfile.TemporaryDirectory(prefix="ftcot-bench-") as folder:
        command = [str(python), str(ROOT / "bench" / "curator_load.py"), url, str(n), str(SLOTS)]
        return run(command, CURATOR_CACHE_DIR=folder, HF_HOME=folder, TELEMETRY_ENABLED="0")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.api", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=SLOTS + 64)
    parser.add_argument("--memory", type=int, default=100_000, help="draws of the long purchase; 0: none")
    parser.add_argument("--curator", type=Path, help="python of an environment that has bespokelabs-curator")
    parser.add_argument("--curator-requests", type=int, default=2_000)
    parser.add_argument("--one", choices=sorted(MEASURED), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(MEASURED[given.one](given.url, given.requests, given.concurrency, given.folder)))
        return
    print(about())
    print(f"ideal {IDEAL:.0f} requests a second; {given.requests} requests, {given.concurrency} on their way at most")
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", flush=True)
        for name in MEASURED:
            with server() as url:
                tell(name, given.requests, measure(name, url, given.requests, given.concurrency))
    if given.memory:
        with server() as url:
            tell("purchase", given.memory, measure("purchase", url, given.memory, given.concurrency))
    if given.curator is None or not given.curator.exists():
        print("curator: left out; --curator=PYTHON names an environment that has it (pip install bespokelabs-curator)")
        return
    for name in ("purchase", "curator"):
        n = given.curator_requests
        with server() as url:
            figures = curator(given.curator, url, n) if name == "curator" else measure(name, url, n, given.concurrency)
        tell(name, n, figures)


def tell(name: str, n: int, figures: dict[str, Any]) -> None:
    """A line of the result."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    words = ", ".join(f"{key} {value:.3f}" if value < 10 else f"{key} {value:.0f}" for key, value in figures.items())
    print(f"  {name} ({n}): {words}  [load {load}]", flush=True)


if __name__ == "__main__":
    main()
