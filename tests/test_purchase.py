"""Buying: nothing twice, nothing lost, nothing beyond the budget, whatever goes wrong in between."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.errors import JobError, cause_of
from ftcot.records import Completion, Sample
from ftcot.stop import Stop
from ftcot.teacher import Diversity, Session, no_progress, purchase
from ftcot.teacher.asks import REFUSED, TOO_LONG, Ask, Reply
from ftcot.teacher.budget import Budget, Tokens
from ftcot.teacher.leases import Leases
from ftcot.teacher.orders import Rationales
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.purchase import Purchase
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.store_writer import Writer
from tests.conftest import ROOT
from tests.generated_tasks import build
from tests.scripted_backend import Script, Scripted, plain

TASK = build("coin_flip", n_flips=2, n_train=8, n_test=4)
SAMPLES = TASK.splits().train
TWO, FOUR, GREEDY = Diversity(2, 0.7), Diversity(4, 0.7), Diversity(1, 0.0)
SINGLE = Prompting(style="single_call")


class Killed(BaseException):
    """What kill -9 is to the process: nothing after it runs."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purchase, "POLL", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "completions")


def again(store: CompletionStore) -> CompletionStore:
    """The store as another process opens it."""
    return CompletionStore(store.root)


def complete(
    store: CompletionStore, script: Script, diversity: Diversity = TWO, n: int = 4, **teacher: Any
) -> list[Completion]:
    asked = Scripted(model="m", script=script, **teacher)
    return asked.complete(TASK, SAMPLES[:n], diversity, Session(store))


def all_of(n: int, degree: int) -> list[tuple[Any, int]]:
    return [(sample.key, draw) for sample in SAMPLES[:n] for draw in range(degree)]


# What is asked and what is kept


def test_two_calls_give_one_completion(store: CompletionStore) -> None:
    script = Script()
    first, second = complete(store, script, n=1, prices={"input": 1.0, "output": 10.0})
    prompt = f"Q: {SAMPLES[0].question}\nA: Let's think step by step."
    assert [(ask.part, ask.draws, ask.text) for ask in script.asked] == [
        ("rationale", (0, 1), prompt),
        ("answer", (0,), f"{prompt} Step 0 leads there. The answer is yes.\nTherefore, the answer is"),
        ("answer", (1,), f"{prompt} Step 1 leads there. The answer is yes.\nTherefore, the answer is"),
    ]
    assert script.asked[0].decoding.temperature == 0.7
    assert script.asked[1].decoding == replace(script.asked[1].decoding, temperature=0.0, top_p=1.0, max_tokens=128)
    n = len(prompt.split())
    assert first == Completion(
        task=TASK.name,
        version=1,
        sample_index=SAMPLES[0].sample_index,
        draw=0,
        prompt=prompt,
        rationale=" Step 0 leads there. The answer is yes.",
        answer_prompt="\nTherefore, the answer is",
        answer_text=" yes.",
        finish_reason="stop",
        usage={"prompt": n + n + 8 + 4, "completion": 8 + 1},
        teacher=first.teacher,
        cost_usd=(n + 80) / 1e6 + (n + 12 + 10) / 1e6,
    )
    assert {"name": "m", "model": "m-1", "server": "script 1", "temperature": 0.7}.items() <= first.teacher.items()
    assert (second.draw, second.rationale) == (1, " Step 1 leads there. The answer is yes.")


def test_each_row_of_the_store_says_what_its_own_call_cost(store: CompletionStore) -> None:
    complete(store, Script(), GREEDY, n=1, prices={"input": 1.0, "output": 10.0})
    n = len(f"Q: {SAMPLES[0].question}\nA: Let's think step by step.".split())
    rationale, whole = sorted(store.scan("m"), key=lambda row: row.completion.answer_text is not None)
    assert rationale.paid is not None
    assert whole.paid is not None
    assert rationale.paid[:2] == (n, 8)
    assert whole.paid[:2] == (n + 8 + 4, 1)
    assert rationale.completion.answer_text is None
    assert rationale.completion.raw == {"said": " Step 0 leads there. The answer is yes."}
    assert whole.completion.raw == {"said": " yes."}
    spent = store.spent("m", 0.0)
    assert (spent.prompt, spent.completion) == (2 * n + 12, 9)
    assert spent.usd == pytest.approx(rationale.paid.usd + whole.paid.usd)  # type: ignore[operator]


