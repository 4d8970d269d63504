"""Delineation: where P, QRS and T begin and end, from class maps to scores per boundary.

The rules, stated once
- A sample belongs to a wave from its onset to its offset, both rounded to samples and both included. Where two kinds
  meet on one sample, QRS goes before P and P before T. A missing onset or offset is taken to be the peak.
- Only the annotated span of a record and lead, from its first onset to its last offset, is known. Nothing outside it is
  trained on or scored.
- A wave that the end of the span cuts may be matched, but is not counted where it is not, whether it is annotated or
  found: nobody can say whether it is right. A found wave wholly outside is dropped. (The span begins with an onset;
  were cut waves dropped at once, finding this onset a sample early would cost two errors.)
- Each of the six boundaries is matched by itself. An annotated and a found one, of one record, lead and kind, are a
  pair when each is the other's nearest and they are within the tolerance: 150 ms, as ANSI/AAMI EC57 has it for beats
  and the literature on LUDB for boundaries. No boundary is in two pairs.
- Error is found minus annotated, in ms: above 0 is late.

Waves are tables: record and lead (positions, int), wave ("P", "QRS", "T"), onset_s, offset_s, cut (bool).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ecglib.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

WAVES = ("P", "QRS", "T")
"""Class 1, 2 and 3 of a map; 0 is none of them."""
BOUNDARIES = tuple(f"{wave} {side}" for wave in WAVES for side in ("onset", "offset"))
METRICS = (
    "delineation_f1",
    "delineation_sensitivity",
    "delineation_ppv",
    "boundary_error_ms_mean",
    "boundary_error_ms_sd",
)
COLUMNS = ("record", "lead", "wave", "onset_s", "offset_s", "cut")


def targets(
    boundaries: pd.DataFrame, records: Sequence[str], leads: Sequence[str], length: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Class maps of annotated records.

    Args:
        boundaries: as `ecglib.datasets.ludb.boundaries` gives them. records: N ids. leads: L names.
        length: samples T. rate: Hz.

    Returns:
        mask (N, L, T) uint8: 0 none, 1 P, 2 QRS, 3 T; known (N, L, T) bool.

    Raises:
        InputError: none of the records is annotated, or a lead is in none of them.
    """
    at = _placed(boundaries, records, leads)
    start = np.clip(np.rint(at["onset_s"] * rate).astype(int), 0, length).to_numpy()
    stop = np.clip(np.rint(at["offset_s"] * rate).astype(int) + 1, 0, length).to_numpy()
    row = (at["record"] * len(leads) + at["lead"]).to_numpy()
    mask = np.zeros((len(records) * len(leads), length), np.uint8)  # (N L, T)
    for wave in ("T", "P", "QRS"):  # the later one stays
        of = (at["wave"] == wave).to_numpy()
        mask[_samples(row[of], start[of], stop[of])] = WAVES.index(wave) + 1
    first, last = np.full(len(mask), length), np.zeros(len(mask), int)
    np.minimum.at(first, row, start)
    np.maximum.at(last, row, stop)
    time = np.arange(length)
    known = (first[:, None] <= time) & (time < last[:, None])  # (N L, T)
    shape = (len(records), len(leads), length)
    return mask.reshape(shape), known.reshape(shape)


