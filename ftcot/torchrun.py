"""The agent: the ranks of a job on this machine, started and watched by torchrun's own machinery.

    python -m ftcot.torchrun RUN_FOLDER     exit codes as the worker's: 0 done, 1 failed, 2 wrong input, 128+n stopped

    launcher ──> agent ──┬──> rank 0   python -m ftcot.worker RUN_FOLDER      RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 ...
                         └──> rank 1   python -m ftcot.worker RUN_FOLDER      RANK=1 LOCAL_RANK=1 ...

It runs `elastic_launch` in this process, so that there is one process less to outlive another, and adds what torchrun
does not have: it ends with its launcher, gives ranks that were asked to stop the time for a checkpoint, notices within
a minute that another machine is gone, and tells the cause of a failure where rank 0 knows only that somebody hung up.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ftcot.devices import own_cores
from ftcot.errors import FtcotError, InputError, JobError, cause_of
from ftcot.folder import read_status, thaw
from ftcot.nodes import Node, address, here, interface, route_to
from ftcot.process import LAUNCHER_PID, PEER_GONE, RANK_VARIABLES, TAIL, describe_death, end_with_launcher
from ftcot.procfs import children, is_alive, kill_tree
from ftcot.rendezvous import Ending, Guest, Host, Meeting, Peer, Place
from ftcot.status import State, Status
from ftcot.stop import SIGNALS, Stop

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

LAST_STEP = 120.0
"""Seconds that ranks which were asked to stop have for a step and a checkpoint once the first of them has ended."""

BREAKING = 10.0
"""Seconds in which ranks whose fellows are gone fail by themselves, and then those in which they end when told to."""

TOGETHER = 20.0
"""Seconds within which failures belong together; 30 after the first, torchrun kills what is left of the ranks."""


def main(arguments: list[str]) -> int:
    """Run the ranks of a folder's job on this machine; returns the exit code."""
    agent = _Agent()
    try:
        agent.listen()
        if len(arguments) != 1:
            raise InputError("usage: python -m ftcot.torchrun RUN_FOLDER")
        return agent.run(Path(arguments[0]).absolute())
    except Stop as stop:
        return 128 + stop.number
    except InputError as error:
        return _say(str(error), 2)
    except (FtcotError, OSError) as error:
        return _say(cause_of(error), 1)


@dataclass(frozen=True)
class _Failure:
    """How one rank failed."""

    rank: int
    code: int
    cause: str
    words: str
    """The end of its stderr; a rank > 0 has no screen."""
    time: float

    @property
    def is_ours(self) -> bool:
        """Whether it may be the reason for the others, not the other way round."""
        return self.code != -signal.SIGTERM and self.cause != PEER_GONE


