"""Estimates of the accuracy without labels, where the truth is known."""

import numpy as np
import pytest
from scipy.special import softmax

from model_optimization.monitoring.accuracy_estimate import (
    AccuracyEstimator,
    atc_threshold,
    fit_temperature,
    negative_entropy,
)


def world(count: int, difficulty: float, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are true, made too sure by `sharpness`; the easier, the larger."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, difficulty, (count, 3))
    probabilities = softmax(logits, axis=1)
    targets = np.array([random.choice(3, p=row) for row in probabilities])
    return logits * sharpness, targets


def accuracy(logits: np.ndarray, targets: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == targets).mean())


def test_the_temperature_undoes_a_model_that_is_too_sure() -> None:
    assert fit_temperature(*world(20_000, 2.0, 0, sharpness=3.0)) == pytest.approx(3.0, rel=0.05)


def test_on_validation_texts_the_threshold_gives_their_accuracy() -> None:
    logits, targets = world(997, 1.5, 1)
    estimator = AccuracyEstimator.fit(logits, targets)
    estimate = estimator.average_thresholded_confidence(logits)
    assert estimate.estimate == pytest.approx(accuracy(logits, targets)) == estimator.validation_accuracy
    assert estimate.low < estimate.estimate < estimate.high


@pytest.mark.parametrize("difficulty", [0.7, 1.5, 3.0])
def test_harder_and_easier_texts_are_told_without_labels(difficulty: float) -> None:
    estimator = AccuracyEstimator.fit(*world(20_000, 1.5, 2, sharpness=2.0))
    logits, targets = world(20_000, difficulty, 3, sharpness=2.0)
    # Average confidence is exact where probabilities keep their meaning; the threshold moves the same way, and too far.
    assert estimator.average_confidence(logits) == pytest.approx(accuracy(logits, targets), abs=0.015)
    estimate = estimator.average_thresholded_confidence(logits).estimate
    if difficulty != 1.5:
        assert (estimate > estimator.validation_accuracy) == (difficulty > 1.5)


def test_the_threshold_is_exact_where_texts_are_known_or_unknown() -> None:
    """A mixture of texts that are answered rightly and surely, and of texts that are guessed at, shifts."""

    def mixture(unknown: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        targets = random.integers(0, 2, 20_000)
        logits = np.eye(2)[targets] * random.uniform(4, 6, (20_000, 1))
        guessed = random.random(20_000) < unknown
        logits[guessed] = np.eye(2)[1 - targets[guessed]] * random.uniform(0, 1, (int(guessed.sum()), 1))
        return logits, targets

    estimator = AccuracyEstimator.fit(*mixture(0.2, 5))
    logits, targets = mixture(0.5, 6)
    estimate = estimator.average_thresholded_confidence(logits)
    assert estimate.estimate == pytest.approx(accuracy(logits, targets), abs=0.01) == pytest.approx(0.5, abs=0.02)


def test_a_model_that_is_wrong_and_sure_is_not_seen_through() -> None:
    logits, targets = world(5000, 2.0, 4)
    estimator = AccuracyEstimator.fit(logits, targets)
    turned = (targets + 1) % 3
    assert estimator.average_confidence(logits) > accuracy(logits, turned) + 0.3


def test_the_threshold_by_hand() -> None:
    scores, right = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, True])
    assert atc_threshold(scores, right) == 0.2
    assert atc_threshold(scores, np.zeros(4, dtype=bool)) == np.inf
    assert atc_threshold(scores, np.ones(4, dtype=bool)) == 0.1
    assert negative_entropy(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])) == pytest.approx([0, -np.log(3)])
    with pytest.raises(ValueError, match=r"^an accuracy estimate needs validation texts$"):
        AccuracyEstimator.fit(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
