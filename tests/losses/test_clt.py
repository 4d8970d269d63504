"""CLT against plain loops written from CRD's formulas, and the rules that its negatives obey."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ecglib.errors import InputError
from ecglib.losses.clt import CLT

LABELS = torch.tensor(
    [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 1]], dtype=torch.float32
)  # the seventh has every label: nobody is disjoint from it


def make(labels=LABELS, **options) -> CLT:
    torch.manual_seed(0)
    return CLT(6, 10, labels, **({"dim": 4, "negatives": 16} | options))


def features(n: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(n, 6, requires_grad=True), torch.randn(n, 10, requires_grad=True)


def may_be_negative(a: np.ndarray, b: np.ndarray, rule: str, column: int | None) -> bool:
    """The three rules of the notes, for two rows of labels."""
    if rule == "released":
        return a[column] != b[column]
    if not (a.any() and b.any()):
        return False
    if rule == "first_label":
        return list(a).index(1) != list(b).index(1)
    return not any(x and y for x, y in zip(a, b))


def slow_clt(clt: CLT, student, teacher, index, drawn, z: list[float] | None) -> tuple[float, list[float]]:
    """CRD's loss in float64 loops, with probabilities P / (P + K/N): its value and the two Z."""
    n, k = len(clt.group), drawn.shape[1]

    def project(layer, row):
        v = layer.weight.detach().double().numpy() @ row + layer.bias.detach().double().numpy()
        return v / math.sqrt(sum(x * x for x in v))

    s = [project(clt.student_projection, row) for row in student.detach().double().numpy()]
    t = [project(clt.teacher_projection, row) for row in teacher.detach().double().numpy()]
    banks = clt.teacher_bank.double().numpy(), clt.student_bank.double().numpy()
    loss, z_used = 0.0, []
    for side, anchors in enumerate((s, t)):
        rows = []
        for b, anchor in enumerate(anchors):
            if drawn[b, 0] < 0:
                continue
            ids = [int(index[b]), *(int(j) for j in drawn[b])]
            rows.append([math.exp(float(np.dot(banks[side][j], anchor)) / clt.temperature) for j in ids])
        constant = np.mean(rows) * n if z is None else z[side]
        z_used.append(constant)
        for row in rows:
            positive, *negatives = (x / constant for x in row)
            one = -math.log(positive / (positive + k / n))
            one -= sum(math.log(k / n / (p + k / n)) for p in negatives)
            loss += one / len(rows)
    return loss, z_used


@pytest.mark.parametrize("rule", ["disjoint", "first_label", "released"])
@pytest.mark.parametrize("negatives", [1, 16, 200])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_the_slow_twin_over_two_batches(rule, negatives, temperature):
    column = 1 if rule == "released" else None
    clt = make(rule=rule, column=column, negatives=negatives, temperature=temperature)
    z = None
    for step, index in enumerate((torch.tensor([0, 3, 6, 4]), torch.tensor([5, 1, 3]))):
        student, teacher = features(len(index), seed=step)
        torch.manual_seed(7 + step)
        drawn = clt.draw_negatives(index)
        expected, z = slow_clt(clt, student, teacher, index, drawn.numpy(), z)
        torch.manual_seed(7 + step)
        assert float(clt(student, teacher, index).detach()) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(clt.log_z.exp().numpy(), z, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.integers(2, 12).flatmap(lambda n: st.integers(1, 4).flatmap(
        lambda c: arrays(np.float32, (n, c), elements=st.sampled_from([0.0, 1.0])))),
    rule=st.sampled_from(["disjoint", "first_label", "released"]),
)  # fmt: skip
def test_drawn_negatives_obey_the_rule(labels, rule):
    column = 0 if rule == "released" else None
    allowed = np.array([[may_be_negative(a, b, rule, column) for b in labels] for a in labels])
    if not allowed.any():
        with pytest.raises(InputError, match="not one of the"):
            make(labels, rule=rule, column=column)
        return
    clt = make(labels, rule=rule, column=column, negatives=64)
    drawn = clt.draw_negatives(torch.arange(len(labels))).numpy()
    assert clt.without_negatives == int((~allowed.any(axis=1)).sum())
    for i, row in enumerate(drawn):
        assert set(row) <= set(np.flatnonzero(allowed[i])) if allowed[i].any() else set(row) == {-1}


