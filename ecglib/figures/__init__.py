"""Every picture of a report. Each function returns a matplotlib Figure and shows nothing; `show` puts it into a report.

paper: ECG paper at true scale · cohort: splits and labels · curves: training, ROC, calibration, agreement ·
intervals: values and differences with their 95 % intervals · page: pages, where a network looks, where it errs ·
robustness: scores over severities and layouts, the panels that are needed · style: colours, sizes and `show`.
"""

from ecglib.figures.cohort import co_occurrence, split_overview
from ecglib.figures.curves import agreement, learning_curves, reliability_diagram, roc_pr
from ecglib.figures.intervals import forest, lead_sweep, paired_forest, per_class
from ecglib.figures.page import page_attention, page_attentions, pages, worst_pages
from ecglib.figures.paper import ecg_page, ecg_strips
from ecglib.figures.robustness import by_condition, lead_importance, robustness
from ecglib.figures.style import palette, png, show

__all__ = [
    "agreement",
    "by_condition",
    "co_occurrence",
    "ecg_page",
    "ecg_strips",
    "forest",
    "lead_importance",
    "lead_sweep",
    "learning_curves",
    "page_attention",
    "page_attentions",
    "pages",
    "paired_forest",
    "palette",
    "per_class",
    "png",
    "reliability_diagram",
    "robustness",
    "roc_pr",
    "show",
    "split_overview",
    "worst_pages",
]
