"""What the hot paths do, counted instead of timed: passes over a cohort, bytes of a batch, operators of a step.

The pins leave a tenth to other versions of torch. A count that is above its pin says that a step got longer: find out
where, and raise the pin only for a reason.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ecglib import cohort_write, datasets
from ecglib.cohort import Cohort
from ecglib.leads import LEADS
from ecglib.losses.clt import CLT
from ecglib.losses.nt_xent import nt_xent
from ecglib.methods.encoder import Encoder
from ecglib.methods.lead_kd import Supervised, View
from ecglib.methods.masked_autoencoder import MaskedAutoencoder
from ecglib.page import PageBatches, PageRenderer, Vary
from ecglib.signals import Standardise

RECORDS, BATCH = 48, 16
# Most operators of a step (counted with torch 2.15; see above).
STEP, MASKED, FIXED, VARIED, NT_XENT, CONTRAST = 326, 425, 168, 670, 43, 229
READS_BACK = ("aten::_local_scalar_dense", "aten::item", "aten::nonzero")  # the host waits for the device there


class Operators(TorchDispatchMode):
    """Counts the operators that compute: each is a kernel launched on a GPU; views are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if not op.is_view:
            self.counts[op.name().split(".")[0]] += 1
        return op(*args, **(kwargs or {}))

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def waits(self) -> int:
        return sum(self.counts[name] for name in READS_BACK)


def counted(work, *arguments, **options) -> Operators:
    """What `work` does the second time: the first fills what is kept."""
    work(*arguments, **options)
    with Operators() as operators:
        work(*arguments, **options)
    return operators


# ------------------------------------------------------------------------------------------- passes over a cohort


class Watched(np.ndarray):
    """A mapped array that notes the rows copied out of it and their bytes; looking at a single sample is not one."""

    def __getitem__(self, key):
        out = np.asarray(super().__getitem__(key))
        rows = key[0] if isinstance(key, tuple) else key
        if isinstance(rows, np.ndarray):
            self.reads.append((rows.ravel(), out.nbytes))
        return out


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    datasets.load("synthetic", rate=100, records=RECORDS, cache=tmp_path, progress=False)
    (folder,) = (file.parent for file in tmp_path.rglob("cohort.json"))
    opened = Cohort.open(folder)
    opened._signals = opened._signals.view(Watched)
    opened._signals.reads = []
    return opened