def reference(
    boundaries: pd.DataFrame, records: Sequence[str], leads: Sequence[str], *,
    known: np.ndarray | None = None, rate: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The annotated waves of these records and leads as a table, times as they were annotated, not as sampled.

    `known` (N, L, T) at `rate` is needed only where less is known than `targets` says, of cropped records for example.
    Raises as `targets`.
    """
    table = _placed(boundaries, records, leads).assign(cut=False)[list(COLUMNS)]
    return table if known is None else _within(table, known, rate)


def waves(
    classes: np.ndarray, rate: float, *, known: np.ndarray | None = None, min_ms: float = 40.0, gap_ms: float = 40.0
) -> pd.DataFrame:
    """The waves of class maps (N, L, T), 0 none, 1 P, 2 QRS, 3 T, at `rate` Hz.

    Kind by kind: runs less than `gap_ms` apart become one, whatever lies between, then runs shorter than `min_ms` go.
    k samples last k / rate seconds; a wave's onset and offset are the times of its first and last sample.

    Args:
        known: (N, L, T) bool, what is scored; None for all.

    Raises:
        InputError: maps of another shape or with other classes.
    """
    import pandas as pd

    classes = np.asarray(classes)
    if classes.ndim != 3 or not np.issubdtype(classes.dtype, np.integer):
        raise InputError(f"Class maps are whole numbers (N, L, T), not {classes.dtype} of shape {classes.shape}.")
    if classes.size and not (classes.min() >= 0 and classes.max() <= len(WAVES)):
        raise InputError(f"Class maps hold 0 to {len(WAVES)}, not {classes.min()} to {classes.max()}.")
    if known is not None and np.shape(known) != classes.shape:
        raise InputError(f"`known` has shape {np.shape(known)} where the class maps have {classes.shape}.")
    count, leads, length = classes.shape
    flat = classes.reshape(count * leads, length)  # (N L, T)
    parts = []
    for number, wave in enumerate(WAVES, start=1):
        edge = np.diff((flat == number).astype(np.int8), axis=1, prepend=0, append=0)  # (N L, T + 1)
        row, start = np.nonzero(edge > 0)
        stop = np.nonzero(edge < 0)[1]  # behind the last sample
        apart = (row[1:] != row[:-1]) | (start[1:] - stop[:-1] >= gap_ms * rate / 1000 - 1e-9)
        first, last = np.r_[True, apart][: len(row)], np.r_[apart, True][: len(row)]
        row, start, stop = row[first], start[first], stop[last]
        long = stop - start >= min_ms * rate / 1000 - 1e-9
        row, start, stop = row[long], start[long], stop[long]
        part = {"record": row // leads if leads else row, "lead": row % leads if leads else row, "wave": wave}
        parts.append(pd.DataFrame(part | {"onset_s": start / rate, "offset_s": (stop - 1) / rate, "cut": False}))
    table = pd.concat(parts).sort_values(["record", "lead", "onset_s"], kind="stable", ignore_index=True)
    return table if known is None else _within(table, known, rate)


@dataclass(frozen=True, eq=False)
class Matches:
    """What was found of N records, (N, 6) each, columns as `BOUNDARIES`.

    `hits` are pairs, `misses` annotated only, `extras` found only; `error` and `square` are the sums over the pairs of
    the error in ms and of its square.
    """

    hits: np.ndarray
    misses: np.ndarray
    extras: np.ndarray
    error: np.ndarray
    square: np.ndarray

    def __len__(self) -> int:
        return len(self.hits)

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """{metric: (D, 6)} where draw d counts record n weights[d, n] times, (D, N).

        NaN where nothing can be said: F1 and sensitivity without an annotated boundary, PPV without a found one, the
        mean error without a pair, its standard deviation (over n - 1) without two.
        """
        weights = np.asarray(weights, np.float64)  # sums of whole numbers below 2**53 are exact
        hits, misses, extras, error, square = (
            weights @ part for part in (self.hits, self.misses, self.extras, self.error, self.square)
        )  # (D, N) x (N, 6) -> (D, 6)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = error / hits
            f1 = np.where(hits + misses > 0, 2 * hits / (2 * hits + misses + extras), np.nan)
            spread = np.where(hits > 1, (square - hits * mean**2).clip(0) / (hits - 1), np.nan)
            values = (f1, hits / (hits + misses), hits / (hits + extras), mean, np.sqrt(spread))
        return dict(zip(METRICS, values, strict=True))

    def table(self) -> pd.DataFrame:
        """Boundaries down; the metrics and the numbers annotated, found and matched across."""
        import pandas as pd

        values = {name: part[0] for name, part in self.measure(np.ones((1, len(self)))).items()}
        hits, misses, extras = (part.sum(axis=0) for part in (self.hits, self.misses, self.extras))
        counts = {"annotated": hits + misses, "found": hits + extras, "matched": hits}
        return pd.DataFrame(values | counts, index=list(BOUNDARIES))


def match(annotated: pd.DataFrame, found: pd.DataFrame, *, records: int, tolerance_ms: float = 150.0) -> Matches:
    """Compare two tables of waves, boundary by boundary, by the rules above; a boundary that is NaN takes no part.

    Args:
        annotated: of `reference`. found: of `waves`. records: N, of which both tables' records are positions.

    Raises:
        InputError: a table names a record that is none of the N, or the tolerance is below 0.
    """
    for name, table in (("annotated", annotated), ("found", found)):
        if len(table) and not table["record"].between(0, records - 1).all():
            raise InputError(f"The {name} waves name record {table['record'].max()} of {records}; give both the same.")
    if not tolerance_ms >= 0:
        raise InputError(f"tolerance_ms is {tolerance_ms!r}, but must be at least 0 ms.")
    columns = []
    for wave in WAVES:
        ours, theirs = annotated[annotated["wave"] == wave], found[found["wave"] == wave]
        for side in ("onset_s", "offset_s"):
            columns.append(_match(ours[ours[side].notna()], theirs[theirs[side].notna()], side, records, tolerance_ms))
    return Matches(*(np.stack(part, axis=1) for part in zip(*columns)))  # 6 x (N,) -> (N, 6)


def rows(
    runs: Mapping[str, Mapping[int, Matches]], *, protocol: str, data: str, split: str = "test",
    patients: Sequence[str] | None = None, compare: Sequence[tuple[str, str]] = (), draws: int = 1000, seed: int = 0,
) -> list[dict]:  # fmt: skip
    """Rows of metrics.json: every metric per boundary, F1 also "macro", the mean over the six.

    Intervals are 95 % bootstrap intervals over patients; means over seeds and paired differences "A - B" are those of
    `ecglib.evaluation`, over the same draws. Equal seeds are paired.

    Args:
        runs: {model: {seed: matches}}, all of the same N records in the same order.
        patients: (N,) ids, None where every record is its own.
        compare: pairs (A, B) of models. draws, seed: of the bootstrap.

    Raises:
        InputError: models of different numbers of records, no model, or a compared one that is unknown.
    """
    from ecglib.bootstrap import Bootstrap
    from ecglib.evaluation import Scores, model_rows, paired_rows

    sizes = {len(one) for seeds in runs.values() for one in seeds.values()}
    if len(sizes) != 1:
        raise InputError(f"The models cover {sorted(sizes)} records; all must be scored on the same ones.")
    count = sizes.pop()
    bootstrap = Bootstrap(np.zeros((count, 1)), patients, draws=draws, seed=seed)  # only its draws are used
    weights, once = bootstrap.weights, np.ones((1, count))  # (D, N), (1, N)
    scored = {
        model: {
            number: Scores({name: value[0] for name, value in one.measure(once).items()}, one.measure(weights))
            for number, one in seeds.items()
        }
        for model, seeds in runs.items()
    }
    common = {"protocol": protocol, "data": data, "split": split, "n": count}
    out = [row for model, one in scored.items() for row in model_rows(one, BOUNDARIES, model=model, **common)]
    for a, b in compare:
        for name in (a, b):
            if name not in scored:
                raise InputError(f"There is no model {name!r} to compare.{nearest(name, scored)}")
        out += paired_rows(scored[a], scored[b], BOUNDARIES, model=f"{a} - {b}", **common)
    # A mean over the six says something of F1 only: errors of onsets and offsets would cancel.
    return [row for row in out if row["class"] != "macro" or row["metric"].startswith("delineation_f1")]


def _placed(boundaries: pd.DataFrame, records: Sequence[str], leads: Sequence[str]) -> pd.DataFrame:
    """The waves of these records and leads: positions for names, peaks for missing boundaries, sorted."""
    place = {name: k for k, name in enumerate(records)}
    lead = {name: k for k, name in enumerate(leads)}
    for names, column, what in ((place, "record", "records"), (lead, "lead", "leads")):
        there = set(boundaries[column])
        absent = [name for name in names if name not in there]
        if absent and (column == "lead" or len(absent) == len(names)):
            raise InputError(
                f"The boundaries are of other {what} than {absent[0]!r}.{nearest(absent[0], sorted(there))}"
            )
    kept = boundaries[boundaries["record"].isin(place) & boundaries["lead"].isin(lead)]
    table = kept.assign(
        record=kept["record"].map(place).astype(int),
        lead=kept["lead"].map(lead).astype(int),
        onset_s=kept["onset_s"].fillna(kept["peak_s"]),
        offset_s=kept["offset_s"].fillna(kept["peak_s"]),
    )
    return table.sort_values(["record", "lead", "onset_s"], kind="stable", ignore_index=True)


def _samples(row: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all samples from `start` to before `stop`."""
    count = (stop - start).clip(0)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(row, count), np.repeat(start, count) + within


def _within(table: pd.DataFrame, known: np.ndarray, rate: float) -> pd.DataFrame:
    """The waves that touch the span that is known, (N, L, T); `cut` where they reach over its end."""
    span = np.asarray(known)
    any_known = span.any(axis=2)  # (N, L)
    half = 0.5 / rate  # times as annotated lie up to half a sample from those of the samples
    first = np.where(any_known, span.argmax(axis=2), np.inf) / rate - half  # (N, L)
    last = np.where(any_known, span.shape[2] - 1 - span[:, :, ::-1].argmax(axis=2), -np.inf) / rate + half
    where = table["record"].to_numpy(), table["lead"].to_numpy()
    onset, offset = table["onset_s"].to_numpy(), table["offset_s"].to_numpy()
    cut = (onset < first[where] - 1e-9) | (offset > last[where] + 1e-9)
    touches = (offset > first[where]) & (onset < last[where])
    return table.assign(cut=cut)[touches].reset_index(drop=True)


def _match(annotated: pd.DataFrame, found: pd.DataFrame, side: str, records: int, tolerance_ms: float) -> tuple:
    """hits, misses, extras, error, square of one boundary: (N,) each."""
    tables = (annotated, found)
    leads = 1 + max((int(table["lead"].max()) for table in tables if len(table)), default=0)
    longest = max((float(table[side].max()) for table in tables if len(table)), default=0.0)
    apart = longest + tolerance_ms / 1000 + 1  # s between two leads on one line of time, so that none match across
    placed = []
    for table in tables:
        record, lead = table["record"].to_numpy(int), table["lead"].to_numpy(int)
        line = (record * leads + lead) * apart + table[side].to_numpy(float)
        order = np.argsort(line, kind="stable")
        placed.append((line[order], record[order], table["cut"].to_numpy(bool)[order]))
    (ours, ours_record, ours_cut), (theirs, theirs_record, theirs_cut) = placed
    to, back = _nearest(ours, theirs), _nearest(theirs, ours)
    hit = np.zeros(len(ours), bool)
    error = np.zeros(len(ours))
    if len(ours) and len(theirs):
        error = (theirs[to] - ours) * 1000
        hit = (back[to] == np.arange(len(ours))) & (np.abs(error) <= tolerance_ms + 1e-6)
    extra = np.ones(len(theirs), bool)
    extra[to[hit]] = False

    def total(record: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.bincount(record, weights=weight, minlength=records)

    counts = (total(ours_record, hit), total(ours_record, ~hit & ~ours_cut), total(theirs_record, extra & ~theirs_cut))
    sums = (total(ours_record, np.where(hit, error**power, 0.0)) for power in (1, 2))
    return *(count.astype(np.int64) for count in counts), *sums


def _nearest(of: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The position in `among` (sorted) that is nearest to each `of`, the earlier of two; zeros where there is none."""
    if not len(among):
        return np.zeros(len(of), int)
    right = np.searchsorted(among, of).clip(0, len(among) - 1)
    left = (right - 1).clip(0)
    return np.where(of - among[left] <= among[right] - of, left, right)
