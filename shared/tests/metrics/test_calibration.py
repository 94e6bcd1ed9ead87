"""Scores of probabilities against scikit-learn, loops over the definition and values worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from roadmap_shared.metrics import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)

# Whole numbers over their sum: many confidences fall exactly on an edge between bins.
PROBABILITIES = hnp.arrays(np.int64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.integers(1, 20)).map(
    lambda weights: weights / weights.sum(axis=1, keepdims=True)
)


def drawn_targets(probabilities: np.ndarray, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.array([generator.choice(len(row), p=row) for row in probabilities])


@given(PROBABILITIES, st.integers(0, 9), st.integers(1, 20))
def test_calibration_error_equals_the_definition_item_by_item(
    probabilities: np.ndarray, seed: int, n_bins: int
) -> None:
    targets = drawn_targets(probabilities, seed)
    edges = np.linspace(0, 1, n_bins + 1)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        members = [i for i, row in enumerate(probabilities) if low < max(row) <= high]
        confident = sum(max(probabilities[i]) for i in members)
        right = sum(int(np.argmax(probabilities[i])) == targets[i] for i in members)
        total += abs(right - confident)
    assert expected_calibration_error(probabilities, targets, n_bins) == pytest.approx(total / len(targets), abs=1e-12)


@given(PROBABILITIES, st.integers(1, 20))
def test_filled_bins_equal_scikit_learn(probabilities: np.ndarray, n_bins: int) -> None:
    targets = drawn_targets(probabilities)
    bins = reliability_bins(probabilities, targets, n_bins)
    correct = probabilities.argmax(axis=1) == targets
    accuracy, confidence = calibration_curve(correct, probabilities.max(axis=1), n_bins=n_bins, pos_label=True)
    filled = bins.counts > 0
    np.testing.assert_allclose(bins.accuracy[filled], accuracy)
    np.testing.assert_allclose(bins.confidence[filled], confidence)
    assert bins.counts.sum() == len(targets)
    assert np.isnan(bins.accuracy[~filled]).all()
    assert np.isnan(bins.confidence[~filled]).all()


@given(PROBABILITIES)
def test_brier_score_and_log_likelihood_equal_scikit_learn(probabilities: np.ndarray) -> None:
    targets = drawn_targets(probabilities)
    labels = [0, 1, 2]
    assert brier_score(probabilities, targets) == pytest.approx(brier_score_loss(targets, probabilities, labels=labels))
    assert negative_log_likelihood(probabilities, targets) == pytest.approx(
        log_loss(targets, probabilities, labels=labels)
    )


def test_bins_by_hand() -> None:
    # 0.5 and 0.75 lie on edges and belong to the bin below; nothing lies in the first bin.
    probabilities = [[0.5, 0.5], [0.75, 0.25], [0.4, 0.6], [0.1, 0.9], [1.0, 0.0]]
    bins = reliability_bins(probabilities, [0, 1, 1, 1, 0], n_bins=4)
    assert bins.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert bins.counts.tolist() == [0, 1, 2, 2]
    np.testing.assert_allclose(bins.confidence, [np.nan, 0.5, 0.675, 0.95])
    np.testing.assert_allclose(bins.accuracy, [np.nan, 1, 0.5, 1])
    assert bins.calibration_error == pytest.approx((0.5 + 2 * 0.175 + 2 * 0.05) / 5)


def test_calibrated_probabilities_have_a_small_error_and_sharpened_ones_a_large_one() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.7, 0.7, 0.7], size=20_000)
    targets = (generator.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    sharpened = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert expected_calibration_error(probabilities, targets) < 0.01
    assert expected_calibration_error(sharpened, targets) > 0.1
    assert brier_score(probabilities, targets) < brier_score(sharpened, targets)
    assert negative_log_likelihood(probabilities, targets) < negative_log_likelihood(sharpened, targets)


def test_sure_and_wrong() -> None:
    assert brier_score([[0.0, 1.0]], [0]) == 2.0
    assert negative_log_likelihood([[0.0, 1.0]], [0]) == math.inf
    assert expected_calibration_error([[0.0, 1.0]], [0]) == 1.0


def test_half_precision_softmax_is_accepted() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    weights = np.exp(logits)
    assert 0 < brier_score(weights / weights.sum(axis=1, keepdims=True), [0] * 50) < 2


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (
            [0.5, 0.5],
            [0, 1],
            "probabilities must be (n_items, n_classes) and targets (n_items,), got shapes (2,) and (2,)",
        ),
        (
            [[0.5, 0.5]],
            [0, 1],
            "probabilities must be (n_items, n_classes) and targets (n_items,), got shapes (1, 2) and (2,)",
        ),
        (
            [[0.5, 0.5], [2.0, -1.0]],
            [0, 1],
            "probabilities must be at least 0 and sum to 1, but item 1 has [2.0, -1.0]",
        ),
        ([[math.nan, 1.0]], [0], "probabilities must be at least 0 and sum to 1, but item 0 has [nan, 1.0]"),
        ([[0.5, 0.5]], [2], "targets must be class indices from 0 to 1"),
        ([[0.5, 0.5]], [0.0], "targets must be class indices from 0 to 1"),
    ],
)
def test_bad_input_is_one_clear_error(probabilities: list, targets: list, message: str) -> None:
    for metric in (brier_score, negative_log_likelihood, reliability_bins, expected_calibration_error):
        with pytest.raises(ValueError) as error:
            metric(probabilities, targets)
        assert str(error.value) == message


def test_bins_must_be_at_least_one() -> None:
    with pytest.raises(ValueError) as error:
        reliability_bins([[1.0, 0.0]], [0], n_bins=0)
    assert str(error.value) == "n_bins must be at least 1, got 0"
