"""Downloads, from a server on this machine that serves real files, broken ones and none."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ftcot.answers import Number
from ftcot.errors import InputError
from ftcot.task import sources
from ftcot.task.paper import BENCHMARKS, PaperTask
from ftcot.task.sources import RawFile, obtain

CONTENT = b'[{"sQuestion": "What is 2 + 3?", "lSolutions": [5.0]}]'
FILE = RawFile("raw/sums.json", "owner/sums", "0" * 40, "data/sums.json", hashlib.sha256(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves `pages` by path and remembers what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {}
        self.missing_bytes = 0
        self.asked: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page[: len(page) - self.server.missing_bytes])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_missing_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    server.pages[FILE.url("")] = CONTENT
    folder = tmp_path / "data"
    assert obtain(FILE, folder, server.base) == folder / "raw" / "sums.json"
    assert obtain(FILE, folder, server.base).read_bytes() == CONTENT
    assert server.asked == [f"/owner/sums/{'0' * 40}/data/sums.json"]
    assert left_in(tmp_path) == [folder / "raw" / "sums.json"]


def test_two_that_want_it_at_once_download_it_once(server: Server, tmp_path: Path) -> None:
    server.pages[FILE.url("")] = CONTENT
    threads = [threading.Thread(target=obtain, args=(FILE, tmp_path, server.base)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1
    assert left_in(tmp_path) == [tmp_path / "raw" / "sums.json"]


def test_another_content_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.pages[FILE.url("")] = CONTENT + b"\n"
    found = hashlib.sha256(CONTENT + b"\n").hexdigest()
    with pytest.raises(InputError, match=f"sums.json: sha256 is {found}, expected {FILE.sha256}; nothing was stored"):
        obtain(FILE, tmp_path / "data", server.base)
    assert list(tmp_path.iterdir()) == []


def test_a_download_cut_short_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.pages[FILE.url("")] = CONTENT
    server.missing_bytes = 10
    with pytest.raises(InputError, match=r"could not be downloaded \(IncompleteRead"):
        obtain(FILE, tmp_path / "data", server.base)
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_not_there_names_file_folder_and_source(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        obtain(FILE, tmp_path, server.base)
    for part in ("raw/sums.json", str(tmp_path), "FTCOT_DATA", FILE.url(server.base), "404"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_the_error_names_the_cause(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=r"raw/sums\.json is not in .*Connection refused"):
            obtain(FILE, tmp_path, closed)


def test_a_file_that_is_there_is_not_fetched_but_checked(tmp_path: Path) -> None:
    path = tmp_path / FILE.path
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(
        InputError, match=r"raw/sums\.json: sha256 is .*, expected .*; it is not the file the paper used"
    ):
        obtain(FILE, tmp_path, "http://127.0.0.1:9")
    assert path.read_bytes() == CONTENT[:-1]


def test_a_file_without_a_checksum_is_never_downloaded(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for want of a checksum"):
        obtain(sources.AQUA_TRAIN, tmp_path, server.base)
    assert server.asked == []


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match="cannot be used as data folder"):
        obtain(FILE, tmp_path / "data", "http://127.0.0.1:9")


@pytest.mark.data
def test_a_task_in_an_empty_folder_downloads_its_raw_files(server: Server, data_dir: Path, tmp_path: Path) -> None:
    for name in ("multiarith", "gsm8k"):
        for part in BENCHMARKS[name].parts:
            server.pages[part.file.url("")] = (data_dir / part.file.path).read_bytes()
        task = PaperTask(name, Number(), tmp_path / "data", source=server.base)
        assert task.splits() == PaperTask(name, Number(), data_dir).splits()
        assert all(file.is_file() for file in task.files())
    assert len(server.asked) == 3


@pytest.mark.data
def test_pinned_checksums_are_those_of_the_data_folder(data_dir: Path) -> None:
    listed = dict(reversed(line.split()) for line in (data_dir / "SHA256SUMS").read_text().splitlines())
    files = [part.file for benchmark in BENCHMARKS.values() for part in benchmark.parts if part.file.sha256]
    assert {file.path: file.sha256 for file in files} == {file.path: listed[f"./{file.path}"] for file in files}