def test_negatives_are_uniform_over_the_eligible():
    clt = make(negatives=40_000)
    torch.manual_seed(0)
    drawn = clt.draw_negatives(torch.tensor([0]))[0]
    eligible = [2, 3, 4, 7]  # without label 0: from three groups of 1, 2 and 1 records
    counts = torch.bincount(drawn, minlength=8)
    assert set(counts.nonzero().flatten().tolist()) == set(eligible)
    deviation = (counts[eligible] - 10_000).abs().max()
    assert deviation < 5 * math.sqrt(40_000 * 0.25 * 0.75)


def test_a_record_without_negatives_contributes_nothing():
    clt = make()
    assert clt.without_negatives == 1
    student, teacher = features(3)
    torch.manual_seed(3)
    drawn = clt.draw_negatives(torch.tensor([0, 6, 3]))
    s, t = torch.nn.functional.normalize(torch.randn(3, 4)), torch.nn.functional.normalize(torch.randn(3, 4))
    both = clt.contrast(s, t, torch.tensor([0, 6, 3]), drawn)
    clt.log_z.fill_(math.nan)
    without = clt.contrast(s[[0, 2]], t[[0, 2]], torch.tensor([0, 3]), drawn[[0, 2]])
    torch.testing.assert_close(both, without)
    alone = clt(student[:1], teacher[:1], torch.tensor([6]))
    alone.backward()
    assert float(alone.detach()) == 0.0
    assert not bool(student.grad.any())


def test_a_first_batch_without_negatives_does_not_fix_z():
    clt = make()
    student, teacher = features(1)
    clt(student, teacher, torch.tensor([6]))
    assert bool(clt.log_z.isnan().all())
    clt(student, teacher, torch.tensor([0]))
    assert bool(clt.log_z.isfinite().all())


def test_z_is_fixed_at_the_first_batch():
    clt = make()
    student, teacher = features(4)
    clt(student, teacher, torch.arange(4))
    first = clt.log_z.clone()
    clt(5 * student, -teacher, torch.arange(4))
    torch.testing.assert_close(clt.log_z, first, rtol=0, atol=0)


def test_banks_move_with_momentum_and_stay_on_the_sphere():
    clt = make(momentum=0.25)
    before = clt.student_bank.clone(), clt.teacher_bank.clone()
    student, teacher = features(2)
    index = torch.tensor([3, 0])
    clt(student, teacher, index)
    for old, bank, layer, x in zip(
        before,
        (clt.student_bank, clt.teacher_bank),
        (clt.student_projection, clt.teacher_projection),
        (student, teacher),
    ):
        new = torch.nn.functional.normalize(layer(x).detach(), dim=1)
        expected = 0.25 * old[index] + 0.75 * new
        torch.testing.assert_close(bank[index], expected / expected.norm(dim=1, keepdim=True))
        untouched = [1, 2, 4, 5, 6, 7]
        torch.testing.assert_close(bank[untouched], old[untouched], rtol=0, atol=0)


def test_the_last_of_equal_indices_counts():
    twice, once = make(), make()
    student, teacher = features(3)
    twice(student, teacher, torch.tensor([2, 0, 2]))
    once(student[1:], teacher[1:], torch.tensor([0, 2]))
    torch.testing.assert_close(twice.student_bank, once.student_bank)
    torch.testing.assert_close(twice.teacher_bank, once.teacher_bank)


