"""A server that speaks OpenAI's protocol and fails in every way it is told to, while it counts what it sold.

    python -m tests.fault_server '{"rates": {"limited": 0.05, "reset": 0.05}, "seed": 1, "latency": 0.01}'
    http://127.0.0.1:41234/v1

    GET /stats    {"requests": 2412, "sold": 2000, "twice": 0, "most_at_once": 64, "faults": {"limited": 103, ...}}

A completion is sold when all of it has been written to a connection that was still there; its text holds its number,
so that a test can find every one of them in the store. What is in square brackets in a prompt decides about it alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 404: "Not Found"}

SAID: dict[str, tuple[int, dict[str, str], object]] = {
    # name: status, headers, error
    "limited": (429, {"retry-after": "0.05"}, {"message": "Rate limit reached for requests", "code": "rate_limit"}),
    "limited_ms": (429, {"retry-after-ms": "50"}, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "limited_mute": (429, {}, {"message": "Too many requests"}),
    "error500": (500, {}, {"message": "The server had an error while processing your request"}),
    "error503": (503, {}, {"message": "The engine is currently overloaded"}),
}

LATER: dict[str, tuple[int, object]] = {
    "unauthorized": (401, {"message": "Incorrect API key provided: {key}", "code": "invalid_api_key"}),
    "credit": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    "payment": (402, {"message": "Insufficient credits"}),
}
"""What it says to everything once it has sold so much."""

MARKED: dict[str, tuple[int, object]] = {
    "[refused]": (400, {"message": "Your prompt was flagged", "code": "content_filter"}),
    "[long]": (
        400,
        {"message": "This model's maximum context length is 4096 tokens.", "code": "context_length_exceeded"},
    ),
    "[odd]": (400, {"message": "Invalid type for messages", "type": "invalid_request_error"}),
}
"""Prompts that get no completion."""


@dataclass
class Options:
    """How it behaves."""

    rates: dict[str, float] = field(default_factory=dict)
    """Probability of each fault: those of SAID, and error502, reset, half, garbage, stall, fewer, empty, echo."""
    seed: int = 0
    latency: float = 0.01
    """Seconds of a completion."""
    slots: int = 1_000_000
    """Completions that are made at once; more requests wait."""
    stall: float = 60.0
    after: dict[str, int] = field(default_factory=dict)
    """{"unauthorized": 10}: from the eleventh completion on, that of LATER."""
    models: list[dict[str, Any]] | int = field(default_factory=lambda: [{"id": "model"}])
    """What it lists, or the status with which it does not."""
    refusal: str = "no list"
    """What it says then."""
    choices: int = 1_000_000
    """Of one request, at most."""
    lacks: list[str] = field(default_factory=list)
    """Fields that it refuses."""
    key: str | None = None
    """That it wants."""
    finish: str = "stop"
    """Reason of its replies."""
    text: str = "Step {serial}. The answer is yes."
    extra: dict[str, Any] = field(default_factory=dict)
    """More fields of a message."""


class FaultServer(asyncio.Protocol):
    """The connections share what is sold; each of them is one of these."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            lines = self.buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            method, path, _ = lines[0].split(" ")
            self.state.take(self, method, path, headers, body)

    def send(self, status: int, payload: object, headers: dict[str, str] | None = None) -> None:
        """A response in full; bytes are sent as they are."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.transport.write(head(status, len(raw), headers) + raw)

    def cut(self) -> None:
        """Reset the connection."""
        raw: socket.socket = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def head(status: int, length: int, headers: dict[str, str] | None = None) -> bytes:
    """Status line and headers."""
    kind = "text/html" if status == 502 else "application/json"
    told = {"content-type": kind, "content-length": str(length), "server": "faulty/1.0", **(headers or {})}
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}", *(f"{name}: {told[name]}" for name in told)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class State:
    """What the server is told to do, and what it has done."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.chance = random.Random(options.seed)
        self.requests = self.sold = self.at_once = self.most_at_once = self.busy = 0
        self.waiting: list[tuple[FaultServer, dict[str, Any]]] = []
        self.faults: Counter[str] = Counter()
        self.sales: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.bodies: list[dict[str, Any]] = []

    def take(self, line: FaultServer, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """See to one request."""
        options = self.options
        if path == "/stats":
            line.send(200, self.stats())
            return
        key = headers.get("authorization", "").removeprefix("Bearer ")
        self.keys.add(key)
        if options.key is not None and key != options.key:
            line.send(401, {"error": {"message": f"Incorrect API key provided: {key}", "code": "invalid_api_key"}})
        elif path == "/v1/models":
            self.list_models(line)
        elif method != "POST" or path not in ("/v1/chat/completions", "/v1/completions"):
            line.send(404, {"error": {"message": f"Invalid URL ({method} {path})"}})
        else:
            self.requests += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.answer(line, key, json.loads(body))

    def list_models(self, line: FaultServer) -> None:
        models = self.options.models
        if isinstance(models, int):
            line.send(models, {"error": {"message": self.options.refusal}})
        else:
            line.send(200, {"object": "list", "data": models})

    def answer(self, line: FaultServer, key: str, body: dict[str, Any]) -> None:
        """A completion, or one of the faults."""
        options = self.options
        if len(self.bodies) < 10_000:
            self.bodies.append(body)
        prompt = body.get("prompt") or "".join(turn["content"] for turn in body["messages"])
        known = [row["id"] for row in options.models] if isinstance(options.models, list) else [body["model"]]
        refused: tuple[int, object] | None = None
        if body["model"] not in known:
            refused = (404, {"message": f"The model {body['model']} does not exist", "code": "model_not_found"})
        elif lacking := next((name for name in options.lacks if name in body), None):
            words = f"Unsupported parameter: '{lacking}' is not supported with this model."
            refused = (400, {"message": words, "code": "unsupported_parameter", "param": lacking})
        else:
            refused = next((LATER[name] for name, n in options.after.items() if self.sold >= n), None)
            refused = refused or next((error for mark, error in MARKED.items() if mark in prompt), None)
        if refused is not None:
            self.at_once -= 1
            error = json.loads(json.dumps(refused[1]).replace("{key}", key))
            line.send(refused[0], {"error": error})
            return
        body["fault"] = self.draw()
        if self.fail(line, body["fault"], key):
            self.at_once -= 1
            return
        if self.busy >= options.slots:
            self.waiting.append((line, body))
        else:
            self.begin(line, body)

    def draw(self) -> str | None:
        """Which fault it is to be, if any."""
        point = self.chance.random()
        for name, rate in self.options.rates.items():
            point -= rate
            if point < 0:
                self.faults[name] += 1
                return name
        return None

    def fail(self, line: FaultServer, fault: str | None, key: str) -> bool:
        """Whether the fault came at once."""
        if fault in SAID:
            status, headers, error = SAID[fault]
            line.send(status, {"error": error}, headers)
        elif fault == "error502":
            line.send(502, b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>")
        elif fault == "echo":
            line.send(500, {"error": {"message": f"cannot look up the account of {key}"}})
        elif fault == "reset":
            line.cut()
        elif fault == "stall":
            asyncio.get_running_loop().call_later(self.options.stall, line.transport.abort)
        else:
            return False
        return True

    def begin(self, line: FaultServer, body: dict[str, Any]) -> None:
        self.busy += 1
        asyncio.get_running_loop().call_later(self.options.latency, self.finish, line, body)

    def finish(self, line: FaultServer, body: dict[str, Any]) -> None:
        """Send the completion; the next one's turn."""
        self.busy -= 1
        self.at_once -= 1
        if self.waiting:
            self.begin(*self.waiting.pop(0))
        if line.transport.is_closing():
            return
        fault, n = body["fault"], min(body.get("n", 1), self.options.choices)
        n = 1 if fault == "fewer" else n
        choices = [self.choice(body, place, empty=fault == "empty") for place in range(n)]
        response = {
            "id": f"reply-{self.requests}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": f"{body['model']}-0613",
            "system_fingerprint": "fp_1",
            "choices": choices,
            "usage": {"prompt_tokens": 50, "completion_tokens": 60 * n, "total_tokens": 50 + 60 * n},
        }
        raw = json.dumps(response).encode()
        if fault == "garbage":
            line.send(200, raw[: len(raw) // 2])
        elif fault == "half":
            line.transport.write(head(200, len(raw)) + raw[: len(raw) // 2])
            line.transport.close()
        else:
            line.send(200, raw)
            if fault != "empty":
                self.sell(body, n)

    def choice(self, body: dict[str, Any], place: int, *, empty: bool) -> dict[str, Any]:
        serial = self.sold + place
        text = "" if empty else self.options.text.format(serial=serial)
        prompt = body.get("prompt") or json.dumps(body["messages"])
        finish = "content_filter" if "[filtered]" in prompt else self.options.finish
        if "prompt" in body:
            return {"index": place, "text": text, "finish_reason": finish}
        message = {"role": "assistant", "content": text, **self.options.extra}
        return {"index": place, "message": message, "finish_reason": finish}

    def sell(self, body: dict[str, Any], n: int) -> None:
        self.sold += n
        prompt = body.get("prompt") or json.dumps(body["messages"])
        for place in range(n):
            self.sales[f"{hash(prompt)}/{body.get('seed')}/{place}"] += 1

    def stats(self) -> dict[str, Any]:
        """What it did."""
        return {
            "requests": self.requests,
            "sold": self.sold,
            "twice": sum(count - 1 for count in self.sales.values()),
            "most_at_once": self.most_at_once,
            "faults": dict(self.faults),
        }


async def serve(options: Options, ready: Any, port: int = 0) -> None:
    """Serve until cancelled; `ready` is called with the base URL and the state."""
    state = State(options)
    server = await asyncio.get_running_loop().create_server(lambda: FaultServer(state), "127.0.0.1", port, backlog=2048)
    ready(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", state)
    async with server:
        await server.serve_forever()


@dataclass
class Serving:
    """A server that is running."""

    url: str
    state: State

    def stats(self) -> dict[str, Any]:
        return stats_of(self.url)


def stats_of(url: str) -> dict[str, Any]:
    """What the server at that base URL did."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as response:
        told: dict[str, Any] = json.load(response)
    return told


@contextmanager
def serving(**options: Any) -> Iterator[Serving]:
    """A server in a thread of its own."""
    loop = asyncio.new_event_loop()
    up: list[Serving] = []
    event = threading.Event()

    def ready(url: str, state: State) -> None:
        up.append(Serving(url, state))
        event.set()

    task = loop.create_task(serve(Options(**options), ready))

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(asyncio.sleep(0))  # connections that were cut say so

    thread = threading.Thread(target=run)
    thread.start()
    assert event.wait(10)
    try:
        yield up[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


if __name__ == "__main__":
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    assert given.keys() <= asdict(Options()).keys(), given
    asyncio.run(serve(Options(**given), lambda url, state: print(url, flush=True)))
