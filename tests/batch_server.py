"""A server of OpenAI's files and batches, on loopback, that goes wrong on demand and counts what was bought from it.

    with batch_server(polls=2) as server:
        server.fault("create", Cut())           the batch is made, the client never hears of it
        ...
        assert server.bought == server.sold     no completion was made twice, whatever was lost on the way

`python -m tests.batch_server PORT` runs one by hand; it prints what was bought when it is interrupted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal
from urllib.parse import parse_qs, urlparse

Step = Literal["model", "upload", "create", "list", "retrieve", "content"]

STEPS: Mapping[Step, re.Pattern[str]] = {
    "model": re.compile(r"GET /v1/models"),
    "upload": re.compile(r"POST /v1/files$"),
    "create": re.compile(r"POST /v1/batches$"),
    "list": re.compile(r"GET /v1/batches$"),
    "retrieve": re.compile(r"GET /v1/batches/"),
    "content": re.compile(r"GET /v1/files/.+/content"),
}


@dataclass(frozen=True)
class Status:
    """The request is not heeded; this is the answer."""

    code: int
    error: Mapping[str, Any] = field(default_factory=lambda: {"message": "the server had an error", "code": None})
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """The connection is cut: before the request was heeded, or after it."""

    after: bool = True


@dataclass(frozen=True)
class Call:
    """Something is called before the request is heeded, or after it and before it is answered: to kill the client."""

    action: Callable[[], None]
    after: bool = True


Fault = Status | Cut | Call


@dataclass(frozen=True)
class Spoil:
    """What is wrong with one batch; without any of it, it completes with an answer to everything."""

    fail: Mapping[str, Any] | None = None
    """Validation fails with this error: {"code": "token_limit_exceeded", ...}."""
    end: Literal["completed", "expired", "cancelled"] = "completed"
    finished: int | None = None
    """Requests worked on before it expired or was cancelled."""
    wrong_ids: int = 0
    """Rows of the output with an id that nobody asked for."""
    doubles: int = 0
    """Rows that come twice, the second time with other words."""
    missing: int = 0
    """Requests that are in neither file."""
    garbage: int = 0
    """Rows that are not JSON."""
    fewer: int = 0
    """Choices that are left out of rows with several."""


Ruling = Callable[[Mapping[str, Any]], tuple[int, Mapping[str, Any]] | None]
"""Status and error that a request's body gets instead of an answer."""


