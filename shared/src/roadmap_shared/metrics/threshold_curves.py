"""Quality of a ranking by score: what happens as the threshold above which an item is called positive falls.

Each function takes one score an item and whether the item is positive. For more than two classes, each class in
turn is the positive one and all others the rest: `roc_auc(probabilities[:, c], targets == c)`, or
`one_vs_rest` for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadmap_shared.metrics.calibration import checked_probabilities

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RocCurve:
    """Points of a ROC curve by falling threshold, (n_points,) each, from (0, 0) to (1, 1)."""

    false_positive_rate: FloatArray
    true_positive_rate: FloatArray
    thresholds: FloatArray


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Points of a precision-recall curve by falling threshold, (n_points,) each, from recall 0 to recall 1.

    Before anything is called positive precision is 0 / 0; the first point has 1 there, by convention.
    """

    precision: FloatArray
    recall: FloatArray
    thresholds: FloatArray


def roc_curve(scores: ArrayLike, positive: ArrayLike) -> RocCurve:
    """Receiver operating characteristic: true against false positive rate (Fawcett 2006, algorithm 1).

    One point for each distinct score: items with equal scores change sides together, whatever their order.

    Args:
        scores: (n_items,), higher for items that are more likely positive.
        positive: (n_items,), True or 1 for the items that are.

    Raises:
        ValueError: unequal lengths, a score that is not finite, no positive or no negative item.
    """
    hits, false_alarms, thresholds = _counts_by_threshold(scores, positive)
    return RocCurve(false_alarms / false_alarms[-1], hits / hits[-1], thresholds)


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive item scores higher than a negative one.

    A tie counts one half (Hanley & McNeil 1982; the statistic of Mann & Whitney 1947): the trapezoids below the
    slanted piece that a group of equal scores draws. 0.5 is a ranking by chance.

    Raises:
        ValueError: as for `roc_curve`.
    """
    curve = roc_curve(scores, positive)
    heights = (curve.true_positive_rate[1:] + curve.true_positive_rate[:-1]) / 2
    return float(np.diff(curve.false_positive_rate) @ heights)


def precision_recall_curve(scores: ArrayLike, positive: ArrayLike) -> PrecisionRecallCurve:
    """Precision against recall, one point for each distinct score, as for `roc_curve`.

    Where positives are rare it shows what a ROC curve hides: how many of the items found are false alarms
    (Saito & Rehmsmeier 2015).
    """
    hits, false_alarms, thresholds = _counts_by_threshold(scores, positive)
    found = np.maximum(hits + false_alarms, 1)
    precision = np.where(hits + false_alarms > 0, hits / found, 1.0)
    return PrecisionRecallCurve(precision, hits / hits[-1], thresholds)


def average_precision(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps: precision times what it gains in recall.

    No straight lines between the points, which would be too optimistic (Davis & Goadrich 2006). A ranking by
    chance has the share of the positives.

    Raises:
        ValueError: as for `roc_curve`.
    """
    curve = precision_recall_curve(scores, positive)
    return float(np.diff(curve.recall) @ curve.precision[1:])


def one_vs_rest(
    metric: Callable[[ArrayLike, ArrayLike], float], probabilities: ArrayLike, targets: ArrayLike
) -> FloatArray:
    """The metric of each class against all others, (n_classes,); NaN for a class that no item has, or every item.

    `np.nanmean(one_vs_rest(roc_auc, probabilities, targets))` is the macro-averaged AUC (Provost & Domingos
    2000 weight the classes by their frequency instead).

    Args:
        metric: `roc_auc` or `average_precision`.
        probabilities: (n_items, n_classes), rows that sum to 1.
        targets: class index of each item, (n_items,).
    """
    scores, true = checked_probabilities(probabilities, targets)
    positive = true[:, None] == np.arange(scores.shape[1])  # (n_items, n_classes)
    return np.array(
        [
            metric(scores[:, c], positive[:, c]) if 0 < positive[:, c].sum() < len(true) else np.nan
            for c in range(scores.shape[1])
        ]
    )


def _counts_by_threshold(scores: ArrayLike, positive: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """True positives, false positives and threshold, (1 + n_distinct,) each: from none found to all found."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(
            f"scores and positive must be two lists of the same length, got {values.shape} and {truth.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"scores holds NaN or infinity at item {int(np.argmin(np.isfinite(values)))}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("positive must say of each item whether it is: True or False, 1 or 0")
    n_positive = int(truth.sum())
    if not 0 < n_positive < len(truth):
        raise ValueError(f"positive and negative items are needed, got {n_positive} and {len(truth) - n_positive}")
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(truth[order], dtype=np.float64)[last_of_tie]
    false_alarms = last_of_tie + 1 - hits
    return np.append(0.0, hits), np.append(0.0, false_alarms), np.append(np.inf, ranked[last_of_tie])
