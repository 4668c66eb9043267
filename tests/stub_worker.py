"""A worker that does what a test wants of it: `python -m tests.stub_worker FOLDER`, where FOLDER/do names it.

    heeds      ends with 128+n when asked to stop
    stubborn   does not, and neither does a process that it started, in a session of its own
    late       is asked before it could have heard: waits for FOLDER/asked, then heeds
    crashes    dies of a signal, with a word on stderr
    done       ends at once

What it sees of its world is in FOLDER/ready.json.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from ftcot.process import end_with_launcher
from ftcot.stop import SIGNALS


def heed(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main(folder: Path) -> None:
    do = (folder / "do").read_text()
    while do == "late" and not (folder / "asked").exists():
        (folder / "started").touch()
        time.sleep(0.01)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if do == "stubborn" else heed)
    end_with_launcher()
    print("something on stdout", flush=True)
    print("something on stderr", file=sys.stderr, flush=True)
    seen = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "environment": dict(os.environ),
        "cores": sorted(os.sched_getaffinity(0)),
    }
    if do == "stubborn":
        seen["child"] = subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
    (folder / "ready.draft").write_text(json.dumps(seen))
    (folder / "ready.draft").rename(folder / "ready.json")
    if do == "crashes":
        os.abort()
    while do != "done":
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
