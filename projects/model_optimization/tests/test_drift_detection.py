"""Two-sample statistics against SciPy, brute force, and their own distribution without drift."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from model_optimization.monitoring import drift_detection as drift
from model_optimization.monitoring import mmd

values = st.lists(st.integers(0, 20).map(float), min_size=2, max_size=40).map(np.array)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(values, values)
def test_ks_is_scipys(a: np.ndarray, b: np.ndarray) -> None:
    ours = drift.ks_test(a, b)
    theirs: Any = stats.ks_2samp(a, b, method="asymp")
    assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-12)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-9)


@given(values, values)
def test_ks_is_the_largest_distance_at_any_value(a: np.ndarray, b: np.ndarray) -> None:
    brute = max(abs(np.mean(a <= x) - np.mean(b <= x)) for x in [*a, *b])
    assert drift.ks_statistic(np.sort(a), b) == pytest.approx(brute, abs=1e-12)


def test_chi_square_is_scipys() -> None:
    reference, window = np.array([120.0, 80, 40]), np.array([30.0, 45, 25])
    ours = drift.chi_square_test(reference, window)
    theirs: Any = stats.chi2_contingency([reference, window], correction=False)
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)


def test_chi_square_takes_rare_labels_together() -> None:
    ours = drift.chi_square_test(np.array([500.0, 300, 3, 2, 0]), np.array([50.0, 40, 2, 1, 0]))
    theirs: Any = stats.chi2_contingency([[500, 300, 5], [50, 40, 3]], correction=False)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert drift.chi_square_test(np.array([10.0, 0]), np.array([5.0, 0])).p_value == 1


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=8))
def test_jensen_shannon_is_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    if a.sum() and b.sum():
        assert drift.jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2) ** 2, abs=1e-9)


def test_psi_by_hand() -> None:
    # With half a count added to each bin, the shares are (0.25, 0.75) and (0.5, 0.5).
    reference, window = np.array([24.5, 74.5]), np.array([49.5, 49.5])
    expected = (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75)
    assert drift.psi(reference, window) == pytest.approx(expected)
    assert drift.psi(window, window) == 0
    assert drift.psi(reference, window) == pytest.approx(drift.psi(window, reference))


def test_bins_hold_equal_shares_and_ties_are_one_bin() -> None:
    edges = drift.quantile_edges(np.arange(1000.0))
    assert drift.bin_counts(np.arange(1000.0), edges).tolist() == pytest.approx([100] * 10, abs=1)
    tied = drift.quantile_edges(np.array([0.0] * 90 + [1.0, 2.0] * 5))
    assert drift.bin_counts(np.array([0.0, 0.0, 1.0, 5.0, -1.0]), tied).sum() == 5
    assert drift.psi_test(np.zeros(50), np.zeros(20)).p_value > 0.5


def test_psi_without_drift_is_what_sampling_brings() -> None:
    random = np.random.default_rng(0)
    results = [drift.psi_test(random.normal(size=800), random.normal(size=100)) for _ in range(400)]
    mean = np.mean([result.statistic for result in results])
    assert results[0].expected == pytest.approx(9 * (1 / 800 + 1 / 100))
    assert mean == pytest.approx(results[0].expected, rel=0.08)
    rejected = np.mean([result.p_value < 0.05 for result in results])
    assert rejected < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    naive = np.mean([result.statistic > 0.1 for result in results])
    assert naive > 0.3, "the usual limit would be reached without any drift"
    shifted = drift.psi_test(random.normal(size=800), random.normal(1, size=100))
    assert shifted.p_value < 1e-6
    assert shifted.excess == pytest.approx(shifted.statistic - shifted.expected)


@given(p_values)
def test_holm_is_its_definition(p: list[float]) -> None:
    # Closed testing: a hypothesis falls when Bonferroni rejects every set of hypotheses that holds it.
    corrected = drift.holm(p)
    if len(p) > 7:
        p, corrected = p[:7], drift.holm(p[:7])
    for place in range(len(p)):
        sets = [
            chosen
            for size in range(1, len(p) + 1)
            for chosen in itertools.combinations(range(len(p)), size)
            if place in chosen
        ]
        worst = max(min(1.0, len(chosen) * min(p[one] for one in chosen)) for chosen in sets)
        assert corrected[place] == pytest.approx(worst)


@given(p_values)
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    assert drift.benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p).tolist())


def brute_mmd2(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Gretton et al. 2012, equation 3, with loops."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2)))

    m, n = len(x), len(y)
    return (
        sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
        + sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
        - 2 * sum(k(a, b) for a in x for b in y) / (m * n)
    )


def test_mmd_is_the_sum_of_its_definition() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(9, 3)), random.normal(0.5, size=(7, 3))
    width = mmd.median_bandwidth(np.concatenate([x, y]))
    ours = mmd.unbiased_mmd2(*(mmd.gaussian_kernel(a, b, width) for a, b in ((x, x), (y, y), (x, y))))
    assert ours == pytest.approx(brute_mmd2(x, y, width), abs=1e-12)
    assert mmd.mmd_test(x, y, permutations=5).statistic == pytest.approx(brute_mmd2(x, y, width), abs=1e-12)
    squares = [((a - b) ** 2).sum() for a, b in itertools.combinations(np.concatenate([x, y]), 2)]
    assert width == pytest.approx(np.median(squares) ** 0.5)


def test_the_divisions_are_those_of_brute_force() -> None:
    random = np.random.default_rng(1)
    both = random.normal(size=(8, 2))
    kernel = mmd.gaussian_kernel(both, both, 1.0)
    np.fill_diagonal(kernel, 0)
    for window in itertools.combinations(range(8), 3):
        chosen = np.zeros((1, 8))
        chosen[0, list(window)] = 1
        expected = brute_mmd2(both[chosen[0] == 0], both[chosen[0] == 1], 1.0)
        assert mmd._mmd2_of_divisions(kernel, chosen, 3)[0] == pytest.approx(expected, abs=1e-12)


def test_the_permutation_test_keeps_its_level_and_finds_a_shift() -> None:
    random = np.random.default_rng(2)
    p = [
        mmd.mmd_test(random.normal(size=(30, 4)), random.normal(size=(20, 4)), permutations=99, seed=n).p_value
        for n in range(200)
    ]
    assert np.mean(np.array(p) <= 0.1) < 0.1 + 3 * (0.1 * 0.9 / 200) ** 0.5
    assert 0.3 < np.mean(p) < 0.7
    assert mmd.mmd_test(random.normal(size=(30, 4)), random.normal(1.5, size=(20, 4))).p_value == 1 / 501
    assert mmd.mmd_test(np.ones((5, 2)), np.ones((4, 2))).p_value == 1
