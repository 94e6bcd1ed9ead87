"""Scores of a classifier's decisions: how many are right, for which classes, and whether two classifiers differ.

Every function takes class indices, 0 to n_classes - 1, one an item. Scores of probabilities are in
`calibration`, those of a ranking by probability in `threshold_curves`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roadmap_shared.metrics.statistics import Interval, PairedComparison, _check_settings, _percentiles

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FEW_DISCORDANT = 25
"""Below this many discordant pairs McNemar's test is exact: the usual bound for its chi-square approximation."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class, all (n_classes,); NaN where a score is not defined.

    `precision`: of the items given this class, the share that has it; undefined where none was given it.
    `recall`: of the items that have this class, the share that was given it; undefined where none has it.
    `f1`: harmonic mean of the two; undefined only where the class neither occurs nor is predicted.
    `support`: number of items that have this class.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    support: IntArray

    @property
    def macro_f1(self) -> float:
        """Mean of the defined F1 scores: every class that occurs or is predicted counts the same."""
        return float(np.nanmean(self.f1))


@dataclass(frozen=True)
class McNemarTest:
    """What McNemar's test found: items that only one of two classifiers gets right, and the two-sided p-value.

    `exact` says that the p-value is the binomial one, not the chi-square approximation.
    """

    only_a: int
    only_b: int
    p_value: float
    exact: bool


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> float:
    """Share of the items whose prediction equals the target.

    Its bootstrap interval is `bootstrap_interval(predictions == targets)`.

    Raises:
        ValueError: empty or unequal lengths, or labels that are no integers.
    """
    predicted, true = _checked_labels(predictions, targets)
    return float((predicted == true).mean())


def confusion_matrix(predictions: ArrayLike, targets: ArrayLike, n_classes: int) -> IntArray:
    """Number of items by true class (row) and predicted class (column), (n_classes, n_classes).

    Raises:
        ValueError: empty or unequal lengths, or a label that is no integer from 0 to n_classes - 1.
    """
    predicted, true = _checked_labels(predictions, targets, n_classes=n_classes)
    counts = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    return counts.astype(np.int64).reshape(n_classes, n_classes)


def class_scores(confusion: ArrayLike) -> ClassScores:
    """Precision, recall, F1 and support of each class from a confusion matrix, rows the true classes.

    With TP on the diagonal, FP in the rest of the column and FN in the rest of the row (van Rijsbergen 1979,
    "Information Retrieval", ch. 7):

        precision = TP / (TP + FP)    recall = TP / (TP + FN)    F1 = 2 TP / (2 TP + FP + FN)

    F1 in counts is 0, not 0 / 0, for a class that occurs but is never predicted, although its precision is not
    defined. 0 / 0 is NaN throughout: a score of 0 would punish for a class that nobody asked about.

    Raises:
        ValueError: the matrix is not square, or holds no item.
    """
    counts = np.asarray(confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix has as many rows as columns, got shape {counts.shape}")
    if counts.sum() == 0:
        raise ValueError("the confusion matrix holds no item")
    hits, occurs, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    return ClassScores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, occurs),
        f1=_f1(counts),
        support=occurs.astype(np.int64),
    )


def macro_f1(predictions: ArrayLike, targets: ArrayLike, n_classes: int) -> float:
    """Unweighted mean of the classes' F1 (Opitz & Burst 2019, "Macro F1 and Macro F1", call it averaged F1).

    Rare classes weigh as much as frequent ones. Classes that neither occur nor are predicted are left out.

    Raises:
        ValueError: as for `confusion_matrix`.
    """
    return class_scores(confusion_matrix(predictions, targets, n_classes)).macro_f1


def cohen_kappa(a: ArrayLike, b: ArrayLike, n_classes: int) -> float:
    """Agreement of two labellings beyond chance (Cohen 1960): (observed - expected) / (1 - expected).

    `expected` is the agreement of two labellers who know nothing of the items and keep their own class shares.
    1 is full agreement, 0 that of chance; NaN where both give one and the same class to all items.

    Raises:
        ValueError: as for `confusion_matrix`.
    """
    counts = confusion_matrix(a, b, n_classes)
    n_items = counts.sum()
    # In whole numbers, multiplied by n_items²: rounding would hide that the denominator is zero.
    observed = n_items * np.trace(counts)
    expected = counts.sum(axis=0) @ counts.sum(axis=1)
    return float(_ratio(observed - expected, n_items**2 - expected))