def test_a_single_call_is_taken_apart_at_its_marker(store: CompletionStore) -> None:
    script = Script(
        lambda ask, draw: Reply(ask, draw, "<think>heads, tails</think>\nTwo flips.\nThe answer is yes.\nBye!", "stop")
    )
    (said,) = complete(store, script, GREEDY, n=1, prompting=SINGLE)
    assert (said.thinking, said.rationale) == ("heads, tails", "\nTwo flips.\n")
    assert (said.answer_prompt, said.answer_text) == ("The answer is", " yes.")
    assert [ask.part for ask in script.asked] == ["rationale"]


def test_what_the_server_keeps_apart_is_the_thinking(store: CompletionStore) -> None:
    script = Script(lambda ask, draw: replace(plain(ask, draw), thinking=f"hm, {ask.part}"))
    (said,) = complete(store, script, GREEDY, n=1)
    assert said.thinking == "hm, rationale\n\nhm, answer"
    assert said.rationale == " Step 0 leads there. The answer is yes."


def test_a_thought_that_was_cut_off_is_a_failure_that_is_not_followed_up(store: CompletionStore) -> None:
    script = Script(lambda ask, draw: Reply(ask, draw, "<think>let me see, heads and", "length"))
    (said,) = complete(store, script, GREEDY, n=1)
    assert (said.rationale, said.thinking) == ("", "let me see, heads and")
    assert (said.finish_reason, said.answer_text) == ("length", None)
    assert complete(again(store), script, GREEDY, n=1) == [said]
    assert len(script.asked) == 1


@pytest.mark.parametrize("speaks", [True, False], ids=["chat", "completions"])
def test_an_empty_rationale_is_followed_up_only_where_a_model_continues_text(
    store: CompletionStore, speaks: bool
) -> None:
    script = Script(lambda ask, draw: replace(plain(ask, draw), text="" if ask.part == "rationale" else " no."))
    (said,) = complete(store, script, GREEDY, n=1, speaks=speaks)
    assert said.answer_text == (None if speaks else " no.")


def test_a_rationale_that_was_cut_says_so_in_the_whole(store: CompletionStore) -> None:
    script = Script(
        lambda ask, draw: replace(plain(ask, draw), finish_reason="length" if ask.part == "rationale" else "stop")
    )
    (said,) = complete(store, script, GREEDY, n=1)
    assert (said.finish_reason, said.answer_text) == ("length", " yes.")


@pytest.mark.parametrize("finish", [REFUSED, TOO_LONG])
@pytest.mark.parametrize("part", ["rationale", "answer"])
def test_a_failure_is_recorded_and_never_asked_again(store: CompletionStore, finish: str, part: str) -> None:
    def reply(ask: Ask, draw: int) -> Reply:
        failed = ask.part == part and ask.sample == SAMPLES[0].key
        return Reply(ask, draw, "", finish, raw={"error": "no"}) if failed else plain(ask, draw)

    script = Script(reply)
    teacher = Scripted(model="m", script=script)
    said = teacher.complete(TASK, SAMPLES[:2], GREEDY, Session(store))
    assert [(row.finish_reason, row.answer_text) for row in said] == [(finish, None), ("stop", " yes.")]
    correct = TASK.splits().train[1].answer.lower() == "yes"
    assert teacher.accuracy(TASK, TASK.splits(), said) == (0.5 if correct else 0.0)
    n = len(script.asked)
    assert teacher.complete(TASK, SAMPLES[:2], GREEDY, Session(again(store))) == said
    assert len(script.asked) == n


def test_without_a_price_nothing_is_said_of_money(store: CompletionStore) -> None:
    notes: list[tuple[int, int, str]] = []
    teacher = Scripted(model="m", script=Script())
    said = teacher.complete(TASK, SAMPLES[:1], GREEDY, Session(store, lambda *told: notes.append(told)))
    assert said[0].cost_usd is None
    assert teacher.cost(said) is None
    assert store.spent("m", 0.0).unpriced == 2
    assert notes[0] == (0, 1, "")
    assert notes[-1] == (1, 1, f"{sum((said[0].usage or {}).values())} tokens")


def test_the_progress_says_what_it_costs(store: CompletionStore) -> None:
    notes: list[str] = []
    script = Script(lambda ask, draw: replace(plain(ask, draw), usage={"prompt": 100_000, "completion": 5_000}))
    complete_with = Scripted(model="m", script=script, prices={"input": 1.0, "output": 10.0})
    complete_with.complete(TASK, SAMPLES[:2], GREEDY, Session(store, lambda done, total, note="": notes.append(note)))
    assert notes == ["", "$0.15, 105k tokens", "$0.30, 210k tokens", "$0.45, 315k tokens", "$0.60, 420k tokens"]


