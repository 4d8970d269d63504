import errno

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecglib import checkpoint
from ecglib.errors import InputError

TREE = {
    "epoch": 3,
    "nothing": None,
    "rate": 1e-4,
    "optimiser": {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.arange(6.0).reshape(2, 3)}}},
    "half": torch.ones(3, dtype=torch.bfloat16),
    "history": [{"loss": 0.5, "name": "ä"}, {"loss": float("inf"), "name": ""}],
}


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


def test_what_is_written_comes_back(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", TREE)
    assert same(TREE, checkpoint.load(tmp_path / "a.safetensors"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5)


@given(st.recursive(plain, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), x)))
def test_any_plain_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "t.safetensors"
    checkpoint.save(path, {"tree": tree})
    assert same(tree, checkpoint.load(path)["tree"])


def test_shared_memory_is_no_obstacle(tmp_path):
    x = torch.arange(4.0)
    checkpoint.save(tmp_path / "a.safetensors", {"a": x, "b": x[:2]})
    assert same({"a": x, "b": x[:2]}, checkpoint.load(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, TREE)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
    path.write_bytes({"cut": data[:-5], "flip": data, "empty": b"", "text": b"hello, this is no checkpoint"}[damage])
    with pytest.raises(InputError, match=r"a\.safetensors"):
        checkpoint.load(path)


def test_the_newest_whole_one_is_taken(tmp_path, capsys):
    for epoch in range(1, 5):
        checkpoint.save_numbered(tmp_path, epoch, {"epoch": epoch})
    assert [p.name for p in checkpoint.numbered(tmp_path)] == ["epoch-00004.safetensors", "epoch-00003.safetensors"]
    checkpoint.numbered(tmp_path)[0].write_bytes(b"cut")
    assert checkpoint.newest(tmp_path) == {"epoch": 3}
    assert "epoch-00004" in capsys.readouterr().out
    assert checkpoint.newest(tmp_path / "absent") is None


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"epoch": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="full"):
        checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path) == {"epoch": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_only_plain_things_are_saved(tmp_path):
    with pytest.raises(TypeError, match="not set"):
        checkpoint.save(tmp_path / "a.safetensors", {"a": {1, 2}})
    with pytest.raises(TypeError, match="not tuple"):
        checkpoint.save(tmp_path / "a.safetensors", {(1, 2): 3})
    assert not list(tmp_path.iterdir())
