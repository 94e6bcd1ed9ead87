"""How right is a model on texts without labels? Estimated from its probabilities, calibrated on validation texts.

N texts, K labels. Both estimates hold while the inputs change but the probabilities keep their meaning. A model that is
wrong and sure of it, as on texts of another language, is not seen through: a drift alarm says when not to believe them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from model_optimization.types import IntArray
from roadmap_shared.metrics.statistics import Interval, share_interval

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AccuracyEstimator:
    """What validation texts told."""

    temperature: float
    threshold: float
    """Of the score: as large a share of the validation texts lies below it as was answered wrongly."""

    validation_accuracy: float

    @classmethod
    def fit(cls, logits: Array, targets: IntArray) -> "AccuracyEstimator":
        """From (N, K) logits of validation texts and their labels.

        Raises:
            ValueError: there are no texts.
        """
        if not len(logits):
            raise ValueError("an accuracy estimate needs validation texts")
        temperature = fit_temperature(logits, targets)
        scores = negative_entropy(softmax(logits / temperature, axis=1))
        right = logits.argmax(axis=1) == targets
        return cls(
            temperature=temperature,
            threshold=atc_threshold(scores, right),
            validation_accuracy=float(right.mean()),
        )

    def average_confidence(self, logits: Array) -> float:
        """Mean probability of the answers of (N, K) logits: the accuracy, if they are calibrated."""
        return float(softmax(logits / self.temperature, axis=1).max(axis=1).mean())

    def average_thresholded_confidence(self, logits: Array) -> Interval:
        """Share of texts whose score reaches the threshold (ATC, Garg et al. 2022, "Leveraging unlabeled data to
        predict out-of-distribution performance", section 4), with the 95 % interval of drawing these texts."""
        scores = negative_entropy(softmax(logits / self.temperature, axis=1))
        return share_interval(scores >= self.threshold)


def fit_temperature(logits: Array, targets: IntArray) -> float:
    """The number that (N, K) logits are divided by so that their labels are most likely (Guo et al. 2017)."""

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(targets)), targets].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def negative_entropy(probabilities: Array) -> Array:
    """(N,) sum of p ln p over the K labels: the larger, the surer."""
    return (probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)


def atc_threshold(scores: Array, right: NDArray[np.bool_]) -> float:
    """The smallest score of those that remain when as many of the lowest are taken away as answers are wrong."""
    wrong = int((~right).sum())
    ordered = np.sort(scores)
    return float(ordered[wrong]) if wrong < len(ordered) else float("inf")
