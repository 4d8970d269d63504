"""One ECG and one saved model."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ecglib import reading
from ecglib.datasets import synthetic
from ecglib.errors import InputError
from ecglib.leads import LEADS
from ecglib.methods.encoder import Encoder
from ecglib.methods.page_view import PageView
from ecglib.methods.view import View
from ecglib.metrics import auc, macro
from ecglib.signals import Standardise

CLASSES = ["CD", "HYP", "MI", "NORM", "STTC"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("reading") / "c", records=120, rate=100, progress=False)


def a_view(**changes):
    torch.manual_seed(0)
    given = {"classes": CLASSES, "leads": LEADS, "rate": 100, "standardise": Standardise("record"), "window_s": 2.5}
    return View("xresnet1d18", **{**given, **changes}, width=0.125).eval()


def a_page_view():
    torch.manual_seed(0)
    return PageView("resnet18", classes=CLASSES, size=(112, 144), width=0.125).eval()


class TestOpening:
    def test_a_synthetic_record_is_the_same_every_time_and_another_for_another_number(self):
        first, again, other = (reading.open_ecg(name) for name in ("synthetic", "synthetic:0", "synthetic:3"))
        assert first.signal.shape == (12, 5000)
        np.testing.assert_array_equal(first.signal, again.signal)
        assert not np.array_equal(first.signal, other.signal)
        assert first.said.startswith("synthetic record 0, ")
        assert first.said.endswith("12 leads, 500 Hz, 10.0 s")

    def test_an_image_is_a_page(self, tmp_path):
        (tmp_path / "scan.PNG").write_bytes(b"x")
        ecg = reading.open_ecg(str(tmp_path / "scan.PNG"))
        assert (ecg.signal, ecg.page) == (None, tmp_path / "scan.PNG")

    def test_a_wfdb_record_is_read_at_its_own_rate(self, shared_data):
        ecg = reading.open_ecg(str(shared_data / "ludb" / "data" / "1.hea"))
        assert (ecg.signal.shape, ecg.rate, len(ecg.leads)) == ((12, 5000), 500, 12)

    @pytest.mark.parametrize(
        ("record", "said"),
        [("nothing.hea", "there is no such file"), ("synthetic:x", "give a number behind the colon")],
    )
    def test_what_is_no_record(self, record, said):
        with pytest.raises(InputError, match=said):
            reading.open_ecg(record)


class TestModels:
    def test_each_kind_is_known_by_its_card(self, tmp_path):
        a_view().save(tmp_path / "signal" / "model")
        a_page_view().save(tmp_path / "page" / "model")
        assert isinstance(reading.load_model(tmp_path / "signal"), View)
        assert isinstance(reading.load_model(tmp_path / "page" / "model"), PageView)

    def test_an_encoder_has_no_classes(self, tmp_path):
        encoder = Encoder("conv_vit_nano", leads=LEADS, rate=100, standardise=Standardise("record"), window_s=2.56)
        encoder.save(tmp_path / "model")
        with pytest.raises(InputError, match="holds no classifier of signals or pages"):
            reading.load_model(tmp_path)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match="There is no checkpoint"):
            reading.load_model(tmp_path)

    def test_one_is_trained_where_there_is_none(self, tmp_path):
        more = synthetic.build(tmp_path / "c", records=400, rate=100, progress=False)
        view = reading.train_one(more, "superclass", train=range(1, 9), valid=[9, 10], seed=0, device="cpu")
        known = more.labelled("superclass")
        found = macro(auc(known.labels("superclass"), reading.seen_in(view, known).p))
        assert found > 0.65  # on what it was trained on: chance is 0.5, whatever the labels


class TestGiving:
    def test_a_signal_comes_at_the_models_rate_with_its_leads(self):
        given = reading.given_to(a_view(leads=["V1", "II"], have=["V1", "II"]), reading.open_ecg("synthetic"))
        assert given.shape == (1, 2, 1000)

    def test_a_long_record_is_read_in_pieces_and_a_short_one_is_repeated(self):
        ecg = reading.open_ecg("synthetic", rate=100)
        long = reading.Ecg("long", np.tile(ecg.signal, 3)[:, :2400], LEADS, 100)
        assert reading.given_to(a_view(), long).shape == (2, 12, 1000)
        short = reading.given_to(a_view(), reading.Ecg("short", ecg.signal[:, :400], LEADS, 100))
        torch.testing.assert_close(short[0, :, 400:800], short[0, :, :400])

    def test_missing_limb_leads_are_derived_and_a_missing_chest_lead_is_refused(self):
        ecg = reading.open_ecg("synthetic", rate=100)
        without = [k for k, lead in enumerate(LEADS) if lead not in ("III", "aVR", "aVL", "aVF")]
        given = reading.given_to(a_view(), reading.Ecg("8", ecg.signal[without], tuple(LEADS[k] for k in without), 100))
        torch.testing.assert_close(given[0, 2], given[0, 1] - given[0, 0])
        with pytest.raises(InputError, match="V6"):
            reading.given_to(a_view(), reading.Ecg("11", ecg.signal[:11], LEADS[:11], 100))

    def test_a_signal_is_drawn_for_a_network_of_pages(self):
        assert reading.given_to(a_page_view(), reading.open_ecg("synthetic")).shape == (1, 3, 112, 144)

    def test_a_page_cannot_be_undone(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"x")
        with pytest.raises(InputError, match="a page, and the model reads signals"):
            reading.given_to(a_view(), reading.open_ecg(str(tmp_path / "a.png")))


def test_a_record_is_seen_as_in_its_cohort(cohort):
    view = a_view()
    all_of_them, one = reading.seen_in(view, cohort), reading.seen(view, torch.from_numpy(cohort.signal_mv([5])))
    np.testing.assert_allclose(all_of_them.p[5], one.p[0], atol=1e-5)
    np.testing.assert_allclose(all_of_them.features[5], one.features[0], atol=1e-4)
    assert (all_of_them.p.shape, len(all_of_them.features)) == ((120, 5), 120)
    with pytest.raises(InputError, match="The reference is at 100 Hz and the model at 50"):
        reading.seen_in(a_view(rate=50), cohort)


class TestCalibration:
    def test_platt_is_the_ridge_logistic_regression(self):
        rng = np.random.default_rng(0)
        x, weights = rng.normal(size=60), rng.integers(0, 3, size=(3, 60)).astype(float)
        y = (rng.random(60) < 1 / (1 + np.exp(-2 * x))).astype(float)
        slopes, offsets = reading.platt(x, y, weights)
        for w, slope, offset in zip(weights, slopes, offsets):

            def loss(beta, w=w):
                z = beta[0] * x + beta[1]
                return (w * (np.logaddexp(0, z) - y * z)).sum() + 0.5e-3 * (beta**2).sum()

            slow = minimize(loss, [1.0, 0.0], tol=1e-10).x
            np.testing.assert_allclose([slope, offset], slow, atol=1e-3)

    def test_a_model_that_exaggerates_is_brought_back(self):
        rng = np.random.default_rng(1)
        true = rng.uniform(0.05, 0.95, size=(4000, 1))
        y = (rng.random(true.shape) < true).astype(float)
        said = 1 / (1 + (1 / true - 1) ** 3)  # three times the logit
        table = reading.calibrated(said[7], said, y, np.arange(4000), ["a"])
        row = table.loc["a"]
        assert abs(row["calibrated"] - true[7, 0]) < 0.05
        assert row["low"] < row["calibrated"] < row["high"] < row["low"] + 0.1
        assert not row["beyond"]

    def test_a_score_that_has_nothing_to_do_with_the_class_is_said_to_tell_nothing(self):
        rng = np.random.default_rng(3)
        score = rng.uniform(0.1, 0.9, size=(400, 3))
        chance = np.column_stack(
            [score[:, 0], np.full(400, 0.5), 1 - score[:, 2]]
        )  # as it says, at random, the reverse
        y = (rng.random(score.shape) < chance).astype(float)
        table = reading.calibrated(score[0], score, y, np.arange(400), ["yes", "chance", "reverse"])
        assert table["tells"].tolist() == [True, False, False]

    def test_few_patients_make_wide_intervals(self):
        rng = np.random.default_rng(2)
        p = rng.uniform(0.1, 0.9, size=(200, 1))
        y = (rng.random(p.shape) < p).astype(float)
        alone = reading.calibrated(p[0], p, y, np.arange(200), ["a"]).loc["a"]
        shared = reading.calibrated(p[0], np.tile(p, (5, 1)), np.tile(y, (5, 1)), list(range(200)) * 5, ["a"]).loc["a"]
        copied = reading.calibrated(p[0], np.tile(p, (5, 1)), np.tile(y, (5, 1)), np.arange(1000), ["a"]).loc["a"]
        width = [row["high"] - row["low"] for row in (alone, shared, copied)]
        assert abs(width[1] - width[0]) < 0.25 * width[0]
        assert width[2] < 0.7 * width[0]

    def test_a_score_beyond_the_reference_is_marked_and_a_class_without_records_refused(self):
        p, y = np.full((4, 1), 0.5), np.array([[0], [1], [0], [1.0]])
        assert reading.calibrated(np.array([0.9]), p, y, np.arange(4), ["a"]).loc["a", "beyond"]
        with pytest.raises(InputError, match="No reference record has a"):
            reading.calibrated(np.array([0.9]), p, 0 * y, np.arange(4), ["a"])


def test_similar_records_whatever_the_units():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 8)) * np.logspace(-3, 3, 8) + 100
    features[:, 3] = 5.0  # a feature that says nothing
    order, closeness = reading.similar(features[17], features, count=3)
    assert order[0] == 17
    assert abs(closeness[0] - 1) < 1e-9
    assert (np.diff(closeness) <= 0).all()
    again, _ = reading.similar(features[17] * 7, features * 7, count=3)
    assert again.tolist() == order.tolist()


def test_the_nearest_of_many_is_the_nearest_of_each():
    rng = np.random.default_rng(0)
    features, reference = rng.normal(size=(7, 8)), rng.normal(size=(50, 8))
    each = [reading.similar(row, reference, count=1)[1][0] for row in features]
    np.testing.assert_allclose(reading.nearest_similarity(features, reference, batch_size=3), each, atol=1e-12)
