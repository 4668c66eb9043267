"""kill -9 at any moment: what is durable is never bought again, and nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ftcot.records import SampleKey
from ftcot.teacher import Diversity
from ftcot.teacher.asks import seed_of
from ftcot.teacher.store import CompletionStore
from tests.api_job import DEGREE, TASK, teacher
from tests.conftest import ROOT
from tests.fault_server import Serving, serving

FAULTS = {"error500": 0.05, "reset": 0.05, "half": 0.05, "garbage": 0.05}


def start(store: Path, server: Serving) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.api_job", str(store), server.url]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def stored(root: Path) -> dict[tuple[SampleKey, int], str]:
    """What is durable, as a process opens it that knows nothing of the others."""
    asked, diversity = teacher("http://127.0.0.1:1/v1"), Diversity(DEGREE, 0.7)
    samples = TASK.splits().train
    said = asked.prompting.first(TASK, samples)
    prompts = {sample.key: turns[0].text for sample, turns in zip(samples, said, strict=True)}
    found = CompletionStore(root).get(asked.name, asked.parameters(TASK, diversity), prompts, DEGREE)
    return {draw: completion.rationale for draw, completion in found.items()}


def sold(server: Serving) -> Counter[int]:
    """How often each draw was sold, by its seed."""
    counts: Counter[int] = Counter()
    for sale, n in dict(server.state.sales).items():
        counts[int(sale.split("/")[1])] += n
    return counts


@pytest.mark.slow
def test_killed_five_times_nothing_durable_is_bought_again(tmp_path: Path) -> None:
    chance = random.Random(0)
    with serving(rates=FAULTS, seed=4, latency=0.25) as server:
        durable: dict[tuple[SampleKey, int], tuple[str, int]] = {}
        for _ in range(5):
            before, more = server.state.sold, chance.randint(1, 100)
            with start(tmp_path, server) as job:
                while server.state.sold < before + more:
                    assert job.poll() is None
                    time.sleep(0.001)
                job.kill()
            time.sleep(0.3)  # what was being made is sold, or the connection found gone
            counts = sold(server)
            for draw, text in stored(tmp_path).items():
                seed = seed_of(0, *draw, "rationale")
                assert seed is not None
                assert durable.setdefault(draw, (text, counts[seed]))[0] == text
        assert 0 < len(durable) < 600
        with start(tmp_path, server) as job:
            assert job.communicate(timeout=120)[0] == "600\n"
        counts = sold(server)
    complete = stored(tmp_path)
    assert len(complete) == len(set(complete.values())) == 600
    for draw, (text, count) in durable.items():
        seed = seed_of(0, *draw, "rationale")
        assert seed is not None
        assert (complete[draw], counts[seed]) == (text, count)