def test_banks_start_as_in_crd():
    clt = CLT(6, 10, LABELS.repeat(500, 1), dim=128)
    bound = 1 / math.sqrt(128 / 3)
    for bank in (clt.student_bank, clt.teacher_bank):
        assert bank.shape == (4000, 128)
        assert 0.999 * bound < float(bank.abs().max()) <= bound
        assert float(bank.norm(dim=1).mean()) == pytest.approx(1.0, abs=0.01)
    assert not torch.equal(clt.student_bank, clt.teacher_bank)
    assert torch.equal(clt.student_bank, CLT(6, 10, LABELS.repeat(500, 1), dim=128).student_bank)
    assert not torch.equal(clt.student_bank, CLT(6, 10, LABELS.repeat(500, 1), dim=128, seed=1).student_bank)


def test_gradient_reaches_projections_and_student_but_not_the_teacher():
    clt = make()
    student, teacher = features(4)
    clt(student, teacher, torch.arange(4)).backward()
    for grad in (student.grad, clt.student_projection.weight.grad, clt.teacher_projection.weight.grad):
        assert bool(grad.any())
    assert teacher.grad is None


def test_gradient_by_differences():
    clt = make().double().eval()
    clt.log_z.fill_(math.log(8.0))
    index = torch.arange(4)
    drawn = clt.draw_negatives(index)
    s, t = (torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s, t: clt.contrast(s, t, index, drawn), (s, t))


def test_training_pulls_a_record_to_its_other_view_and_away_from_other_classes():
    clt = make(negatives=64)
    teacher = torch.randn(8, 10)
    student = torch.randn(8, 6, requires_grad=True)
    optimiser = torch.optim.Adam([student, *clt.parameters()], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        clt(student, teacher, torch.arange(8)).backward()
        optimiser.step()
    similar = clt.student_bank @ clt.teacher_bank.T
    disjoint = LABELS @ LABELS.T == 0
    assert float(similar.diagonal()[:6].mean()) > float(similar[disjoint].mean()) + 0.5


def test_state_goes_on_where_it_stopped():
    def step(clt, seed):
        student, teacher = features(3, seed)
        return clt(student, teacher, torch.tensor([4, 0, 3])).detach()

    first = make()
    step(first, 1)
    second = make(seed=9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(step(first, 2), step(second, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_evaluation_leaves_banks_and_z_alone():
    clt = make().eval()
    before = {k: v.clone() for k, v in clt.state_dict().items()}
    student, teacher = features(2)
    assert math.isfinite(float(clt(student, teacher, torch.tensor([0, 3])).detach()))
    for key, value in clt.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True)


def test_mixed_precision_changes_nothing():
    student, teacher = features(2)
    torch.manual_seed(5)
    full = make()
    torch.manual_seed(5)
    expected = full(student, teacher, torch.tensor([0, 3]))
    mixed = make()
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        loss = mixed(student, teacher, torch.tensor([0, 3]))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


def test_an_empty_batch_is_zero_and_keeps_the_graph():
    clt = make()
    student, teacher = features(0)
    loss = clt(student, teacher, torch.tensor([], dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0.0


@pytest.mark.parametrize("index", [-1, 8])
def test_records_outside_are_refused(index):
    student, teacher = features(1)
    with pytest.raises(InputError, match="records 0 to 7"):
        make()(student, teacher, torch.tensor([index]))


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (LABELS, {"rule": "disjont"}, "Did you mean 'disjoint'"),
        (LABELS, {"rule": "released"}, "`column` belongs"),
        (LABELS, {"column": 1}, "`column` belongs"),
        (LABELS, {"rule": "released", "column": 3}, "columns 0 to 2"),
        (LABELS / 2, {}, "table of 0 and 1"),
        (LABELS * math.nan, {}, "table of 0 and 1"),
        (LABELS[:, 0], {}, "table of 0 and 1"),
        (torch.ones(4, 2), {}, "not one of the 4 training records has a negative"),
    ],
)
def test_bad_arguments(labels, options, says):
    with pytest.raises(InputError, match=says):
        make(labels, **options)


@pytest.mark.parametrize("given", [{"negatives": 0}, {"dim": 0}, {"temperature": 0.0}, {"momentum": 1.0}])
def test_numbers_out_of_their_range(given):
    with pytest.raises(InputError, match="CLT needs at least one negative"):
        CLT(4, 4, torch.eye(3), **given)
