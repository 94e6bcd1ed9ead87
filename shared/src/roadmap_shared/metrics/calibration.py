"""Scores of predicted probabilities: do they mean what they say, and how much do they cost where they are wrong.

Every function takes `probabilities`, (n_items, n_classes) with rows that sum to 1, and `targets`, the class index
of each item, (n_items,); it raises ValueError where they are anything else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_SUM_TOLERANCE = 1e-3  # a softmax in half precision is off by a few 1e-4


@dataclass(frozen=True)
class ReliabilityBins:
    """Items grouped by confidence, the probability of the class that was chosen.

    `edges`: (n_bins + 1,), equally spaced from 0 to 1; bin m holds the items with
        edges[m] < confidence <= edges[m + 1].
    `counts`: items in each bin, (n_bins,).
    `confidence`, `accuracy`: their mean in each bin, (n_bins,); NaN in an empty bin. With C classes no confidence
    lies below 1 / C, so that the lowest bins are always empty.
    """

    edges: FloatArray
    counts: IntArray
    confidence: FloatArray
    accuracy: FloatArray

    @property
    def calibration_error(self) -> float:
        """Gap between confidence and accuracy, averaged over the items (not the bins): empty bins weigh nothing."""
        filled = self.counts > 0
        gaps = np.abs(self.confidence - self.accuracy)[filled]
        return float(gaps @ self.counts[filled] / self.counts.sum())


def reliability_bins(probabilities: ArrayLike, targets: ArrayLike, n_bins: int = 10) -> ReliabilityBins:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017, "On Calibration of Modern Neural
    Networks", §2; the reliability diagram is DeGroot & Fienberg's, 1983).
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    shares, true = checked_probabilities(probabilities, targets)
    confidences = shares.max(axis=1)
    correct = shares.argmax(axis=1) == true
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidences, side="left")
    counts = np.bincount(bins, minlength=n_bins)

    def means(values: NDArray[np.floating | np.bool_]) -> FloatArray:
        totals = np.bincount(bins, weights=values, minlength=n_bins)
        return np.divide(totals, counts, out=np.full(n_bins, np.nan), where=counts > 0)

    return ReliabilityBins(edges, counts.astype(np.int64), means(confidences), means(correct))


def expected_calibration_error(probabilities: ArrayLike, targets: ArrayLike, n_bins: int = 10) -> float:
    """ECE: by how much confidence and accuracy differ, on average over the items (Naeini et al. 2015; Guo et al.
    2017, eq. 3).

    0 is perfect calibration, but also what a model reaches that always answers with the class shares: read it
    beside accuracy. It depends on the number of bins, and is too high on few items, where each bin's accuracy
    is noisy.
    """
    return reliability_bins(probabilities, targets, n_bins).calibration_error


def brier_score(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Squared distance of the probabilities from the truth (1 for the target, else 0), summed over the classes.

    The mean over the items, from 0 to 2 (Brier 1950). For two classes some libraries report half of it. Lowest
    for honest probabilities; unlike the log-likelihood it stays finite where the model is sure and wrong.
    """
    shares, true = checked_probabilities(probabilities, targets)
    truth = np.eye(shares.shape[1])[true]
    return float(((shares - truth) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean of -log p(target), in nats: the cross-entropy loss. Infinite where a target has probability 0."""
    shares, true = checked_probabilities(probabilities, targets)
    with np.errstate(divide="ignore"):
        return float(-np.log(shares[np.arange(len(true)), true]).mean())


def checked_probabilities(probabilities: ArrayLike, targets: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Both as arrays, (n_items, n_classes) and (n_items,).

    Raises:
        ValueError: wrong shapes, a row that is no probability distribution, or a target that is no class index.
    """
    shares, true = np.asarray(probabilities, dtype=np.float64), np.asarray(targets)
    if shares.ndim != 2 or shares.size == 0 or true.shape != shares.shape[:1]:
        raise ValueError(
            "probabilities must be (n_items, n_classes) and targets (n_items,), "
            f"got shapes {shares.shape} and {true.shape}"
        )
    # Written so that NaN fails: every comparison with it is false.
    sound = (shares >= 0).all(axis=1) & (np.abs(shares.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    if not sound.all():
        item = int(np.argmin(sound))
        raise ValueError(f"probabilities must be at least 0 and sum to 1, but item {item} has {shares[item].tolist()}")
    if true.dtype.kind not in "iub" or true.min() < 0 or true.max() >= shares.shape[1]:
        raise ValueError(f"targets must be class indices from 0 to {shares.shape[1] - 1}")
    return shares, true.astype(np.int64)