def mcnemar_test(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemarTest:
    """Tests whether two classifiers have the same error rate on the items that both were given (McNemar 1947).

    Items that both get right, or both wrong, say nothing about the difference. Of the discordant ones each
    classifier should win half if they are equally good: a binomial test with p = 1/2. From 25 discordant items
    on, chi-square with one degree of freedom and the continuity correction of Edwards (1948) stands for it.
    Dietterich (1998, "Approximate statistical tests for comparing supervised classification learning
    algorithms") recommends it for two models that were trained once each: it tells nothing of other seeds.

    Args:
        correct_a, correct_b: whether each classifier is right, (n_items,), the items in the same order.

    Raises:
        ValueError: empty or unequal lengths, or values other than 0 and 1.
    """
    a, b = (np.asarray(values) for values in (correct_a, correct_b))
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"correct_a and correct_b must be two lists of the same length, got {a.shape} and {b.shape}")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("correct_a and correct_b must say of each item whether it is right: True or False, 1 or 0")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    n_discordant = only_a + only_b
    if n_discordant < _FEW_DISCORDANT:
        tail = sum(math.comb(n_discordant, wins) for wins in range(min(only_a, only_b) + 1)) / 2**n_discordant
        # Twice the tail counts the middle twice where it belongs to both tails.
        return McNemarTest(only_a, only_b, p_value=min(1.0, 2 * tail), exact=True)
    # A tie would be corrected past the middle, to -1.
    chi_square = max(abs(only_a - only_b) - 1, 0) ** 2 / n_discordant
    # A chi-square with one degree of freedom is the square of a standard normal variable.
    return McNemarTest(only_a, only_b, p_value=math.erfc(math.sqrt(chi_square / 2)), exact=False)


def macro_f1_interval(
    predictions: ArrayLike,
    targets: ArrayLike,
    n_classes: int,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of macro-F1 over independent items, as `bootstrap_interval` gives for a mean.

    A resample that misses a rare class altogether is scored without it, as `macro_f1` would.

    Args:
        predictions, targets: (n_items,).
        n_resamples, confidence, seed: as for `bootstrap_interval`.

    Raises:
        ValueError: as for `confusion_matrix` and `bootstrap_interval`.
    """
    _check_settings(n_resamples, confidence)
    predicted, true = _checked_labels(predictions, targets, n_classes=n_classes)
    tables = _resampled_tables(true * n_classes + predicted, (n_classes, n_classes), n_resamples, seed)
    low, high = _percentiles(np.nanmean(_f1(tables), axis=1), confidence)
    return Interval(macro_f1(predicted, true, n_classes), low, high)


def paired_macro_f1(
    predictions_a: ArrayLike,
    predictions_b: ArrayLike,
    targets: ArrayLike,
    n_classes: int,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """By how much the macro-F1 of b differs from that of a, by paired bootstrap over the same items.

    `paired_bootstrap` does the same for scores that are a mean over items, such as accuracy; F1 is none.

    Args:
        predictions_a, predictions_b, targets: (n_items,), the items in the same order.
        n_resamples, confidence, seed: as for `bootstrap_interval`.

    Raises:
        ValueError: as for `confusion_matrix` and `bootstrap_interval`.
    """
    _check_settings(n_resamples, confidence)
    a, b, true = _checked_labels(predictions_a, predictions_b, targets, n_classes=n_classes)
    codes = (true * n_classes + a) * n_classes + b
    tables = _resampled_tables(codes, (n_classes,) * 3, n_resamples, seed)  # (n_resamples, true, a, b)
    scores_a, scores_b = (np.nanmean(_f1(tables.sum(axis=other)), axis=1) for other in (3, 2))
    differences = scores_b - scores_a
    low, high = _percentiles(differences, confidence)
    probability = float((differences > 0).mean() + (differences == 0).mean() / 2)
    return PairedComparison(macro_f1(b, true, n_classes) - macro_f1(a, true, n_classes), low, high, probability)


def _resampled_tables(codes: IntArray, shape: tuple[int, ...], n_resamples: int, seed: int) -> IntArray:
    """How often each code is drawn when as many items as there are are drawn from the items, with replacement.

    These counts are multinomial with the codes' shares as probabilities, and macro-F1 needs nothing else of a
    resample: drawing them outright costs nothing per item. Returns (n_resamples, *shape).
    """
    present, counts = np.unique(codes, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(codes), counts / len(codes), size=n_resamples)
    tables = np.zeros((n_resamples, math.prod(shape)), dtype=np.int64)
    tables[:, present] = draws
    return tables.reshape(n_resamples, *shape)


def _f1(confusions: NDArray[np.integer]) -> FloatArray:
    """F1 of each class from one or many confusion matrices: (..., C, C) -> (..., C)."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    # Row and column both hold the hits: their sum is 2 TP + FP + FN.
    return _ratio(2 * hits, confusions.sum(axis=-1) + confusions.sum(axis=-2))


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Quotient of counts, NaN for 0 / 0."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom != 0)


def _checked_labels(*labels: ArrayLike, n_classes: int | None = None) -> list[IntArray]:
    """The label lists as arrays of equal length, every label a class index."""
    arrays = [np.asarray(values) for values in labels]
    shapes = [array.shape for array in arrays]
    if arrays[0].ndim != 1 or arrays[0].size == 0 or len(set(shapes)) > 1:
        raise ValueError(f"predictions and targets must be lists of the same length, not empty, got shapes {shapes}")
    bound, end = ("", np.inf) if n_classes is None else (f" to {n_classes - 1}", n_classes)
    for array in arrays:
        if array.dtype.kind not in "iub":
            raise ValueError(f"labels must be class indices, whole numbers from 0, got dtype {array.dtype}")
        outside = (array < 0) | (array >= end)
        if outside.any():
            item = int(np.argmax(outside))
            raise ValueError(f"item {item} has label {array[item]}, but labels go from 0{bound}")
    return [array.astype(np.int64) for array in arrays]