def test_a_build_goes_once_over_the_signals(tmp_path, cohort, monkeypatch):
    records, signals = cohort.records, np.asarray(cohort._signals)
    seen, asked = [], []
    fingerprint = cohort_write.Fingerprint.signals

    def watched(self, chunk):
        seen.append(len(chunk))
        fingerprint(self, chunk)

    def chunks():
        for start in range(0, RECORDS, BATCH):
            asked.append(start)
            yield signals[start : start + BATCH]

    monkeypatch.setattr(cohort_write.Fingerprint, "signals", watched)
    built = cohort_write.write(tmp_path / "again", chunks(), records, name="again", rate=100, leads=LEADS, scale=0.001)
    assert asked == list(range(0, RECORDS, BATCH)), "each chunk is asked for once"
    assert seen == [BATCH] * (RECORDS // BATCH), "and looked at once"
    size = (tmp_path / "again" / "signals.npy").stat().st_size
    assert size == cohort_write.HEADER + signals.nbytes
    assert len(built) == RECORDS


def test_opening_and_labels_read_no_signal(cohort):
    cohort.labels("superclass")
    cohort.labelled("superclass").in_folds([1, 2])
    cohort.batches(BATCH, task="superclass", shuffle=True, resident=False)
    assert cohort._signals.reads == []


@pytest.mark.parametrize("leads", [None, ("II",)])
def test_a_streamed_epoch_is_one_read_a_batch_and_one_pass(cohort, leads):
    batches = cohort.batches(BATCH, task="superclass", leads=leads, shuffle=True, resident=False)
    shown = sum(1 for _ in batches)
    reads = cohort._signals.reads
    assert len(reads) == shown == RECORDS // BATCH
    assert sorted(np.concatenate([rows for rows, _ in reads])) == list(range(RECORDS))
    length, wanted = cohort.length, 12 if leads is None else len(leads)
    assert [size for _, size in reads] == [BATCH * wanted * length * 2] * shown


def test_a_resident_cohort_is_read_once_for_all_epochs(cohort):
    batches = cohort.batches(BATCH, task="superclass", shuffle=True, resident=True)
    for epoch in range(3):
        batches.set_epoch(epoch)
        assert sum(1 for _ in batches) == RECORDS // BATCH
    reads = cohort._signals.reads
    assert sorted(np.concatenate([rows for rows, _ in reads])) == list(range(RECORDS))
    assert sum(size for _, size in reads) == RECORDS * 12 * cohort.length * 2


# ------------------------------------------------------------------------------------------- operators of a step


def test_a_batch_costs_the_same_operators_whatever_its_size(cohort):
    def fetching(size):
        batches = cohort.batches(size, task="superclass", shuffle=True, resident=True)
        return counted(lambda: next(iter(batches)))

    few, many = fetching(4), fetching(RECORDS)
    assert few.counts == many.counts, "an operator for each record?"
    assert few.counts["aten::copy_"] + few.counts["aten::_to_copy"] == 1, "int16 to float32 is the one copy"
    assert few.counts["aten::index_select"] == 2, "signals and labels"
    assert few.total <= 5  # two gathers, one copy, one product, and one to spare
    assert few.waits == 0


def supervised() -> Supervised:
    torch.manual_seed(0)
    standardise = Standardise("scalar").fit(signal(8))
    view = View(
        "xresnet1d18", classes=list("ABCDE"), leads=LEADS, rate=100, standardise=standardise, width=0.125
    )  # fmt: skip
    return Supervised(view).train()


def signal(b: int) -> torch.Tensor:
    return torch.randn(b, 12, 256, generator=torch.Generator().manual_seed(1))


def labelled(b: int) -> SimpleNamespace:
    label = (torch.rand(b, 5, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    return SimpleNamespace(signal=signal(b), label=label, index=torch.arange(b), page=None)


def step_of(method):
    return lambda batch: method.training_step(batch)["loss"].backward()


def test_operators_of_a_supervised_step():
    """A step of XResNet-1d-18: 22 convolutions and their norms, forward and backward, and nothing that grows with B."""
    step = step_of(supervised())
    few, many = counted(step, labelled(4)), counted(step, labelled(24))
    assert few.counts == many.counts
    assert few.counts["aten::convolution"] == few.counts["aten::convolution_backward"] == 22
    assert few.counts["aten::native_batch_norm"] == 22
    assert few.waits == 0, "the host waits for the device in every step"
    assert few.total <= STEP


def test_operators_of_a_masked_autoencoder_step():
    torch.manual_seed(0)
    encoder = Encoder("ecg_vit_nano", leads=LEADS, rate=100, standardise=Standardise("none"))
    step = step_of(MaskedAutoencoder(encoder, mask_ratio=0.5).train())
    few, many = (counted(step, SimpleNamespace(signal=signal(b))) for b in (2, 6))
    assert few.counts == many.counts
    assert few.waits == 0
    assert few.total <= MASKED


@pytest.mark.parametrize(("vary", "most"), [(None, FIXED), (Vary(), VARIED)])
def test_operators_of_a_chunk_of_pages(vary, most):
    """The renderer works through chunks of pages; a chunk costs the same operators with one page or with eight."""
    draw = PageRenderer("3x4+II", rate=100, leads=LEADS, vary=vary)
    mv = torch.randn(8, 12, 1000, generator=torch.Generator().manual_seed(0)) * 0.2
    found = {b: counted(draw, mv[:b], index=torch.arange(b)) for b in (2, 8)}
    assert found[2].total == found[8].total, "an operator for each page?"
    assert found[8].total <= most


def test_a_batch_of_pages_is_drawn_in_one_memory(cohort):
    """No page is copied: the batch's pages lie where they were drawn, in the same memory in every batch."""
    pages = PageBatches(cohort.batches(8, task="superclass", resident=True), layouts=("3x4+II", "6x2"))
    places = {batch.page.data_ptr() for batch in pages}
    assert len(places) == 1


def test_operators_of_the_contrast_between_two_views():
    def contrast(b):
        first, second = (torch.randn(b, 32, requires_grad=True) for _ in range(2))
        nt_xent(first, second, temperature=0.1).backward()

    few, many = counted(contrast, 4), counted(contrast, 64)
    assert few.counts == many.counts
    assert few.waits == 0
    assert few.total <= NT_XENT


def test_operators_of_the_contrast_with_banks():
    labels = torch.eye(4).repeat(40, 1)  # (160, 4)
    clt = CLT(16, 16, labels, dim=8, negatives=32).train()

    def contrast(b):
        s, t = torch.randn(b, 16, requires_grad=True), torch.randn(b, 16)
        clt(s, t, torch.arange(b)).backward()

    few, many = counted(contrast, 8), counted(contrast, 64)
    assert few.counts == many.counts, "a loop over records or negatives?"
    assert few.waits <= 1  # the index is checked once
    assert few.total <= CONTRAST
