"""ecglib.delineation: maps, waves, matching and rows, each against plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecglib import delineation
from ecglib.delineation import BOUNDARIES, METRICS, WAVES, Matches
from ecglib.errors import InputError
from ecglib.results import metric_faults

RATE, LENGTH = 100, 120
LEADS = ("I", "II")


def table(*waves) -> pd.DataFrame:
    """(record, lead, wave, onset ms, offset ms[, cut]) to a table of waves."""
    rows = [(r, l, w, on / 1000, off / 1000, any(cut)) for r, l, w, on, off, *cut in waves]
    return pd.DataFrame(rows, columns=list(delineation.COLUMNS))


def annotated(*waves) -> pd.DataFrame:
    """(record, lead, wave, onset, peak, offset), times in ms, as ecglib.datasets.ludb gives them."""
    frame = pd.DataFrame(waves, columns=["record", "lead", "wave", "onset_s", "peak_s", "offset_s"])
    return frame.assign(**{name: frame[name] / 1000 for name in frame.columns[3:]})


def drawn(seed: int, records: int = 3, jitter: float = 0.0) -> pd.DataFrame:
    """Beats of P, QRS and T in both leads, some waves left out; `jitter` ms moves each boundary."""
    rng = np.random.default_rng(seed)
    rows = []
    for record in range(records):
        for lead in range(len(LEADS)):
            at = rng.uniform(0, 200)
            for _ in range(rng.integers(1, 6)):
                for wave in WAVES:
                    onset, offset = at, at + rng.uniform(40, 120)
                    if rng.random() < 0.8:
                        rows.append((record, lead, wave, onset, offset, rng.random() < 0.1))
                    at = offset + rng.uniform(10, 120)
    found = table(*rows)
    found["onset_s"] += rng.uniform(-1, 1, len(found)) * jitter / 1000
    found["offset_s"] += rng.uniform(-1, 1, len(found)) * jitter / 1000
    return found


# ---- maps and waves -------------------------------------------------------------------------------------------------


def test_targets_by_hand():
    marked = annotated(
        ("b", "I", "P", 100, 120, 150),
        ("b", "I", "QRS", 150, 180, 204),
        ("b", "I", "T", np.nan, 300, 420),
        ("b", "II", "QRS", 1180, 1190, 1300),
        ("z", "I", "T", 0, 100, 200),
    )
    mask, known = delineation.targets(marked, ["a", "b"], LEADS, LENGTH, RATE)
    assert (mask.shape, mask.dtype, known.dtype) == ((2, 2, LENGTH), np.uint8, bool)
    assert not known[0].any()
    assert not mask[0].any()
    expected = np.zeros(LENGTH)
    expected[10:15], expected[15:21], expected[30:43] = 1, 2, 3  # QRS before P on sample 15, T from its peak
    np.testing.assert_array_equal(mask[1, 0], expected)
    assert np.flatnonzero(known[1, 0]).tolist() == list(range(10, 43))
    assert np.flatnonzero(mask[1, 1]).tolist() == np.flatnonzero(known[1, 1]).tolist() == [118, 119]


@pytest.mark.parametrize("seed", range(5))
def test_targets_equal_a_loop(seed):
    waves = drawn(seed)
    marked = waves.assign(record=[f"r{r}" for r in waves["record"]], lead=[LEADS[l] for l in waves["lead"]], peak_s=0.0)
    mask, known = delineation.targets(marked, ["r2", "r0"], LEADS, LENGTH, RATE)
    for n, record in enumerate((2, 0)):
        for lead in range(2):
            own = waves[(waves["record"] == record) & (waves["lead"] == lead)]
            for t in range(LENGTH):
                inside = [w for w, on, off in zip(own["wave"], own["onset_s"], own["offset_s"])
                          if round(on * RATE) <= t <= round(off * RATE)]  # fmt: skip
                kind = next((k for k in ("QRS", "P", "T") if k in inside), None)
                assert mask[n, lead, t] == (WAVES.index(kind) + 1 if kind else 0)
                within = len(own) and round(own["onset_s"].min() * RATE) <= t <= round(own["offset_s"].max() * RATE)
                assert known[n, lead, t] == bool(within)


def slow_waves(classes, rate, min_ms, gap_ms):
    found = []
    for record, leads in enumerate(classes):
        for lead, samples in enumerate(leads):
            for number, wave in enumerate(WAVES, start=1):
                runs = []
                for t, kind in enumerate(samples):
                    if kind == number:
                        gap = (t - runs[-1][1] - 1) * 1000 / rate if runs else np.inf
                        if gap == 0 or gap < gap_ms - 1e-6:
                            runs[-1][1] = t
                        else:
                            runs.append([t, t])
                found += [
                    (record, lead, wave, a * 1000 / rate, b * 1000 / rate)
                    for a, b in runs
                    if (b - a + 1) * 1000 / rate >= min_ms - 1e-6
                ]
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=48, max_size=48), min_size=1, max_size=2),
    st.sampled_from([0, 10, 25, 30]),
    st.sampled_from([0, 10, 20, 35]),
)  # fmt: skip
def test_waves_equal_a_loop(rows, min_ms, gap_ms):
    classes = np.array(rows).reshape(-1, 2, 24)
    found = delineation.waves(classes, RATE, min_ms=min_ms, gap_ms=gap_ms)
    expected = table(*slow_waves(classes, RATE, min_ms, gap_ms))
    order = ["record", "lead", "wave", "onset_s"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True), check_dtype=False
    )


def test_runs_are_joined_across_another_kind_and_short_ones_go():
    classes = np.zeros((1, 1, 40), int)
    classes[0, 0, 4:10] = 2
    classes[0, 0, 7] = 1
    found = delineation.waves(classes, RATE, min_ms=20, gap_ms=20)
    assert found[["wave", "onset_s", "offset_s"]].to_numpy().tolist() == [["QRS", 0.04, 0.09]]
    assert len(delineation.waves(classes, RATE, min_ms=10, gap_ms=10)) == 3
    assert len(delineation.waves(classes * 0, RATE)) == 0


def test_a_map_and_its_waves_are_the_same_thing():
    """Waves drawn as a map and read back are there again, but for rounding to samples."""
    rng = np.random.default_rng(0)
    rows = []
    for record in range(4):
        for lead in range(2):
            starts = np.arange(20, LENGTH * 10 - 100, 160) + rng.integers(0, 40)
            rows += [(record, lead, WAVES[k % 3], s, s + rng.integers(50, 120)) for k, s in enumerate(starts)]
    waves = table(*rows)
    marked = waves.assign(record=waves["record"].map(str), lead=[LEADS[l] for l in waves["lead"]], peak_s=np.nan)
    mask, known = delineation.targets(marked, list("0123"), LEADS, LENGTH, RATE)
    found = delineation.waves(mask, RATE, known=known)
    assert not found["cut"].any()
    truth = delineation.reference(marked, list("0123"), LEADS)
    matches = delineation.match(truth, found, records=4).table()
    assert (matches["delineation_f1"] == 1).all()
    assert matches["annotated"].sum() == 2 * len(rows)
    assert matches["boundary_error_ms_sd"].max() <= 5


def test_the_edge_of_what_is_known():
    known = np.zeros((1, 1, LENGTH), bool)
    known[0, 0, 20:81] = True
    classes = np.zeros((1, 1, LENGTH), int)
    for start, stop in ((4, 10), (16, 26), (40, 50), (76, 88), (100, 110)):
        classes[0, 0, start:stop] = 2
    found = delineation.waves(classes, RATE, known=known)
    assert found["onset_s"].tolist() == [0.16, 0.4, 0.76]
    assert found["cut"].tolist() == [True, False, True]
    truth = table((0, 0, "QRS", 200, 260), (0, 0, "QRS", 560, 650))
    matches = delineation.match(truth, found, records=1)
    # The first is a hit though it begins outside, 0.4 s is too far from 0.56 s, and nobody knows of the last.
    assert matches.hits[0].tolist() == matches.misses[0].tolist() == matches.extras[0].tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(("start", "stop", "cut"), [(20, 81, False), (19, 30, True), (20, 30, False), (70, 82, True)])
def test_a_sample_over_the_edge_is_over(start, stop, cut):
    known, classes = np.zeros((2, 1, 1, LENGTH), int)
    known[0, 0, 20:81] = 1
    classes[0, 0, start:stop] = 3
    assert delineation.waves(classes, RATE, known=known.astype(bool))["cut"].tolist() == [cut]


def test_rounding_to_samples_cuts_nothing():
    """The span is known to the sample, the first onset and the last offset lie up to half a sample outside it."""
    marked = annotated(("0", "I", "P", 96, 120, 160), ("0", "I", "T", 400, 450, 504))
    _, known = delineation.targets(marked, ["0"], ["I"], LENGTH, RATE)
    assert not delineation.reference(marked, ["0"], ["I"], known=known, rate=RATE)["cut"].any()


def test_cut_annotations_are_not_missed():
    known = np.zeros((1, 1, LENGTH), bool)
    known[0, 0, 20:81] = True
    marked = annotated(("0", "I", "P", 50, 60, 100), ("0", "I", "QRS", 150, 180, 260), ("0", "I", "T", 400, 450, 500))
    truth = delineation.reference(marked, ["0"], ["I"], known=known, rate=RATE)
    assert truth["wave"].tolist() == ["QRS", "T"]
    assert truth["cut"].tolist() == [True, False]
    assert delineation.match(truth, table(), records=1).misses[0].tolist() == [0, 0, 0, 0, 1, 1]


# ---- matching -------------------------------------------------------------------------------------------------------


def slow_match(truth, found, records, tolerance):
    """{boundary: (records, 5)} by looking at every pair: each the other's nearest, the earlier of two."""
    out = {name: np.zeros((records, 5)) for name in BOUNDARIES}
    for name, counts in out.items():
        wave, side = name.split()
        for record in range(records):
            for lead in range(len(LEADS)):
                a, b = (
                    sorted(
                        (row[f"{side}_s"] * 1000, row["cut"])
                        for _, row in part.iterrows()
                        if (row["record"], row["lead"], row["wave"]) == (record, lead, wave)
                    )
                    for part in (truth, found)
                )
                pairs = []
                for i, (ours, _) in enumerate(a):
                    for j, (theirs, _) in enumerate(b):
                        best = min(range(len(b)), key=lambda k: (abs(b[k][0] - ours), k))
                        back = min(range(len(a)), key=lambda k: (abs(a[k][0] - theirs), k))
                        if best == j and back == i and abs(theirs - ours) <= tolerance:
                            pairs.append((i, j))
                            counts[record] += [1, 0, 0, theirs - ours, (theirs - ours) ** 2]
                counts[record, 1] += sum(not cut for i, (_, cut) in enumerate(a) if i not in dict(pairs))
                counts[record, 2] += sum(not cut for j, (_, cut) in enumerate(b) if j not in {j for _, j in pairs})
    return out


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tolerance", [150, 30])
def test_matching_equals_all_pairs(seed, tolerance):
    truth, found = drawn(seed), drawn(seed + 100 if seed % 2 else seed, jitter=60)
    matches = delineation.match(truth, found, records=3, tolerance_ms=tolerance)
    for k, (name, expected) in enumerate(slow_match(truth, found, 3, tolerance).items()):
        parts = (matches.hits, matches.misses, matches.extras, matches.error, matches.square)
        for part, column in zip(parts, expected.T):
            np.testing.assert_allclose(part[:, k], column, atol=1e-6, err_msg=name)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 200))
