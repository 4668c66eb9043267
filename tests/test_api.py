"""teacher=api against a server that fails in every way: nothing lost, nothing bought twice, no secret kept."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftcot.errors import InputError, JobError
from ftcot.teacher import Diversity, Session, api
from ftcot.teacher.api import Api
from ftcot.teacher.asks import REFUSED, TOO_LONG, Ask, Decoding, Reply, Turn
from ftcot.teacher.fleet import Patience
from ftcot.teacher.pace import Waits
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.store import CompletionStore
from tests.fault_server import Serving, serving
from tests.generated_tasks import build
from tests.scripted_backend import Collector

pytestmark = pytest.mark.filterwarnings("error")

FAULTS = {
    **{"limited": 0.03, "limited_mute": 0.01, "limited_ms": 0.01, "error500": 0.02, "error502": 0.02, "error503": 0.01},
    **{"reset": 0.03, "half": 0.02, "garbage": 0.02, "stall": 0.003, "empty": 0.017, "echo": 0.01},
}
"""One request in five."""

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(api, "PATIENCE", Patience(drain=0.5, down=0.5, waits=Waits(first=0.01, longest=0.05)))


def teacher(server: Serving | Sequence[Serving], **more: Any) -> Api:
    urls = server.url if isinstance(server, Serving) else [one.url for one in server]
    return Api(**{"model": "model", "base_url": urls, "timeout": 5.0, "concurrency": 64} | more)


def asks(n: int, draws: tuple[int, ...] = (0,), words: str = "") -> Iterator[Ask]:
    for place in range(n):
        yield Ask(("task", 1, place), draws, (Turn("user", f"Q: {place} {words}"),), Decoding(0.7, 64))


def said(server: Serving, n: int = 1, draws: tuple[int, ...] = (0,), words: str = "", **more: Any) -> list[Reply]:
    return Collector().run(teacher(server, **more).backend(), asks(n, draws, words))


def texts(replies: Sequence[Reply]) -> list[str]:
    return [reply.text for reply in replies]


# Nothing lost, nothing twice


@pytest.mark.parametrize(
    ("n", "n_train", "degree", "requests"),
    [pytest.param(1, 250, 8, 2000, marks=pytest.mark.slow), pytest.param("auto", 150, 4, 150)],
)
def test_in_a_storm_of_faults_every_completion_is_bought_once(
    tmp_path: Path, n: str | int, n_train: int, degree: int, requests: int
) -> None:
    task = build("coin_flip", n_train=n_train, n_test=4)
    samples = task.splits().train
    faults = FAULTS if n == 1 else FAULTS | {"fewer": 0.1}
    with serving(rates=faults, seed=3, latency=0.005) as server:
        asked = teacher(server, n=n, timeout=1.0, attempts=8, prompting=Prompting(style="single_call"))
        completions = asked.complete(task, samples, Diversity(degree, 0.7), Session(CompletionStore(tmp_path)))
        stats = server.stats()
    wanted = [(sample.key, draw) for sample in samples for draw in range(degree)]
    assert [(row.sample_key, row.draw) for row in completions] == wanted
    bought = [row.rationale for row in completions]
    assert len(set(bought)) == len(bought)  # each has its own number
    assert (stats["sold"], stats["twice"]) == (len(bought), 0)
    assert stats["requests"] > requests
    assert n == "auto" or stats["faults"].keys() == faults.keys()


def test_two_calls_go_on_at_once(tmp_path: Path) -> None:
    task = build("coin_flip", n_train=20, n_test=4)
    with serving(rates=FAULTS, seed=1, latency=0.001) as server:
        asked = teacher(server, timeout=0.5, attempts=8)
        completions = asked.complete(task, task.splits().train, Diversity(2, 0.7), Session(CompletionStore(tmp_path)))
        assert server.stats()["sold"] == 80
    assert len({row.rationale for row in completions} | {row.answer_text for row in completions}) == 80


def test_what_arrives_while_replies_are_kept_is_kept_together() -> None:
    under_way, most, calls = 0, 0, []

    def deliver(replies: Sequence[Reply]) -> list[Ask]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.05)
        calls.append(len(replies))
        under_way -= 1
        return []

    with serving(latency=0.001) as server:
        teacher(server).backend().run(asks(200), deliver, Collector())
    assert (sum(calls), most) == (200, 1)
    assert len(calls) < 40


def test_asks_are_drawn_as_they_are_needed() -> None:
    drawn = 0

    def endless() -> Iterator[Ask]:
        nonlocal drawn
        for ask in asks(1_000_000):
            drawn += 1
            yield ask

    with serving() as server:
        Collector(stop_after=50).run(teacher(server, concurrency=8).backend(), endless())
    assert drawn < 50 + 64 * 40


def test_an_error_of_whoever_keeps_ends_it() -> None:
    def deliver(replies: Sequence[Reply]) -> list[Ask]:
        raise JobError("disk full")

    with serving() as server, pytest.raises(JobError, match="disk full"):
        teacher(server).backend().run(asks(100), deliver, Collector())


def test_an_error_of_whoever_asks_ends_it() -> None:
    def broken() -> Iterator[Ask]:
        yield from asks(3)
        raise JobError("the budget is reached")

    with serving() as server, pytest.raises(JobError, match="budget"):
        Collector().run(teacher(server).backend(), broken())


# Draws


def test_missing_draws_are_asked_for_in_one_request() -> None:
    with serving() as server:
        replies = said(server, 3, (0, 1, 2, 5))
        assert server.state.requests == 3
        assert {body["n"] for body in server.state.bodies} == {4}
    assert sorted((reply.ask.sample[2], reply.draw) for reply in replies) == [
        (place, draw) for place in range(3) for draw in (0, 1, 2, 5)
    ]


def test_a_server_that_gives_one_choice_is_asked_singly_from_then_on() -> None:
    with serving(choices=1) as server:
        replies = said(server, 40, (0, 1, 2), concurrency=1)
        assert [body.get("n", 1) for body in server.state.bodies] == [3, *[1] * 119]
    assert Counter(reply.draw for reply in replies) == {0: 40, 1: 40, 2: 40}


def test_fewer_choices_than_asked_are_topped_up() -> None:
    with serving(choices=3) as server:
        replies = said(server, 1, (0, 1, 2, 3, 4, 5, 6))
        assert [body.get("n", 1) for body in server.state.bodies] == [7, 4, 1]
    assert sorted(reply.draw for reply in replies) == list(range(7))


def test_each_request_has_a_seed_of_its_own() -> None:
    with serving(choices=1) as server:
        said(server, 10, (0, 1, 2, 3))
        answered = [body["seed"] for body in server.state.bodies if "n" not in body]
    assert len(set(answered)) == len(answered)
    with serving() as server:
        said(server, 2, seed=None)
        assert all("seed" not in body for body in server.state.bodies)


def test_plain_completions_continue_a_text() -> None:
    with serving() as server:
        ask = Ask(
            ("task", 1, 0),
            (0,),
            (Turn("user", "Q: 2 + 2?\nA:"), Turn("assistant", " 4."), Turn("user", "\nTherefore")),
            Decoding(0.0, 16, stop=("Q:",)),
        )
        (reply,) = Collector().run(teacher(server, endpoint="completions", extra={"top_k": 1}).backend(), iter([ask]))
        (body,) = server.state.bodies
    assert body["prompt"] == "Q: 2 + 2?\nA: 4.\nTherefore"
    assert (body["max_tokens"], body["stop"], body["top_k"]) == (16, ["Q:"], 1)
    assert reply.text == "Step 0. The answer is yes."


def test_a_reply_says_where_it_came_from_and_what_it_cost() -> None:
    with serving(extra={"reasoning_content": "Hm."}) as server:
        first, second = said(server, 1, (0, 1))
    assert (first.model, first.finish_reason, first.thinking) == ("model-0613", "stop", "Hm.")
    assert first.server == f"faulty/1.0 at {server.url.split('/')[2]}"
    assert first.usage == {"prompt": 50, "completion": 60}
    assert second.usage == {"prompt": 0, "completion": 60}
    assert first.raw is not None
    assert first.raw["choice"]["message"]["content"] == first.text
    assert first.raw.keys() == {"id", "model", "system_fingerprint", "created", "usage", "choice"}


def test_an_empty_text_is_believed_after_three() -> None:
    with serving(text="") as server:
        (reply,) = said(server)
        assert [body["seed"] for body in server.state.bodies] == [
            (first := server.state.bodies[0]["seed"]),
            first ^ 1,
            first ^ 2,
        ]
    assert (reply.text, reply.finish_reason) == ("", "stop")
    assert reply.usage == {"prompt": 150, "completion": 180}  # all three were paid for


# What a server does not want


@pytest.mark.parametrize(("words", "reason"), [("[refused]", REFUSED), ("[filtered]", REFUSED), ("[long]", TOO_LONG)])
def test_a_prompt_that_is_not_wanted_is_recorded(words: str, reason: str) -> None:
    with serving() as server:
        replies = said(server, 5, (0, 1), words)
    assert [(reply.finish_reason, reply.text) for reply in replies] == [(reason, "")] * 10
    assert all(reply.raw for reply in replies)


def test_a_strange_request_ends_it_before_anything_was_answered() -> None:
    with serving() as server:
        with pytest.raises(InputError, match="400: Invalid type for messages"):
            said(server, 500, words="[odd]")
        assert server.state.requests <= 64


def test_a_strange_request_is_left_out_once_others_were_answered() -> None:
    with serving() as server:
        control = Collector()
        control.run(teacher(server, concurrency=1).backend(), [*asks(3), *asks(1, words="[odd]"), *asks(3)])
    assert len(control.replies) == 6
    ((ask, cause),) = control.abandoned
    assert "Invalid type" in cause
    assert ask.draws == (0,)


@pytest.mark.parametrize(
    ("after", "words"),
    [("unauthorized", "401: Incorrect API key"), ("credit", "429: You exceeded"), ("payment", "402: Insufficient")],
)
def test_what_ends_it_in_the_middle_keeps_what_was_bought(after: str, words: str) -> None:
    control = Collector()
    with serving(after={after: 100}) as server:
        with pytest.raises(JobError, match=words):
            control.run(teacher(server).backend(), asks(1000))
        stats = server.stats()
    assert len(control.replies) == stats["sold"] >= 100
    assert stats["requests"] < 400
    assert control.abandoned == []


@pytest.mark.parametrize("after", ["unauthorized", "credit"])
def test_what_ends_it_at_once_sends_no_more(after: str) -> None:
    with serving(after={after: 0}) as server:
        with pytest.raises((InputError, JobError), match=r"quota|key"):
            said(server, 1000)
        assert server.state.requests <= 64


def test_an_unknown_model_ends_it() -> None:
    with serving() as server, pytest.raises(InputError, match=r"model_x does not exist.*teacher.model=model_x"):
        said(server, 10, model="model_x")


def test_fields_that_a_model_refuses_are_left_out_and_said_once() -> None:
    control = Collector()
    with serving(lacks=["max_tokens", "temperature", "seed"]) as server:
        control.run(teacher(server).backend(), asks(200))
        last = server.state.bodies[-1]
    assert len(control.replies) == 200
    assert last["max_completion_tokens"] == 64
    assert not {"max_tokens", "temperature", "seed"} & last.keys()
    assert len(control.said) == 3
    assert any("max_completion_tokens" in line for line in control.said)


def test_an_answer_that_takes_long_is_given_more_time_when_it_is_asked_for_again() -> None:
    with serving(latency=0.7) as server:
        assert len(said(server, 4, timeout=0.5, attempts=2)) == 4


def test_a_model_that_thinks_for_longer_than_it_may_write_is_told_of_once() -> None:
    control = Collector()
    with serving(text="", finish="length", extra={"reasoning": "Hm, so many"}) as server:
        control.run(teacher(server).backend(), asks(30))
    assert len(control.replies) == 30
    assert [line for line in control.said if "teacher.prompting.max_tokens" in line] == control.said[:1]
    control = Collector()
    with serving(finish="length") as server:
        control.run(teacher(server).backend(), asks(30))
    assert not control.said


def test_asks_that_fail_for_good_are_left_and_the_others_go_on() -> None:
    control = Collector()
    with serving(rates={"error500": 0.5}, seed=5) as server:
        control.run(teacher(server, attempts=2).backend(), asks(200))
    assert control.abandoned
    assert len(control.replies) + len(control.abandoned) == 200
    assert "500: The server had an error while processing your request (2 attempts)" in control.abandoned[0][1]


def test_a_server_that_fails_always_is_not_asked_for_ever() -> None:
    with serving(rates={"garbage": 1.0}) as server:
        with pytest.raises(JobError, match=r"1\d requests in a row failed for good.*no JSON"):
            said(server, 10_000, attempts=2)
        assert server.state.requests < 1000


# How fast


def test_rate_limits_cost_no_attempt() -> None:
    with serving(rates={"limited": 0.5, "limited_mute": 0.2}, seed=1) as server:
        assert len(said(server, 20, attempts=1)) == 20


def test_the_whole_queue_waits_for_a_rate_limit() -> None:
    with serving(rates={"limited": 1.0}) as server:
        control = Collector()
        ending = threading.Timer(1.0, lambda: setattr(control, "stop_after", 0))
        ending.start()
        control.run(teacher(server).backend(), asks(1000))
        ending.join()
        assert server.state.requests < 8 + 20 * 5  # not a thousand, and not in a hurry


def test_requests_at_once_grow_to_the_limit_and_not_beyond() -> None:
    with serving(latency=0.1) as server:
        said(server, 300, concurrency=32)
        assert server.stats()["most_at_once"] == 32


def test_requests_a_minute_are_kept() -> None:
    with serving(latency=0.001) as server:
        began = time.monotonic()
        said(server, 70, requests_per_minute=600)  # fifty at once, then ten a second
        assert 1.5 < time.monotonic() - began < 5


def test_tokens_a_minute_are_kept() -> None:
    with serving(latency=0.001) as server:
        began = time.monotonic()
        said(server, 30, tokens_per_minute=24_000)  # 2,000 at once, then 400 a second; 110 each
        assert 2.5 < time.monotonic() - began < 8


# Replicas


def test_replicas_share_the_work() -> None:
    with serving(latency=0.01) as one, serving(latency=0.01) as two:
        replies = Collector().run(teacher([one, two]).backend(), asks(400))
        counts = (one.state.sold, two.state.sold)
    assert (len(replies), sum(counts)) == (400, 400)
    assert min(counts) > 100


def test_a_replica_that_is_not_there_is_left_out() -> None:
    with serving() as gone:
        pass
    with serving() as server:
        asked = teacher([gone, server])
        assert len(Collector().run(asked.backend(), asks(200))) == 200
        assert server.state.sold == 200


def test_a_replica_that_gives_nothing_but_errors_does_not_get_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PATIENCE", Patience(waits=Waits(first=0.2, longest=1.0)))
    control = Collector()
    with serving(rates={"error500": 1.0}) as broken, serving(latency=0.05) as server:
        control.run(teacher([broken, server]).backend(), asks(300))
        assert server.state.sold == len(control.replies) == 300
        assert broken.state.requests < 60
    assert not control.abandoned


def test_without_any_server_it_ends_with_the_cause() -> None:
    with serving() as gone:
        pass
    with pytest.raises(JobError, match="could not be connected to"):
        said(gone, 10)


# Ending


def test_what_is_under_way_is_waited_for_when_there_is_no_more_credit() -> None:
    control = Collector()
    marked = (replace(ask, turns=(Turn("user", "[odd]"),)) if place == 4 else ask for place, ask in enumerate(asks(5)))
    with serving(latency=1.0) as server:  # longer than `drain`
        with pytest.raises(InputError, match="Invalid type"):
            control.run(teacher(server).backend(), marked)
        assert len(control.replies) == server.stats()["sold"] == 4


def test_a_stop_keeps_what_was_under_way() -> None:
    control = Collector(stop_after=1)
    with serving(latency=0.3) as server:
        control.run(teacher(server).backend(), asks(1000))
        assert len(control.replies) == server.stats()["sold"] < 100


def test_a_stop_does_not_wait_for_what_never_comes() -> None:
    control = Collector(stop_after=1)
    with serving(rates={"stall": 0.5}, seed=2) as server:
        began = time.monotonic()
        control.run(teacher(server, timeout=60.0).backend(), asks(1000))
        assert time.monotonic() - began < 5
        assert control.replies


def test_the_stage_has_an_end() -> None:
    control = Collector()
    with serving(latency=0.05) as server:
        with pytest.raises(JobError, match=r"teacher\.stage_timeout is over"):
            control.run(teacher(server, stage_timeout=0.5, concurrency=4).backend(), asks(1_000_000))
        assert 4 < len(control.replies) == server.stats()["sold"]


def test_a_backend_can_be_run_again() -> None:
    with serving() as server:
        backend = teacher(server).backend()
        assert len(Collector().run(backend, asks(20))) == 20
        assert len(Collector().run(backend, asks(20))) == 20


# Secrets


def test_a_key_that_a_server_echoes_is_kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)  # a name that does not look like a secret's
    control = Collector()
    with serving(
        rates={"echo": 0.3}, seed=1, text=f"{KEY} {{serial}}", extra={"reasoning": f"the key is {KEY}"}
    ) as server:
        control.run(teacher(server, key_variable="MINE", attempts=1).backend(), asks(40))
        assert server.state.keys == {KEY}
    kept = repr((control.replies, control.abandoned, control.notes, control.said))
    assert KEY not in kept
    assert "***" in kept
    assert control.abandoned
    assert all(KEY not in repr(reply) for reply in control.replies)


def test_a_key_in_what_ends_it_is_blanked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)
    with serving(key="another") as server, pytest.raises(InputError) as caught:
        said(server, key_variable="MINE")
    assert KEY not in str(caught.value)
    assert "Incorrect API key provided: ***" in str(caught.value)
