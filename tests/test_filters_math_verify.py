"""Whatever is written as an answer, verdicts come, in order and in time."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ftcot.answers import Choice, Number, Text, YesNo
from ftcot.errors import InputError, JobError
from ftcot.filters import Context
from ftcot.filters.math_verify import MathVerify
from ftcot.filters.pool import VERIFIER, Pool
from ftcot.records import Completion, Sample
from ftcot.teacher import Session, no_progress
from tests.conftest import ROOT
from tests.test_filters import Asked

needs_math_verify = pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="extra [math]")

# A verifier of the tests' own: fast to start, and it does on demand what sympy does by accident.
FAKE = """
import json, os, signal, sys, time
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    gold, said = json.loads(line)
    if said == "hang":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            pass
    if said == "sleep":
        time.sleep(1000)
    if said == "die" or (said == "die once" and not os.path.exists(gold)):
        if said == "die once":
            open(gold, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if said == "half a line":
        sys.stdout.write('"equ')
        sys.stdout.flush()
        os._exit(1)
    print(json.dumps("failed" if said == "fail" else "equal" if gold == said else "different"), flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


@needs_math_verify
def test_values_are_compared() -> None:
    cases = [
        (("39", " 39."), "equal"),
        (("39", " $39"), "equal"),
        (("39", " \\boxed{39}"), "equal"),
        (("2,125", " 2125 dollars"), "equal"),
        (("3.6666666666666665", " 11/3"), "equal"),
        (("\\frac{1}{2}", " 0.5"), "equal"),
        (("39", " 41"), "different"),
        (("39", " I do not know"), "nothing"),
        (("39", ""), "nothing"),
    ]
    assert Pool().verify([pair for pair, _ in cases], no_progress) == [verdict for _, verdict in cases]


@needs_math_verify
def test_no_text_is_equal_by_accident_or_spoils_the_next() -> None:
    nested, torn = "(" * 3000 + "1" + ")" * 3000, "\\frac{" * 500
    texts = [nested, "9" * 100000, torn, "\ud800 \x00", "2" + "^2" * 40, "10000000!", "9^(9^(9^9))"]
    pairs = [pair for text in texts for pair in (("39", text), ("39", "39"))]
    found = Pool(seconds=1, processes=2).verify(pairs, no_progress)
    assert set(found[::2]) <= {None, "different", "nothing"}
    assert set(found[1::2]) == {"equal"}


def test_verdicts_come_in_order_and_hanging_dying_and_failing_items_have_none(fake: Path) -> None:
    said = ["1", "hang", "sleep", "2", "die", "1", "fail", "half a line", "1", "hang", "3"]
    found = Pool(seconds=0.5, patience=5, processes=3, program=fake).verify([("1", word) for word in said], no_progress)
    assert found == ["equal", None, None, "different", None, "equal", None, None, "equal", None, "different"]


def test_a_process_that_was_killed_costs_its_item_nothing(fake: Path, tmp_path: Path) -> None:
    gold = str(tmp_path / "died")
    found = Pool(processes=1, program=fake).verify([(gold, "die once"), ("1", "1")], no_progress)
    assert found == ["different", "equal"]


def test_killing_processes_from_outside_loses_nothing(fake: Path) -> None:
    pool = Pool(processes=2, program=fake)
    n, over = 3000, threading.Event()

    def kill() -> None:
        while not over.is_set():
            for worker in list(pool._workers)[:1]:
                worker.process.send_signal(signal.SIGKILL)
            time.sleep(0.2)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = pool.verify([(str(i), str(i)) for i in range(n)], no_progress)
    except JobError:
        pytest.skip("every process was killed before it was ready")
    finally:
        over.set()
        thread.join()
    assert set(found) <= {"equal", None}
    assert found.count(None) <= 2  # an item of which both processes were killed
    assert len(found) == n


def test_no_process_is_left_behind(fake: Path) -> None:
    pool = Pool(processes=2, program=fake)
    started: list[int] = []

    class Interrupted(BaseException):
        pass

    def interrupt(done: int, total: int, note: str = "") -> None:
        started.extend(worker.process.pid for worker in pool._workers)
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        pool.verify([("1", "1"), ("1", "2"), ("1", "hang"), ("1", "hang")], interrupt)
    assert started
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


@needs_math_verify
def test_processes_end_with_their_parent() -> None:
    code = textwrap.dedent("""
        import os
        from ftcot.filters.pool import Pool
        pool = Pool(seconds=600, processes=1)
        def report(done, total, note=""):
            if done == 1:
                print(pool._workers[0].process.pid, flush=True)
        pool.verify([("39", "39"), ("39", "9^(9^(9^9))")], report)
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split():
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process went on without its parent")


def test_a_verifier_that_does_not_start_ends_the_job_with_a_word(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    with pytest.raises(JobError, match=r"does not start \(exit code 3\)"):
        Pool(program=broken).verify([("1", "1")], no_progress)


def test_the_verifier_knows_nothing_of_torch_or_ftcot() -> None:
    text = VERIFIER.read_text(encoding="utf-8")
    assert "import torch" not in text
    assert "import ftcot" not in text
    assert "from ftcot" not in text


@pytest.mark.parametrize("answer", [Choice("ABC"), YesNo()])
def test_letters_and_words_are_left_to_the_rule_of_the_paper(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(InputError, match=r"compares numbers and formulas.*use curation.filter=answer"):
        MathVerify().check(Asked(answer), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [Number(), Text()])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'ftcot\[math\]'"):
        MathVerify().check(Asked(answer), None)  # type: ignore[arg-type]


@needs_math_verify
def test_the_filter_keeps_what_is_equal_and_counts_what_it_could_not_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [" 39.", " 78/2", " 41", " none", " 9^(9^(9^9))", None]
    completions = [
        Completion("t", 1, 0, draw, None, "r", answer_text=text, prediction="39") for draw, text in enumerate(said)
    ]
    samples = {("t", 1, 0): Sample("t", 1, 0, "q", "39", "train")}
    anything: Any = Asked(Number())
    nobody: Any = None
    monkeypatch.setattr("ftcot.filters.math_verify.Pool", lambda: Pool(seconds=1))
    found = MathVerify().verdicts(completions, samples, Context(anything, nobody, Session(nobody)))
    assert found.reasons == [None, None, "wrong answer", "no answer", "not verified", None]
    assert found.counts == {"not_verified": 1}
