"""The nursery's process: imports what a worker needs, then forks a worker for each request (ftcot/nursery.py).

    python -m ftcot.warm 7      {"module": "ftcot.worker", "folder": ...} from the socket 7  ──>  {"pid": 4242}

It forks as long as it is one thread: what another one holds in that moment, the worker would wait for in vain. A GPU
is not touched here; where a library has done so, the worker starts anew.
"""

from __future__ import annotations

import importlib
import os
import runpy
import select
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ftcot import libraries
from ftcot.nursery import GO, receive, send
from ftcot.process import leave, settle_libraries

MODULES = (
    *("ftcot.display", "ftcot.job", "ftcot.log", "ftcot.logger", "ftcot.pipeline", "ftcot.ranks"),
    *("ftcot.student.decoder", "ftcot.student.encoder_decoder", "ftcot.student.tiny"),
    *("ftcot.training.checkpoint", "ftcot.training.data", "ftcot.training.epochs", "ftcot.training.fit"),
    *("ftcot.training.lora", "ftcot.training.module", "ftcot.training.progress", "ftcot.training.trainer"),
    *("pytorch_lightning.plugins.environments", "pytorch_lightning.strategies"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.models.gpt2.modeling_gpt2", "transformers.models.llama.modeling_llama"),
)
"""What workers import. One that they need beside these, they import themselves."""


@dataclass(frozen=True)
class Request:
    """A worker that is asked for."""

    module: str
    folder: str
    environment: dict[str, str]
    parent: int
    """The process that waits for it."""
    waits: int
    """Readable once it may begin."""
    errors: int
    """Its stderr."""
    between: int
    """The process that forked it, and ends."""


def main(arguments: list[str]) -> int:
    """Fork workers until the socket with this number is closed; returns the exit code, but not in a worker."""
    line = socket.socket(fileno=int(arguments[0]))
    line.set_inheritable(False)
    settle_libraries(None)
    libraries.prepare()
    for name in MODULES:
        importlib.import_module(name)
    with suppress(ImportError, AttributeError):  # not in every version of transformers
        # It compiles 885 patterns, a third of what a tiny job still takes; they are kept.
        importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("llama")
    libraries.settle()
    request = serve(line)
    if request is not None:
        line.close()
        become(request)
    return 0


def serve(line: socket.socket) -> Request | None:
    """Fork for each request. Returns twice over: None here, once the line is closed, and the request in a worker."""
    parent = os.getppid()
    while True:
        while not select.select([line], [], [], 5.0)[0]:
            if os.getppid() != parent:  # a process that it forked may hold the line open
                return None
        try:
            asked, handles = receive(line)
        except (EOFError, OSError):
            return None
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            return None
        told, tells = os.pipe()
        between = os.fork()
        if between == 0:
            between, worker = os.getpid(), -1
            try:
                worker = os.fork()
                if worker > 0:
                    os.write(tells, str(worker).encode())
            finally:
                if worker != 0:
                    os._exit(0)  # it is between them and no more, whatever has happened
            os.close(told)
            os.close(tells)
            return Request(**asked, waits=handles[0], errors=handles[1], between=between)
        os.close(tells)
        for handle in handles:  # they are the worker's: a lock among them is held as long as anybody has it
            os.close(handle)
        os.waitpid(between, 0)
        pid = os.read(told, 32)
        os.close(told)
        if not pid:
            return None
        send(line, {"pid": int(pid)})


def become(request: Request) -> NoReturn:
    """Be the worker, once whoever asked for it says so, and end as its module does."""
    os.setsid()
    while os.getppid() == request.between:
        time.sleep(0.001)
    if os.getppid() != request.parent or os.read(request.waits, 1) != GO:
        os._exit(1)  # nobody waits for it, and another one has been started in its place
    os.close(request.waits)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, handle in enumerate((nothing, nothing, request.errors)):
        os.dup2(handle, number)
    os.close(nothing)
    os.close(request.errors)
    os.environ.clear()
    os.environ.update(request.environment)
    torch: Any = sys.modules["torch"]
    if torch.cuda._is_in_bad_fork():  # a library has looked for a GPU; this process could use none
        os.execve(sys.executable, [sys.executable, "-m", request.module, request.folder], request.environment)
    sys.argv = [request.module, request.folder]
    code: Any = 0
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    leave(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
