"""Which of a launcher's processes this one is: torchrun, srun or mpirun say so in the environment.

A *rank* is a process with a kernel of its own; `world` is how many there are. To ask takes no torch, so that bad input
is answered before it is loaded; what ranks do together stands in `sharing`, what their runners say in `company`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def world() -> int:
    """How many ranks there are; 1 where no launcher started this process."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in _NEEDED) else 1


def rank() -> int:
    """This process's number, from 0; rank 0 writes what a run leaves behind."""
    return int(os.environ["RANK"]) if world() > 1 else 0


def is_first() -> bool:
    return rank() == 0


def local_rank() -> int:
    """This process's number among those of its machine: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0")) if world() > 1 else 0


def local_world() -> int:
    """How many ranks share this machine, as far as the launcher tells."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world() > 1 else 1


def store(name: str, wait_s: float) -> Any:
    """The key-value store that the launcher keeps, or one of rank 0 where it keeps none (srun, mpirun).

    Keys are of this `name` and of this start: torchrun's restart finds the store with what the ranks before it left
    there, addresses that nobody answers at any more among them.

    Raises:
        RuntimeError: it cannot be reached in `wait_s` seconds.
    """
    from torch.distributed import PrefixStore, TCPStore

    serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and rank() == 0
    host, port, wait = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timedelta(seconds=wait_s)
    found = TCPStore(host, port, None, serves, timeout=wait, wait_for_workers=False)
    start = "/".join(os.environ.get(f"TORCHELASTIC_{word}", "0") for word in ("RUN_ID", "RESTART_COUNT"))
    return PrefixStore(f"ecglib/{name}/{start}/{world()}", found)


def command() -> list[str]:
    """The words that start a module on as many ranks as now, from the repository's root."""
    if world() == 1:
        return ["python"]
    machines = max(1, world() // local_world())
    nodes = ["--nnodes", str(machines)] if machines > 1 else []
    return ["torchrun", *nodes, "--nproc-per-node", str(local_world())]