@dataclass
class BatchServer:
    """Files and batches in memory. All ids are of one run of it."""

    polls: int = 1
    """How often a batch is asked for before it ends."""
    key: str | None = None
    """Accepted; None: any."""
    tokens_enqueued: int | None = None
    """Of all batches that have not ended; one too many fails."""
    ruling: Ruling = lambda body: None
    held: bool = False
    """No batch gets any further while this is set."""
    url: str = ""
    sold: Counter[str] = field(default_factory=Counter)
    """Completions in the output of batches that can be read there, by prompt, seed and choice."""
    worked: int = 0
    """Requests that were worked on, whatever became of them."""
    calls: Counter[str] = field(default_factory=Counter)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    _faults: dict[str, deque[Fault | None]] = field(default_factory=lambda: defaultdict(deque))
    _spoils: deque[Spoil] = field(default_factory=deque)
    lose_outputs: bool = False
    """The files of batches that have ended are gone."""
    _torn: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def bought_twice(self) -> dict[str, int]:
        return {what: times for what, times in self.sold.items() if times > 1}

    @property
    def requests(self) -> list[list[dict[str, Any]]]:
        """Of each batch, its rows."""
        return [self.rows(batch) for batch in self.batches.values()]

    def rows(self, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]][1].splitlines()]

    def fault(self, step: Step, *faults: Fault | None) -> None:
        """The next requests of this kind meet these, in turn; None is none."""
        self._faults[step].extend(faults)

    def spoil(self, *spoils: Spoil) -> None:
        """What is wrong with the next batches."""
        self._spoils.extend(spoils)

    def tear(self, times: int) -> None:
        """Downloads that end in the middle of a file, as if that were its end."""
        self._torn += times

    def take(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Status and body of an answer; bytes are sent as they are. Raises ConnectionAbortedError to cut."""
        url = urlparse(path)
        request = f"{method} {url.path}"
        step = next((step for step, pattern in STEPS.items() if pattern.match(request)), None)
        with self._lock:
            self.calls[step or request] += 1
            fault = self._faults[step].popleft() if step and self._faults[step] else None
        if isinstance(fault, Status):
            return fault.code, ({"error": dict(fault.error)}, fault.headers)
        if isinstance(fault, Cut | Call) and not fault.after:
            _strike(fault)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            given = headers.get("authorization", "").removeprefix("Bearer ")
            error = {"message": f"Incorrect API key provided: {given}.", "code": "invalid_api_key"}
            return 401, ({"error": error}, {})
        with self._lock:
            answer = self._heed(step, url.path, parse_qs(url.query), body, headers)
        if isinstance(fault, Cut | Call):
            _strike(fault)
        return answer

    def _heed(
        self, step: Step | None, path: str, query: Mapping[str, list[str]], body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        name = path.split("/")[3] if path.count("/") > 2 else ""
        if step == "model":
            models = [{"id": "m", "object": "model", "created": 0, "owned_by": "tests"}]
            if not name:
                return 200, {"object": "list", "data": models}
            return (200, models[0]) if name == "m" else _unknown(f"The model '{name}' does not exist")
        if step == "upload":
            file = f"file-{len(self.files)}"
            self.files[file] = _uploaded(body, headers["content-type"])
            return 200, self._file(file)
        if step == "create":
            return self._create(json.loads(body))
        if step == "list":
            newest = [*reversed(self.batches.values())]
            ids = [batch["id"] for batch in newest]
            start = ids.index(query["after"][0]) + 1 if "after" in query else 0
            end = start + int(query.get("limit", ["20"])[0])
            page = newest[start:end]
            last = page[-1]["id"] if page else None
            return 200, {"object": "list", "data": page, "has_more": end < len(newest), "last_id": last}
        if step == "retrieve":
            if name not in self.batches:
                return _unknown(f"No batch found with id '{name}'.")
            return 200, self._advance(self.batches[name])
        if step == "content":
            if self.lose_outputs or name not in self.files:
                return _unknown(f"No such File object: {name}")
            content = self.files[name][1]
            if self._torn:
                self._torn -= 1
                content = content[: content.index(b"\n", len(content) // 2)]
            return 200, content
        return _unknown(f"Unknown request URL: {path}")

    def _create(self, said: Mapping[str, Any]) -> tuple[int, Any]:
        if said["input_file_id"] not in self.files:
            return _unknown(f"No such File object: {said['input_file_id']}")
        batch = {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "created_at": int(time.time()),
            "status": "validating",
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "_polls": 0,
            "_spoil": self._spoils.popleft() if self._spoils else Spoil(),
        } | dict(said)
        self.batches[batch["id"]] = batch
        return 200, batch

    def _advance(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, a step further than when it was last asked for."""
        spoil: Spoil = batch["_spoil"]
        if batch["status"] == "validating":
            rows = self.rows(batch)
            batch["_tokens"] = sum(_tokens(row["body"]) for row in rows)
            under_way = sum(other.get("_tokens", 0) for other in self.batches.values() if other["status"] in UNDER_WAY)
            error = spoil.fail
            if len({row["custom_id"] for row in rows}) < len(rows):
                error = {"code": "duplicate_custom_id", "message": "custom_id is not unique"}
            if self.tokens_enqueued is not None and under_way > self.tokens_enqueued:
                limit = f"Limit: {self.tokens_enqueued:,} enqueued tokens."
                error = {"code": "token_limit_exceeded", "message": f"Enqueued token limit reached for m. {limit}"}
            if error:
                batch |= {"status": "failed", "errors": {"object": "list", "data": [dict(error)]}}
            else:
                batch |= {"status": "in_progress"}
                batch["request_counts"] = {"total": len(rows), "completed": 0, "failed": 0}
        elif batch["status"] == "in_progress" and not self.held:
            batch["_polls"] += 1
            if batch["_polls"] >= self.polls:
                self._work(batch)
        return batch

    def _work(self, batch: dict[str, Any]) -> None:
        spoil: Spoil = batch["_spoil"]
        rows = self.rows(batch)
        finished = len(rows) if spoil.finished is None or spoil.end == "completed" else spoil.finished
        output, errors, sold = [], [], []
        for number, row in enumerate(rows):
            if number >= finished:
                if spoil.end == "expired":
                    message = "This request could not be executed before the completion window expired."
                    error = {"code": "batch_expired", "message": message}
                    errors.append({"custom_id": row["custom_id"], "response": None, "error": error})
                continue
            self.worked += 1
            if ruled := self.ruling(row["body"]):
                response = {"status_code": ruled[0], "request_id": "r", "body": {"error": dict(ruled[1])}}
                errors.append({"custom_id": row["custom_id"], "response": response, "error": None})
                continue
            body = _completion(row["body"], spoil.fewer)
            response = {"status_code": 200, "request_id": f"req-{number}", "body": body}
            output.append({"id": f"r{number}", "custom_id": row["custom_id"], "response": response, "error": None})
            sold.append([f"{_hash(row['body'])}/{choice['index']}" for choice in body["choices"]])
        lines = [json.dumps(row) for row in output]
        spoiled = 0
        for number in range(spoiled, spoiled := spoiled + spoil.wrong_ids):
            lines[number] = json.dumps(output[number] | {"custom_id": f"somebody-else-{number}"})
        for number in range(spoiled, spoiled := spoiled + spoil.garbage):
            lines[number] = lines[number][: len(lines[number]) // 2]
        lost = spoiled + spoil.missing
        doubles = [json.dumps(row).replace("step by step", "other words") for row in output[lost:][: spoil.doubles]]
        lines = [*lines[:spoiled], *lines[lost:], *doubles]
        self.sold.update(what for row in sold[lost:] for what in row)
        counts = {"total": len(rows), "completed": len(output), "failed": len(errors)}
        batch |= {"status": spoil.end, "request_counts": counts}
        for key, content in (("output_file_id", lines), ("error_file_id", [json.dumps(row) for row in errors])):
            if content:
                batch[key] = f"file-{len(self.files)}"
                self.files[batch[key]] = (key, "".join(f"{line}\n" for line in reversed(content)).encode())

    def _file(self, name: str) -> dict[str, Any]:
        size = len(self.files[name][1])
        about = {"object": "file", "bytes": size, "created_at": 0, "filename": self.files[name][0]}
        return {"id": name, "purpose": "batch", "status": "processed"} | about


UNDER_WAY = ("validating", "in_progress", "finalizing")


@contextmanager
def batch_server(**settings: Any) -> Iterator[BatchServer]:
    """One that listens, for as long as the context lasts."""
    server = BatchServer(**settings)
    http = _listen(server, 0)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed says nothing that is worth printing."""


def _listen(server: BatchServer, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length) if length else _chunks(self.rfile, headers)
            try:
                status, answer = server.take(self.command, self.path, body, headers)
            except ConnectionAbortedError:
                self.close_connection = True
                return
            answer, extra = answer if isinstance(answer, tuple) else (answer, {})
            data = answer if isinstance(answer, bytes) else json.dumps(_shown(answer)).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(data))}.items():
                self.send_header(name, value)
            for name, value in extra.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    http = _Quiet(("127.0.0.1", port), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    return http


def _chunks(stream: Any, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return b""
    data = b""
    while size := int(stream.readline(), 16):
        data += stream.read(size)
        stream.readline()
    stream.readline()
    return data


def _strike(fault: Cut | Call) -> None:
    if isinstance(fault, Cut):
        raise ConnectionAbortedError
    fault.action()


def _shown(answer: Any) -> Any:
    """Without what the server keeps for itself."""
    if isinstance(answer, dict):
        return {key: _shown(value) for key, value in answer.items() if not key.startswith("_")}
    return [_shown(value) for value in answer] if isinstance(answer, list) else answer


def _unknown(message: str) -> tuple[int, Any]:
    return 404, {"error": {"message": message, "type": "invalid_request_error", "code": None}}


def _uploaded(body: bytes, content_type: str) -> tuple[str, bytes]:
    """Name and content of the file in a form."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if found := re.search(rb'filename="([^"]*)"', head):
            return found[1].decode(), content.removesuffix(b"\r\n")
    raise ValueError("a form without a file")


def _hash(body: Mapping[str, Any]) -> str:
    """What tells draws of one prompt apart is the seed."""
    known = [body.get("messages") or body.get("prompt"), body.get("seed"), body.get("max_tokens")]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]


def _completion(body: Mapping[str, Any], fewer: int) -> dict[str, Any]:
    """An answer whose words depend on the prompt, the seed and the number of the choice."""
    chat = "messages" in body
    choices = []
    for index in range(max(1, int(body.get("n") or 1) - fewer)):
        text = f" Let us go step by step {_hash(body)}/{index}. The answer is 4."
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices.append({"index": index, "finish_reason": "stop"} | said)
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(choices)}
    return {
        "id": "c",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": "m-2026",
        "choices": choices,
        "usage": usage | {"total_tokens": sum(usage.values())},
    }


def _tokens(body: Mapping[str, Any]) -> int:
    said = body.get("prompt") or "".join(turn["content"] for turn in body["messages"])
    most = body.get("max_tokens") or body.get("max_completion_tokens") or 0
    return len(said) // 4 + int(most) * int(body.get("n") or 1)


def main() -> None:
    server = BatchServer()
    http = _listen(server, int(sys.argv[1]))
    print(server.url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        http.serve_forever()
    print(json.dumps({"batches": len(server.batches), "worked": server.worked, "twice": server.bought_twice}))


if __name__ == "__main__":
    main()
