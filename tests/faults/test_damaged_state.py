"""What a fault may leave on the disk: damaged, foreign and half-written checkpoints; renames before their contents."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from test_training import Tiny, run, weights

from ecglib import atomic, checkpoint, results

EPOCHS = 6


@pytest.fixture(scope="module")
def undisturbed() -> torch.Tensor:
    return weights(run(epochs=EPOCHS)[0])


class Stopped(Exception):
    pass


class Short(Tiny):
    """A training that ends in its fifth epoch, after four checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def training_step(self, batch):
        self.steps += 1
        if self.steps > 4 * 6:
            raise Stopped
        return super().training_step(batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of four epochs, of which the last two are kept."""
    with pytest.raises(Stopped):
        run(Short(), folder=tmp_path, epochs=EPOCHS)
    assert [p.name for p in checkpoint.numbered(tmp_path)] == ["epoch-00004.safetensors", "epoch-00003.safetensors"]
    return tmp_path


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-len(data) // 3] ^= 1
    path.write_bytes(data)


def pickled(path: Path) -> None:
    torch.save({"key": 1, "payload": Payload(path.with_name("executed"))}, path)


def only_pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(path.with_name("executed"))))


def bare(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, path)


DAMAGE = [cut, flip, pickled, only_pickled, bare, lambda path: path.write_bytes(b"")]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_last_one_costs_an_epoch(folder: Path, undisturbed: torch.Tensor, capsys, damage) -> None:
    damage(folder / "epoch-00004.safetensors")
    method, fit = run(folder=folder, epochs=EPOCHS)
    assert fit.resumed_at == 3
    said = capsys.readouterr().out
    assert "epoch-00004.safetensors" in said
    assert "Going on from epoch-00003.safetensors." in said
    assert "going on from the checkpoint of epoch 3" in said
    assert torch.equal(weights(method), undisturbed)
    assert not (folder / "executed").exists()
    assert checkpoint.newest(folder)["state"]["epoch"] == EPOCHS


@pytest.mark.parametrize("damage", DAMAGE)
def test_both_damaged_is_a_start_from_the_start(folder: Path, undisturbed: torch.Tensor, capsys, damage) -> None:
    for path in checkpoint.numbered(folder):
        damage(path)
    method, fit = run(folder=folder, epochs=EPOCHS)
    assert fit.resumed_at == 0
    assert "Going on from the start." in capsys.readouterr().out
    assert torch.equal(weights(method), undisturbed)
    assert not (folder / "executed").exists()
    assert len(checkpoint.numbered(folder)) == 2


@pytest.mark.parametrize("tree", [{"weight": torch.zeros(3)}, [1, 2], {"key": "of another training"}, None])
def test_a_foreign_one_is_not_gone_on_from(folder: Path, undisturbed: torch.Tensor, capsys, tree) -> None:
    checkpoint.save(folder / "epoch-00009.safetensors", tree)
    method, fit = run(folder=folder, epochs=EPOCHS)
    assert fit.resumed_at == 0
    assert torch.equal(weights(method), undisturbed)
    assert [path.name for path in checkpoint.numbered(folder)] == [
        "epoch-00006.safetensors", "epoch-00005.safetensors",
    ]  # fmt: skip


def test_a_start_from_the_start_is_gone_on_from(folder: Path) -> None:
    """Its first checkpoint has a lower number than the damaged ones, and is kept all the same."""
    for path in checkpoint.numbered(folder):
        cut(path)
    checkpoint.save_numbered(folder, 1, {"epoch": 1})
    assert [path.name for path in folder.iterdir()] == ["epoch-00001.safetensors"]


def test_what_a_killed_writer_left_does_not_pile_up(folder: Path) -> None:
    for number in (7, 8):
        (folder / f".epoch-00005.safetensors.{number}.tmp").write_bytes(b"half")
    run(folder=folder, epochs=EPOCHS)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-00005.safetensors", "epoch-00006.safetensors"]


def test_a_rename_never_comes_before_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that goes down may lose all that was not waited for."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def renamed(a: Path, b: Path) -> None:
        done.append(f"{b.name} is there")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic.writing(tmp_path / "model") as temporary:
        (temporary / "deeper").mkdir(parents=True)
        (temporary / "deeper/weights").write_bytes(b"1")
        (temporary / "card").write_bytes(b"2")
    inside, (renaming, folder) = done[:-2], done[-2:]
    assert set(inside) == {"weights", "deeper", "card", temporary.name}
    assert inside.index("weights") < inside.index("deeper") < inside.index(temporary.name)
    assert (renaming, folder) == ("model is there", tmp_path.name)
    done.clear()
    atomic.write_json(tmp_path / "run.json", {})
    assert done[1:] == ["run.json is there", tmp_path.name]


def test_an_old_page_goes_before_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far clearing got, no page says complete of a run whose mark is gone."""
    names = ("run.json", "report.html", "metrics.json", "executed.ipynb")
    remove = atomic.remove
    for far in range(len(names)):
        for name in names:
            (tmp_path / name).write_text("{}")
        left = [far]

        def stopping(path: Path, left: list[int] = left) -> None:
            if path.exists():
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
            remove(path)

        monkeypatch.setattr(atomic, "remove", stopping)
        with pytest.raises(KeyboardInterrupt):
            results.clear(tmp_path, checkpoints=True)
        assert (tmp_path / "run.json").exists() or not (tmp_path / "report.html").exists()
