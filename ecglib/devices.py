"""Devices that can be used here, and how much memory they have left."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ecglib import ranks
from ecglib.errors import InputError


def usable(device: str | torch.device) -> torch.device:
    """The device with its index, once a tensor has been put on it; "auto" takes a GPU where there is one.

    Raises:
        InputError: no tensor can be put on it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        if found.type == "cuda" and found.index is None and ranks.world() > 1:  # each rank of a machine its own
            torch.cuda.set_device(ranks.local_rank() % max(1, torch.cuda.device_count()))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]}); set it to cpu or auto."
        ) from None
    if found.type == "cuda" and found.index is None:
        found = torch.device("cuda", torch.cuda.current_device())
    return found


def free_memory(device: torch.device) -> float:
    """Bytes that can still be taken on `device`."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if not os.path.exists("/proc/meminfo"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS does not say: half of what it has
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":", 1) for line in file)
    return min(int(fields["MemAvailable"].split()[0]) << 10, _cgroup_room()) / ranks.local_world()  # all take some


def _cgroup_room(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes up to the limit of this process's control group (Slurm, containers), version 2; infinite without one."""
    try:
        folder = root / own.read_text().rpartition("::")[2].strip().lstrip("/")
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or its limit is the word "max"
        return float("inf")
    return limit - used + int(fields["inactive_file"])  # the page cache of mapped files is given back on demand
