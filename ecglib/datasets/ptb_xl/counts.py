"""What is known of the whole published PTB-XL: counts that a complete copy must have.

Source for 1.0.3: its own tables under the protocol of ecglib.datasets.ptb_xl; for 1.0.1: the record count of the 2020
leaderboard and its 407 records without a superclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecglib.cohort import class_names, multi_hot
from ecglib.errors import InputError

SPLITS = {"train": range(1, 9), "validation": (9,), "test": (10,)}

PUBLISHED: Mapping[int, Mapping[str, Any]] = {
    # rows of ptbxl_database.csv: the version, and {task: ...} of records without a class, in each split, in each class
    21_799: {
        "version": "1.0.3",
        "without": {"superclass": 411},
        "splits": {"superclass": (17_084, 2_146, 2_158), "form": (7_197, 901, 880), "rhythm": (16_832, 2_100, 2_098)},
        "folds": {"superclass": (2_139, 2_138, 2_150, 2_130, 2_135, 2_129, 2_134, 2_129, 2_146, 2_158)},
        "classes": {
            "superclass": {"NORM": 9514, "MI": 5469, "STTC": 5235, "CD": 4898, "HYP": 2649},
            "subclass": {
                "NORM": 9514,
                "IMI": 3271,
                "AMI": 3078,
                "STTC": 2239,
                "LVH": 2132,
                "LAFB/LPFB": 1797,
                "ISC_": 1272,
                "IRBBB": 1118,
                "ISCA": 941,
                "_AVB": 823,
                "IVCD": 787,
                "NST_": 767,
                "CRBBB": 541,
                "CLBBB": 536,
                "LAO/LAE": 426,
                "ISCI": 397,
                "LMI": 201,
                "RVH": 126,
                "RAO/RAE": 99,
                "WPW": 79,
                "ILBBB": 77,
                "SEHYP": 29,
                "PMI": 17,
            },
            "rhythm": {
                "SR": 16748,
                "AFIB": 1514,
                "STACH": 826,
                "SARRH": 772,
                "SBRAD": 637,
                "PACE": 294,
                "SVARR": 157,
                "BIGU": 82,
                "AFLT": 73,
                "SVTAC": 27,
                "PSVT": 24,
                "TRIGU": 20,
            },
        },
    },
    21_837: {"version": "1.0.1 or 1.0.2", "without": {"superclass": 407}},
}


def check_counts(
    statements: Sequence[Sequence[str]],
    folds: Sequence[int],
    label_sets: Mapping[str, Mapping[str, str]],
    known: Mapping[str, Any],
) -> None:
    """Compare a table's counts with `known`, an entry of PUBLISHED.

    Args:
        statements: N lists of codes. folds: N folds, 1 to 10. label_sets: {task: {code: class}}.

    Raises:
        InputError: the first count that differs, with what was found and what is published.
    """
    folds = np.asarray(folds)
    for task, codes in label_sets.items():
        y = multi_hot(statements, codes)
        has = y.any(axis=1)
        found: dict[str, Any] = {
            "without": int((~has).sum()),
            "splits": tuple(int(has[np.isin(folds, list(part))].sum()) for part in SPLITS.values()),
            "folds": tuple(int(has[folds == fold].sum()) for fold in range(1, 11)),
            "classes": dict(zip(class_names(codes), y.sum(axis=0).astype(int).tolist())),
        }
        for what, value in found.items():
            published = known.get(what, {}).get(task)
            if published is not None and value != published:
                raise InputError(
                    f"ptbxl_database.csv or scp_statements.csv is altered: the {task} counts ({what}) of PTB-XL "
                    f"{known['version']} are {_differs(value, published)}; get both files again."
                )


def _differs(value: Any, published: Any) -> str:
    if isinstance(value, dict):
        name = next(k for k in sorted(value.keys() | published.keys()) if value.get(k, 0) != published.get(k, 0))
        return f"{published.get(name, 0)} for {name}, not {value.get(name, 0)}"
    return f"{published}, not {value}"
