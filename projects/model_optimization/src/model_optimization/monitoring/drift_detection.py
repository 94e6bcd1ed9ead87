"""Two samples, one question: do they come from the same distribution? The statistics by hand, p-values by SciPy.

Shapes: n values of the reference, m of the window, B bins, C categories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """A test's outcome."""

    statistic: float
    p_value: float
    """Chance of at least such a statistic where nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class PsiResult(TestResult):
    """Population stability index. The usual rule reads 0.1 as small and 0.25 as large drift."""

    expected: float
    """What sampling alone brings, on average: with few values it reaches the usual 0.1 by itself."""

    @property
    def excess(self) -> float:
        """The index without what sampling alone brings."""
        return max(0.0, self.statistic - self.expected)


def quantile_edges(reference: Array, n_bins: int = 10) -> Array:
    """Inner borders of bins that hold equal shares of the reference; fewer where many values are equal. None is empty:
    a border at the least value would leave one below it."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, n_bins + 1)[1:-1], method="higher"))
    return edges[edges > reference.min()]


def bin_counts(values: Array, edges: Array) -> Array:
    """(B,) how many values lie in each bin; a value at a border belongs above it."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(np.float64)


def psi(reference: Array, window: Array) -> float:
    """Population stability index of two (B,) counts: sum of (q - p) ln(q / p), shares p and q.

    It is the Kullback-Leibler divergence in both directions. Half a value is added to each bin, so that an empty bin
    does not make it infinite.
    """
    p = (reference + 0.5) / (reference + 0.5).sum()
    q = (window + 0.5) / (window + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def psi_test(reference: Array, window: Array, n_bins: int = 10) -> PsiResult:
    """PSI over bins of equal shares of the reference, with its distribution where nothing has changed.

    There, PSI / (1/n + 1/m) is about chi-square with B - 1 degrees of freedom (Yurdakul and Naranjo 2020, "Statistical
    properties of the population stability index"): its mean is (B - 1)(1/n + 1/m), which is 0.1 for 10 bins and 100
    values against many.
    """
    edges = quantile_edges(reference, n_bins)
    value = psi(bin_counts(reference, edges), bin_counts(window, edges))
    scale = 1 / len(reference) + 1 / len(window)
    if not len(edges):
        return PsiResult(statistic=value, p_value=1.0, expected=0.0)
    return PsiResult(
        statistic=value, p_value=float(stats.chi2.sf(value / scale, len(edges))), expected=len(edges) * scale
    )


def ks_statistic(reference: Array, window: Array) -> float:
    """Largest distance between the two empirical distribution functions (Kolmogorov and Smirnov).

    Args:
        reference: (n,) values in ascending order.
        window: (m,) values in any order.
    """
    ordered = np.sort(window)
    places = np.concatenate([reference, ordered])  # both functions are flat between values
    below_reference = np.searchsorted(reference, places, side="right") / len(reference)
    below_window = np.searchsorted(ordered, places, side="right") / len(ordered)
    return float(np.abs(below_reference - below_window).max())


def ks_test(reference: Array, window: Array) -> TestResult:
    """Two-sample Kolmogorov-Smirnov test, with the large-sample p-value; ties make it cautious."""
    statistic = ks_statistic(np.sort(reference), window)
    n, m = len(reference), len(window)
    p_value = stats.kstwo.sf(statistic, np.round(n * m / (n + m)))
    return TestResult(statistic=statistic, p_value=float(np.clip(p_value, 0, 1)))


def chi_square_test(reference: Array, window: Array, least_expected: float = 5.0) -> TestResult:
    """Pearson's test of homogeneity of two (C,) counts.

    Categories of which fewer than `least_expected` are expected in a sample are taken together, as the chi-square
    distribution is a poor approximation for them.
    """
    table = np.stack([reference, window]).astype(np.float64)  # (2, C)
    table = _merged(table[:, table.sum(axis=0) > 0], least_expected)
    if table.shape[1] < 2:
        return TestResult(statistic=0.0, p_value=1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()  # (2, C)
    statistic = float(((table - expected) ** 2 / expected).sum())
    return TestResult(statistic=statistic, p_value=float(stats.chi2.sf(statistic, table.shape[1] - 1)))


def jensen_shannon(reference: Array, window: Array) -> float:
    """Divergence of two (C,) counts in bits, 0 … 1 (Lin 1991): how far both are from their mean, on average."""
    p, q = reference / reference.sum(), window / window.sum()
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being many, in their order (Holm 1979): the chance of any false alarm stays below the
    level, however the tests depend on each other."""
    count, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        largest = max(largest, (count - rank) * p_values[place])
        corrected[place] = min(1.0, largest)
    return corrected


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values corrected so that the expected share of false ones among the alarms stays below the level (Benjamini and
    Hochberg 1995), in their order. For looking at many features, not for waking somebody up."""
    count, corrected, smallest = len(p_values), [0.0] * len(p_values), 1.0
    for rank, place in reversed(list(enumerate(sorted(range(count), key=lambda place: p_values[place]), start=1))):
        smallest = min(smallest, count / rank * p_values[place])
        corrected[place] = smallest
    return corrected


def counts_of(labels: Sequence[str], known: Mapping[str, int]) -> Array:
    """(C + 1,) how often each known label comes, and how often any other."""
    places = [known.get(label, len(known)) for label in labels]
    return np.bincount(np.array(places, dtype=np.int64), minlength=len(known) + 1).astype(np.float64)


def _relative_entropy(p: Array, q: Array) -> float:
    there = p > 0
    return float((p[there] * np.log2(p[there] / q[there])).sum())


def _merged(table: Array, least: float) -> Array:
    """(2, C) counts with the rare categories as one column."""
    if table.shape[1] < 3:
        return table
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    rare = expected < least
    if rare.sum() < 2:
        return table
    return np.concatenate([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)], axis=1)
