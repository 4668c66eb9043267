"""A stand-in for the Hugging Face hub: as much of its HTTP as pushing a data set and fetching it again takes.

    POST /api/repos/create                          the repository, and whether it is private
    POST /api/datasets/lab/set/preupload/main       "put this file into the big store"
    POST /lab/set.git/info/lfs/objects/batch        "to this address"
    PUT  /lfs/<sha256>                              its content
    POST /api/validate-yaml                         the head of the README
    POST /api/datasets/lab/set/commit/main          names the files of the commit
    GET  /api/datasets/lab/set/revision/main        lists them
    GET  /datasets/lab/set/resolve/<commit>/<path>  gives one back

Every request has to bear the token.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_aTokenForTheTests"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it has, and what it was asked."""

    url: str = ""
    private: bool | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    """By sha256."""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path, once committed."""
    asked: list[str] = field(default_factory=list)
    refused: int = 0
    """Requests without the token."""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port."""
    hub = Hub()

    class Handler(_Handler):
        hub_ = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub_: Hub

    def do_GET(self) -> None:
        url = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub_.asked.append(f"{self.command} {url}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and not url.startswith("/lfs/"):
            self.hub_.refused += 1
            self._send(401, {"error": "no token"})
        elif self.hub_.private is None and url != "/api/repos/create":
            self._send(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        elif self.command == "PUT":
            assert hashlib.sha256(body).hexdigest() == url.rpartition("/")[2]
            self.hub_.objects[url.rpartition("/")[2]] = body
            self._send(200, {})
        elif self.command == "POST":
            self._take(url, body)
        else:
            self._give(url)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        """Nothing on the screen."""

    def _take(self, url: str, body: bytes) -> None:
        if url.endswith("/commit/main"):
            self._commit(body)
            self._send(200, {"commitUrl": f"{self.hub_.url}/datasets/lab/set/commit/{COMMIT}", "commitOid": COMMIT})
            return
        told = json.loads(body)
        if url == "/api/repos/create":
            self.hub_.private = told.get("visibility") == "private"
            self._send(200, {"url": f"{self.hub_.url}/datasets/lab/set"})
        elif url == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif url.endswith("/preupload/main"):
            modes = [{"path": file["path"], "uploadMode": "lfs", "shouldIgnore": False} for file in told["files"]]
            self._send(200, {"files": modes})
        else:
            lent = [
                {**wanted, "actions": {"upload": {"href": f"{self.hub_.url}/lfs/{wanted['oid']}"}}}
                for wanted in told["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": lent})

    def _give(self, url: str) -> None:
        files = sorted(self.hub_.files)
        _, listed, place = url.partition("/tree/")
        file = url.partition(f"/resolve/{COMMIT}/")[2]
        if listed and (found := [name for name in files if name.startswith(place.partition("/")[2])]):
            self._send(200, list(map(self._entry, found)))
        elif file in self.hub_.files:
            content = self.hub_.files[file]
            digest = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
        elif listed or file:
            self._send(404, {"error": "not there"}, {"X-Error-Code": "EntryNotFound"})
        else:
            # Another commit once there are files: clients remember what one holds.
            commit = COMMIT if files else "0" * 40
            siblings = [{"rfilename": name} for name in files]
            self._send(200, {"id": "lab/set", "sha": commit, "private": self.hub_.private, "siblings": siblings})

    def _entry(self, file: str) -> dict[str, Any]:
        content = self.hub_.files[file]
        digest = hashlib.sha256(content).hexdigest()
        big = {"oid": digest, "size": len(content), "pointerSize": 100}
        return {"type": "file", "path": file, "size": len(content), "oid": digest[:40], "lfs": big}

    def _commit(self, body: bytes) -> None:
        for line in body.splitlines():
            change = json.loads(line)
            value = change["value"]
            if change["key"] == "lfsFile":
                self.hub_.files[value["path"]] = self.hub_.objects[value["oid"]]
            elif change["key"] == "file":
                self.hub_.files[value["path"]] = base64.b64decode(value["content"])

    def _send(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
