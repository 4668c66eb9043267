"""teacher=batch against a server of batches that goes wrong on demand: nothing lost, nothing bought twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftcot.errors import InputError, JobError
from ftcot.teacher import batch_client, batch_earlier
from ftcot.teacher.asks import REFUSED, TOO_LONG, Ask, Decoding, Reply, Turn
from ftcot.teacher.batch import Batch
from ftcot.teacher.batch_state import Row, make
from tests.batch_server import BatchServer, Cut, Spoil, Status, batch_server
from tests.scripted_backend import Collector


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(batch_client, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(batch_client, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(batch_client, "LOOK", 0.01)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with batch_server() as server:
        yield server


def teacher(server: BatchServer, **more: Any) -> Batch:
    return Batch(**{"model": "m", "base_url": server.url, "timeout": 5.0, "poll_seconds": 0.005} | more)


def asks(n: int, draws: tuple[int, ...] = (0,), words: str = "") -> list[Ask]:
    return [Ask(("t", 1, place), draws, (Turn("user", f"Q: {place}{words}"),), Decoding(0.7, 64)) for place in range(n)]


def answer_to(reply: Reply) -> list[Ask]:
    """The second of two calls."""
    if reply.ask.part == "answer" or reply.finish_reason in (REFUSED, TOO_LONG):
        return []
    turns = (*reply.ask.turns, Turn("assistant", reply.text), Turn("user", "Therefore"))
    return [Ask(reply.ask.sample, (reply.draw,), turns, Decoding(0.0, 8), "answer")]


def collector(folder: Path, **more: Any) -> Collector:
    return Collector(folder=folder, **more)


def said(server: BatchServer, folder: Path, wanted: Sequence[Ask], **more: Any) -> list[Reply]:
    """All replies, none of which may be missing or come twice."""
    control = collector(folder)
    replies = control.run(teacher(server, **more).backend(), wanted)
    assert control.abandoned == []
    assert sorted(map(known, replies)) == sorted((ask.sample, draw, ask.part) for ask in wanted for draw in ask.draws)
    return replies


def known(reply: Reply) -> tuple[Any, int, str]:
    return (reply.ask.sample, reply.draw, reply.ask.part)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("batches/*"))


# The way it goes


def test_two_calls_are_two_rounds_of_batches(server: BatchServer, tmp_path: Path) -> None:
    control = collector(tmp_path, following=answer_to)
    replies = control.run(teacher(server).backend(), asks(3, (0, 1)))
    assert Counter(reply.ask.part for reply in replies) == {"rationale": 6, "answer": 6}
    assert len(set(map(known, replies))) == 12
    assert [len(rows) for rows in server.requests] == [3, 6]
    assert server.bought_twice == {}
    assert sum(server.sold.values()) == 12
    assert left_behind(tmp_path) == []


def test_a_request_is_what_the_api_would_send(server: BatchServer, tmp_path: Path) -> None:
    said(server, tmp_path, asks(1, (2, 3)), extra={"top_k": 4})
    (row,) = server.requests[0]
    body = row.pop("body")
    assert row == {"custom_id": row["custom_id"], "method": "POST", "url": "/v1/chat/completions"}
    assert isinstance(body.pop("seed"), int)
    messages = [{"role": "user", "content": "Q: 0"}]
    known = {"model": "m", "messages": messages, "max_tokens": 64, "temperature": 0.7, "n": 2, "top_k": 4}
    assert body == known


def test_models_that_continue_text_are_given_one(server: BatchServer, tmp_path: Path) -> None:
    said(server, tmp_path, asks(1), endpoint="completions")
    (row,) = server.requests[0]
    assert (row["url"], row["body"]["prompt"]) == ("/v1/completions", "Q: 0")
    assert [batch["endpoint"] for batch in server.batches.values()] == ["/v1/completions"]


def test_a_reply_bears_its_share_of_the_tokens_and_what_the_server_said(server: BatchServer, tmp_path: Path) -> None:
    first, second = said(server, tmp_path, asks(1, (0, 1)))
    assert (first.usage, second.usage) == ({"prompt": 10, "completion": 5}, {"prompt": 0, "completion": 5})
    assert first.model == "m-2026"
    assert first.finish_reason == "stop"
    assert first.raw is not None
    assert first.raw["usage"]["total_tokens"] == 20
    assert first.text != second.text


def test_one_draw_a_request_where_the_config_says_so(server: BatchServer, tmp_path: Path) -> None:
    said(server, tmp_path, asks(2, (0, 1, 2)), n=1)
    assert len(server.requests[0]) == 6
    assert len({row["body"]["seed"] for row in server.requests[0]}) == 6


def test_what_is_too_much_for_one_batch_is_split(server: BatchServer, tmp_path: Path) -> None:
    said(server, tmp_path / "a", asks(7), max_requests=3)
    assert [len(rows) for rows in server.requests] == [3, 3, 1]
    server.batches.clear()
    said(server, tmp_path / "b", asks(5, words="x" * 1000), max_bytes=3000)
    assert [len(rows) for rows in server.requests] == [2, 2, 1]
    assert all(len(server.files[batch["input_file_id"]][1]) <= 3000 for batch in server.batches.values())


def test_a_request_that_no_batch_can_hold_is_given_up(server: BatchServer, tmp_path: Path) -> None:
    control = collector(tmp_path)
    replies = control.run(teacher(server, max_bytes=1000).backend(), [*asks(1, words="x" * 1000), *asks(2)[1:]])
    assert [reply.ask.sample[2] for reply in replies] == [1]
    ((ask, cause),) = control.abandoned
    assert ask.sample[2] == 0
    assert "teacher.max_bytes=1000" in cause


def test_no_more_tokens_are_under_way_than_the_account_may_have(server: BatchServer, tmp_path: Path) -> None:
    server.tokens_enqueued = 300
    said(server, tmp_path, asks(9, (0,)), max_tokens_enqueued=300)
    assert [batch["status"] for batch in server.batches.values()] == ["completed"] * 3


def test_the_accounts_limit_is_learnt_from_the_server(server: BatchServer, tmp_path: Path) -> None:
    server.tokens_enqueued = 300
    said(server, tmp_path, asks(9, (0,)), max_requests=6)
    assert server.bought_twice == {}
    assert Counter(batch["status"] for batch in server.batches.values())["failed"] <= 2


def test_batches_get_smaller_where_the_server_counts_in_another_way(server: BatchServer, tmp_path: Path) -> None:
    full = Spoil(fail={"code": "token_limit_exceeded", "message": "Enqueued token limit reached for m."})
    server.spoil(full, full)
    said(server, tmp_path, asks(8))
    assert [len(rows) for rows in server.requests][:3] == [8, 4, 2]
    assert sum(len(rows) for rows in server.requests[2:]) == 8
    assert server.bought_twice == {}


def test_the_note_tells_how_far_the_batches_are(server: BatchServer, tmp_path: Path) -> None:
    server.polls = 3
    control = collector(tmp_path)
    control.run(teacher(server, max_requests=2).backend(), asks(3))
    assert "2 batches (2 validating): 0 of 3 done" in control.notes
    assert "2 batches: 0 of 3 done" in control.notes


# Results that are not what was asked for


@pytest.mark.parametrize(
    ("spoil", "remark"),
    [
        (Spoil(wrong_ids=2), "2 with an id that was not asked"),
        (Spoil(garbage=2), "2 that are no JSON"),
        (Spoil(missing=2), "missing from the results"),
    ],
    ids=["wrong ids", "no JSON", "missing"],
)
def test_rows_that_cannot_be_used_are_asked_again_and_the_others_are_not(
    server: BatchServer, tmp_path: Path, spoil: Spoil, remark: str
) -> None:
    server.spoil(spoil)
    control = collector(tmp_path)
    replies = control.run(teacher(server).backend(), asks(5))
    assert len(set(map(known, replies))) == len(replies) == 5
    assert [len(rows) for rows in server.requests] == [5, 2]
    assert server.bought_twice == {}
    assert any(remark in line for line in control.said)
    assert left_behind(tmp_path) == []


def test_of_two_rows_with_one_id_the_first_counts(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(Spoil(doubles=3))
    control = collector(tmp_path)
    replies = control.run(teacher(server).backend(), asks(4))
    assert len(set(map(known, replies))) == len(replies) == 4
    assert len(server.batches) == 1
    assert any("3 that came twice" in line for line in control.said)


def test_fewer_choices_than_asked_for_are_topped_up(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(Spoil(fewer=1))
    replies = said(server, tmp_path, asks(2, (0, 1, 2)))
    assert len({reply.text for reply in replies}) == 6
    assert [[row["body"].get("n") for row in rows] for rows in server.requests] == [[3, 3], [None, None]]


def test_rows_that_are_missing_in_a_torn_download_are_fetched_again_before_they_are_bought_again(
    server: BatchServer, tmp_path: Path
) -> None:
    server.tear(1)
    said(server, tmp_path, asks(6))
    assert len(server.batches) == 1


def test_of_an_expired_batch_the_rest_alone_is_asked_again(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(*[Spoil(end="expired", finished=2)] * 4)
    said(server, tmp_path, asks(10))  # more rounds than attempts: each got somewhere
    assert [len(rows) for rows in server.requests] == [10, 8, 6, 4, 2]
    assert server.bought_twice == {}


def test_batches_that_expire_without_a_single_answer_are_given_up(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(*[Spoil(end="expired", finished=0)] * 9)
    control = collector(tmp_path)
    assert control.run(teacher(server).backend(), asks(2)) == []
    assert len(server.batches) == 3
    assert [(ask.sample[2], "expired" in cause) for ask, cause in control.abandoned] == [(0, True), (1, True)]


def test_what_somebody_cancelled_is_not_asked_again(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(Spoil(end="cancelled", finished=1))
    control = collector(tmp_path)
    replies = control.run(teacher(server).backend(), asks(3))
    assert (len(replies), len(control.abandoned), len(server.batches)) == (1, 2, 1)
    assert "cancelled" in control.abandoned[0][1]


def test_a_refused_or_too_long_prompt_is_a_reply(server: BatchServer, tmp_path: Path) -> None:
    errors = {
        "Q: 0": (400, {"code": "content_policy_violation", "message": "no"}),
        "Q: 1": (
            400,
            {"code": "context_length_exceeded", "message": "This model's maximum context length is 99 tokens"},
        ),
    }
    server.ruling = lambda body: errors.get(body["messages"][0]["content"])
    replies = said(server, tmp_path, asks(3))
    assert {reply.ask.sample[2]: reply.finish_reason for reply in replies} == {0: REFUSED, 1: TOO_LONG, 2: "stop"}
    assert len(server.batches) == 1


def test_what_fails_every_time_is_given_up_and_the_rest_is_not(server: BatchServer, tmp_path: Path) -> None:
    failing = (500, {"message": "overloaded"})
    server.ruling = lambda body: failing if body["messages"][0]["content"] == "Q: 1" else None
    control = collector(tmp_path)
    replies = control.run(teacher(server).backend(), asks(3))
    assert sorted(reply.ask.sample[2] for reply in replies) == [0, 2]
    assert [len(rows) for rows in server.requests] == [3, 1, 1]
    ((ask, cause),) = control.abandoned
    assert ask.sample[2] == 1
    assert "overloaded" in cause


def test_a_field_that_the_model_does_not_take_is_left_out(server: BatchServer, tmp_path: Path) -> None:
    def ruling(body: Any) -> Any:
        for name in ("max_tokens", "temperature"):
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return 400, {"code": "unsupported_parameter", "param": name, "message": message}
        return None

    server.ruling = ruling
    said(server, tmp_path, asks(3))
    assert [len(rows) for rows in server.requests] == [3, 3, 3]
    assert server.requests[-1][0]["body"].keys() == {"model", "messages", "max_completion_tokens", "seed"}


def test_a_request_that_is_formed_wrongly_ends_the_job_and_one_among_good_ones_does_not(
    server: BatchServer, tmp_path: Path
) -> None:
    server.ruling = lambda body: (400, {"message": "top_k: must be above 0"})
    with pytest.raises(JobError, match="top_k: must be above 0"):
        said(server, tmp_path, asks(3))
    assert left_behind(tmp_path) == []
    server.ruling = lambda body: (400, {"message": "odd"}) if body["messages"][0]["content"] == "Q: 1" else None
    control = collector(tmp_path)
    assert len(control.run(teacher(server).backend(), asks(3))) == 2
    assert len(control.abandoned) == 1


def test_no_credit_ends_the_job_with_what_was_answered_kept(server: BatchServer, tmp_path: Path) -> None:
    broke = (429, {"code": "insufficient_quota", "message": "You exceeded your current quota"})
    server.ruling = lambda body: broke if body["messages"][0]["content"] == "Q: 1" else None
    control = collector(tmp_path)
    with pytest.raises(JobError, match="You exceeded your current quota"):
        control.run(teacher(server).backend(), asks(3))
    assert sorted(reply.ask.sample[2] for reply in control.replies) == [0, 2]
    assert left_behind(tmp_path) == []


def test_a_batch_that_is_refused_as_a_whole_is_one_clear_line(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(Spoil(fail={"code": "model_not_found", "message": "The provided model 'm' is not supported"}))
    with pytest.raises(JobError) as raised:
        said(server, tmp_path, asks(3))
    assert str(raised.value) == f"{server.url}: batch batch_0 was refused: The provided model 'm' is not supported"
    assert left_behind(tmp_path) == []


def test_a_batch_that_failed_by_the_servers_fault_is_sent_again(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(Spoil(fail={"code": "server_error", "message": "Internal error, try again"}))
    said(server, tmp_path, asks(3))
    assert len(server.batches) == 2


# A server that fails on the way


STEPS = ("upload", "create", "retrieve", "content")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "fault",
    [Status(500), Status(503), Status(429, headers={"retry-after": "0"}), Cut(after=False), Cut(after=True)],
    ids=["500", "503", "429", "cut", "cut after"],
)
def test_a_step_that_fails_is_taken_again(server: BatchServer, tmp_path: Path, step: Any, fault: Any) -> None:
    server.fault(step, fault)
    said(server, tmp_path, asks(3))
    assert len([batch for batch in server.batches.values() if batch["status"] == "completed"]) == 1
    assert server.bought_twice == {}
    assert left_behind(tmp_path) == []


def test_a_batch_that_was_made_without_our_hearing_of_it_is_found_by_its_mark(
    server: BatchServer, tmp_path: Path
) -> None:
    server.fault("create", Cut(after=True))
    server.fault("list", Status(500))
    said(server, tmp_path, asks(3))
    assert server.calls["create"] == 1
    (batch,) = server.batches.values()
    assert list(batch["metadata"]) == [batch_client.MARK]


def test_a_key_that_is_refused_later_ends_the_job_and_the_batch_is_collected_by_the_next(
    server: BatchServer, tmp_path: Path
) -> None:
    refused = Status(401, {"message": "Incorrect API key provided", "code": "invalid_api_key"})
    server.fault("content", refused)
    with pytest.raises(JobError, match="401: Incorrect API key provided"):
        said(server, tmp_path, asks(3))
    said(server, tmp_path, asks(3))
    assert len(server.batches) == 1


@pytest.mark.parametrize("key", ["sk-echo-0123456789", 'sk-echo-01234"6789'])  # JSON writes a quote as two signs
def test_the_key_is_in_no_file_and_no_line_even_if_the_server_echoes_it(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MY_OWN", key)
    server.ruling = lambda body: (500, {"message": f"key {key} is overloaded"})
    control = collector(tmp_path)
    control.run(teacher(server, key_variable="MY_OWN").backend(), asks(1))
    server.key = "another"
    with pytest.raises(InputError) as raised:
        said(server, tmp_path, asks(1), key_variable="MY_OWN")
    lines = [*control.said, *control.notes, *(cause for _, cause in control.abandoned), str(raised.value)]
    assert any("***" in line for line in lines)
    assert "sk-echo" not in json.dumps(lines)
    assert not any(b"sk-echo" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_server_that_never_answers_ends_the_job(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_client, "PATIENCE", 0.05)
    server.fault("upload", *[Status(502)] * 50)
    with pytest.raises(JobError, match=r"\(the upload of a batch\) has not worked"):
        said(server, tmp_path, asks(1))
    assert left_behind(tmp_path) == []


# Jobs that end before their batches


def test_a_job_that_is_stopped_leaves_its_batch_to_the_next(server: BatchServer, tmp_path: Path) -> None:
    server.held = True
    control = collector(tmp_path)
    control.stopping = lambda: len(control.notes) > 3  # type: ignore[method-assign]
    assert control.run(teacher(server).backend(), asks(3)) == []
    assert control.said == ["batch batch_0 is under way; the same command collects the answers"]
    server.held = False
    said(server, tmp_path, asks(3))
    assert len(server.batches) == 1
    assert server.bought_twice == {}


def test_a_stage_that_takes_too_long_leaves_its_batch_to_the_next(server: BatchServer, tmp_path: Path) -> None:
    server.held = True
    with pytest.raises(JobError, match=r"teacher.stage_timeout=1 is over; batch batch_0 is under way"):
        said(server, tmp_path, asks(3), stage_timeout=1)
    server.held = False
    said(server, tmp_path, asks(3))
    assert len(server.batches) == 1


def abandoned_job(server: BatchServer, folder: Path, wanted: Sequence[Ask]) -> None:
    """A job that ends while its batch is under way."""
    control, before = collector(folder), len(server.batches)
    control.stopping = lambda: len(server.batches) > before  # type: ignore[method-assign]
    assert control.run(teacher(server).backend(), wanted) == []


def test_a_job_that_wants_less_takes_what_it_wants_and_leaves_the_rest(server: BatchServer, tmp_path: Path) -> None:
    abandoned_job(server, tmp_path, asks(4, (0, 1, 2, 3)))
    said(server, tmp_path, asks(4, (0, 1)))
    assert len(left_behind(tmp_path)) == 2
    said(server, tmp_path, asks(4, (2, 3)))
    assert len(server.batches) == 1
    assert server.bought_twice == {}
    assert left_behind(tmp_path) == []


def test_a_job_that_wants_more_asks_for_the_rest_alone(server: BatchServer, tmp_path: Path) -> None:
    abandoned_job(server, tmp_path, asks(3, (0, 1)))
    said(server, tmp_path, asks(4, (0, 1, 2)))
    assert [[row["body"].get("n", 1) for row in rows] for rows in server.requests] == [[2, 2, 2], [1, 1, 1, 3]]
    assert server.bought_twice == {}


@pytest.mark.parametrize(
    "changed",
    [{"model": "m2"}, {"seed": 1}, {"extra": {"top_k": 3}}, {"endpoint": "completions"}],
    ids=["model", "seed", "extra", "endpoint"],
)
def test_a_batch_that_asked_something_else_is_left_alone(
    server: BatchServer, tmp_path: Path, changed: dict[str, Any]
) -> None:
    abandoned_job(server, tmp_path, asks(2))
    said(server, tmp_path, asks(2), **changed)
    assert len(server.batches) == 2
    assert len(left_behind(tmp_path)) == 2
    said(server, tmp_path, asks(2))
    assert len(server.batches) == 2


def test_a_batch_of_a_dead_job_that_failed_is_sent_once_more(server: BatchServer, tmp_path: Path) -> None:
    server.spoil(*[Spoil(fail={"code": "billing_hard_limit_reached", "message": "no credit"})] * 2)
    abandoned_job(server, tmp_path, asks(2, (0, 1)))
    abandoned_job(server, tmp_path, asks(2, (2,)))
    said(server, tmp_path, asks(2, (0, 1, 2)))
    assert server.bought_twice == {}
    assert left_behind(tmp_path) == []


def test_a_batch_at_another_server_is_not_bought_again_here(server: BatchServer, tmp_path: Path) -> None:
    abandoned_job(server, tmp_path, asks(2))
    with batch_server() as other:
        with pytest.raises(JobError, match=f"set teacher.base_url={server.url} to collect it, or delete"):
            said(other, tmp_path, asks(2))
        assert len(other.batches) == 0


def test_a_batch_that_the_server_has_forgotten_is_not_bought_again_unasked(server: BatchServer, tmp_path: Path) -> None:
    abandoned_job(server, tmp_path, asks(2))
    kept = dict(server.batches)
    server.batches.clear()
    with pytest.raises(JobError, match=r"404: No batch found.*perhaps with another key; if it is lost, delete"):
        said(server, tmp_path, asks(2))
    server.batches |= kept
    said(server, tmp_path, asks(2))
    assert len(server.batches) == 1


def test_results_that_are_gone_are_asked_again(server: BatchServer, tmp_path: Path) -> None:
    server.lose_outputs = True
    control = collector(tmp_path)
    control.stopping = lambda: len(server.batches) > 1  # type: ignore[method-assign]
    control.run(teacher(server).backend(), asks(2))
    assert any("1 in a file that is gone" in line for line in control.said)


def test_old_plans_that_nobody_asks_for_are_removed(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned_job(server, tmp_path, asks(2))
    said(server, tmp_path, asks(3)[2:])
    assert len(left_behind(tmp_path)) == 2
    monkeypatch.setattr(batch_earlier, "FORGOTTEN", -1.0)
    said(server, tmp_path, asks(4)[3:])
    assert left_behind(tmp_path) == []


def test_a_plan_that_another_process_is_sending_is_left_to_it(server: BatchServer, tmp_path: Path) -> None:
    row = Row(("t", 1, 0), (0,), "rationale", "ab")
    plan = make(tmp_path / "batches", "4f1c09ab2e77", server.url, [row], 10)
    said(server, tmp_path, asks(2))
    assert len(left_behind(tmp_path)) == 1
    plan.unlock()
    said(server, tmp_path, asks(3)[2:])
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("name", ["4f1c09ab2e77.plan", "4f1c09ab2e77.json"])
def test_a_damaged_plan_is_named_and_not_passed_over(server: BatchServer, tmp_path: Path, name: str) -> None:
    abandoned_job(server, tmp_path, asks(2))
    (path,) = tmp_path.glob(f"batches/*{Path(name).suffix}")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=f"{path.name}: .*restore the file, or delete"):
        said(server, tmp_path, asks(2))


# Wrong input


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_requests": 0}, "teacher.max_requests=0: expected 1 or more"),
        ({"max_bytes": -1}, "teacher.max_bytes=-1: expected 1 or more"),
        ({"max_tokens_enqueued": 0}, "teacher.max_tokens_enqueued=0: expected 1 or more, or null"),
        ({"poll_seconds": 0}, "teacher.poll_seconds=0: expected more than 0"),
        ({"attempts": 0}, "teacher.attempts=0: expected 1 or more"),
        ({"base_url": ["http://a/v1", "http://b/v1"]}, "teacher.base_url: batches are made at one server"),
        ({"stage_timeout": "soon"}, "teacher.stage_timeout=soon: expected seconds, or a time such as 90m, 2h or 1d"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_that_mean_nothing_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        Batch(**{"model": "m"} | changed)
    assert str(raised.value) == message


def test_a_server_without_batches_is_one_clear_line(server: BatchServer, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        said(server, tmp_path, asks(1), base_url=server.url.replace("/v1", "/v2"))
    assert str(raised.value).endswith(
        "/v2 (the upload of a batch): 404: Unknown request URL: /v2/files (not every server has batches; teacher=api "
        "asks any)"
    )
    assert left_behind(tmp_path) == []


def test_the_launcher_is_told_of_a_key_that_is_refused_and_of_a_model_that_is_not_there(server: BatchServer) -> None:
    teacher(server).reach()
    with pytest.raises(InputError, match=r"teacher.model=other: .* has no such model; it has m"):
        teacher(server, model="other").reach()
    server.key = "another"
    with pytest.raises(InputError, match="no key was sent"):
        teacher(server).reach()
    assert server.calls.keys() == {"model"}


def test_a_batch_costs_half() -> None:
    prices = {"input": 2.0, "output": 8.0, "batch": 0.5}
    price = Batch(model="m", prices=prices).price
    assert price is not None
    assert (price.input, price.output) == (1.0, 4.0)
