"""The embedded cohort: synthetic twelve-lead ECGs with PTB-XL's statements, made on the spot.

It lets every notebook run in a clone without a download, and no more than that: **results on it say nothing about
patients**, and a method that wins here has shown that it runs.

What is there
    The five superclasses of PTB-XL through 25 statements: NORM; MI: IMI ASMI ILMI AMI ALMI LMI; STTC: NDT ISC_ NST_
    ISCAL ISCIN LNGQT; CD: LAFB IRBBB 1AVB IVCD CLBBB CRBBB LPFB WPW; HYP: LVH LAO/LAE RVH RAO/RAE. The rhythms SR
    STACH SBRAD SARRH AFIB and the forms PVC and PAC. Several statements per record; 1.15 records per patient, who
    keeps age, sex, heart, chest and diseases; folds 1-10 by patient. The table adds what no real one has: `findings`
    and `severities` are the truth, `statements` what a reader made of it, who misses 30 % of the mild findings and
    4 % of the others and overcalls in 4 % of the records.
Prevalence in 20,000 records, in % (in brackets PTB-XL 1.0.3)
    NORM 45.6 (43.6), MI 22.8 (25.1), STTC 23.3 (24.0), CD 23.7 (22.5), HYP 10.3 (12.2), none of them 1.0 (1.9);
    SR 79.3 (76.8), AFIB 6.7 (6.9), STACH 3.7 (3.8), SARRH 3.5 (3.5), SBRAD 2.7 (2.9). Single statements follow PTB-XL's
    shares within their superclass; WPW, RAO/RAE, RVH, LNGQT, LMI and LPFB are below 1 %.
How it is made
    A heart vector of eleven bells per beat (McSharry et al., IEEE Trans Biomed Eng 2003; Sameni et al., EURASIP J Adv
    Signal Process 2007; Clifford et al., Physiol Meas 2010), seen through Dower's lead vectors (Dower, Machado &
    Osborne, Clin Cardiol 1980; Edenbrandt & Pahlm, J Electrocardiol 1988); f waves after Stridh & Sörnmo (IEEE Trans
    Biomed Eng 2001); QT follows the rate after Sagie et al. (Am J Cardiol 1992). `heart_vector` is the physics,
    `findings` what diseases do to it, `anatomy` how people differ, `rhythm` when the heart beats, `patients` who is
    in the cohort, `recording` puts them together, `draws` keeps it the same everywhere.
How hard it is
    Macro AUC over the superclasses: a ResNet of 0.33 M parameters after 8 epochs on 2,000 records reaches .907 from
    twelve leads and .826 from lead I on 2,000 others (one of 0.7 M after 20 epochs on 1,764 real records of PTB-XL:
    .896 and .811). A ridge regression on the median beat: .879 and .792 (real: .882 and .825).
Realistic
    Which leads see what, and the relations among the leads; size and spread of P, QRS and T; rates, PR, QRS and QT;
    baseline wander, muscle noise and mains hum in amount and spectrum; co-occurrence of statements; mild cases; a
    fallible reader.
Not realistic
    One dipole: no local potentials, so chest leads agree more than real ones; no fragmented QRS, no U wave, no
    beat-to-beat alternans. A disease hardly changes between a patient's records. No pacemaker,
    flutter, second- or third-degree block, digitalis, pericarditis, swapped electrodes or recorder artefacts.
    Diseases are drawn from shares, not from one another's causes, and age and sex act in the simplest way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecglib.datasets.about import About
from ecglib.datasets.synthetic.findings import FINDINGS
from ecglib.datasets.synthetic.heart_vector import SCALE
from ecglib.datasets.synthetic.patients import RHYTHMS
from ecglib.datasets.synthetic.recording import make
from ecglib.datasets.wfdb_files import Chunk, Expected
from ecglib.errors import InputError
from ecglib.leads import LEADS

if TYPE_CHECKING:
    import pandas as pd

    from ecglib.cohort import Cohort
    from ecglib.datasets.parts import Raw

VERSION = 1
"""Goes up whenever the same (seed, record) gives other samples or another row."""

NAME = "synthetic"
SOURCE = "ecglib.datasets.synthetic, a heart-vector model; no patients"
CITATION = "None: synthetic records. The model follows McSharry et al. 2003, Sameni et al. 2007 and Dower et al. 1980."
LICENCE = "MIT, as the code that makes them"
NOTES = (
    "The records are synthetic: results on them say nothing about patients.",
    "Statements are those of a simulated reader who misses mild findings and overcalls; `findings` holds the truth.",
)
LABEL_SETS: dict[str, dict[str, str]] = {
    "superclass": {"NORM": "NORM"} | {f.code: f.superclass for f in FINDINGS},
    "subclass": {"NORM": "NORM"} | {f.code: f.subclass for f in FINDINGS},
    "rhythm": {code: code for code in RHYTHMS},
}

ABOUT = About(
    name=NAME, title="Synthetic ECGs", version=str(VERSION), url=SOURCE, licence=LICENCE, citation=CITATION,
    records="any number", size_gb="24 kB a record of 10 s at 100 Hz", rate="100 to 1000", leads=len(LEADS),
    labels="statements of PTB-XL's kinds, by a simulated reader",
)  # fmt: skip
_SAMPLES_OF_UNIT = 256 * 1024  # of one lead, 6 MB
_SAMPLES_AT_ONCE = 64 * 1024  # of one lead; keeps the work in the processor's cache


def simulate(
    indices: Iterable[int], *, rate: int, seconds: float = 10.0, seed: int = 0
) -> tuple[np.ndarray, pd.DataFrame]:
    """Any records of the endless cohort that `seed` stands for.

    Args:
        indices: their numbers, from 0, in any order; what a record is does not depend on the others asked for.
        rate: 100 to 1000 Hz. The same hearts beat at every rate and length; the noise differs.
        seconds: 5 to 60, a whole number of samples.
        seed: 0 to 2**64 - 1.

    Returns:
        Signals (n, 12, T) int16 in counts of `SCALE` mV, leads in canonical order, and the table, one row a record.

    Raises:
        InputError: a value outside these ranges.
    """
    length = _length(rate, seconds, seed)
    numbers = np.asarray(list(indices), np.int64)  # (n,)
    if len(numbers) and numbers.min() < 0:
        raise InputError(f"records are numbered from 0, so there is no record {numbers.min()}.")
    parts = list(_parts(numbers, rate, seconds, seed))
    signals = [signal for signal, _ in parts] or [np.empty((0, len(LEADS), length), np.int16)]
    return np.concatenate(signals), _frame([columns for _, columns in parts])


def build(
    to: str | Path, *, records: int, rate: int = 100, seconds: float = 10.0, seed: int = 0, workers: int | None = None,
    progress: bool = True,
) -> Cohort:  # fmt: skip
    """Write records 0 to `records` - 1 as a cohort and open it, whatever their number in little memory.

    Args:
        workers: processes that make them, 0 for none but this one; see :func:`ecglib.datasets.workers.in_order`.

    Raises:
        InputError: `records` is not a positive whole number; or as `simulate` and `ecglib.datasets.parts.build_parts`.
    """
    from ecglib.datasets.parts import build_parts

    if not _whole(records) or records < 1:
        raise InputError(f"records is {records!r}; give the number of synthetic records, 1 or more.")
    length = _length(rate, seconds, seed)
    together = max(1, _SAMPLES_OF_UNIT // length)
    return build_parts(
        to, _Numbers(int(records), together), partial(_make, rate=rate, seconds=seconds, seed=seed), about=ABOUT,
        expected=Expected(LEADS, rate, length, SCALE), bad=None,
        key=f"{NAME} v{VERSION} records={records} rate={rate} seconds={seconds:g} seed={seed}", source=SOURCE,
        source_version=f"{VERSION}, seed {seed}", notes=NOTES, label_sets=LABEL_SETS, records=int(records),
        workers=workers, progress=progress, announce=False,
    )  # fmt: skip


@dataclass(frozen=True)
class _Numbers:
    """0 to `records` - 1 in ranges of `together`: the units of a build."""

    records: int
    together: int

    def __len__(self) -> int:
        return -(-self.records // self.together)

    def __getitem__(self, k: int) -> range:
        return range(k * self.together, min((k + 1) * self.together, self.records))


def _make(numbers: range, rate: int, seconds: float, seed: int) -> Raw:
    from ecglib.datasets.parts import Raw

    signals, rows = simulate(numbers, rate=rate, seconds=seconds, seed=seed)
    n = len(signals)
    chunk = Chunk(signals, np.zeros((n, len(LEADS)), np.uint16), np.ones(n, bool), 0, np.zeros(n, bool))
    return Raw(chunk, rows)


def _parts(numbers: np.ndarray, rate: int, seconds: float, seed: int) -> Iterator[tuple[np.ndarray, dict[str, list]]]:
    step = max(1, _SAMPLES_AT_ONCE // _length(rate, seconds, seed))
    for start in range(0, len(numbers), step):
        yield make(numbers[start : start + step], rate, seconds, seed)


def _frame(parts: list[dict[str, list]]) -> pd.DataFrame:
    import pandas as pd

    names = parts[0] if parts else make(np.arange(1), 100, 5, 0)[1]
    return pd.DataFrame({name: list(chain.from_iterable(part[name] for part in parts)) for name in names})


def _length(rate: int, seconds: float, seed: int) -> int:
    """T, once the arguments have been checked."""
    if not _whole(rate) or not 100 <= rate <= 1000:
        raise InputError(f"rate is {rate!r}; synthetic records are made at 100 to 1000 Hz, a whole number.")
    if not 5 <= seconds <= 60 or abs(round(rate * seconds) - rate * seconds) > 1e-6:
        raise InputError(f"seconds is {seconds!r}; synthetic records last 5 to 60 s, a whole number of samples.")
    if not _whole(seed) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r}; give a whole number from 0 to 2**64 - 1.")
    return round(rate * seconds)


def _whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