class _Agent:
    """The ranks of one machine."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal that asked to stop."""
        self.gave_up: str | None = None
        """Why the ranks were ended although nobody asked: another machine is gone."""
        self.over = False
        """The ranks have ended."""

    def listen(self) -> None:
        """Heed the signals, and end with the launcher."""
        for number in SIGNALS:
            signal.signal(number, self._stop)
        end_with_launcher(take_along=True)

    def run(self, folder: Path) -> int:
        """Run the job of this folder; returns the exit code."""
        node = here(thaw(folder)["trainer"])
        with _meet(folder, node) as meeting, tempfile.TemporaryDirectory(prefix="ftcot-ranks-") as logs:
            _prepare_environment(node, meeting.place.address)
            failures: Sequence[_Failure] = ()
            try:
                failures = self._run_ranks(folder, meeting, Path(logs))
                self.over = True
                ended = self._conclude(folder, meeting, failures)
            except Exception as error:  # torchrun's own, where a machine goes away before all is set up
                ended = Ending(1, meeting.cause(5.0) or cause_of(error))
            if ended.cause is not None:
                self._report(folder, node, ended.cause, failures)
            meeting.tell(ended)
            return ended.code

    def _run_ranks(self, folder: Path, meeting: Meeting, logs: Path) -> list[_Failure]:
        """Start the ranks and wait for them; returns those that failed, in the order in which that was noticed."""
        from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        node = meeting.node
        silent = range(1 if node.first else 0, node.ranks)
        port = meeting.gather()
        meeting.watch(self._hear)
        config = LaunchConfig(
            min_nodes=node.count,
            max_nodes=node.count,
            nproc_per_node=node.ranks,
            run_id=meeting.place.token,
            # The static one, as the others number the machines as they like: rank 0 must be where the lease is.
            rdzv_backend="static",
            rdzv_endpoint=f"{meeting.place.address}:{port}",
            rdzv_configs={"rank": node.index, "timeout": 60},
            max_restarts=0,  # the same command goes on from the checkpoint
            logs_specs=DefaultLogsSpecs(str(logs), redirects=dict.fromkeys(silent, Std.ALL)),
            signals_to_handle="SIGHUP",  # the others are ours
        )
        logging.disable()  # torchrun's report of a failure; ours is one line
        try:
            elastic_launch(config, sys.executable)("-m", "ftcot.worker", str(folder))
        except ChildFailedError as error:
            return [_describe(rank, failure, folder, logs) for rank, failure in error.failures.items()]
        except SignalException as error:
            raise Stop(error.sigval) from None
        return []

    def _conclude(self, folder: Path, meeting: Meeting, failures: Sequence[_Failure]) -> Ending:
        """Exit code and, of a failure, the cause."""
        if not failures:
            return Ending(0)
        if self.gave_up is not None:
            return Ending(1, self.gave_up)
        codes = {failure.code for failure in failures} - {-signal.SIGTERM}
        if self.asked is not None or codes <= {128 + number for number in SIGNALS}:
            code = 128 + self.asked if self.asked is not None else max(codes, default=128 + signal.SIGTERM)
            if meeting.node.first and read_status(folder).get("cause") == PEER_GONE:
                _record(folder, "stopped", f"stopped by {signal.Signals(code - 128).name}")
            return Ending(code)
        root = next((failure for failure in failures if failure.code == 2), _root(failures))
        if not root.is_ours:
            return Ending(1, meeting.cause(5.0) or root.cause)
        if root.code == 2 or (root.rank == 0 and root.code > 0):
            return Ending(root.code, root.cause)
        return Ending(1, f"rank {root.rank}: {root.cause}")

    def _report(self, folder: Path, node: Node, cause: str, failures: Sequence[_Failure]) -> None:
        """Make the run folder and the screen tell the cause, where rank 0 has not."""
        if not node.first:
            _say(f"{node}: {cause}")
        elif cause != read_status(folder).get("cause"):
            _say(cause)
            _record(folder, "failed", cause)
            with suppress(OSError), (folder / "log.txt").open("a", encoding="utf-8") as log:
                for failure in failures:
                    if failure.words:
                        log.write(f"── stderr of rank {failure.rank} ──\n{failure.words}\n")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Pass on the request and wait until the ranks have heeded it: torchrun would give them 30 seconds."""
        if self.asked is not None:
            return
        self.asked = number
        if self.over:  # they have ended; what is left is to say how
            return
        ranks = children(os.getpid())
        if not ranks:
            raise Stop(number)
        _signal(ranks, number)
        first_end = None
        while left := [rank for rank in ranks if is_alive(rank, None)]:
            if first_end is None and len(left) < len(ranks):
                first_end = time.monotonic()
            if first_end is not None and time.monotonic() > first_end + LAST_STEP:
                break
            time.sleep(0.1)

    def _hear(self, peer: Peer) -> None:
        """Another machine has ended: so do the ranks here, if not by themselves."""
        assert peer.ended is not None
        if peer.ended.code == 0:
            return
        if peer.ended.code - 128 in SIGNALS:
            os.kill(os.getpid(), peer.ended.code - 128)
            return
        time.sleep(BREAKING)  # most fail at once, as the connections of the dead machine's ranks break
        if ranks := children(os.getpid()):
            self.gave_up = peer.ended.cause or f"{peer.name} has ended"
            _signal(ranks, signal.SIGTERM)
            time.sleep(BREAKING)
            for rank in children(os.getpid()):
                kill_tree(rank)


def _meet(folder: Path, node: Node) -> Meeting:
    if node.count == 1:
        return Meeting(node)
    if node.first:
        return Host(node, folder, address())
    if (place := Place.read(folder)) is None:
        raise JobError(f"{node}: the first machine is gone")
    return Guest(node, place)


def _prepare_environment(node: Node, meeting_at: str) -> None:
    """What the ranks inherit, beside what torchrun tells each of them."""
    for variable in RANK_VARIABLES & os.environ.keys():
        del os.environ[variable]
    os.environ[LAUNCHER_PID] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(own_cores()) // node.ranks)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of every address that has no name
    # Gloo would listen where the host's name points to, which need not be where the others are.
    if (name := interface(route_to(meeting_at))) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _describe(rank: int, failure: ProcessFailure, folder: Path, logs: Path) -> _Failure:
    words = ""
    for path in logs.glob(f"*/attempt_0/{failure.local_rank}/stderr.log"):
        words = path.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
    said: object = None
    if failure.exitcode > 0:
        said = failure.message if Path(failure.error_file).is_file() else None
        if rank == 0:
            said = read_status(folder).get("cause")
    cause = " ".join(str(said or describe_death(failure.exitcode, words)).split())
    return _Failure(rank, failure.exitcode, cause, words, failure.timestamp)


def _root(failures: Sequence[_Failure]) -> _Failure:
    """The failure that brought the others about."""
    first = failures[0]
    together = [failure for failure in failures if failure.time <= first.time + TOGETHER]
    return next((failure for failure in together if failure.is_ours), first)


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _record(folder: Path, state: State, cause: str) -> None:
    with suppress(OSError, FtcotError):  # a full disk: the exit code and the line on the screen still tell
        Status(folder).update(state=state, cause=cause)


def _say(cause: str, code: int = 1) -> int:
    with suppress(OSError, ValueError):
        print(f"error: {cause}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
