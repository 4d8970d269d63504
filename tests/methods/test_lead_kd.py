"""Views, and the two methods that train them: what sees what, what learns, what is saved."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.lead_kd import LeadKD, Supervised, View, contrast_column, known_bce, load_teachers
from ecglib.signals import Augment, Standardise

CLASSES = ("CD", "HYP", "MI")
B, T, N = 8, 128, 20


@dataclass
class Batch:
    """As ecglib.cohort makes them."""

    signal: torch.Tensor
    label: torch.Tensor | None
    index: torch.Tensor


@pytest.fixture
def signal() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(B, 12, T) * torch.linspace(0.2, 2, 12)[:, None]


@pytest.fixture
def labels() -> torch.Tensor:
    """(N, C); each record has one or two classes."""
    return (
        torch.eye(3).repeat(7, 1)[:N] + torch.eye(3).roll(1, 0).repeat(7, 1)[:N] * (torch.arange(N) % 4 == 0)[:, None]
    )


@pytest.fixture
def batch(signal, labels) -> Batch:
    return Batch(signal, labels[:B], torch.arange(B))


def view(signal, leads=LEADS, *, seed=1, **options) -> View:
    torch.manual_seed(seed)
    options = {
        "classes": CLASSES,
        "rate": 100,
        "width": 0.125,
        "standardise": Standardise("lead").fit(signal),
    } | options
    return View("xresnet1d18", leads=leads, **options)


def lead_kd(signal, labels=None, *, teachers=1, **options) -> LeadKD:
    taught = [view(signal, seed=5 + k) for k in range(teachers)]
    torch.manual_seed(3)
    return LeadKD(view(signal, ["I"]), taught, labels=labels, **({"negatives": 8} | options)).train()


# views


@pytest.mark.parametrize(("leads", "positions"), [(["I"], [0]), (["V2", "II"], [7, 1]), (["avr"], [3])])
def test_a_view_sees_its_own_leads_only_and_in_its_own_order(signal, leads, positions):
    one = view(signal, leads).eval()
    others = torch.ones(12, dtype=torch.bool)
    others[positions] = False
    changed = signal.clone()
    changed[:, others] = 99.0
    assert torch.equal(one(signal), one(changed))
    z = (signal - signal.mean(dim=(0, 2), keepdim=True)) / signal.std(dim=(0, 2), correction=0, keepdim=True)
    torch.testing.assert_close(one(signal), one.backbone(z[:, positions]), rtol=1e-4, atol=1e-4)


def test_a_view_finds_its_leads_by_name_in_batches_of_another_order(signal):
    have = ("V2", "MDC_ECG_LEAD_I", "AVF")
    small = signal[:, [7, 0, 5]]
    one = view(small, ["aVF", "I"], have=have).eval()
    same = view(signal, ["aVF", "I"]).eval()
    torch.testing.assert_close(one(small), same(signal))


def test_features_then_head_are_the_logits(signal):
    one = view(signal).eval()
    features = one.features(signal)
    assert features.shape == (B, one.feature_dim)
    assert torch.equal(one.head(features), one(signal))


def test_logits_are_float32_under_mixed_precision(signal):
    with torch.autocast("cpu", torch.bfloat16):
        assert view(signal)(signal).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"leads": ["V7"]}, "V7"),
        ({"leads": ["I"], "have": ("II", "V1")}, "'?I'?"),
        ({"classes": ()}, "classes"),
        ({"classes": ("MI", "MI")}, "classes of different names"),
        ({"rate": 0}, "rate of its signals"),
        ({"standardise": Standardise("scalar")}, "has not been fitted"),
        ({"depth": 18}, "no option 'depth'"),
    ],
)
def test_impossible_views_are_refused(signal, options, says):
    with pytest.raises(InputError, match=says):
        view(signal, **options)


def test_a_batch_of_other_leads_is_refused(signal):
    with pytest.raises(InputError, match=r"shape \(B, 12, T\)"):
        view(signal)(signal[:, :3])


# prediction


def test_prediction_is_in_eval_mode_and_leaves_the_mode_and_statistics_alone(signal):
    one = view(signal).train()
    state = {k: v.clone() for k, v in one.state_dict().items()}
    logits = one.predict(signal)
    assert one.training
    assert all(m.training for m in one.modules())
    assert not logits.requires_grad
    assert all(torch.equal(v, state[k]) for k, v in one.state_dict().items())
    assert torch.equal(logits, one.eval()(signal))
    torch.testing.assert_close(logits[:1], one.predict(signal[:1]), rtol=1e-4, atol=1e-4)  # no batch statistics


@pytest.mark.parametrize(
    ("window", "stride", "starts"), [(50, 30, [0, 30, 60, 78]), (64, None, [0, 32, 64]), (128, 5, [0])]
)
def test_windowed_prediction_averages_probabilities_over_the_whole_record(signal, window, stride, starts):
    one = view(signal, ["I", "V6"]).eval()
    probabilities = torch.stack([one(signal[:, :, s : s + window]).sigmoid() for s in starts]).mean(dim=0)
    windowed = one.predict(signal, window=window, stride=stride)
    torch.testing.assert_close(windowed.sigmoid(), probabilities.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(129, 10), (0, 1), (50, 51)])
def test_windows_that_do_not_cover_the_record_are_refused(signal, window, stride):
    with pytest.raises(InputError, match="does not cover a signal of 128"):
        view(signal).predict(signal, window=window, stride=stride)


# checkpoints


def test_a_saved_view_is_the_same_view(signal, tmp_path):
    one = view(signal, ["II", "V5"], kernel=5)
    one(signal)  # running statistics that are not the start's
    path = one.save(tmp_path / "new" / "student_0.8")
    assert sorted(p.name for p in path.parent.iterdir()) == ["student_0.8.json", "student_0.8.safetensors"]
    again = View.load(path, expect_classes=CLASSES, expect_leads=["ii", "V5"], expect_rate=100.0)
    assert not again.training
    assert again.card() == one.card()
    assert torch.equal(again(signal), one.predict(signal))
    torch.testing.assert_close(View.load(path, have=["V5", "II"])(signal[:, [10, 1]]), again(signal))


def test_the_card_says_what_one_needs_to_know(signal, tmp_path):
    path = view(signal, ["I"]).save(tmp_path / "m")
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["classes"] == list(CLASSES)
    assert card["leads"] == ["I"]
    assert card["rate_hz"] == 100
    assert card["backbone"] == "xresnet1d18"
    assert card["options"] == {"width": 0.125}
    assert card["normalisation"]["mode"] == "lead"
    assert card["normalisation"]["mean_mv"] == pytest.approx([float(signal[:, 0].mean())], abs=1e-6)


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ({"expect_classes": ("HYP", "CD", "MI")}, "has classes CD HYP MI where HYP CD MI was expected"),
        ({"expect_leads": ["II"]}, "has leads I where II was expected"),
        ({"expect_rate": 500}, "has rate_hz 100 where 500 was expected"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(signal, tmp_path, expected, says):
    path = view(signal, ["I"]).save(tmp_path / "m")
    with pytest.raises(InputError, match=says):
        View.load(path, **expected)


def test_damaged_checkpoints_are_refused(signal, tmp_path):
    path = view(signal, ["I"]).save(tmp_path / "m")
    card = path.with_suffix(".json")
    whole, text = path.read_bytes(), card.read_text()
    with pytest.raises(InputError, match=r"other\.json is missing"):
        View.load(tmp_path / "other")
    for damage, says in (
        (lambda: path.write_bytes(whole[:-1]), "not those that its card was written for"),
        (lambda: card.write_text(text[:50]), "is not JSON"),
        (lambda: card.write_text('{"format": 1}'), "is not a model's card"),
        (lambda: card.write_text(text.replace('"width": 0.125', '"width": 0.25')), "not those of its card"),
        (path.unlink, r"m\.safetensors is missing"),
    ):
        path.write_bytes(whole), card.write_text(text)
        damage()
        with pytest.raises(InputError, match=says):
            View.load(path)


def test_an_interrupted_save_leaves_the_old_model_whole(signal, tmp_path, monkeypatch):
    path = view(signal, ["I"], seed=1).save(tmp_path / "m")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="disk is full"):
        view(signal, ["I"], seed=2).save(path)
    monkeypatch.undo()
    assert torch.equal(View.load(path)(signal), view(signal, ["I"], seed=1).predict(signal))
    assert len(list(tmp_path.iterdir())) == 2


# methods


def test_the_loss_is_the_weighted_sum_of_its_parts(signal, labels, batch):
    method = lead_kd(signal, labels, alpha=0.5, beta=0.25, gamma=2.0)
    parts = method.training_step(batch)
    assert set(parts) == {"loss", "bce", "mkd", "clt"}
    total = 2.0 * parts["bce"] + 0.5 * parts["mkd"] + 0.25 * parts["clt"]
    torch.testing.assert_close(parts["loss"].detach(), total)
    assert all(float(parts[k]) > 0 for k in ("bce", "mkd", "clt"))


def test_the_parts_are_what_they_are_called(signal, labels, batch):
    method = lead_kd(signal, labels, temperature=2.0, mkd_variant="tempered").eval()
    parts = method.training_step(batch)
    student, teacher = method.student(signal), method.teachers[0](signal)
    torch.testing.assert_close(parts["bce"], F.binary_cross_entropy_with_logits(student, batch.label).detach())
    torch.testing.assert_close(parts["mkd"], method.mkd(student, teacher).detach())
    torch.manual_seed(1)
    expected = method.clt[0](method.student.features(signal), method.teachers[0].features(signal), batch.index)
    torch.manual_seed(1)
    torch.testing.assert_close(method.training_step(batch)["clt"], expected.detach())


def test_several_teachers_are_averaged(signal, labels, batch):
    both = lead_kd(signal, labels, teachers=2, beta=0.0).eval()
    parts = both.training_step(batch)
    student = both.student(signal)
    each = [both.mkd(student, t(signal)).detach() for t in both.teachers]
    assert abs(each[0] - each[1]) > 1e-4
    torch.testing.assert_close(parts["mkd"], (each[0] + each[1]) / 2)
    contrasted = lead_kd(signal, labels, teachers=2)
    assert [clt.rule for clt in contrasted.clt] == ["disjoint", "disjoint"]
    assert not torch.equal(contrasted.clt[0].teacher_bank, contrasted.clt[1].teacher_bank)
    assert float(contrasted.training_step(batch)["clt"]) > 0


def test_teachers_of_other_leads_and_backbones_are_views_too(signal, labels, batch):
    teachers = [view(signal, ["I", "II"]), View("xresnet1d50", leads=LEADS, classes=CLASSES, rate=100, width=0.125,
                                                standardise=Standardise("record"))]  # fmt: skip
    method = LeadKD(view(signal, ["I"]), teachers, labels=labels, negatives=8).train()
    method.training_step(batch)["loss"].backward()
    assert all(p.grad is not None for p in method.student.parameters())


def test_only_the_student_and_the_projections_learn(signal, labels, batch):
    method = lead_kd(signal, labels)
    frozen = {k: v.clone() for k, v in method.teachers.state_dict().items()}
    learning = [p for p in method.parameters() if p.requires_grad]
    assert {id(p) for p in learning} == {id(p) for m in (method.student, method.clt) for p in m.parameters()}
    optimiser = torch.optim.AdamW(method.parameters(), lr=0.1, weight_decay=0.5)
    method.train()
    method.training_step(batch)["loss"].backward()
    assert all(p.grad is not None for p in learning)
    optimiser.step()
    assert not any(m.training for m in method.teachers.modules())
    assert all(torch.equal(v, frozen[k]) for k, v in method.teachers.state_dict().items())
    assert all(name.startswith(("teachers.", "student.", "clt.")) for name in method.state_dict())


def test_records_without_labels_get_mkd_only(signal, labels, batch):
    method = lead_kd(signal, labels).eval()
    mixed = Batch(signal, batch.label.clone(), batch.index.clone())
    mixed.label[5:], mixed.index[5:] = torch.nan, -1
    torch.manual_seed(1)
    parts = method.training_step(mixed)
    labelled = Batch(signal[:5], batch.label[:5], batch.index[:5])
    torch.manual_seed(1)
    few = method.training_step(labelled)
    torch.testing.assert_close(parts["bce"], few["bce"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts["clt"], few["clt"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts["mkd"], method.training_step(batch)["mkd"])


def test_a_batch_without_any_label_trains_on_the_teacher_alone(signal, labels):
    method = lead_kd(signal, labels)
    nowhere = torch.full((B,), -1)
    for label in (None, torch.full((B, 3), torch.nan)):
        method.zero_grad()
        parts = method.training_step(Batch(signal, label, nowhere))
        parts["loss"].backward()
        assert float(parts["bce"]) == float(parts["clt"]) == 0.0
        assert all(bool(p.grad.isfinite().all()) for p in method.student.parameters())
        assert any(bool(p.grad.any()) for p in method.student.parameters())
    assert bool(method.clt[0].log_z.isnan().all())


def test_known_bce_skips_single_missing_entries():
    logits, label = torch.tensor([[1.0, -2.0]], requires_grad=True), torch.tensor([[1.0, torch.nan]])
    loss = known_bce(logits, label)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log1p(np.exp(-1.0)))
    assert float(logits.grad[0, 1]) == 0.0


def test_without_alpha_and_beta_no_teacher_is_run(signal, batch, monkeypatch):
    method = lead_kd(signal, alpha=0.0, beta=0.0)
    monkeypatch.setattr(method.teachers[0], "features", lambda signal: pytest.fail("the teacher was run"))
    parts = method.training_step(batch)
    assert float(parts["loss"].detach()) == float(parts["bce"])


class Recorder(nn.Module):
    """Adds noise and remembers what came out."""

    def forward(self, x):
        self.out = x + torch.randn_like(x)
        return self.out


def test_teacher_and_student_see_the_same_augmented_record_in_training_only(signal, labels, batch, monkeypatch):
    method = lead_kd(signal, labels, augment=Recorder())
    seen = []
    for part in (method.student, method.teachers[0]):

        def spy(x, own=part.features):
            seen.append(x)
            return own(x)

        monkeypatch.setattr(part, "features", spy)  # fmt: skip
    method.training_step(batch)
    assert len(seen) == 2
    assert seen[0] is seen[1] is method.augment.out
    seen.clear()
    method.eval()
    method.training_step(batch)
    assert all(x is signal for x in seen)
    seen.clear()
    method.predict(signal)
    assert seen[0] is signal


@pytest.mark.parametrize("kind", ["supervised", "lead_kd"])
def test_the_protocol_of_the_training_loop(signal, labels, batch, kind):
    augment = Augment(rate=100, crop_s=1.0)
    method = (
        Supervised(view(signal, ["I"]), augment=augment)
        if kind == "supervised"
        else lead_kd(signal, labels, augment=augment)
    )
    method.train()
    method.training_step(batch)["loss"].backward()
    logits = method.predict(signal, window=100)
    assert logits.shape == (B, 3)
    assert method.training
    product = method.inference_module()
    assert isinstance(product, View)
    assert torch.equal(product.predict(signal, window=100), logits)
    assert {n.split(".")[0] for n, p in method.named_parameters() if not p.requires_grad} == set(method.frozen)


def test_supervised_wants_labels(signal):
    method = Supervised(view(signal))
    with pytest.raises(InputError, match="batches that carry them"):
        method.training_step(Batch(signal, None, torch.arange(B)))


def test_trainings_that_differ_in_anything_have_another_identity(signal, labels):
    def identity(**options):
        return json.dumps(lead_kd(signal, labels, **options).identity, sort_keys=True)

    assert identity() == identity()
    changed = [{"alpha": 0.5}, {"beta": 0.5}, {"gamma": 0.5}, {"temperature": 2.0}, {"mkd_variant": "released"},
               {"negatives": 9}, {"clt_temperature": 0.1}, {"clt_momentum": 0.9}, {"clt_rule": "first_label"},
               {"clt_rule": "released", "clt_column": 0}, {"augment": Augment(rate=100, amplitude=0.1)},
               {"augment": Augment(rate=100, amplitude=0.2)}, {"teachers": 2}, {"seed": 1}]  # fmt: skip
    assert len({identity(), *(identity(**options) for options in changed)}) == len(changed) + 1
    supervised = [Supervised(view(signal, [lead])).identity for lead in ("I", "II")]
    assert supervised[0] != supervised[1]
    retaught = LeadKD(view(signal, ["I"]), [view(signal, seed=99)], labels=labels, negatives=8)
    assert json.dumps(retaught.identity, sort_keys=True) != identity()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"alpha": -1.0}, "`alpha` is -1.0"),
        ({"alpha": 0.0, "beta": 0.0, "gamma": 0.0}, "nothing to train on"),
        ({"teachers": 0}, "needs a teacher"),
        ({}, "CLT needs the labels"),
    ],
)
def test_impossible_methods_are_refused(signal, options, says):
    with pytest.raises(InputError, match=says):
        lead_kd(signal, **options)


@pytest.mark.parametrize(("other", "says"), [({"classes": ("A", "B", "C")}, "classes"), ({"rate": 500}, "rate")])
def test_a_teacher_of_something_else_is_refused(signal, other, says):
    with pytest.raises(InputError, match=f"The student's {says} are"):
        LeadKD(view(signal, ["I"]), [view(signal, **other)], beta=0.0)


def test_distillation_brings_the_student_to_its_teacher(signal, batch):
    """MKD alone: the student's probabilities on the training records approach the teacher's."""
    method = lead_kd(signal, beta=0.0, gamma=0.0)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        parts = method.training_step(batch)
        parts["loss"].backward()
        optimiser.step()
        losses.append(float(parts["mkd"]))
    assert losses[-1] < 0.1 * losses[0]


def test_saved_teachers_take_the_place_of_new_ones(signal, tmp_path):
    saved = view(signal), view(signal, ["V1", "V2"], seed=2)
    for k, each in enumerate(saved):
        each.save(tmp_path / str(k) / "model")
    folders, leads = [tmp_path / "0", tmp_path / "1"], [" ".join(LEADS), "V1 V2"]
    asked = {"classes": CLASSES, "rate": 100, "have": LEADS}
    loaded = load_teachers(folders, leads, **asked)
    for before, after in zip(saved, loaded, strict=True):
        torch.testing.assert_close(after.predict(signal), before.predict(signal))
    assert load_teachers([], leads, **asked) == []
    with pytest.raises(InputError, match="names 1 saved teachers and teacher_leads 2"):
        load_teachers(folders[:1], leads, **asked)
    for change, said in (
        ({"classes": ("CD", "HYP", "NORM")}, "has classes"),
        ({"rate": 500}, "has rate_hz 100 where 500"),
    ):
        with pytest.raises(InputError, match=said):
            load_teachers(folders, leads, **asked | change)
    with pytest.raises(InputError, match="has leads V1 V2 where V1 V3"):
        load_teachers(folders, [leads[0], "V1 V3"], **asked)
    with pytest.raises(InputError, match="no checkpoint"):
        load_teachers([tmp_path / "none"], leads[:1], **asked)


def test_the_column_of_the_released_rule():
    assert contrast_column("released", "HYP", CLASSES) == 1
    assert contrast_column("disjoint", "no class", CLASSES) is None
    with pytest.raises(InputError, match=r"clt_class is 'HIP'.*Did you mean 'HYP'"):
        contrast_column("released", "HIP", CLASSES)
