"""The loop on a tiny method: it learns, it stops, it is the same twice, and a killed run ends as an undisturbed one."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ecglib import checkpoint, training
from ecglib.errors import InputError
from ecglib.training import Settings


@dataclass
class TinyBatches:
    """A linear task with shuffled batches: what the loop needs of `Batches`, and nothing else."""

    n: int = 96
    size: int = 16
    offset: int = 0
    identity: str = "tiny"
    epoch: int = 0

    def __post_init__(self):
        generator = torch.Generator().manual_seed(5 + self.offset)
        self.x = torch.randn(self.n, 6, generator=generator)
        self.y = (self.x[:, :2] + 0.1 * torch.randn(self.n, 2, generator=generator) > 0).float()

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.n // self.size

    def __iter__(self):
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(self.epoch))
        for rows in order.split(self.size):
            yield SimpleNamespace(signal=self.x[rows], label=self.y[rows], index=rows)


class Tiny(nn.Module):
    """A network with batch norm and dropout, so that buffers and chance must survive a resume too."""

    frozen = ("teacher",)

    def __init__(self, seed=0, pause=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
        self.teacher = nn.Linear(6, 2).requires_grad_(False)
        self.pause = pause

    def training_step(self, batch):
        time.sleep(self.pause)
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(batch.signal), batch.label)
        return {"loss": loss, "bce": loss}

    def predict(self, signal):
        self.net.eval()
        return self.net(signal)

    def inference_module(self):
        return self.net


def run(method=None, folder=None, **settings):
    method = method or Tiny()
    chosen = Settings(**{"epochs": 6, "learning_rate": 0.02, "seed": 3} | settings)
    fit = training.fit(
        method, TinyBatches(), TinyBatches(offset=1), settings=chosen, checkpoints=folder, progress="none"
    )
    return method, fit


def weights(method):
    return torch.cat([p.detach().flatten() for p in method.net.state_dict().values()])


def test_it_learns_and_tells_how():
    _, fit = run(epochs=15)
    assert fit.value > 0.95
    assert list(fit.history.epoch) == list(range(1, 16))
    assert fit.history.loss.iloc[-1] < 0.6 * fit.history.loss.iloc[0]
    assert fit.history.valid_macro_auc.max() == fit.value
    assert fit.history.loss.equals(fit.history.bce)


def test_one_process_trains_in_several_precisions():
    """accelerate keeps its precision for the process unless told otherwise."""
    values = [run(precision=precision)[1].value for precision in ("no", "bf16", "no")]
    assert values[0] == values[2]


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, second, other = run()[0], run()[0], run(seed=4)[0]
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


class Cropped(Tiny):
    """Changes its batches at random, as an augmentation does, and then draws `more` numbers in its loss."""

    def __init__(self, more):
        super().__init__()
        self.more, self.seen = more, []

    def training_step(self, batch):
        self.seen.append(batch.signal + torch.randn_like(batch.signal))
        torch.rand(self.more)
        return super().training_step(SimpleNamespace(signal=self.seen[-1], label=batch.label))


def test_what_a_loss_draws_changes_no_other_methods_batches():
    alone, contrasted = run(Cropped(0), epochs=2)[0], run(Cropped(1024), epochs=2)[0]
    assert len(alone.seen) == len(contrasted.seen) == 12
    assert all(torch.equal(a, b) for a, b in zip(alone.seen, contrasted.seen, strict=True))
    noise = [seen.flatten()[:5].tolist() for seen in alone.seen]
    assert len({tuple(each) for each in noise}) == 12, "and no two steps are changed alike"


def test_the_best_epoch_is_kept_or_the_last():
    best, fit = run(epochs=12, learning_rate=0.3, schedule="constant")
    logits, labels = training.collect(best, TinyBatches(offset=1))
    again = training._validate(best, TinyBatches(offset=1))
    assert again["valid_macro_auc"] == pytest.approx(fit.value, abs=1e-12)
    assert logits.shape == labels.shape == (96, 2)
    assert run(epochs=5, select="last")[1].epoch == 5


def test_patience_ends_a_run_that_no_longer_improves():
    _, fit = run(epochs=400, patience=3, learning_rate=0.05, schedule="constant")
    assert len(fit.history) == fit.epoch + 3 < 400


def test_the_teacher_is_neither_saved_nor_touched(tmp_path):
    method, _ = run(folder=tmp_path)
    tree = checkpoint.newest(tmp_path)
    assert not any(key.startswith("teacher.") for key in tree["method"])
    assert any(key.startswith("net.") for key in tree["method"])
    assert torch.equal(method.teacher.weight, Tiny().teacher.weight)


def test_a_finished_training_is_read_back_not_repeated(tmp_path):
    first, fit = run(folder=tmp_path)
    second, again = run(Tiny(pause=30.0), folder=tmp_path)  # one step of training would time the test out
    assert again.resumed_at == 6
    assert again.history.equals(fit.history)
    assert torch.equal(weights(first), weights(second))


def test_a_checkpoint_of_another_training_is_said_and_left(tmp_path, capsys):
    run(folder=tmp_path)
    _, fit = run(folder=tmp_path, learning_rate=0.01)
    assert fit.resumed_at == 0
    assert "another training" in capsys.readouterr().out


VICTIM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_training import Tiny, run
    run(Tiny(pause=0.05), folder=Path({folder!r}), epochs=8)
    """
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path, number):
    undisturbed, _ = run(epochs=8)
    script = VICTIM.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    victim = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while len(checkpoint.numbered(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(number)
    assert victim.wait(30) == -number, "the run was over before it was killed"
    resumed, fit = run(folder=tmp_path, epochs=8)
    assert 2 <= fit.resumed_at < 8
    assert torch.equal(weights(undisturbed), weights(resumed))


def test_schedules():
    paper = Settings(
        epochs=100, learning_rate=1.5e-2, schedule="steps", warmup_epochs=15, base_rate=1e-3, milestones=(40, 70)
    )
    assert [paper.rate(e) for e in (15, 39.9, 40, 70)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
    assert paper.rate(14.99) == pytest.approx(1.5e-2, rel=1e-2)
    cycle = Settings(epochs=10, learning_rate=1e-2)
    assert cycle.rate(0) == pytest.approx(1e-4)
    assert cycle.rate(3) == pytest.approx(1e-2)
    assert cycle.rate(10) == pytest.approx(0, abs=1e-9)
    assert Settings(epochs=3, learning_rate=1e-2, schedule="constant").rate(2.5) == 1e-2


@pytest.mark.parametrize(
    ("change", "said"),
    [({"epochs": 0}, "epochs"), ({"learning_rate": -1.0}, "learning_rate"), ({"clip": -1.0}, "clip")],
)
def test_settings_that_make_no_sense(change, said):
    with pytest.raises(InputError, match=said):
        Settings(**{"epochs": 1, "learning_rate": 1.0} | change)


def test_a_loss_that_is_no_number_is_said():
    method = Tiny()
    with torch.no_grad():
        method.net[0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match="learning rate"):
        run(method)


def test_the_gradient_is_cut():
    free, cut = run(epochs=1)[0], run(epochs=1, clip=1e-12, optimiser="adam")[0]
    start = weights(Tiny())
    assert (weights(free) - start).abs().max() > 1e-3
    # Adam's step does not depend on the gradient's size; below its epsilon of 1e-8 it does.
    assert (cut.net[0].weight - Tiny().net[0].weight).abs().max() < 1e-4


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="nothing to validate"):
        training.fit(Tiny(), TinyBatches(), [], settings=Settings(epochs=1, learning_rate=1.0))
