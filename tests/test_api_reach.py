"""Before anything is sent: a server that is not there, a key, a model, a prompt that is too long."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcot.errors import InputError
from ftcot.run import run
from ftcot.teacher import Diversity
from ftcot.teacher.api import Api
from ftcot.teacher.prompting import Prompting
from tests.conftest import ROOT
from tests.fault_server import serving
from tests.generated_tasks import build

TASK = build("coin_flip", n_train=8, n_test=4)

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def reach(url: str | None, model: str = "model", **more: Any) -> None:
    asked = Api(model=model, base_url=url, **more)
    asked.check(TASK, TASK.splits(), Diversity(1, 0.0))
    asked.reach()


def test_a_server_that_is_there_and_has_the_model_is_taken() -> None:
    with serving() as server:
        reach(server.url)
        assert server.state.requests == 0


@pytest.mark.parametrize("status", [404, 405, 500, 503])
def test_a_server_without_a_list_is_taken(status: int) -> None:
    with serving(models=status) as server:
        reach(server.url)


def test_an_unknown_model_is_refused_with_ten_that_are_there() -> None:
    with serving(models=[{"id": f"model-{number:02}"} for number in range(30)]) as server:
        with pytest.raises(InputError, match=r"teacher\.model=model-x: .* has no such model; it has .* and 20 more"):
            reach(server.url, "model-x")
        assert server.state.requests == 0


@pytest.mark.parametrize(
    ("listed", "model"),
    [("llama3:latest", "llama3"), ("models/gemini", "gemini"), ("x/y", "x/y:nitro"), ("openai/*", "openai/gpt-4o")],
)
def test_names_that_servers_take_for_one_model(listed: str, model: str) -> None:
    with serving(models=[{"id": listed}]) as server:
        reach(server.url, model)


def test_a_refused_key_is_said_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)
    with serving(key="another") as server:
        with pytest.raises(InputError, match=r"the key in \$MINE is refused \(401\)") as caught:
            reach(server.url, key_variable="MINE")
        assert server.state.keys == {KEY}
    assert KEY not in str(caught.value)


def test_a_server_that_lists_only_some_of_its_models_can_be_asked_for_others() -> None:
    with serving(models=[{"id": "gpt-4o", "context_length": 40}]) as server:
        with pytest.raises(InputError, match=r"has no such model; it has gpt-4o \(teacher\.listed=false"):
            reach(server.url, "my-deployment")
        reach(server.url, "my-deployment", listed=False)
        with pytest.raises(InputError, match=r"teacher\.context=40"):
            reach(server.url, "gpt-4o", listed=False)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_list_models_may_ask_one(status: int) -> None:
    said = "You have insufficient permissions for this operation. Missing scopes: api.model.read."
    with serving(models=status, refusal=said) as server:
        reach(server.url)
    with serving(models=status) as server, pytest.raises(InputError, match=str(status)):
        reach(server.url)


def test_a_url_without_the_v1_is_put_right() -> None:
    with serving() as server:
        short = server.url.removesuffix("/v1")
        with pytest.raises(InputError, match=f"base_url={short}: its models are at teacher.base_url={server.url}"):
            reach(short)


def test_a_host_that_no_server_can_have_is_refused_in_a_line() -> None:
    with pytest.raises(InputError, match=r"is no address"):
        reach("http://node7..local:8000/v1", key_variable=None)


@pytest.mark.parametrize("url", [f"https://x/v1?api-key={KEY}", f"https://x/v1#{KEY}", f"me:{KEY}@host:8000/v1"])
def test_a_key_in_a_wrong_url_is_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        Api(model="model", base_url=url)
    assert KEY not in str(caught.value)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(InputError) as caught:
        reach(None)
    assert KEY not in str(caught.value)


def test_nobody_there() -> None:
    with serving() as server:
        pass
    with pytest.raises(InputError, match="cannot be connected to"):
        reach(server.url)


def test_one_replica_is_enough() -> None:
    with serving() as gone:
        pass
    with serving() as server:
        Api(model="model", base_url=[gone.url, server.url]).reach()


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftcot.teacher.catalogue.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach(f"http://127.0.0.1:{silent.getsockname()[1]}/v1")


@pytest.mark.parametrize(
    "entry", [{"max_model_len": 40}, {"meta": {"n_ctx_train": 40}}, {"context_length": 40}, {"context_window": 40}]
)
def test_a_context_that_the_server_tells_is_heeded(entry: dict[str, Any]) -> None:
    with serving(models=[{"id": "model", **entry}]) as server:
        with pytest.raises(InputError, match=r"teacher\.context=40"):
            reach(server.url, prompting=Prompting(max_tokens=8))
        reach(server.url, prompting=Prompting(max_tokens=8), context=10_000)  # whoever knows better


def test_no_key_for_a_server_elsewhere() -> None:
    asked = Api(model="model")
    with pytest.raises(InputError, match=r"no key for https://api.openai.com/v1: \$OPENAI_API_KEY is not set"):
        asked.reach()
    assert "no key" in (asked.lack() or "")
    assert Api(model="model", base_url="http://127.0.0.1:1/v1").lack() is None
    assert Api(model="model", base_url="http://node7:8000/v1", key_variable=None).lack() is None


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/")
        Api(model="model").reach()
        assert server.state.keys


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8000", "expected the URL of a server"),
        ("ftp://x/v1", "expected the URL of a server"),
        ("http://", "expected the URL of a server"),
        ("http://x:99999/v1", "expected the URL of a server"),
        ("http://x/v1?key=1", r"expected no \?"),
        ([], "name a server"),
        (["http://x/v1", "http://x/v1/"], "is named twice"),
    ],
)
def test_a_wrong_url_is_refused(url: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Api(model="model", base_url=url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        Api(model="model", base_url=f"https://me:{KEY}@host/v1")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "embeddings"}, "teacher.endpoint=embeddings"),
        ({"n": 2}, "teacher.n=2"),
        ({"concurrency": 0}, "teacher.concurrency=0"),
        ({"attempts": 0}, "teacher.attempts=0"),
        ({"timeout": 0}, "teacher.timeout=0"),
        ({"requests_per_minute": -1}, "teacher.requests_per_minute=-1"),
        ({"stage_timeout": "soon"}, "teacher.stage_timeout=soon"),
        ({"extra": {"temperature": 1}}, "teacher.extra.temperature"),
        ({"extra": {"stream": True}}, "teacher.extra.stream"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Api(model="model", **settings)


def test_how_a_model_is_reached_is_no_part_of_its_completions_key() -> None:
    diversity = Diversity(2, 0.7)
    one = Api(model="model", base_url="http://127.0.0.1:1/v1", concurrency=1, n=1)
    two = Api(model="model", base_url="http://127.0.0.2:2/v1", timeout=1.0, attempts=1)
    assert one.parameters(TASK, diversity) == two.parameters(TASK, diversity)
    assert Api(model="model", extra={"top_k": 1}).parameters(TASK, diversity) != one.parameters(TASK, diversity)


# The whole command


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, which must refuse; returns its one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTCOT_CACHE", str(tmp_path / "cache"))

    def refused(*words: str) -> str:
        code = run(["teacher=api", "task.n_train=16", "task.n_test=8", *words])
        said = capsys.readouterr()
        assert (code, said.out) == (2, ""), said
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
        return said.err

    return refused


def test_no_model_is_one_line(wrong: Callable[..., str]) -> None:
    assert "teacher.model" in wrong()


def test_no_key_is_one_line(wrong: Callable[..., str]) -> None:
    assert "$OPENAI_API_KEY is not set" in wrong("teacher.model=gpt-4o-mini")


def test_a_wrong_server_is_one_line(wrong: Callable[..., str]) -> None:
    with serving() as gone:
        pass
    assert "cannot be connected to" in wrong("teacher.model=model", f"teacher.base_url={gone.url}")


def test_an_unknown_model_is_one_line_and_nothing_is_sent(wrong: Callable[..., str]) -> None:
    with serving() as server:
        said = wrong("teacher.model=modle", f"teacher.base_url={server.url}")
        assert server.state.requests == 0
    assert "has no such model; it has model" in said


def test_the_command_refuses_what_the_server_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)
    words = ["teacher=api", "teacher.model=model", "teacher.key_variable=MINE", "task.n_train=16", "task.n_test=8"]
    with serving(key="another") as server:
        words.append(f"teacher.base_url={server.url}")
        done = subprocess.run(
            [sys.executable, "-m", "ftcot.run", *words, f"paths.cache={tmp_path / 'cache'}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert server.state.requests == 0
    assert (done.returncode, done.stdout) == (2, "")
    assert "the key in $MINE is refused (401)" in done.stderr
    assert KEY not in json.dumps([done.stdout, done.stderr])