def test_what_holds_for_any_two_tables(a, b, tolerance):
    truth, found = drawn(a).assign(cut=False), drawn(b, jitter=30).assign(cut=False)
    one = delineation.match(truth, found, records=3, tolerance_ms=tolerance)
    other = delineation.match(found, truth, records=3, tolerance_ms=tolerance)
    for k, name in enumerate(BOUNDARIES):
        wave = name.split()[0]
        for part, table_ in ((one.misses, truth), (one.extras, found)):
            there = np.bincount(table_["record"][table_["wave"] == wave], minlength=3)
            np.testing.assert_array_equal(one.hits[:, k] + part[:, k], there)
    np.testing.assert_array_equal(one.hits, other.hits)
    np.testing.assert_allclose(one.error, -other.error, atol=1e-6)
    assert (np.abs(one.error) <= tolerance * one.hits + 1e-3).all()
    itself = delineation.match(truth, truth, records=3, tolerance_ms=tolerance)
    assert not itself.misses.any()
    assert not itself.extras.any()
    assert np.abs(itself.error).max() < 1e-6


def test_two_found_are_not_both_right_and_the_other_lead_does_not_help():
    truth = table((0, 0, "QRS", 500, 600))
    twice = table((0, 0, "QRS", 480, 600), (0, 0, "QRS", 510, 700), (0, 1, "QRS", 500, 600))
    matches = delineation.match(truth, twice, records=1)
    assert matches.hits[0].tolist() == [0, 0, 1, 1, 0, 0]
    assert matches.extras[0].tolist() == [0, 0, 2, 2, 0, 0]
    assert matches.error[0, 2:4].tolist() == pytest.approx([10, 0])
    edge = table((0, 0, "QRS", 650, 750.1))
    assert delineation.match(truth, edge, records=1).hits[0].tolist() == [0, 0, 1, 0, 0, 0]


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_of_all_records_and_of_a_draw():
    truth, found = drawn(1, records=6), drawn(1, records=6, jitter=50).iloc[::2]
    matches = delineation.match(truth, found, records=6)
    draw = [0, 3, 3, 5, 5, 5]
    weights = np.bincount(draw, minlength=6)[None]
    values = matches.measure(weights)
    assert tuple(values) == METRICS
    for k in range(6):
        hits, misses, extras, error, square = (
            part[draw, k].sum()
            for part in (matches.hits, matches.misses, matches.extras, matches.error, matches.square)
        )
        expected = (
            2 * hits / (2 * hits + misses + extras), hits / (hits + misses), hits / (hits + extras), error / hits,
            np.sqrt((square - error**2 / hits) / (hits - 1)),
        )  # fmt: skip
        np.testing.assert_allclose([value[0, k] for value in values.values()], expected)


