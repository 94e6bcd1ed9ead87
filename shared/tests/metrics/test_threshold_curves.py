"""ROC and precision-recall curves against scikit-learn, pair counting and values worked out by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from roadmap_shared.metrics import average_precision, one_vs_rest, precision_recall_curve, roc_auc, roc_curve

sklearn_metrics: Any = metrics  # without stubs, its defaults pass for all that it accepts

# Few distinct scores: most lists have ties between positive and negative items.
RANKINGS = (
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30)
    .filter(lambda items: len({positive for _, positive in items}) == 2)
    .map(lambda items: (np.array([score / 4 for score, _ in items]), np.array([positive for _, positive in items])))
)


@given(RANKINGS)
def test_curves_and_areas_equal_scikit_learn(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = ranking
    roc = roc_curve(scores, positive)
    expected = sklearn_metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose([roc.false_positive_rate, roc.true_positive_rate, roc.thresholds], expected)
    assert roc_auc(scores, positive) == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))
    curve = precision_recall_curve(scores, positive)
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose([curve.precision[::-1], curve.recall[::-1]], [precision, recall])
    np.testing.assert_array_equal(curve.thresholds[:0:-1], thresholds)
    expected_area = sklearn_metrics.average_precision_score(positive, scores)
    assert average_precision(scores, positive) == pytest.approx(expected_area)


@given(RANKINGS)
def test_auc_is_the_chance_that_a_positive_item_scores_higher(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = ranking
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, low in itertools.product(scores[positive], scores[~positive])
    ]
    assert roc_auc(scores, positive) == pytest.approx(np.mean(wins))
    assert roc_auc(-scores, positive) == pytest.approx(1 - np.mean(wins))


@given(RANKINGS)
def test_only_the_order_of_the_scores_counts(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = ranking
    for metric in (roc_auc, average_precision):
        assert metric(np.exp(3 * scores), positive) == pytest.approx(metric(scores, positive))
        assert metric(scores[::-1], positive[::-1]) == pytest.approx(metric(scores, positive))


def test_curves_by_hand() -> None:
    # By falling score: positive; a tie of a positive and a negative; negative.
    scores, positive = [0.2, 0.5, 0.5, 0.9], [0, 1, 0, 1]
    roc = roc_curve(scores, positive)
    assert roc.false_positive_rate.tolist() == [0, 0, 0.5, 1]
    assert roc.true_positive_rate.tolist() == [0, 0.5, 1, 1]
    assert roc.thresholds.tolist() == [np.inf, 0.9, 0.5, 0.2]
    assert roc_auc(scores, positive) == 0.875  # 3 pairs won and 1 tied of 4
    curve = precision_recall_curve(scores, positive)
    assert curve.precision.tolist() == [1, 1, 2 / 3, 1 / 2]
    assert curve.recall.tolist() == [0, 0.5, 1, 1]
    assert average_precision(scores, positive) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_one_score_for_all_is_chance() -> None:
    positive = [1, 0, 0, 0]
    assert roc_auc([0.3] * 4, positive) == 0.5
    assert average_precision([0.3] * 4, positive) == 0.25


def test_one_vs_rest_equals_scikit_learn_and_leaves_out_a_class_that_does_not_occur() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1, 1, 1], size=200)
    targets = np.array([generator.choice(3, p=row) for row in probabilities])
    areas = one_vs_rest(roc_auc, probabilities, targets)
    expected = sklearn_metrics.roc_auc_score(targets, probabilities, multi_class="ovr", average=None)
    np.testing.assert_allclose(areas, expected)
    averages = one_vs_rest(average_precision, probabilities, targets)
    indicator = np.eye(3)[targets]
    np.testing.assert_allclose(
        averages, sklearn_metrics.average_precision_score(indicator, probabilities, average=None)
    )
    kept = targets != 1
    areas = one_vs_rest(roc_auc, probabilities[kept], targets[kept])
    assert np.isnan(areas).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: roc_curve([0.1, 0.2], [1]),
            "scores and positive must be two lists of the same length, got (2,) and (1,)",
        ),
        (lambda: roc_auc([0.1, np.nan], [1, 0]), "scores holds NaN or infinity at item 1"),
        (lambda: roc_auc([0.1, 0.2], [1, 2]), "positive must say of each item whether it is: True or False, 1 or 0"),
        (lambda: average_precision([0.1, 0.2], [1, 1]), "positive and negative items are needed, got 2 and 0"),
        (lambda: precision_recall_curve([], []), "positive and negative items are needed, got 0 and 0"),
    ],
)
def test_bad_input_is_one_clear_error(call, message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
