"""Scores of decisions against scikit-learn, exact enumeration and values worked out by hand."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from roadmap_shared.metrics import (
    Interval,
    PairedComparison,
    accuracy,
    bootstrap_interval,
    class_scores,
    cohen_kappa,
    confusion_matrix,
    macro_f1,
    macro_f1_interval,
    mcnemar_test,
    paired_bootstrap,
    paired_macro_f1,
)

sklearn_metrics: Any = metrics  # without stubs, its defaults pass for all that it accepts

N_CLASSES = 4
LABEL_PAIRS = st.lists(
    st.tuples(st.integers(0, N_CLASSES - 1), st.integers(0, N_CLASSES - 1)), min_size=1, max_size=40
).map(np.array)


def noisy_predictions(seed: int, n_items: int = 300, n_classes: int = 3, error: float = 0.25) -> tuple[np.ndarray, ...]:
    """Targets of unequal class shares, and the predictions of two models of about the same quality."""
    generator = np.random.default_rng(seed)
    targets = generator.choice(n_classes, size=n_items, p=np.arange(1, n_classes + 1) / sum(range(n_classes + 1)))
    models = [
        np.where(generator.random(n_items) < error, generator.integers(n_classes, size=n_items), targets)
        for _ in range(2)
    ]
    return targets, *models


@given(LABEL_PAIRS)
def test_scores_equal_scikit_learn(pairs: np.ndarray) -> None:
    predictions, targets = pairs.T
    classes = list(range(N_CLASSES))
    confusion = confusion_matrix(predictions, targets, N_CLASSES)
    scores = class_scores(confusion)
    assert confusion.tolist() == sklearn_metrics.confusion_matrix(targets, predictions, labels=classes).tolist()
    assert accuracy(predictions, targets) == pytest.approx(sklearn_metrics.accuracy_score(targets, predictions))
    expected = sklearn_metrics.precision_recall_fscore_support(
        targets, predictions, labels=classes, zero_division=np.nan
    )
    np.testing.assert_allclose([scores.precision, scores.recall, scores.f1], expected[:3], rtol=1e-12)
    assert scores.support.tolist() == expected[3].tolist()
    # Without a list of classes scikit-learn averages over those that occur or are predicted.
    assert macro_f1(predictions, targets, N_CLASSES) == pytest.approx(
        sklearn_metrics.f1_score(targets, predictions, average="macro")
    )


@given(LABEL_PAIRS)
def test_kappa_equals_scikit_learn(pairs: np.ndarray) -> None:
    a, b = pairs.T
    ours = cohen_kappa(a, b, N_CLASSES)
    if len(np.unique(pairs)) == 1:  # scikit-learn warns and returns NaN as well
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(sklearn_metrics.cohen_kappa_score(a, b), abs=1e-12)
        assert ours == cohen_kappa(b, a, N_CLASSES)


@given(LABEL_PAIRS, st.permutations(range(N_CLASSES)))
def test_scores_do_not_depend_on_the_order_of_items_or_the_numbers_of_classes(pairs: np.ndarray, order: list) -> None:
    predictions, targets = pairs.T
    renamed, renamed_targets = np.array(order)[pairs[::-1]].T
    assert accuracy(renamed, renamed_targets) == pytest.approx(accuracy(predictions, targets))
    assert macro_f1(renamed, renamed_targets, N_CLASSES) == pytest.approx(macro_f1(predictions, targets, N_CLASSES))
    assert confusion_matrix(targets, predictions, N_CLASSES).tolist() == (
        confusion_matrix(predictions, targets, N_CLASSES).T.tolist()
    )


def test_scores_by_hand_with_a_class_never_predicted_and_one_that_never_occurs() -> None:
    # Class 2 occurs once and is missed; class 3 neither occurs nor is predicted.
    predictions, targets = [0, 0, 1, 1, 0], [0, 0, 1, 0, 2]
    scores = class_scores(confusion_matrix(predictions, targets, 4))
    np.testing.assert_allclose(scores.precision, [2 / 3, 1 / 2, np.nan, np.nan])
    np.testing.assert_allclose(scores.recall, [2 / 3, 1, 0, np.nan])
    np.testing.assert_allclose(scores.f1, [2 / 3, 2 / 3, 0, np.nan])
    assert scores.support.tolist() == [3, 1, 1, 0]
    assert scores.macro_f1 == macro_f1(predictions, targets, 4) == pytest.approx(4 / 9)


def test_kappa_of_cohens_own_example() -> None:
    # Cohen 1960, table 1, in shares of 200 items: observed .70, expected .41.
    table = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
    a, b = (np.repeat(index, table.ravel()) for index in np.indices(table.shape).reshape(2, -1))
    assert cohen_kappa(a, b, 3) == pytest.approx((0.70 - 0.41) / (1 - 0.41))


def binomial_p_value(only_a: int, only_b: int) -> Fraction:
    """Two-sided test of p = 1/2, in fractions: all outcomes at most as likely as the one observed."""
    n = only_a + only_b
    chance = [Fraction(math.comb(n, k), 2**n) for k in range(n + 1)]
    return sum((p for p in chance if p <= chance[only_a]), Fraction(0))


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


@given(st.integers(0, 24), st.integers(0, 24), st.integers(1, 9), st.integers(0, 9))
def test_mcnemar_is_the_binomial_test_of_the_discordant_items(a: int, b: int, both: int, neither: int) -> None:
    test = mcnemar_test(*outcomes(both, a, b, neither))
    assert (test.only_a, test.only_b, test.exact) == (a, b, a + b < 25)
    if test.exact:
        assert test.p_value == pytest.approx(float(binomial_p_value(a, b)), rel=1e-12)


@pytest.mark.parametrize(("only_a", "only_b"), [(10, 15), (13, 13), (60, 40), (80, 120), (500, 400)])
def test_mcnemar_with_many_discordant_items_is_close_to_the_binomial_test(only_a: int, only_b: int) -> None:
    test = mcnemar_test(*outcomes(7, only_a, only_b, 3))
    assert not test.exact
    assert test.p_value == pytest.approx(float(binomial_p_value(only_a, only_b)), abs=0.005)


def test_mcnemar_by_hand() -> None:
    # chi-square (|60 - 40| - 1)² / 100 = 3.61, the square of 1.9: two tails of the standard normal distribution.
    assert mcnemar_test(*outcomes(5, 60, 40, 5)).p_value == pytest.approx(0.0574331, abs=1e-7)
    assert mcnemar_test(*outcomes(5, 5, 0, 5)).p_value == 2 / 2**5
    assert mcnemar_test([1, 0, 1], [1, 0, 1]).p_value == 1.0  # identical models: nothing speaks against equality


def exact_percentiles(scores: list[float]) -> tuple[float, float]:
    ordered = sorted(scores)
    return ordered[math.ceil(0.025 * len(ordered)) - 1], ordered[math.ceil(0.975 * len(ordered)) - 1]


def over_all_resamples(score: Callable[[list[int]], float], n_items: int) -> list[float]:
    """The score of each of the n_items ** n_items equally likely resamples; their order does not matter to it."""
    known = {draw: score(list(draw)) for draw in itertools.combinations_with_replacement(range(n_items), n_items)}
    return [known[tuple(sorted(draw))] for draw in itertools.product(range(n_items), repeat=n_items)]


def test_macro_f1_interval_equals_the_enumeration_of_all_resamples() -> None:
    predictions, targets = np.array([0, 1, 1, 0, 2]), np.array([0, 1, 0, 0, 1])

    def score(draw: list[int]) -> float:
        return sklearn_metrics.f1_score(targets[draw], predictions[draw], average="macro")

    interval = macro_f1_interval(predictions, targets, 3, n_resamples=100_000)
    assert interval.estimate == pytest.approx(score(list(range(5))))
    assert (interval.low, interval.high) == pytest.approx(exact_percentiles(over_all_resamples(score, 5)))


def test_paired_macro_f1_equals_the_enumeration_of_all_resamples() -> None:
    targets, a, b = np.array([[0, 1, 0, 1, 2], [0, 0, 0, 1, 1], [0, 1, 1, 1, 2]])

    def difference(draw: list[int]) -> float:
        score_a, score_b = (sklearn_metrics.f1_score(targets[draw], m[draw], average="macro") for m in (a, b))
        return round(score_b - score_a, 12)  # a draw is zero, not nearly zero

    comparison = paired_macro_f1(a, b, targets, 3, n_resamples=100_000)
    differences = over_all_resamples(difference, 5)
    assert comparison.difference == pytest.approx(difference(list(range(5))))
    assert (comparison.low, comparison.high) == pytest.approx(exact_percentiles(differences))
    assert comparison.probability_b_better == pytest.approx(np.mean(np.sign(differences) / 2 + 0.5), abs=0.006)


def test_macro_f1_interval_equals_the_general_bootstrap_over_items() -> None:
    targets, predictions, _ = noisy_predictions(0)

    def statistic(resamples: np.ndarray) -> np.ndarray:
        return np.array([macro_f1(pairs[:, 0], pairs[:, 1], 3) for pairs in resamples.astype(int)])

    general = bootstrap_interval(np.stack([predictions, targets], axis=1), statistic, n_resamples=4000)
    ours = macro_f1_interval(predictions, targets, 3, n_resamples=4000)
    width = general.high - general.low
    assert ours.estimate == general.estimate
    assert (ours.low, ours.high) == pytest.approx((general.low, general.high), abs=0.05 * width)


def test_macro_f1_interval_coverage_over_simulated_test_sets() -> None:
    population = [labels.repeat(100) for labels in noisy_predictions(3, n_items=2000)]
    truth = macro_f1(population[1], population[0], 3)
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(1000):
        drawn = generator.integers(len(population[0]), size=200)
        interval = macro_f1_interval(population[1][drawn], population[0][drawn], 3, n_resamples=400, seed=seed)
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / 1000 <= 0.97


def test_pairing_narrows_the_interval_of_similar_models() -> None:
    targets, a, _ = noisy_predictions(0, n_items=1000)
    b = np.where(np.arange(1000) % 25 == 0, targets, a)  # mends a few mistakes, makes none
    comparison = paired_macro_f1(a, b, targets, 3)
    separate = [macro_f1_interval(model, targets, 3) for model in (a, b)]
    assert separate[0].high > separate[1].low
    assert 0 < comparison.low < comparison.difference < comparison.high
    assert comparison.probability_b_better > 0.99
    swapped = paired_macro_f1(b, a, targets, 3)
    assert swapped.difference == -comparison.difference
    assert paired_bootstrap(a == targets, b == targets).difference > 0


def test_identical_models_are_a_draw_and_a_perfect_one_has_no_spread() -> None:
    targets, a, _ = noisy_predictions(0)
    assert paired_macro_f1(a, a, targets, 3) == PairedComparison(0.0, 0.0, 0.0, 0.5)
    assert macro_f1_interval(targets, targets, 3) == Interval(1.0, 1.0, 1.0)


@settings(max_examples=30)
@given(LABEL_PAIRS)
def test_interval_lies_within_the_range_of_the_score_and_repeats(pairs: np.ndarray) -> None:
    predictions, targets = pairs.T
    interval = macro_f1_interval(predictions, targets, N_CLASSES, n_resamples=50)
    assert 0 <= interval.low <= interval.high <= 1
    assert interval == macro_f1_interval(predictions, targets, N_CLASSES, n_resamples=50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: accuracy([], []),
            "predictions and targets must be lists of the same length, not empty, got shapes [(0,), (0,)]",
        ),
        (
            lambda: paired_macro_f1([0], [0, 1], [0], 2),
            "predictions and targets must be lists of the same length, not empty, got shapes [(1,), (2,), (1,)]",
        ),
        (lambda: accuracy([0.5], [1]), "labels must be class indices, whole numbers from 0, got dtype float64"),
        (lambda: accuracy(["a"], [1]), "labels must be class indices, whole numbers from 0, got dtype <U1"),
        (lambda: accuracy([0, -100], [0, 1]), "item 1 has label -100, but labels go from 0"),
        (lambda: macro_f1([0, 1], [0, 2], 2), "item 1 has label 2, but labels go from 0 to 1"),
        (lambda: class_scores([[1, 2]]), "a confusion matrix has as many rows as columns, got shape (1, 2)"),
        (lambda: class_scores([[0, 0], [0, 0]]), "the confusion matrix holds no item"),
        (lambda: macro_f1_interval([0], [0], 2, n_resamples=0), "n_resamples must be at least 1, got 0"),
        (lambda: paired_macro_f1([0], [0], [0], 2, confidence=95), "confidence must lie between 0 and 1, got 95"),
        (
            lambda: mcnemar_test([True], [True, False]),
            "correct_a and correct_b must be two lists of the same length, got (1,) and (2,)",
        ),
        (
            lambda: mcnemar_test([2, 0], [1, 0]),
            "correct_a and correct_b must say of each item whether it is right: True or False, 1 or 0",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message
