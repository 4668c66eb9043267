"""What servers say and what becomes of it: errors, waits, choices, paces. No server, no clock."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.files import read_jsonl
from ftcot.teacher.asks import REFUSED, Ask, Decoding, Turn
from ftcot.teacher.pace import FIRST, Bucket, Pace, Waits
from ftcot.teacher.trouble import context_in, said_in, trouble_of, wait_of
from ftcot.teacher.wire import Dialect, UnreadableError, body_of, read, replies_of
from tests.conftest import ROOT

ERRORS = list(read_jsonl(ROOT / "tests" / "golden" / "server_errors.jsonl"))
"""What OpenAI, Azure, OpenRouter, DeepSeek, DashScope, Gemini, Anthropic, vLLM, SGLang, llama.cpp, TGI and transformers
serve answer, as their documentation or their users quote it."""

NOW = 1_800_000_000.0

ASK = Ask(("task", 1, 0), (0, 1), (Turn("system", "Be brief."), Turn("user", "Q: 2 + 2?")), Decoding(0.7, 64))


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [pytest.param(row["kind"], row["status"], row["body"], id=f"{number}-{row['kind']}") for number, row in ERRORS],
)
def test_what_an_error_means(kind: str, status: int, body: Any) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    trouble = trouble_of(status, {}, content, NOW)
    assert trouble.kind == kind
    assert trouble.words.startswith(f"{status}: ")
    assert "<" not in trouble.words or "html" not in trouble.words


UNSUPPORTED = "Unsupported parameter: '{}' is not supported with this model."


@pytest.mark.parametrize(
    ("named", "body"),
    [
        ("max_tokens", error(UNSUPPORTED.format("max_tokens"), code="unsupported_parameter", param="max_tokens")),
        ("temperature", error("Unsupported value: 'temperature' does not support 0.7.", param="temperature")),
        ("seed", {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "not permitted"}]}),
        ("seed", {"detail": "Unexpected fields in the request: {'seed'}"}),
        ("n", error("'n' : number must be at most 1", type="invalid_request_error")),
        ("", error("Invalid value: 'temperature' must be a number", param="temperature")),
        ("", error("Unknown role in messages")),
    ],
)
def test_a_field_that_is_refused_is_found_by_name(named: str, body: Any) -> None:
    trouble = trouble_of(400, {}, json.dumps(body).encode(), NOW)
    assert (trouble.kind, trouble.named) == ("form", named)


@given(st.integers(100, 599), st.binary(max_size=200), st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_no_error_is_too_strange(status: int, content: bytes, headers: dict[str, str]) -> None:
    trouble = trouble_of(status, headers, content, NOW)
    assert "\n" not in trouble.words
    assert len(trouble.words) < 400


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "detail", "code"]), inner),
    )
)
def test_no_body_of_an_error_is_too_strange(body: Any) -> None:
    message, codes = said_in(json.dumps(body).encode())
    assert isinstance(message, str)
    assert isinstance(codes, str)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, 20.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90.0),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset": "1800000007000"}, 7.0),
        ({"x-ratelimit-reset": "1800000007"}, 7.0),
        (
            {
                "x-ratelimit-reset-requests": "50s",
                "x-ratelimit-remaining-requests": "3",
                "x-ratelimit-reset-tokens": "4s",
                "x-ratelimit-remaining-tokens": "0",
            },
            4.0,
        ),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_of(headers, NOW) == (seconds if seconds is None else pytest.approx(seconds))


def test_a_context_is_read_out_of_a_complaint() -> None:
    assert context_in("This model's maximum context length is 2048 tokens. However, you requested 4196") == 2048
    assert context_in("longer than the model's context length (4096 tokens)") == 4096
    assert context_in("too long") is None


# Choices


def response(*choices: Any, **more: Any) -> dict[str, Any]:
    return {"choices": list(choices), **more}


def choice(content: Any, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}


@pytest.mark.parametrize(
    ("row", "text", "finish", "thinking"),
    [
        (choice(" 4."), " 4.", "stop", None),
        (choice(" 4", "length"), " 4", "length", None),
        (choice("4", reasoning_content="2 and 2"), "4", "stop", "2 and 2"),
        (choice("4", reasoning="2 and 2"), "4", "stop", "2 and 2"),
        (choice(None, "length", reasoning="2 and"), "", "length", "2 and"),
        (choice([{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}]), "4", "stop", None),
        (choice(None, refusal="I cannot."), "", REFUSED, None),
        (choice("4", "content_filter"), "", REFUSED, None),
        ({"text": " 4.", "finish_reason": "eos"}, " 4.", "eos", None),
        (choice("4", None), "4", None, None),
    ],
)
def test_what_a_choice_says(row: dict[str, Any], text: str, finish: str | None, thinking: str | None) -> None:
    (reply,) = replies_of(response(row), ASK, (0,), "here")
    assert (reply.text, reply.finish_reason, reply.thinking) == (text, finish, thinking)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"choices": []}', b'{"choices": [3]}', b'{"choices": [{}]}', b'{"choices": {}}'],
)
def test_what_is_no_response_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        replies_of(read(body), ASK, (0,), "here")


@pytest.mark.parametrize(
    "broken",
    [
        choice("Half a sent", "error", role="assistant") | {"error": {"code": 502, "message": "Provider disconnected"}},
        choice("Half a sent", "abort"),
        choice("", "stop") | {"error": {"code": 429, "message": "Provider disconnected"}},
    ],
)
def test_a_choice_that_the_server_gave_up_is_no_reply(broken: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError, match=r"gave it up \((Provider disconnected|abort)\)"):
        replies_of(response(broken), ASK, (0,), "here")
    (reply,) = replies_of(response(broken, choice("4")), ASK, (0, 1), "here")
    assert (reply.draw, reply.text) == (0, "4")


def test_more_choices_than_asked_for_are_left() -> None:
    assert len(replies_of(response(*[choice("4")] * 5), ASK, (0, 1), "here")) == 2


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(0, 10**6), st.integers(0, 10**6))
def test_shares_of_the_tokens_add_up(texts: list[str], prompt: int, completion: int) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "completion_tokens_details": {"reasoning_tokens": completion // 2},
        "prompt_tokens_details": {"cached_tokens": prompt // 2},
    }
    replies = replies_of(response(*map(choice, texts), usage=usage), ASK, range(len(texts)), "here")
    shares = [reply.usage or {} for reply in replies]
    assert [share["prompt"] for share in shares] == [prompt] + [0] * (len(texts) - 1)
    assert sum(share["completion"] for share in shares) == completion
    assert sum(share.get("thinking", 0) for share in shares) == completion // 2
    assert all(share["completion"] >= 0 for share in shares)


def test_a_server_that_does_not_count_gives_no_usage() -> None:
    (reply,) = replies_of(response(choice("4"), usage=None), ASK, (0,), "here")
    assert reply.usage is None


@pytest.mark.parametrize("count", [-1, 10**20, True, "7", 1.5])
def test_what_is_no_number_of_tokens_is_not_counted(count: Any) -> None:
    """The store could not add up such numbers, and every job that reads it would end with an error."""
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    (reply,) = replies_of(response(choice("4"), usage=usage), ASK, (0,), "here")
    assert reply.usage == {"completion": 3}


# Requests


def body(dialect: Dialect | None = None, draws: tuple[int, ...] = (0,), **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"model": "m", "chat": True, "seed": 0, "extra": {}, "dialect": dialect or Dialect()}
    return body_of(ASK, draws, **(given | more))


def test_a_request_in_full() -> None:
    assert body(draws=(0, 1), extra={"top_k": 40}) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q: 2 + 2?"}],
        "max_tokens": 64,
        "temperature": 0.7,
        "n": 2,
        "seed": body()["seed"],
        "top_k": 40,
    }
    assert body(chat=False, seed=None) == {
        "model": "m",
        "prompt": "Be brief.\n\nQ: 2 + 2?",
        "max_tokens": 64,
        "temperature": 0.7,
    }


def test_what_is_learnt_is_told_once_and_heeded() -> None:
    dialect = Dialect()
    sent = body(dialect)
    assert dialect.learn("temperature", sent)
    assert dialect.learn("temperature", sent) == ""  # another request that was under way
    assert "temperature" not in (later := body(dialect))
    assert dialect.learn("temperature", later) is None  # it cannot be that
    assert dialect.learn("stop", sent) is None
    assert dialect.learn("n", body(dialect, draws=(0, 1)))
    assert dialect.many is False


def test_one_lapse_does_not_unlearn_n() -> None:
    dialect = Dialect()
    dialect.gave(4, 4)
    dialect.gave(1, 4)
    assert dialect.many


# Paces


def storm(pace: Pace, rounds: int, limited: bool = False) -> None:
    now = 100.0
    for _ in range(rounds):
        now = max(now + 1, pace.resume)
        while pace.has_room(now):
            pace.busy += 1
        for _ in range(pace.busy):
            if limited:
                pace.limited(now, now + 0.2, None)
            else:
                pace.answered(now, now + 0.2)
            pace.busy -= 1


def test_requests_at_once_double_and_then_grow_one_by_one() -> None:
    pace = Pace(100)
    storm(pace, 2)
    assert pace.limit == pytest.approx(4 * FIRST, rel=0.2)
    storm(pace, 1, limited=True)
    half = pace.limit
    storm(pace, 3)
    assert half + 1 < pace.limit < half + 4
    storm(pace, 500)
    assert pace.limit == 100


def test_what_was_under_way_together_counts_once() -> None:
    pace = Pace(64)
    storm(pace, 10)
    for _ in range(64):
        pace.limited(200.0, 200.1, None)
    assert pace.limit == 32
    assert 200.5 < pace.resume < 201.2


def test_each_storm_takes_longer() -> None:
    pace = Pace(64, chance=random.Random(0))
    waits = []
    for now in (100.0, 200.0, 300.0, 400.0):
        pace.limited(now, now, None)
        waits.append(pace.resume - now)
    assert waits == sorted(waits)
    assert 4 <= waits[-1] <= 8
    pace.answered(500.0, 500.1)
    pace.limited(600.0, 600.0, None)
    assert pace.resume < 601.1


def test_a_server_is_left_alone_as_long_as_it_says() -> None:
    pace = Pace(64)
    pace.limited(100.0, 100.0, 30.0)
    pace.limited(100.0, 100.1, 2.0)
    assert pace.resume == 130.0
    assert not pace.has_room(129.9)
    assert pace.has_room(130.0)
    pace.limited(200.0, 200.0, 1e9)
    assert pace.resume == 3800.0


def test_a_server_that_says_0_s_and_goes_on_refusing_is_asked_ever_more_rarely() -> None:
    pace, now, asked = Pace(64), 100.0, 0
    while now < 160:
        pace.limited(now, now, 0.0)
        asked, now = asked + 1, max(now + 1e-3, pace.resume)
    assert asked < 20


def test_a_server_that_has_become_slower_gets_as_many_requests_as_before() -> None:
    pace = Pace(100)
    storm(pace, 10)
    for now in (200.0, 201.0, 202.0, 203.0):
        pace.limited(now, now, None)
    now, few = 300.0, pace.limit
    for _ in range(100):
        while pace.has_room(now):
            pace.busy += 1
        for _ in range(pace.busy):
            pace.answered(now, now + 5)  # 25 times as long
            pace.busy -= 1
        now += 5
    assert few < 10
    assert pace.limit > 5 * few


def test_a_server_that_gives_nothing_but_errors_is_spared_until_it_answers() -> None:
    pace = Pace(64)
    storm(pace, 10)
    for _ in range(7):
        pace.failed(200.0, 200.1)
    assert (pace.limit, pace.spared) == (64, 0)
    for _ in range(9):
        pace.failed(200.0, 200.1)  # sent together
    assert pace.limit == 1
    assert 200.5 < pace.spared < 201.2
    pace.failed(202.0, 202.1)
    assert pace.spared > 203
    storm(pace, 8)
    assert pace.limit == 64
    pace.failed(400.0, 400.1)
    assert pace.spared < 400


def test_a_few_time_outs_are_no_reason_and_many_are() -> None:
    pace = Pace(64)
    storm(pace, 10)
    for _ in range(3):
        pace.timed_out(200.0, 230.0)
    assert pace.limit == 64
    for _ in range(20):
        pace.timed_out(201.0, 231.0)
    assert pace.limit == 32


def test_a_server_that_takes_one_at_a_time_is_not_asked_for_hundreds() -> None:
    pace, now, queue = Pace(512), 100.0, deque[float]()
    for _ in range(1000):
        while pace.has_room(now):
            pace.busy += 1
            queue.append(now)
        now += 1
        pace.answered(queue.popleft(), now)
        pace.busy -= 1
    assert pace.limit < 4 * FIRST


def test_what_cannot_be_reached_is_left_out_until_it_says_something() -> None:
    pace = Pace(64)
    pace.unreachable(100.0, 100.0)
    pace.unreachable(100.0, 100.1)  # sent together
    assert pace.down
    assert 100.4 < pace.resume < 101.2
    pace.reached()
    assert not pace.down


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), max_size=60), st.integers(60, 6000))
def test_a_bucket_gives_no_more_than_its_rate(takes: list[tuple[float, int]], per_minute: int) -> None:
    bucket, now, taken, last = Bucket(per_minute), 0.0, 0, 0
    for wait, amount in takes:
        now = max(now + wait, bucket.ready(now + wait))
        assert bucket.ready(now) <= now + 1e-6
        bucket.take(amount)
        taken, last = taken + amount, amount
    assert taken - last <= per_minute / 60 * (now + 5) + 1 + 1e-3 * len(takes)


def test_a_bucket_without_a_number_gives_everything() -> None:
    bucket = Bucket(None)
    bucket.take(10**9)
    assert bucket.ready(5.0) == 5.0


@given(st.integers(1, 200), st.integers())
def test_waits_are_never_longer_than_the_longest(failures: int, seed: int) -> None:
    waits, chance = Waits(), random.Random(seed)
    assert 0 <= waits.after(failures, chance) <= min(60, 2.0 ** (failures - 1))
    assert waits.cool(failures, chance) <= 60
