"""Which machine of how many this is, and how the others reach it.

    srun --nodes=2 --ntasks-per-node=1 python -m ftcot.run trainer=ddp trainer.devices=4 trainer.num_nodes=2
    FTCOT_NODE_RANK=1 python -m ftcot.run trainer=ddp trainer.devices=4 trainer.num_nodes=2
        ──>   Node(index=1, count=2, ranks=4)

Every machine is given the same command. The first one claims the job and says in the run folder where to meet; the
others find the folder through the job index, so all must see the same files. Which of its addresses the first one
names is told by FTCOT_ADDRESS where it cannot be guessed; each machine's ranks then listen on the interface that leads
there, unless GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME say otherwise.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ftcot.devices import ranks_here
from ftcot.errors import InputError

NODE_RANK = "FTCOT_NODE_RANK"
ADDRESS = "FTCOT_ADDRESS"

SIOCGIFADDR = 0x8915  # Linux


@dataclass(frozen=True)
class Node:
    """One machine of those that run a job together."""

    index: int = 0
    count: int = 1
    ranks: int = 1
    """Processes of the job on this machine."""

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def world(self) -> int:
        """Processes of the job on all machines."""
        return self.count * self.ranks

    def __str__(self) -> str:
        return f"machine {self.index + 1} of {self.count}"


def here(trainer: Mapping[str, Any]) -> Node:
    """This machine's place among those that `trainer.num_nodes` asks for.

    Raises:
        InputError: nobody says which of several this is, or SLURM starts more than one task on it.
    """
    count, ranks = int(trainer.get("num_nodes", 1)), ranks_here(trainer)
    if count < 1:
        raise InputError(f"trainer.num_nodes={count}: expected 1 or more")
    if count * ranks > 1:
        _refuse_tasks(ranks)
    if count == 1:
        return Node(ranks=ranks)
    if (said := os.environ.get(NODE_RANK)) is not None:
        if not said.isdigit() or int(said) >= count:
            raise InputError(f"{NODE_RANK}={said}: expected 0 to {count - 1}, as trainer.num_nodes={count}")
        return Node(int(said), count, ranks)
    if "SLURM_STEP_ID" in os.environ:
        given = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_NNODES") or 1)
        if given != count:
            raise InputError(f"trainer.num_nodes={count}, but srun started this on {given}: say srun --nodes={count}")
        return Node(int(os.environ["SLURM_NODEID"]), count, ranks)
    raise InputError(
        f"trainer.num_nodes={count}: which machine is this? Start the same command on each, one task a node: by srun, "
        f"or by hand with {NODE_RANK}=0 to {NODE_RANK}={count - 1}"
    )


def _refuse_tasks(ranks: int) -> None:
    if "SLURM_JOB_ID" in os.environ and "SLURM_STEP_ID" not in os.environ:
        return  # the batch script itself: one process, whatever srun would start
    said = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_NTASKS_PER_NODE") or "1"
    tasks = max(int(number) for number in re.findall(r"(\d+)(?:\(x\d+\))?", said))  # 2(x3),1
    if tasks > 1:
        raise InputError(
            f"SLURM starts {tasks} tasks on a machine, but ftcot starts the ranks of a machine itself: say one task a "
            f"node (srun --ntasks-per-node=1, hydra.launcher.tasks_per_node=1) and trainer.devices={max(tasks, ranks)}"
        )


def address() -> str:
    """An address of this machine that others can reach.

    Raises:
        InputError: it cannot be told.
    """
    if (said := os.environ.get(ADDRESS)) is not None:
        try:
            return socket.gethostbyname(said)
        except OSError as error:
            raise InputError(f"{ADDRESS}={said}: no address ({error})") from None
    own = {found: name for name, found in _interfaces().items() if not found.startswith("127.")}
    for name in (os.environ.get("SLURMD_NODENAME"), socket.gethostname()):
        with suppress(OSError):
            if name and (found := socket.gethostbyname(name)) in own:
                return found
    with suppress(OSError):
        return route_to("192.0.2.1")  # an address that belongs to nobody: asks for the default route, sends nothing
    if len(own) == 1:
        return next(iter(own))
    raise InputError(f"this machine's address cannot be told: set {ADDRESS} to one that the other machines can reach")


def route_to(other: str) -> str:
    """The address of this machine on the way to another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))
        return str(probe.getsockname()[0])


def interface(own: str) -> str | None:
    """The name of the network interface with this address; None where the system does not tell."""
    return next((name for name, found in _interfaces().items() if found == own), None)


def _interfaces() -> dict[str, str]:
    """The first address of each network interface."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found[name] = socket.inet_ntoa(answer[20:24])
    return found


def requeue(number: int) -> str | None:
    """Ask SLURM to start this job again, where it warned with SIGUSR1 that it is about to end it.

    Not for SIGTERM, which scancel sends; not under submitit, which sees to it itself; once a job, by its first machine.

    Returns:
        What became of it, in words; None: not asked.
    """
    job = os.environ.get("SLURM_JOB_ID")
    first = os.environ.get("SLURM_PROCID", "0") == "0"
    if number != signal.SIGUSR1 or job is None or not first or "SUBMITIT_EXECUTOR" in os.environ:
        return None
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        return f"SLURM job {job} could not be queued again: {' '.join(str(said).split())}"
    return f"SLURM job {job} is queued again and will go on"
