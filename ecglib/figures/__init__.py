"""Every picture of a report. Each function returns a matplotlib Figure and shows nothing; `show` puts it into a report.

paper: ECG paper at true scale · cohort: splits and labels · confusion: what is taken for what · curves: training, ROC,
calibration, agreement ·
intervals: values and differences with their 95 % intervals · page: pages, where a network looks, where it errs ·
robustness: scores over severities and layouts, the panels that are needed · pretraining: signals rebuilt, losses,
scores over labels, records and protocols · embedding: records on a map · delineation: where waves begin and end ·
explore: what a cohort is made of, two side by side · comparison: many runs in one picture · trace: where a
change of the signal moves a probability · thresholds: where to cut one · style: colours, sizes and `show`.
"""

from ecglib.figures.cohort import co_occurrence, split_overview
from ecglib.figures.comparison import class_heat, cost_quality, runs_forest, seed_curves
from ecglib.figures.confusion import confusion
from ecglib.figures.curves import agreement, learning_curves, reliability_diagram, roc_pr
from ecglib.figures.delineation import delineation
from ecglib.figures.embedding import class_maps, embedding_map, project
from ecglib.figures.explore import (
    amplitudes,
    browse,
    class_shares,
    distributions,
    fold_overview,
    people,
    rates_by_class,
    record_page,
    record_strips,
    spectra,
)
from ecglib.figures.intervals import forest, lead_sweep, paired_forest, per_class
from ecglib.figures.page import page_attention, page_attentions, pages, worst_pages
from ecglib.figures.paper import ecg_page, ecg_strips
from ecglib.figures.pretraining import (
    by_protocol,
    few_label_curves,
    loss_curves,
    reconstruction,
    reconstructions,
    scaling_curve,
)
from ecglib.figures.robustness import by_condition, lead_importance, robustness
from ecglib.figures.style import palette, png, show
from ecglib.figures.thresholds import browse_thresholds, operating_points, threshold_view
from ecglib.figures.trace import calibrated_probabilities, trace_importance

__all__ = [
    "agreement",
    "amplitudes",
    "browse",
    "browse_thresholds",
    "by_condition",
    "by_protocol",
    "calibrated_probabilities",
    "class_heat",
    "class_maps",
    "class_shares",
    "co_occurrence",
    "confusion",
    "cost_quality",
    "delineation",
    "distributions",
    "ecg_page",
    "ecg_strips",
    "embedding_map",
    "few_label_curves",
    "fold_overview",
    "forest",
    "lead_importance",
    "lead_sweep",
    "learning_curves",
    "loss_curves",
    "operating_points",
    "page_attention",
    "page_attentions",
    "pages",
    "paired_forest",
    "palette",
    "people",
    "per_class",
    "png",
    "project",
    "rates_by_class",
    "reconstruction",
    "reconstructions",
    "record_page",
    "record_strips",
    "reliability_diagram",
    "robustness",
    "roc_pr",
    "runs_forest",
    "scaling_curve",
    "seed_curves",
    "show",
    "spectra",
    "split_overview",
    "threshold_view",
    "trace_importance",
    "worst_pages",
]
