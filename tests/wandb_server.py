"""As much of W&B's server as its clients need here, on loopback: for `wandb agent`, `wandb sync` and reports."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol, TypeVar

import yaml

ACCOUNT = {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}


class Server(Protocol):
    """What is asked of a server."""

    url: str

    def answer(self, operation: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of a GraphQL answer."""
        ...

    def take(self, path: str, body: Mapping[str, Any]) -> None:
        """What is sent to any other address."""
        ...


@dataclass
class SweepServer:
    """Hands out a job of a sweep each time an agent's last one has ended, then says exit."""

    sweep: Mapping[str, Any]
    jobs: Sequence[Mapping[str, Any]]
    """Parameters of each: {"seed": 0, "diversity": 8}."""
    prefix: str
    """Of the ids of the runs: PREFIX0, PREFIX1, ..."""
    url: str = ""
    given: int = 0

    def answer(self, operation: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "Viewer":
            return {"viewer": ACCOUNT}
        if operation == "SweepWithRuns":
            sweep = {"id": "2", "name": "abc", "method": "grid", "state": "RUNNING", "runs": {"edges": []}}
            return {"project": {"sweep": sweep | {"config": yaml.safe_dump(dict(self.sweep))}}}
        if operation == "CreateAgent":
            return {"createAgent": {"agent": {"id": "3"}}}
        if operation == "Heartbeat":
            return {"agentHeartbeat": {"agent": {"id": "3"}, "commands": json.dumps(self._commands(variables))}}
        return {}

    def take(self, path: str, body: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def _commands(self, variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        if json.loads(variables.get("runState") or "{}"):
            return []  # it is still at the last one
        if self.given == len(self.jobs):
            return [{"type": "exit"}]
        arguments = {key: {"value": value} for key, value in self.jobs[self.given].items()}
        command = {"type": "run", "run_id": f"{self.prefix}{self.given}", "program": "ftcot.run", "args": arguments}
        self.given += 1
        return [command]


@dataclass
class SyncServer:
    """Keeps the history of runs: a chunk goes where its offset says, as W&B has it."""

    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows of each run, by its id."""
    url: str = ""

    def answer(self, operation: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        run = str(variables.get("name"))
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "r", "name": run, "displayName": run, "project": project}
        if operation == "Viewer":
            return {"viewer": ACCOUNT}
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": bucket, "inserted": run not in self.history}}
        if operation == "RunResumeStatus":
            rows = self.history.get(run)
            return {"model": project | {"bucket": None if rows is None else bucket | _resume(rows)}}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/up/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def take(self, path: str, body: Mapping[str, Any]) -> None:
        if (run := re.fullmatch(r"/files/me/[^/]+/([^/]+)/file_stream", path)) is None:
            return
        rows = self.history.setdefault(run[1], [])
        if chunk := body.get("files", {}).get("wandb-history.jsonl"):
            rows[chunk["offset"] :] = [json.loads(line) for line in chunk["content"]]


@dataclass
class ReportServer:
    """Takes chart presets and reports."""

    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, operation: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "Viewer":
            return {"viewer": ACCOUNT}
        if operation == "CreateCustomChart":
            name = f"{variables['entity']}/{variables['chartName']}"
            self.presets[name] = json.loads(variables["spec"])
            return {"createCustomChart": {"chart": {"id": name}}}
        project = {"id": "p", "name": "ftcot", "entityName": "me"}
        if operation == "GetProjects":
            node = project | {"createdAt": "", "isBenchmark": False, "user": None}
            page = {"endCursor": "", "hasNextPage": False}
            return {"models": {"edges": [{"node": node}], "pageInfo": page}}
        if operation == "upsertView":
            self.reports.append(json.loads(variables["spec"]))
            time = "2026-11-22T10:15:00"
            shown = {key: variables[key] for key in ("name", "displayName", "description", "type", "spec")}
            view = {"id": "Vmlldzox", "project": project, "createdAt": time, "updatedAt": time}
            return {"upsertView": {"view": view | shown, "inserted": True}}
        return {}

    def take(self, path: str, body: Mapping[str, Any]) -> None:
        """Nothing is kept."""


def _resume(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    lines = {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0, "eventsTail": "[]"}
    known = {"summaryMetrics": "{}", "config": "{}", "tags": [], "wandbConfig": '{"t": 1}'}
    return lines | known | {"historyTail": json.dumps([json.dumps(row) for row in rows[-1:]])}


S = TypeVar("S", bound=Server)


@contextmanager
def serving(server: S) -> Iterator[S]:
    """The server at its `url`, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            answer: dict[str, Any] = {"exitcode": None, "limits": {}}
            if self.path.startswith("/graphql"):
                body = json.loads(data)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
                answer = {"data": server.answer(operation[1] if operation else "", body.get("variables") or {})}
            elif data.startswith(b"{"):
                server.take(self.path, json.loads(data))
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_PUT = do_POST  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    class Http(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up has its reasons."""

    http = Http(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