def test_the_reply_as_it_came_stays_in_the_store(store: CompletionStore) -> None:
    (said,) = complete(store, Script(), GREEDY, n=1)
    assert said.raw is None
    assert all(row.completion.raw for row in store.scan("m"))


def test_secrets_that_a_server_echoes_are_blanked(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-abcdefgh")
    said = "your key is sk-abcdefgh"

    def reply(ask: Ask, draw: int) -> Reply:
        return Reply(ask, draw, said, "stop", thinking=said, model=said, server=said, raw={"error": {"text": [said]}})

    complete(store, Script(reply), GREEDY, n=1)
    written = "".join(path.read_text() for path in store.root.rglob("*.jsonl"))
    assert "your key is ***" in written
    assert "sk-abcdefgh" not in written
    with pytest.raises(JobError, match=r"one of the causes: key \*\*\* is wrong"):
        complete(store, Script(lambda ask, draw: None, cause="key sk-abcdefgh is wrong"), GREEDY, n=2)


# Never twice


def test_what_is_stored_is_not_asked_for(store: CompletionStore) -> None:
    script = Script()
    said = complete(store, script)
    n = len(script.asked)
    assert complete(again(store), script) == said
    assert (len(script.asked), script.runs) == (n, 1)  # nor is a backend made for nothing


def test_more_draws_cost_only_what_is_new(store: CompletionStore) -> None:
    few, many = Script(), Script()
    two = complete(store, few, TWO)
    four = complete(again(store), many, FOUR)
    assert sorted(many.calls("rationale")) == sorted(item for item in all_of(4, 4) if item[1] >= 2)
    assert [row for row in four if row.draw is not None and row.draw < 2] == two


def test_after_a_crash_between_the_two_calls_only_answers_are_bought(store: CompletionStore) -> None:
    def reply(ask: Ask, draw: int) -> Reply:
        if ask.part == "answer":
            raise Killed
        return plain(ask, draw)

    with pytest.raises(Killed):
        complete(store, Script(reply, room=3))
    bought = {(row.key.sample, row.key.draw) for row in store.scan("m")}
    assert bought
    script = Script()
    said = complete(again(store), script)
    assert sorted(script.calls("rationale")) == sorted(set(all_of(4, 2)) - bought)
    assert sorted(script.calls("answer")) == all_of(4, 2)
    assert [(row.sample_key, row.draw) for row in said] == all_of(4, 2)
    assert {row.usage["completion"] for row in said if row.usage} == {9}  # both calls, though two jobs made them


def test_an_ask_that_is_given_up_leaves_the_others(store: CompletionStore) -> None:
    lost = (SAMPLES[1].key, 1)
    script = Script(lambda ask, draw: None if (ask.sample, draw) == lost else plain(ask, draw))
    with pytest.raises(JobError, match=r"^1 of 8 completions could not be had \(one of the causes: the script gave up"):
        complete(store, script)
    retried = Script()
    assert len(complete(again(store), retried)) == 8
    assert retried.calls("rationale") == [lost]


def test_what_a_backend_leaves_unanswered_is_not_waited_for(store: CompletionStore) -> None:
    script = Script()
    teacher = Idle(model="m", script=script)
    with pytest.raises(JobError, match=r"^8 of 8 completions could not be had \(one of the causes: it was left unan"):
        teacher.complete(TASK, SAMPLES[:4], TWO, Session(store))


def test_a_fatal_error_keeps_what_was_delivered_and_frees_the_rest(store: CompletionStore) -> None:
    script = _failing_after(3)
    with pytest.raises(JobError, match="no credit"):
        complete(store, script)
    assert sum(script.delivered.values()) == len(list(store.scan("m"))) > 0
    assert not list(store.root.rglob("*.leases"))
    following = Script()
    assert len(complete(again(store), following)) == 8
    assert not (script.delivered & following.delivered)


def _full(monkeypatch: pytest.MonkeyPatch, times: float) -> list[int]:
    """Lets the disk be full for so many writes; what was asked to be written."""
    tried: list[int] = []
    append = Writer.append

    def write(self: Writer, data: bytes) -> bool:
        tried.append(data.count(b"\n"))
        if len(tried) <= times:
            raise OSError(errno.ENOSPC, "No space left on device")
        return append(self, data)

    monkeypatch.setattr(Writer, "append", write)
    return tried


def test_what_was_bought_waits_while_the_disk_is_full(store: CompletionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _full(monkeypatch, 3)
    script, said = Script(), []
    asked = Scripted(model="m", script=script)
    assert len(asked.complete(TASK, SAMPLES[:4], TWO, Session(store, say=said.append))) == 8
    assert set(script.delivered.values()) == {1}
    assert [line for line in said if "disk full" in line] == said
    assert len(said) == 1


def test_a_disk_that_stays_full_ends_the_job_with_the_cause(
    store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchase, "ROOM", 0.05)
    tried = _full(monkeypatch, float("inf"))
    with pytest.raises(JobError, match="cannot be stored") as failed:
        complete(store, Script())
    assert cause_of(failed.value).startswith("disk full")
    assert len(set(tried)) == 1  # the same rows each time, and nothing was bought on top


def test_a_reply_that_nobody_asked_for_spoils_nothing(store: CompletionStore) -> None:
    teacher = Stuttering(model="m", script=Script())
    with pytest.raises(ValueError, match=rf"draw 0 of sample {SAMPLES[0].sample_index} \(rationale\)"):
        teacher.complete(TASK, SAMPLES[:1], GREEDY, Session(store))
    assert [row.completion.rationale for row in store.scan("m")] == [" Step 0 leads there. The answer is yes."]


# Side by side


def test_what_another_job_is_buying_is_waited_for(store: CompletionStore) -> None:
    here, there = threading.Event(), threading.Event()

    def slowly(ask: Ask, draw: int) -> Reply:
        here.set()
        assert there.wait(10)
        return plain(ask, draw)

    slow, quick = Script(slowly), Script()
    said: list[list[Completion]] = []
    first = threading.Thread(target=lambda: said.append(complete(store, slow, TWO, n=2)))
    first.start()
    assert here.wait(10)
    notes: list[str] = []

    def progress(done: int, total: int, note: str = "") -> None:
        notes.append(note)
        if "another job" in note:
            there.set()

    teacher = Scripted(model="m", script=quick)
    both = teacher.complete(TASK, SAMPLES[:4], TWO, Session(again(store), progress))
    first.join()
    assert both[:4] == said[0]
    assert sorted(quick.calls("rationale")) == [item for item in all_of(4, 2) if item not in all_of(2, 2)]
    assert "another job is buying the other 4" in "".join(notes)


def test_what_another_job_gave_up_is_tried_at_once(store: CompletionStore) -> None:
    here, there = threading.Event(), threading.Event()

    def reply(ask: Ask, draw: int) -> Reply | None:
        if ask.sample == SAMPLES[0].key:
            return None
        here.set()
        assert there.wait(10)
        return plain(ask, draw)

    def give_up() -> None:
        with pytest.raises(JobError, match="1 of 2 completions could not be had"):
            complete(store, Script(reply), GREEDY, n=2)

    first = threading.Thread(target=give_up)
    first.start()
    assert here.wait(10)
    assert len(complete(again(store), Script(), GREEDY, n=1)) == 1
    there.set()
    first.join()


def test_what_a_dead_job_was_buying_is_taken_over(store: CompletionStore) -> None:
    job = start(store, TWO, dies_after=3)
    assert job.wait() == -signal.SIGKILL
    assert list(store.root.rglob("*.leases"))
    bought = {(row.key.sample, row.key.draw) for row in store.scan("m")}
    assert len(bought) == 2
    script = Script()
    assert len(complete(store, script, TWO, n=8)) == 16
    assert not bought & set(script.calls("rationale"))


def test_what_a_job_was_buying_before_the_machine_started_anew_is_taken_over(
    store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can look up whether it lives: it is dead when nothing was heard of it for so long."""
    monkeypatch.setitem(Leases.__init__.__kwdefaults__, "lifetime", 0.2)
    held = leases_of(store, prompting=SINGLE)
    held.take(all_of(1, 1))
    (entry,) = json.loads(held.path.read_text()).values()
    held.path.write_text(json.dumps({"b81d": entry | {"boot": "the one before"}}))
    script = Script()
    assert len(complete(store, script, prompting=SINGLE)) == 8
    assert sorted(script.calls()) == all_of(4, 2)


def test_a_job_that_was_taken_for_dead_asks_for_nothing_more(
    store: CompletionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was stopped for minutes, while another one bought everything."""
    now = 100.0
    monkeypatch.setattr(time, "clock_gettime", lambda clock: now)

    def late(ask: Ask, draw: int) -> Reply:
        nonlocal now
        if not other.asked:
            for path in store.root.rglob("*.leases"):
                path.unlink()
            complete(again(store), other)
            now += 60
        return plain(ask, draw)

    other, script = Script(), Script(late, room=1)
    said = complete(store, script)
    assert script.calls() == all_of(1, 2)  # which was under way
    assert sorted(other.calls("answer")) == [(row.sample_key, row.draw) for row in said] == all_of(4, 2)


def test_jobs_side_by_side_share_their_rationales_whatever_they_ask_for_next(store: CompletionStore) -> None:
    ready, scripts = threading.Barrier(2), [Script(), Script()]

    def reply(ask: Ask, draw: int) -> Reply:
        time.sleep(0.01)
        return plain(ask, draw)

    def job(script: Script, most: int) -> None:
        script.reply = reply
        ready.wait()
        complete(again(store), script, prompting=Prompting(answer_max_tokens=most))

    jobs = [threading.Thread(target=job, args=args) for args in zip(scripts, (64, 128), strict=True)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert sorted(scripts[0].calls("rationale") + scripts[1].calls("rationale")) == all_of(4, 2)
    for script in scripts:
        assert sorted(script.calls("answer")) == all_of(4, 2)


@pytest.mark.slow
def test_jobs_that_are_killed_again_and_again_repeat_nothing(store: CompletionStore) -> None:
    for dies_after in (1, 9, 20):
        jobs = [start(store, FOUR, dies_after), start(store, TWO, dies_after + 3)]
        assert {job.wait() for job in jobs} <= {0, -signal.SIGKILL}
    assert len(complete(store, Script(), FOUR, n=8)) == 32
    bought = Counter((row.key.parameters_sha256, row.key.sample, row.key.draw) for row in store.scan("m"))
    assert len(bought) == 64  # a rationale and a whole of each
    assert set(bought.values()) == {1}


def leases_of(store: CompletionStore, **teacher: Any) -> Leases:
    """Those of jobs that ask as `complete` does."""
    asked = Scripted(model="m", script=Script(), **teacher)
    part: Any = "rationale" if asked.prompting.two_calls else None
    return store.leases("m", TASK.name, asked.parameters(TASK, TWO, part))


def start(store: CompletionStore, diversity: Diversity, dies_after: int) -> subprocess.Popen[bytes]:
    """A job in a process of its own, which is killed after so many replies."""
    code = (
        "import sys\n"
        "from tests.test_purchase import *\n"
        "left, degree = int(sys.argv[2]), int(sys.argv[3])\n"
        "def reply(ask, draw):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(ask, draw)\n"
        "complete(CompletionStore(Path(sys.argv[1])), Script(reply), Diversity(degree, 0.7), n=8)\n"
    )
    command = [sys.executable, "-c", code, str(store.root), str(dies_after), str(diversity.degree)]
    return subprocess.Popen(command, cwd=ROOT)


@settings(max_examples=25)
@given(data=st.data(), seeds=st.lists(st.integers(0, 999), min_size=2, max_size=3, unique=True))
def test_jobs_side_by_side_buy_nothing_twice(data: st.DataObject, seeds: list[int]) -> None:
    """Several jobs on one store, at several degrees, with refusals, give-ups, fatal errors and starts again."""
    style: Any = data.draw(st.sampled_from(["zero_shot_cot", "single_call"]))
    degrees = [data.draw(st.integers(1, 4)) for _ in seeds]
    faults = [data.draw(st.lists(st.sampled_from(["fine", "fine", "none", "fatal", "no"]), max_size=12)) for _ in seeds]
    delivered: Counter[Any] = Counter()
    with TemporaryDirectory() as folder:

        def job(seed: int, degree: int, faults: list[str]) -> None:
            while True:
                script = Script(_faulty(faults), room=data_room[seed], seed=seed)
                try:
                    store = CompletionStore(Path(folder))
                    said = complete(store, script, Diversity(degree, 0.7), prompting=Prompting(style=style))
                    assert [(row.sample_key, row.draw) for row in said] == all_of(4, degree)
                    return
                except JobError:
                    pass
                finally:
                    delivered.update(script.delivered)

        data_room = {seed: data.draw(st.integers(1, 9)) for seed in seeds}
        jobs = [threading.Thread(target=job, args=args) for args in zip(seeds, degrees, faults, strict=True)]
        for thread in jobs:
            thread.start()
        for thread in jobs:
            thread.join()
        assert set(delivered.values()) == {1}
        wanted = {(*item, "rationale") for item in all_of(4, max(degrees))}
        assert {call for call in delivered if call[2] == "rationale"} == wanted


# Budgets

PRICES = {"input": 10.0, "output": 100.0}


def _most(n_draws: int = 1) -> float:
    """What so many draws may cost at most."""
    order = Rationales(Scripted(model="m", script=Script(), prices=PRICES), TASK, SAMPLES, TWO)
    most = order.most(order.turns(0))
    return n_draws * (most.prompt * 10 + most.completion * 100) / 1e6


def test_a_budget_of_nothing_buys_nothing(store: CompletionStore) -> None:
    script = Script()
    with pytest.raises(
        JobError, match=r"^teacher.budget_usd=0 is reached: \$0.00 spent .* 0 of 8 completions are kept"
    ):
        complete(store, script, budget_usd=0, prices=PRICES)
    with pytest.raises(
        JobError, match=r"^teacher.budget_tokens=0 is reached: 0 tokens spent .* may take up to [\d,]+ tokens;"
    ):
        complete(store, script, budget_tokens=0)
    assert not script.asked
    complete(store, script, prices=PRICES)
    assert len(complete(store, Script(), budget_usd=0, prices=PRICES)) == 8  # what is there costs nothing


@settings(max_examples=60)
@given(
    draws=st.floats(0, 12),
    in_money=st.booleans(),
    room=st.integers(1, 9),
    seed=st.integers(0, 99),
    share=st.floats(0.01, 1.0),
    style=st.sampled_from(["zero_shot_cot", "single_call"]),
)
def test_a_budget_is_never_passed_and_never_left_unused(
    draws: float, in_money: bool, room: int, seed: int, share: float, style: Any
) -> None:
    """Replies take any share of what they may; the spending that was promised never exceeds the budget."""

    def reply(ask: Ask, draw: int) -> Reply:
        said = plain(ask, draw)
        most = {"prompt": len(ask.text.encode()), "completion": ask.decoding.max_tokens}
        return replace(said, usage={kind: max(1, int(n * share)) for kind, n in most.items()})

    limit = round(_most() * draws, 6) if in_money else int(2000 * draws)
    budget: dict[str, Any] = {"budget_usd" if in_money else "budget_tokens": limit}
    with TemporaryDirectory() as folder:
        store = CompletionStore(Path(folder))
        script = Script(reply, room=room, seed=seed)
        reached = ""
        try:
            complete(store, script, prices=PRICES, prompting=Prompting(style=style), **budget)
        except JobError as error:
            reached = str(error)
        spent = store.spent("m", 0.0)
        used = spent.usd if in_money else spent.prompt + spent.completion
        assert used <= limit
        if reached:
            assert next(iter(budget)) in reached
            assert limit - used < (_most() * 1.2 if in_money else 4000)  # no room for one more
        assert len(complete(store, Script(), prices=PRICES, prompting=Prompting(style=style))) == 8


@settings(max_examples=20)
@given(
    draws=st.floats(0, 9),
    in_money=st.booleans(),
    rooms=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    share=st.floats(0.05, 1.0),
)
def test_jobs_side_by_side_do_not_pass_the_budget_together(
    draws: float, in_money: bool, rooms: list[int], share: float
) -> None:
    def reply(ask: Ask, draw: int) -> Reply:
        time.sleep(0.001)
        most = {"prompt": len(ask.text.encode()), "completion": ask.decoding.max_tokens}
        return replace(plain(ask, draw), usage={kind: max(1, int(n * share)) for kind, n in most.items()})

    limit = round(_most() * draws, 6) if in_money else int(1700 * draws)
    budget: dict[str, Any] = {"budget_usd" if in_money else "budget_tokens": limit}
    bought: list[int] = []
    with TemporaryDirectory() as folder:

        def job(number: int, room: int) -> None:
            store, script = CompletionStore(Path(folder)), Script(reply, room=room, seed=number)
            teacher = Scripted(model="m", script=script, prices=PRICES, top_p=1 - number / 10, **budget)
            with suppress(JobError):
                bought.append(len(teacher.complete(TASK, SAMPLES[:2], TWO, Session(store))))

        jobs = [threading.Thread(target=job, args=args) for args in enumerate(rooms)]
        for thread in jobs:
            thread.start()
        for thread in jobs:
            thread.join()
        spent = CompletionStore(Path(folder)).spent("m", 0.0)
        used = spent.usd if in_money else spent.prompt + spent.completion
        assert used <= limit
        if len(bought) < len(rooms):
            assert limit - used < (_most() * 1.2 if in_money else 4000)  # it was not for nothing that one gave up
        assert not list(Path(folder).rglob("*.leases"))


def test_what_another_job_may_still_spend_is_not_spent_here(store: CompletionStore) -> None:
    here, there, limit = threading.Event(), threading.Event(), 1.5 * _most()

    def slowly(ask: Ask, draw: int) -> Reply:
        here.set()
        assert there.wait(10)
        return plain(ask, draw)

    def job(script: Script, sample: Sample, progress: Any = no_progress) -> None:
        teacher = Scripted(model="m", script=script, prices=PRICES, budget_usd=limit)
        teacher.complete(TASK, [sample], GREEDY, Session(again(store), progress))

    first, second, notes = Script(slowly), Script(), []
    thread = threading.Thread(target=job, args=(first, SAMPLES[0]))
    thread.start()
    assert here.wait(10)

    def progress(done: int, total: int, note: str = "") -> None:
        notes.append(note)
        if "other jobs have set aside" in note:
            assert not second.asked
            there.set()

    job(second, SAMPLES[1], progress)
    thread.join()
    assert there.is_set()
    assert len(second.asked) == 2
    assert store.spent("m", 0.0).usd <= limit


def test_what_was_set_aside_in_vain_is_given_back(store: CompletionStore) -> None:
    teacher = Scripted(model="m", script=Script(), budget_tokens=10_000)
    folder = store.folder("m", TASK.name).parent
    with Budget(teacher, Session(store), folder) as one, Budget(teacher, Session(store), folder) as other:
        assert one.promise(Tokens(5, 5), 1) == 1  # and sets 50 tokens aside at once, to ask less often
        assert other.promise(Tokens(0, 9_960), 1) == 0
        one.rest()
        assert other.promise(Tokens(0, 9_990), 2) == 1
        assert one.promise(Tokens(0, 1), 1) == 0
        one.settle(Tokens(5, 5))
        other.settle(Tokens(0, 9_990))
        other.rest()
        assert one.promise(Tokens(0, 1_000), 11) == 10


def test_what_is_enough_for_one_draw_by_the_last_cent_is_bought(store: CompletionStore) -> None:
    """4.62 - 4.61933355 is a little less than 0.00066645, and 4.61933355 + 0.00066645 is 4.62."""
    reply = Script(lambda ask, draw: replace(plain(ask, draw), usage={"prompt": 30_795_557, "completion": 0}))
    prices = {"input": 0.15, "output": 0.6}
    complete(store, reply, GREEDY, n=1, prices=prices, prompting=SINGLE)
    teacher = Scripted(model="m", script=Script(), budget_usd=4.62, prices=prices)
    assert store.spent("m", 0.0).usd == 4.61933355
    with Budget(teacher, Session(store), store.folder("m", TASK.name).parent) as budget:
        each = Tokens(1503, 735)
        assert budget.refusal(each, "") is None
        assert budget.promise(each, 2) == 1


def test_what_other_jobs_bought_since_counts(store: CompletionStore) -> None:
    complete(store, Script(), n=2, prices=PRICES)
    spent = store.spent("m", 0.0)
    limit = spent.usd + _most() / 2
    with pytest.raises(JobError, match="budget_usd"):
        complete(store, Script(), n=4, prices=PRICES, budget_usd=limit)
    teacher = Scripted(model="m", script=Script(), prices=PRICES, budget_usd=_most(9))
    later = Session(store, since=4e9)  # of a sweep that begins later
    assert len(teacher.complete(TASK, SAMPLES[:4], TWO, later)) == 8


def test_a_clock_that_is_behind_does_not_hide_what_was_spent(store: CompletionStore) -> None:
    """The sweep was begun on a machine whose clock is ahead of ours."""
    limit = 2 * _most()
    script = Script(lambda ask, draw: replace(plain(ask, draw), usage={"prompt": 400, "completion": 120}))
    teacher = Scripted(model="m", script=script, prices=PRICES, budget_usd=limit)
    with pytest.raises(JobError, match="budget_usd"):
        teacher.complete(TASK, SAMPLES, TWO, Session(store, since=time.time() + 120))
    assert 0 < store.spent("m", 0.0).usd <= limit


def test_the_answer_to_a_rationale_that_was_bought_needs_its_budget_too(store: CompletionStore) -> None:
    with pytest.raises(JobError):
        complete(store, _failing_after(1, part="answer"), GREEDY, n=1, prices=PRICES)
    script, left = Script(), store.spent("m", 0.0).usd
    with pytest.raises(JobError, match="0 of 1 completions are kept"):
        complete(store, script, GREEDY, n=1, prices=PRICES, budget_usd=left + 0.001)
    assert not script.asked
    assert len(complete(store, script, GREEDY, n=1, prices=PRICES, budget_usd=left + _most())) == 1
    assert script.calls("rationale") == []


def test_a_server_that_does_not_count_is_taken_to_have_used_what_it_was_allowed(store: CompletionStore) -> None:
    script = Script(lambda ask, draw: replace(plain(ask, draw), usage=None))
    (said,) = complete(store, script, GREEDY, n=1, prices=PRICES)
    assert (said.usage, said.cost_usd) == (None, None)
    assert store.spent("m", 0.0).completion == 512 + 128


# Being asked to stop


@pytest.mark.usefixtures("signals")
def test_a_stop_keeps_what_was_under_way_and_sends_nothing_more(store: CompletionStore) -> None:
    asked: list[tuple[str, int]] = []

    def reply(ask: Ask, draw: int) -> Reply:
        asked.append((ask.part, draw))
        if len(asked) == 3:
            signal.raise_signal(signal.SIGTERM)
        return plain(ask, draw)

    script = Script(reply)
    with pytest.raises(Stop):
        complete(store, script)
    assert script.calls("answer") == all_of(1, 2)  # which went out before
    assert len(list(store.scan("m"))) == len(asked) == 4  # the reply it came in was delivered, and its other draw
    assert not list(store.root.rglob("*.leases"))


@pytest.mark.usefixtures("signals")
def test_an_error_that_comes_of_a_stop_is_the_stop(store: CompletionStore) -> None:
    def reply(ask: Ask, draw: int) -> Reply:
        signal.raise_signal(signal.SIGINT)
        raise JobError("the connection is gone")

    with pytest.raises(Stop):
        complete(store, Script(reply))


@pytest.mark.usefixtures("signals")
def test_a_stop_ends_the_waiting_for_another_job(store: CompletionStore) -> None:
    with leases_of(store) as held:
        held.take(all_of(4, 2))

        def progress(done: int, total: int, note: str = "") -> None:
            if note:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Stop):
            Scripted(model="m", script=Script()).complete(TASK, SAMPLES[:4], TWO, Session(again(store), progress))


# Scale


def test_asks_are_made_as_they_are_drawn(store: CompletionStore) -> None:
    samples = [replace(SAMPLES[0], sample_index=index) for index in range(5000)]
    made = 0

    class Counting(Rationales):
        def turns(self, place: int) -> Any:
            nonlocal made
            made += 1
            return super().turns(place)

        def stored(self, store: CompletionStore) -> Iterator[tuple[int, int]]:
            return iter(())

    script = _failing_after(1)
    order = Counting(Scripted(model="m", script=script), TASK, samples, TWO)
    with pytest.raises(JobError, match="no credit"):
        Purchase(order, Session(store)).run()
    assert made <= 2 * purchase.PORTION


# Scripts


class _Idle:
    def run(self, asks: Iterator[Ask], deliver: Any, control: Any) -> None:
        list(asks)


class Idle(Scripted):
    def backend(self) -> Any:
        return _Idle()


class _Stuttering:
    def run(self, asks: Iterator[Ask], deliver: Any, control: Any) -> None:
        said = [plain(ask, draw) for ask in asks for draw in ask.draws]
        deliver([*said, *said])


class Stuttering(Scripted):
    def backend(self) -> Any:
        return _Stuttering()


def _failing_after(n: int, part: str | None = None) -> Script:
    left = n

    def reply(ask: Ask, draw: int) -> Reply:
        nonlocal left
        if part in (None, ask.part):
            left -= 1
        if left < 0 or (part == ask.part and left <= 0):
            raise JobError("no credit")
        return plain(ask, draw)

    return Script(reply)


def _faulty(faults: list[str]) -> Callable[[Ask, int], Reply | None]:
    """Uses up its faults, one a call, then is fine."""

    def reply(ask: Ask, draw: int) -> Reply | None:
        fault = faults.pop() if faults else "fine"
        if fault == "fatal":
            raise JobError("no credit")
        if fault == "no" and ask.part == "answer":
            return Reply(ask, draw, "", REFUSED)
        return None if fault == "none" else plain(ask, draw)

    return reply
