"""Bootstrap and Wilson intervals against enumeration, SciPy, published values, closed forms and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.metrics import (
    Interval,
    bootstrap_interval,
    bootstrap_ratio,
    mean_and_spread,
    paired_bootstrap,
    share_interval,
    wilson_interval,
)


def exact_percentiles(scores: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Percentiles of the exact bootstrap distribution: smallest scores whose share reaches each tail."""
    ordered = sorted(scores)
    tail = (1 - confidence) / 2
    return ordered[math.ceil(tail * len(ordered)) - 1], ordered[math.ceil((1 - tail) * len(ordered)) - 1]


def test_interval_of_the_mean_equals_the_enumeration_of_all_resamples() -> None:
    values = [0.0, 1.0, 1.5, 4.0, 9.0]
    means = [sum(draw) / 5 for draw in itertools.product(values, repeat=5)]  # all 3125 equally likely resamples
    interval = bootstrap_interval(values, n_resamples=100_000)
    assert interval.estimate == pytest.approx(3.1)
    assert (interval.low, interval.high) == pytest.approx(exact_percentiles(means))


def test_ratio_interval_equals_the_enumeration_of_all_resamples() -> None:
    losses, tokens = [2.0, 9.0, 40.0, 3.0], [1.0, 4.0, 10.0, 2.0]
    ratios = [
        sum(losses[i] for i in draw) / sum(tokens[i] for i in draw) for draw in itertools.product(range(4), repeat=4)
    ]
    interval = bootstrap_ratio(losses, tokens, n_resamples=100_000)
    assert interval.estimate == pytest.approx(54 / 17)  # not the mean of the four ratios
    assert (interval.low, interval.high) == pytest.approx(exact_percentiles(ratios))


def test_ratio_with_equal_denominators_is_the_interval_of_the_mean() -> None:
    losses = np.random.default_rng(0).gamma(2.0, size=50)
    ratio, mean = bootstrap_ratio(losses * 8, np.full(50, 8.0), seed=3), bootstrap_interval(losses, seed=3)
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((mean.estimate, mean.low, mean.high))


def test_width_follows_the_central_limit_theorem_across_memory_chunks() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=20_000)  # 4000 resamples: 40 chunks
    interval = bootstrap_interval(values, n_resamples=4000, confidence=0.90)
    half_width = 1.6449 * values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.06 * half_width)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.06 * half_width)


@pytest.mark.parametrize(("confidence", "least", "most"), [(0.95, 0.92, 0.97), (0.80, 0.765, 0.835)])
def test_coverage_over_simulated_data_sets(confidence: float, least: float, most: float) -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for seed in range(1000):
        values = generator.normal(1.0, 0.5, size=100)
        interval = bootstrap_interval(values, n_resamples=400, confidence=confidence, seed=seed)
        hits += interval.low <= 1.0 <= interval.high
    assert least <= hits / 1000 <= most


def test_ratio_coverage_over_simulated_data_sets() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for seed in range(1000):
        tokens = generator.integers(1, 64, size=80).astype(float)
        losses = tokens * generator.normal(1.6, 0.4, size=80)
        interval = bootstrap_ratio(losses, tokens, n_resamples=400, seed=seed)
        hits += interval.low <= 1.6 <= interval.high
    assert 0.92 <= hits / 1000 <= 0.97


def test_statistic_over_columns_resamples_the_columns_together() -> None:
    labels = np.array([0, 0, 1, 1, 1, 0, 1, 0] * 20)
    pairs = np.stack([labels, labels], axis=1)

    def accuracy(resamples: np.ndarray) -> np.ndarray:
        return (resamples[..., 0] == resamples[..., 1]).mean(axis=1)

    interval = bootstrap_interval(pairs, accuracy)
    assert (interval.estimate, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_other_statistic_than_the_mean() -> None:
    interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 1000.0], lambda resamples: np.median(resamples, axis=1))
    assert interval.estimate == 3.0
    assert (interval.low, interval.high) == (1.0, 1000.0)