def test_the_spread_is_that_of_the_errors():
    truth = table(*((0, 0, "T", 1000 * k, 1000 * k + 200) for k in range(8)))
    errors = np.random.default_rng(0).uniform(-90, 90, 8)
    found = truth.assign(onset_s=truth["onset_s"] + errors / 1000)
    values = delineation.match(truth, found, records=1).table().loc["T onset"]
    assert values["boundary_error_ms_mean"] == pytest.approx(errors.mean())
    assert values["boundary_error_ms_sd"] == pytest.approx(errors.std(ddof=1))
    assert values[["annotated", "found", "matched"]].tolist() == [8, 8, 8]


def test_nothing_annotated_and_nothing_found_is_undefined_not_zero():
    silent = delineation.match(table((0, 0, "P", 100, 200)), table(), records=1).table()
    assert silent.loc["P onset", ["delineation_f1", "delineation_sensitivity"]].tolist() == [0, 0]
    assert np.isnan(silent.loc["P onset", "delineation_ppv"])
    assert silent.loc["T onset"].isna().sum() == 5


def two_models(records: int = 12) -> dict[str, dict[int, Matches]]:
    truth = drawn(3, records)
    tables = {"a": (0, 20.0, 1), "b": (1, 120.0, 2)}
    return {
        name: {
            seed: delineation.match(truth, moved(truth, seed + shift, jitter).iloc[::step], records=records)
            for seed in (0, 1)
        }
        for name, (shift, jitter, step) in tables.items()
    }


