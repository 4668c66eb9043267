"""Where the machines of a job meet before its ranks do, and how each learns that another is gone.

    RUN_FOLDER/rendezvous.json   {"schema": 1, "address": "10.77.0.1", "port": 40913, "token": "9f2c..."}

    first machine   listens, writes the file ──── waits for all ────> "start", with the port where torchrun's ranks meet
    another one     reads the file, connects, says which it is ─────> starts its ranks
    later           each says how its ranks ended and why; a connection that breaks before that is a machine that died

The file is of one attempt: it is removed at its end, and one that a killed machine left behind names a port that
refuses, or that does not know the token.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ftcot.errors import InputError, JobError
from ftcot.files import read_json, write_json
from ftcot.nodes import Node
from ftcot.records import SCHEMA

FILE = "rendezvous.json"

PATIENCE = 900.0
"""Seconds to wait for the other machines: SLURM starts them together, a person one after the other."""

KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""A machine without power says nothing: after 30 seconds of silence the connection counts as broken."""


@dataclass(frozen=True)
class Place:
    """What `rendezvous.json` says."""

    address: str
    port: int
    token: str

    @classmethod
    def read(cls, folder: Path) -> Place | None:
        """Where the machines of this folder's job meet now; None where nobody waits."""
        try:
            row = read_json(folder / FILE)
            return cls(str(row["address"]), int(row["port"]), str(row["token"]))
        except (InputError, KeyError, TypeError, ValueError):
            return None

    def is_open(self) -> bool:
        """Whether somebody listens there: a machine that was killed leaves its file behind."""
        with suppress(OSError), socket.create_connection((self.address, self.port), timeout=5.0):
            return True
        return False


@dataclass(frozen=True)
class Ending:
    """How the ranks of a machine ended."""

    code: int
    """The agent's exit code; -1: the machine, or its agent, is gone."""
    cause: str | None = None


class Meeting:
    """The other machines of a job, seen from this one; none, for a job on one machine."""

    def __init__(self, node: Node, place: Place | None = None) -> None:
        self.node = node
        self.place = place or Place("127.0.0.1", 0, secrets.token_hex(16))
        self.peers: list[Peer] = []

    def gather(self) -> int:
        """Wait until all machines are there; returns the port at which torchrun's agents meet on the first one.

        Raises:
            JobError: one did not come, or is gone again.
        """
        return _free_port(self.place.address)

    def watch(self, changed: Callable[[Peer], None]) -> None:
        """From now on call `changed` when a machine says how it ended, or is gone."""
        for peer in self.peers:
            threading.Thread(target=peer.listen, args=(changed,), daemon=True).start()

    def tell(self, ending: Ending) -> None:
        """Say to the others how this machine's ranks ended."""
        for peer in self.peers:
            with suppress(OSError):
                peer.send(asdict(ending))

    def cause(self, seconds: float) -> str | None:
        """Why the job failed, as far as another machine knows; it is given a moment to say it."""
        end = time.monotonic() + seconds
        while self.peers:
            for peer in self.peers:
                if peer.ended is not None and peer.ended.cause is not None:
                    return peer.ended.cause
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for peer in self.peers:
            peer.hang_up()


class Host(Meeting):
    """The meeting on the first machine."""

    def __init__(self, node: Node, folder: Path, address: str) -> None:
        self._listener = socket.create_server((address, 0), backlog=node.count)
        super().__init__(node, Place(address, self._listener.getsockname()[1], secrets.token_hex(16)))
        self._file = folder / FILE
        write_json(self._file, {"schema": SCHEMA} | asdict(self.place))

    def gather(self) -> int:
        end = time.monotonic() + PATIENCE
        self._listener.settimeout(0.5)  # a signal is heeded in between
        while len(self.peers) < self.node.count - 1:
            if time.monotonic() > end:
                missing = set(range(2, self.node.count + 1)) - {peer.index + 1 for peer in self.peers}
                raise JobError(f"machine {min(missing)} of {self.node.count} did not come in {PATIENCE / 60:g} minutes")
            with suppress(TimeoutError):
                self._admit(self._listener.accept()[0])
        self._listener.close()
        port = _free_port(self.place.address)
        for peer in self.peers:
            try:
                peer.send({"port": port})
            except OSError:
                raise JobError(f"{peer.name} came and is gone") from None
        return port

    def _admit(self, connection: socket.socket) -> None:
        try:
            hello = Peer(0, self.node.count, connection).receive(timeout=10.0)
            if hello is None or hello.get("token") != self.place.token:
                raise ValueError("somebody who looked whether we are open, or another job's")
            peer = Peer(int(hello["index"]), self.node.count, connection)
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()
            return
        for other in [other for other in self.peers if not other.is_there()]:  # it may have been started again
            other.hang_up()
            self.peers.remove(other)
        wrong = None
        if peer.index in (0, *(other.index for other in self.peers)):
            wrong = f"{peer.name} is there already: give each machine its own FTCOT_NODE_RANK"
        elif hello.get("ranks") != self.node.ranks:
            wrong = (
                f"{peer.name} has {hello.get('ranks')} devices, the first one {self.node.ranks}: say trainer.devices=N"
            )
        if wrong is None:
            self.peers.append(peer)
            return
        with suppress(OSError):
            peer.send({"refused": wrong})
        connection.close()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._listener.close()
        if Place.read(self._file.parent) == self.place:
            self._file.unlink(missing_ok=True)


class Guest(Meeting):
    """The meeting on any other machine."""

    def __init__(self, node: Node, place: Place) -> None:
        super().__init__(node, place)
        try:
            connection = socket.create_connection((place.address, place.port), timeout=10.0)
        except OSError as error:
            raise JobError(f"the first machine is gone ({place.address}:{place.port}: {error})") from error
        self.peers = [Peer(0, node.count, connection)]
        self.peers[0].send({"token": place.token, "index": node.index, "ranks": node.ranks})

    def gather(self) -> int:
        with suppress(OSError, ValueError, KeyError):
            if (answer := self.peers[0].receive(timeout=PATIENCE)) is not None:
                if "refused" in answer:
                    raise JobError(str(answer["refused"]))
                return int(answer["port"])
        raise JobError("the first machine is gone, or runs another job")


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


class Peer:
    """Another machine, as a connection to it that carries JSON lines."""

    def __init__(self, index: int, count: int, connection: socket.socket) -> None:
        self.index = index
        self.name = f"machine {index + 1} of {count}"
        self.connection = connection
        self.ended: Ending | None = None
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one line."""
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float | None) -> dict[str, Any] | None:
        """One line; None where the other side has closed.

        Raises:
            OSError: the connection broke, or nothing came in time.
            ValueError: it is no message of ours.
        """
        self.connection.settimeout(timeout)
        line = b""
        while not line.endswith(b"\n"):  # a byte at a time: lines are few and short
            byte = self.connection.recv(1)
            if not byte or len(line) > 10_000:
                return None
            line += byte
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message

    def hang_up(self) -> None:
        """Close the connection, also under a thread that listens to it."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def is_there(self) -> bool:
        """Whether the connection stands; for a side that has not said anything yet."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.connection.setblocking(True)

    def listen(self, changed: Callable[[Peer], None]) -> None:
        """Wait for its last word, or for its end."""
        gone = Ending(-1, f"{self.name} is gone")
        try:
            message = self.receive(timeout=None)
            self.ended = gone if message is None else Ending(int(message["code"]), message["cause"])
        except (OSError, ValueError, KeyError, TypeError):
            self.ended = gone
        changed(self)
