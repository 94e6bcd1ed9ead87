"""Maximum mean discrepancy: the distance between two samples of vectors (Gretton et al. 2012, "A kernel two-sample
test", JMLR 13). Shapes: n vectors of the reference, m of the window, D wide."""

import numpy as np
from numpy.typing import NDArray

from model_optimization.monitoring.drift_detection import TestResult

Array = NDArray[np.float64]


def squared_distances(a: Array, b: Array) -> Array:
    """(n, m) squared Euclidean distances of (n, D) and (m, D)."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T, 0.0)


def median_bandwidth(vectors: Array) -> float:
    """Median distance between two of the vectors: the usual width of the kernel (Gretton et al. 2012, section 8)."""
    distances = squared_distances(vectors, vectors)[np.triu_indices(len(vectors), 1)]
    positive = distances[distances > 0]
    return float(np.sqrt(np.median(positive))) if len(positive) else 1.0


def gaussian_kernel(a: Array, b: Array, bandwidth: float) -> Array:
    """(n, m) exp(-|x - y|^2 / (2 bandwidth^2))."""
    return np.exp(squared_distances(a, b) / (-2 * bandwidth**2))


def mean_off_diagonal(kernel: Array) -> float:
    """Mean over pairs of two different vectors of an (n, n) kernel matrix."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def unbiased_mmd2(within_reference: Array, within_window: Array, between: Array) -> float:
    """Squared discrepancy without bias, from (n, n), (m, m) and (n, m) kernels (Gretton et al. 2012, equation 3).

    Its mean is 0 where both samples come from one distribution, so that it can be below 0.
    """
    return mean_off_diagonal(within_reference) + mean_off_diagonal(within_window) - 2 * float(between.mean())


def mmd_test(reference: Array, window: Array, *, permutations: int = 500, seed: int = 0) -> TestResult:
    """Permutation test: how often does a random division of all n + m vectors lie at least as far apart?

    The p-value counts the division at hand too, so that it is never 0 and the test keeps to its level exactly.
    """
    everything = np.concatenate([reference, window])
    kernel = gaussian_kernel(everything, everything, median_bandwidth(everything))
    np.fill_diagonal(kernel, 0.0)
    m, total = len(window), len(everything)
    chosen = np.zeros((permutations + 1, total))
    chosen[0, len(reference) :] = 1
    random = np.random.default_rng(seed)
    for row in chosen[1:]:
        row[random.permutation(total)[:m]] = 1
    values = _mmd2_of_divisions(kernel, chosen, m)
    # Sums of the same numbers in another order differ in their last digits.
    at_least = int((values[1:] >= values[0] - 1e-12).sum())
    return TestResult(statistic=float(values[0]), p_value=(1 + at_least) / (1 + permutations))


def _mmd2_of_divisions(kernel: Array, chosen: Array, m: int) -> Array:
    """(P,) squared discrepancies; `chosen` is (P, n + m), 1 for the vectors of the window."""
    n = len(kernel) - m
    sums = chosen @ kernel  # (P, n + m)
    within_window = (sums * chosen).sum(axis=1)
    between = sums.sum(axis=1) - within_window
    within_reference = kernel.sum() - within_window - 2 * between
    return within_reference / (n * (n - 1)) + within_window / (m * (m - 1)) - 2 * between / (n * m)