def moved(waves, seed, jitter):
    rng = np.random.default_rng(seed)
    return waves.assign(onset_s=waves["onset_s"] + rng.uniform(-1, 1, len(waves)) * jitter / 1000)


def test_rows_of_models_seeds_and_pairs():
    runs = two_models()
    rows = delineation.rows(runs, protocol="p", data="d", compare=[("a", "b")], draws=200)
    assert metric_faults(rows) == []
    frame = pd.DataFrame(rows)
    assert set(frame["model"]) == {"a", "b", "a - b"}
    assert set(frame.loc[frame["class"] == "macro", "metric"]) == {
        "delineation_f1", "delineation_f1_seed_sd", "delineation_f1_p",
    }  # fmt: skip
    assert set(frame["n"]) == {12}

    def value(model, metric, name, seed):
        at = (frame["model"] == model) & (frame["metric"] == metric) & (frame["class"] == name)
        return frame[at & (frame["seed"].isna() if seed is None else frame["seed"] == seed)].iloc[0]

    for name in BOUNDARIES:
        for metric in METRICS:
            each = [runs["a"][seed].table().loc[name, metric] for seed in (0, 1)]
            assert value("a", metric, name, 1)["value"] == pytest.approx(each[1])
            assert value("a", metric, name, None)["value"] == pytest.approx(np.mean(each))
    row = value("a - b", "delineation_f1", "macro", None)
    difference = np.mean([
        runs["a"][s].table()["delineation_f1"].mean() - runs["b"][s].table()["delineation_f1"].mean() for s in (0, 1)
    ])  # fmt: skip
    assert row["value"] == pytest.approx(difference)
    assert row["low"] <= row["value"] <= row["high"]
    assert row["low"] > 0


