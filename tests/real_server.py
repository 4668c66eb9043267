"""`transformers serve`, a server nobody here wrote, with SmolLM2-135M-Instruct: a real teacher, if a weak one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ftcot.student.smollm2 import unpack
from ftcot.student.specs import Limits, SmolLM2

PATIENCE = 180.0
"""Seconds until it must have loaded its model, on a busy machine."""


def smollm2(folder: Path) -> Path:
    """SmolLM2 as a checkpoint folder that samples where a temperature asks for it."""
    packaged = SmolLM2("smollm2-135m", checkpoint="none", cache=None).packaged
    assert packaged is not None
    unpack(packaged, Limits("smollm2-135m")).save(folder)
    settings = folder / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"do_sample": True}))
    return folder


@contextmanager
def transformers_serve(model: Path, log: Path) -> Iterator[str]:
    """The server's base URL, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--device", "cpu"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
