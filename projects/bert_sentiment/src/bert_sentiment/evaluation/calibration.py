"""Temperature scaling: one number that makes a classifier's probabilities mean what they say.

A fine-tuned network is usually more sure than it is right. Dividing its logits by a temperature T, fitted on the
validation texts, leaves every decision as it is and brings the confidence to the accuracy (Guo et al. 2017, "On
Calibration of Modern Neural Networks", §4.2).

Shapes: N texts, K labels.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from bert_sentiment.models.bert_classifier import softmax
from roadmap_shared.metrics import negative_log_likelihood

RANGE = (0.05, 20.0)
"""Temperatures that are looked at; outside, the probabilities are all but one-hot or uniform."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: np.ndarray, targets: Sequence[int]) -> float:
    """The T that gives the targets the highest likelihood under softmax(logits / T).

    Args:
        logits: (N, K) of texts that the network was not trained on.
        targets: (N,) right labels.
    """
    if not len(targets):
        raise ValueError("a temperature cannot be fitted to no texts")

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(softmax(logits / math.exp(log_temperature)), targets)

    return math.exp(golden_section(loss, math.log(RANGE[0]), math.log(RANGE[1])))


def golden_section(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-4) -> float:
    """Where a function with a single valley is lowest (Kiefer 1953). The likelihood has one in 1 / T, as it is convex
    there, and so in every rising function of T."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2