def test_intervals_equal_a_loop_over_the_same_draws():
    from ecglib.bootstrap import Bootstrap

    runs = {"a": {0: two_models()["b"][0]}}
    patients = [f"p{k // 2}" for k in range(12)]
    frame = pd.DataFrame(delineation.rows(runs, protocol="p", data="d", patients=patients, draws=50, seed=4))
    one = runs["a"][0]
    values = []
    for weights in Bootstrap(np.zeros((12, 1)), patients, draws=50, seed=4).weights:
        drawn_records = np.repeat(np.arange(12), weights)
        assert all((drawn_records == k).sum() == (drawn_records == k + 1).sum() for k in range(0, 12, 2))
        hits, misses, extras = (part[drawn_records].sum(axis=0) for part in (one.hits, one.misses, one.extras))
        values.append((2 * hits / (2 * hits + misses + extras)).mean())
    row = frame[(frame["metric"] == "delineation_f1") & (frame["class"] == "macro")].iloc[0]
    np.testing.assert_allclose([row["low"], row["high"]], np.percentile(values, [2.5, 97.5]))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: delineation.waves(np.zeros((2, 3)), RATE), r"Class maps are whole numbers \(N, L, T\), not float64"),
        (lambda: delineation.waves(np.full((1, 1, 9), 4), RATE), r"hold 0 to 3, not 4 to 4"),
        (lambda: delineation.waves(np.zeros((1, 1, 9), int), RATE, known=np.ones((1, 9), bool)), r"has shape \(1, 9\)"),
        (lambda: delineation.match(table((3, 0, "P", 1, 2)), table(), records=3), r"waves name record 3 of 3"),
        (lambda: delineation.match(table(), table(), records=3, tolerance_ms=-1), r"tolerance_ms is -1"),
        (lambda: delineation.rows({}, protocol="", data=""), r"models cover \[\] records"),
        (lambda: delineation.rows(two_models() | {"c": {0: two_models(5)["a"][0]}}, protocol="", data=""),
         r"models cover \[5, 12\] records"),
        (lambda: delineation.rows(two_models(), protocol="", data="", compare=[("a", "B")]), r"no model 'B'"),
        (lambda: delineation.targets(annotated(("r1", "I", "P", 1, 2, 3)), [1], ["I"], 9, RATE), r"records than 1"),
        (lambda: delineation.reference(annotated(("r1", "I", "P", 1, 2, 3)), ["r1"], LEADS), r"other leads than 'II'"),
    ],
)  # fmt: skip
def test_unusable_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_real_boundaries_survive_100_hz(shared_data):
    """What 100 Hz costs: no boundary, and a standard deviation of a sample's rounding, 10 / sqrt(12) ms."""
    from ecglib.datasets import ludb
    from ecglib.leads import LEADS as TWELVE

    marked = ludb.boundaries(shared_data / "ludb", verify=False)
    records = [str(k) for k in range(1, 41)]
    mask, known = delineation.targets(marked, records, TWELVE, 1000, 100)
    found = delineation.waves(mask, 100, known=known, min_ms=0, gap_ms=0)
    values = delineation.match(delineation.reference(marked, records, TWELVE), found, records=40).table()
    assert (values["delineation_f1"] == 1).all()
    assert values["boundary_error_ms_sd"].between(2.6, 3.1).all()