def test_same_seed_same_interval_other_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=40)
    assert bootstrap_interval(values, seed=7) == bootstrap_interval(values, seed=7)
    assert bootstrap_interval(values, seed=7) != bootstrap_interval(values, seed=8)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_interval_is_that_of_scipy(n: int, data: st.DataObject, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    successes = data.draw(st.integers(0, n))
    interval = wilson_interval(successes, n, confidence)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert interval.estimate == successes / n
    np.testing.assert_allclose((interval.low, interval.high), (expected.low, expected.high), rtol=1e-9, atol=1e-12)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, "Two-Sided Confidence Intervals for the Single Proportion", table I, method 3."""
    interval = wilson_interval(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_hand() -> None:
    # 5 of 10 at z = 1.959964: centre 1/2, half width z sqrt(1/40 + z²/400) / (1 + z²/10).
    interval = wilson_interval(5, 10)
    assert (interval.low, interval.high) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    # None or all of 10: z² = 3.841459 and the other end z² / (10 + z²).
    none, every = wilson_interval(0, 10), wilson_interval(10, 10)
    assert (none.estimate, none.low, none.high) == (0.0, 0.0, pytest.approx(0.277533, abs=1e-6))
    assert (every.estimate, every.low, every.high) == (1.0, pytest.approx(0.722467, abs=1e-6), 1.0)


@pytest.mark.parametrize(
    ("successes", "n", "confidence", "message"),
    [
        (0, 0, 0.95, "expected 0 <= successes <= n and n >= 1, got 0 of 0"),
        (4, 3, 0.95, "expected 0 <= successes <= n and n >= 1, got 4 of 3"),
        (-1, 3, 0.95, "expected 0 <= successes <= n and n >= 1, got -1 of 3"),
        (1, 3, 1.0, "confidence must lie between 0 and 1, got 1.0"),
    ],
)
def test_wilson_rejects(successes: int, n: int, confidence: float, message: str) -> None:
    with pytest.raises(ValueError) as error:
        wilson_interval(successes, n, confidence)
    assert str(error.value) == message


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.sampled_from([0.8, 0.95]))
def test_a_share_of_right_and_wrong_has_wilsons_interval_with_a_width(values: list[bool], confidence: float) -> None:
    interval = share_interval(values, confidence=confidence)
    assert interval == wilson_interval(sum(values), len(values), confidence)
    assert interval.low < interval.high


def test_fractional_scores_have_the_bootstraps_interval() -> None:
    values = [0.0, 1.0, 0.5, 1.0, 0.25]
    expected = bootstrap_interval(values, confidence=0.9, seed=3)
    assert share_interval(values, confidence=0.9, seed=3) == expected
    assert share_interval([0.5, 0.5]) == Interval(0.5, 0.5, 0.5)


def test_pairing_finds_a_small_difference_that_separate_intervals_hide() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(0.0, 10.0, size=200)
    b = a + generator.normal(0.5, 1.0, size=200)
    comparison = paired_bootstrap(a, b)
    assert bootstrap_interval(a).high > bootstrap_interval(b).low
    assert comparison.difference == pytest.approx(float(np.mean(b) - np.mean(a)))
    assert 0 < comparison.low < comparison.difference < comparison.high
    assert comparison.probability_b_better == 1.0
    assert paired_bootstrap(a, b, higher_is_better=False).probability_b_better == 0.0


def test_paired_comparison_equals_the_enumeration_of_all_resamples() -> None:
    a, b = [0.0, 1.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 2.0, 0.0]  # differences 1, -1, 3, 0, -1
    sums = [sum(draw) for draw in itertools.product([1.0, -1.0, 3.0, 0.0, -1.0], repeat=5)]
    wins = (sum(s > 0 for s in sums) + 0.5 * sum(s == 0 for s in sums)) / len(sums)
    comparison = paired_bootstrap(a, b, n_resamples=100_000)
    low, high = exact_percentiles(sums)
    assert comparison.probability_b_better == pytest.approx(wins, abs=0.006)
    assert (comparison.low, comparison.high) == pytest.approx((low / 5, high / 5))


def test_identical_systems_are_a_draw() -> None:
    comparison = paired_bootstrap([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert (comparison.difference, comparison.low, comparison.high) == (0.0, 0.0, 0.0)
    assert comparison.probability_b_better == 0.5


def test_mean_and_spread_of_seeds() -> None:
    assert mean_and_spread([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, math.sqrt(7 / 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), "values must hold at least one item"),
        (lambda: bootstrap_interval([1.0, math.nan, math.inf]), "values holds NaN or infinity at item 1"),
        (lambda: bootstrap_interval([1.0], n_resamples=0), "n_resamples must be at least 1, got 0"),
        (lambda: bootstrap_interval([1.0], confidence=95), "confidence must lie between 0 and 1, got 95"),
        (lambda: bootstrap_ratio([1.0, 2.0], [1.0]), r"same length, got shapes \(2,\) and \(1,\)"),
        (
            lambda: bootstrap_ratio([1.0, 2.0], [1.0, 0.0]),
            "denominators must be positive, but the smallest is 0",
        ),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0]), r"a and b must be .* got shapes \(1,\) and \(2,\)"),
        (lambda: paired_bootstrap([1.0], [math.nan]), "b holds NaN or infinity at item 0"),
        (lambda: share_interval([]), "values must hold at least one item"),
        (lambda: share_interval([1.0, math.nan]), "values holds NaN or infinity at item 1"),
        (lambda: share_interval([[0.0, 1.0]]), r"values must be one score for each item, got shape \(1, 2\)"),
        (lambda: share_interval([1.0, 0.0, 1.5]), "values must lie between 0 and 1, but item 2 is 1.5"),
        (lambda: share_interval([-0.25, 0.0]), "values must lie between 0 and 1, but item 0 is -0.25"),
        (lambda: share_interval([0.5, 1.0], confidence=95), "confidence must lie between 0 and 1, got 95"),
        (lambda: share_interval([1.0], confidence=95), "confidence must lie between 0 and 1, got 95"),
        (lambda: mean_and_spread([1.0]), r"needs at least two values in one dimension, got shape \(1,\)"),
    ],
)
def test_bad_input_is_one_clear_error(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
