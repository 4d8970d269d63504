"""What models said of records: the content of predictions.parquet, enough to measure everything again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecglib.errors import InputError
from ecglib.metrics import checked


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one run of one model says of one split: y and p (N, C) beside record, patient and fold (N,).

    `classes` names the columns of y and p. `p` keeps its precision, so what is stored is what was measured.
    """

    model: str
    seed: int
    split: str
    record: np.ndarray
    patient: np.ndarray
    y: np.ndarray
    p: np.ndarray
    classes: tuple[str, ...]
    fold: np.ndarray | None = None

    def __post_init__(self) -> None:
        checked("auc", self.y, self.p)
        where = f"Predictions of {self.model!r}, seed {self.seed}, {self.split}"
        if np.shape(self.y)[1] != len(self.classes):
            raise InputError(f"{where} have {np.shape(self.y)[1]} columns for {len(self.classes)} class names.")
        for name in ("record", "patient") + (() if self.fold is None else ("fold",)):
            if len(getattr(self, name)) != len(self.y):
                raise InputError(f"{where} have {len(getattr(self, name))} {name} entries for {len(self.y)} records.")
        if len(set(np.asarray(self.record).tolist())) != len(self.y):
            raise InputError(f"{where} name a record more than once; predict each record once.")

    def __len__(self) -> int:
        return len(self.y)

    def to_frame(self) -> pd.DataFrame:
        """One row per record: model, seed, split, record, patient, fold, y_<class> (uint8), p_<class>."""
        fold = pd.array([pd.NA] * len(self) if self.fold is None else list(self.fold), dtype="Int64")
        head = {"model": self.model, "seed": self.seed, "split": self.split}
        head |= {"record": self.record, "patient": self.patient, "fold": fold}
        labels = {f"y_{name}": self.y[:, c].astype(np.uint8) for c, name in enumerate(self.classes)}
        return pd.DataFrame(head | labels | {f"p_{name}": self.p[:, c] for c, name in enumerate(self.classes)})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> list[Predictions]:
        """The inverse, for the rows of any number of models, seeds and splits: what predictions.parquet holds."""
        classes = tuple(column.removeprefix("p_") for column in frame if column.startswith("p_"))
        needed = ["model", "seed", "split", "record", "patient", "fold", *(f"y_{name}" for name in classes)]
        missing = [column for column in needed if column not in frame]
        if missing or not classes:
            raise InputError(f"A table of predictions lacks {', '.join(missing) or 'p_<class> columns'}.")
        return [
            cls(
                model=model,
                seed=int(seed),
                split=split,
                record=part["record"].to_numpy(),
                patient=part["patient"].to_numpy(),
                y=part[[f"y_{name}" for name in classes]].to_numpy(),
                p=part[[f"p_{name}" for name in classes]].to_numpy(),
                classes=classes,
                fold=None if part["fold"].isna().all() else part["fold"].to_numpy(),
            )
            for (model, seed, split), part in frame.groupby(["model", "seed", "split"], sort=False)
        ]

    def aligned(self, other: Predictions) -> Predictions:
        """These predictions with records and classes in the order of `other`; `InputError` if they are not the same."""
        where = f"{self.model!r} (seed {self.seed}) and {other.model!r} (seed {other.seed}) on {self.split!r}"
        if set(self.classes) != set(other.classes):
            raise InputError(f"{where} have different classes; only predictions of one task can be compared.")
        place = {record: i for i, record in enumerate(np.asarray(self.record).tolist())}
        if set(place) != set(np.asarray(other.record).tolist()):
            raise InputError(f"{where} cover different records; only predictions on the same records can be compared.")
        rows = np.array([place[record] for record in np.asarray(other.record).tolist()])
        columns = [self.classes.index(name) for name in other.classes]
        y, p = self.y[rows][:, columns], self.p[rows][:, columns]
        if not np.array_equal(y, other.y):
            raise InputError(f"{where} carry different labels for the same records.")
        fold = None if self.fold is None else np.asarray(self.fold)[rows]
        return Predictions(
            self.model, self.seed, self.split, other.record, np.asarray(self.patient)[rows], y, p, other.classes, fold
        )
