"""Bootstrap intervals against exact enumeration, closed forms and simulated coverage."""

import itertools
import math

import numpy as np
import pytest

from roadmap_shared.metrics import bootstrap_interval, bootstrap_ratio, mean_and_spread, paired_bootstrap


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
        (lambda: mean_and_spread([1.0]), r"needs at least two values in one dimension, got shape \(1,\)"),
    ],
)
def test_bad_input_is_one_clear_error(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
