"""ecglib.devices: what can be used, and what room it has."""

from __future__ import annotations

import pytest
import torch

from ecglib.devices import _cgroup_room, free_memory, usable
from ecglib.errors import InputError


def test_usable():
    assert usable("cpu") == torch.device("cpu")
    assert usable("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device 'tpu9' cannot be used here"):
        usable("tpu9")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_has_an_index_and_memory():
    device = usable("cuda")
    assert device.index is not None
    assert 0 < free_memory(device) <= torch.cuda.get_device_properties(device).total_memory


def test_the_limit_of_a_control_group_counts(tmp_path):
    (tmp_path / "own").write_text("0::/slurm/job_1\n")
    group = tmp_path / "slurm" / "job_1"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("700\n")
    (group / "memory.stat").write_text("anon 300\ninactive_file 250\n")
    (group / "memory.max").write_text("1000\n")
    assert _cgroup_room(tmp_path / "own", tmp_path) == 550
    (group / "memory.max").write_text("max\n")
    assert _cgroup_room(tmp_path / "own", tmp_path) == float("inf")
    assert _cgroup_room(tmp_path / "none", tmp_path) == float("inf")
