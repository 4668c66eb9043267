"""The worker: from a run folder's job.yaml to built parts to the pipeline.

    python -m ftcot.worker RUN_FOLDER     exit code 0 done, 1 the job failed, 2 wrong input, 128 + n stopped by signal n

No Hydra command line: whatever starts this (the launcher, torchrun) says all there is to say with one folder. It ends
when its launcher is gone, stops cleanly when asked to, and leaves the cause of a failure in status.json; the traceback
goes to log.txt, never to the screen. Of several ranks the first does so; another leaves its cause in the file that
torchrun names, where the agent finds it, and the traceback on its stderr, which the agent keeps off the screen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot import stop
from ftcot.errors import InputError, JobError, cause_of
from ftcot.folder import thaw
from ftcot.log import Log
from ftcot.process import FONTS, PEER_GONE, end_with_launcher, leave, settle_libraries
from ftcot.ranks import Ranks, is_peer_gone
from ftcot.status import STAGES, Status
from ftcot.stop import Stop

if TYPE_CHECKING:
    from rich.console import Console

HEARTBEAT = 10.0
"""Seconds between heartbeats; jobs.HEARTBEAT_LIMIT is a multiple of it."""


def main(arguments: list[str]) -> int:
    """Run the job of a folder; returns the exit code."""
    ranks = Ranks.here()
    try:
        stop.listen()
        end_with_launcher()
        if len(arguments) != 1:
            raise InputError("usage: python -m ftcot.worker RUN_FOLDER")
        folder = Path(arguments[0]).absolute()
        config = thaw(folder)
        status = Status(folder, devices=ranks.world, writes=ranks.first)
    except InputError as error:
        return _say(str(error), 2)
    except Stop as asked:
        return 128 + asked.number
    settle_libraries(Path(config["paths"]["cache"]) / FONTS)
    if not ranks.first:
        return _follow(folder, config, status, ranks)
    try:
        log = Log(folder / "log.txt", f"worker {os.getpid()}")
    except OSError as error:
        return _say(cause_of(error), 1)
    with log:
        return _lead(folder, config, status, log, ranks)


def _lead(folder: Path, config: Mapping[str, Any], status: Status, log: Log, ranks: Ranks) -> int:
    """The job on its first (or only) rank, which writes and speaks for all."""
    ended = threading.Event()
    try:
        status.claim()
        threading.Thread(target=_beat, args=(status, ended), daemon=True).start()
        _pipeline(folder, config, status, log.console, ranks)
        stop.ignore()  # it is done: who asks now asks too late
        ended.set()
        complete = set(STAGES) <= set(status.stages)
        status.update(state="complete" if complete else "partial", cause=None)
        _show(folder, config, status, log.console)
        return 0
    except BaseException as error:
        stop.ignore()
        ended.set()
        code, cause = _end_of(error, status)
        with suppress(OSError):
            log.write(f"{cause}\n" if code > 2 else traceback.format_exc())
        with suppress(OSError):  # a full disk: the exit code and the line on the screen still tell
            status.update(state="stopped" if code > 2 else "failed", cause=cause)
        # Of a rank that is gone the agent knows more, and says it.
        return code if code > 2 or cause == PEER_GONE else _say(cause, code)


def _follow(folder: Path, config: Mapping[str, Any], status: Status, ranks: Ranks) -> int:
    """The job on another rank, which is silent."""
    from rich.console import Console

    try:
        _pipeline(folder, config, status, Console(quiet=True, force_terminal=False), ranks)
        return 0
    except BaseException as error:
        stop.ignore()
        code, cause = _end_of(error, status)
        if code <= 2:
            traceback.print_exc()
            with suppress(KeyError, OSError):
                reply = {"message": cause, "timestamp": int(time.time())}
                Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(reply), encoding="utf-8")
        return code


def _end_of(error: BaseException, status: Status) -> tuple[int, str]:
    """The exit code for what ended the pipeline, and its cause in a line."""
    if isinstance(error, Stop):
        return 128 + error.number, str(error)
    if (number := stop.heeded()) is not None:
        return 128 + number, str(Stop(number))
    if is_peer_gone(error):
        # Ranks are asked to stop at the same time, but the first to heed it leaves the others amid a conversation.
        if (number := stop.asked()) is not None:
            return 128 + number, str(Stop(number))
        return 1, PEER_GONE
    if isinstance(error, SystemExit | KeyboardInterrupt):
        error = JobError(f"a library ended the process ({error!r})")
    # Before any stage is done, nothing is spent: wrong input, like what the launcher's checks find.
    return 2 if isinstance(error, InputError) and not status.stages else 1, cause_of(error)


def _pipeline(folder: Path, config: Mapping[str, Any], status: Status, console: Console, ranks: Ranks) -> None:
    from ftcot import job, pipeline

    built = job.build(config)
    if not ranks.alone:
        from ftcot.training.trainer import uses_cuda

        ranks.start(cuda=uses_cuda(config["trainer"]))
    pipeline.run(built, folder, status, console, ranks)
    ranks.end()


def _show(folder: Path, config: Mapping[str, Any], status: Status, console: Console) -> None:
    from ftcot import display

    if (folder / "score.json").exists():
        display.result(console, folder, config, status.get("counts", {}).get("train", 0))
    else:
        console.print(f"done up to {status.stages[-1]}; folder {folder}", soft_wrap=True, highlight=False)


def _beat(status: Status, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):  # a full disk: the job itself will say so
            status.beat()


def _say(cause: str, code: int) -> int:
    with suppress(OSError, ValueError):
        print(f"error: {cause}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code != 0 and not Ranks.here().alone:
        # Python would wait for what this rank has begun with others, for as long as they wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    leave(code)
