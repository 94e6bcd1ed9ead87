"""Uncertainty of a measured score: bootstrap and Wilson intervals, paired comparison, spread over seeds.

The bootstrap draws a test set of the same size from the test set itself, with replacement, and computes the
score again; the spread of the score over many such draws stands for its spread over test sets (Efron &
Tibshirani, "An Introduction to the Bootstrap", 1993). The items must be independent: for text cut into
windows, resample windows, not tokens.

A resample holds nothing that was not seen: where all items agree, as with 0 successes of 20, the bootstrap's interval
has no width. Shares of successes therefore have Wilson's interval.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

Statistic = Callable[[FloatArray], FloatArray]
"""Score of each resample: (n_resamples, n_items) or (n_resamples, n_items, n_columns) -> (n_resamples,)."""

# Numbers drawn at a time: bounds the memory at a few times 16 MB however many items there are.
_CHUNK_SIZE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A score and its confidence interval, in the score's own unit."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """By how much system b differs from system a on the same items: mean(b) - mean(a), with its interval.

    `probability_b_better` is the share of resamples in which b wins, a tie counting one half.
    """

    difference: float
    low: float
    high: float
    probability_b_better: float


def mean(resamples: FloatArray) -> FloatArray:
    """Mean over the items of each resample: (n_resamples, n_items) -> (n_resamples,)."""
    return resamples.mean(axis=1)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic = mean,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic over independent items.

    The percentile interval (Efron & Tibshirani 1993, §13.3) stays within the range of the score and carries
    over to any increasing transformation of it: exp of an interval of the loss is the interval of the
    perplexity. With fewer than about 30 items it is too narrow, and where every item scores the same its
    width is zero: for shares see `share_interval`.

    Args:
        values: score of each item, (n_items,); or several numbers per item that are resampled together,
            (n_items, n_columns), such as label and prediction.
        statistic: maps all resamples to their scores at once; the mean by default.
        n_resamples: bootstrap draws; 1000 or more for the ends of an interval (ch. 19).
        confidence: nominal coverage, between 0 and 1.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ValueError: `values` is empty, holds NaN or infinity, or has more than two dimensions.
    """
    items = _checked_items(values, "values")
    _check_settings(n_resamples, confidence)
    scores = np.concatenate([statistic(chunk) for chunk in _resamples(items, n_resamples, seed)])
    low, high = _percentiles(scores, confidence)
    return Interval(float(statistic(items[None])[0]), low, high)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of sum(numerators) / sum(denominators) over independent items.

    The score of a whole split whose items weigh differently: summed losses / token counts per window is the
    loss per token, summed losses / UTF-8 bytes per document is the loss per byte. Numerator and denominator
    of an item are drawn together (Efron & Tibshirani 1993, §10.3: a ratio of means).

    Args:
        numerators, denominators: (n_items,), the denominators positive.
        n_resamples, confidence, seed: as for `bootstrap_interval`.

    Raises:
        ValueError: empty or unequal lengths, NaN or infinity, or a denominator that is not positive.
    """
    tops, bottoms = _checked_pair(numerators, denominators, "numerators", "denominators")
    if bottoms.min() <= 0:
        raise ValueError(f"denominators must be positive, but the smallest is {bottoms.min():g}")
    return bootstrap_interval(
        np.stack([tops, bottoms], axis=1),
        lambda resamples: resamples[..., 0].sum(axis=1) / resamples[..., 1].sum(axis=1),
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
    )


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The share successes / n with its score interval (Wilson 1927, "Probable Inference, the Law of Succession, and
    Statistical Inference", JASA 22).

    It holds the rates that the count does not contradict, those p for which |share - p| <= z sqrt(p (1 - p) / n). It
    comes close to its confidence on average for small n and for shares near 0 and 1 as well (Brown, Cai & DasGupta
    2001, "Interval Estimation for a Binomial Proportion", §3.1.1): 0 failures of 20 are compatible with a failure rate
    of up to 0.16.

    Args:
        successes: 0 to n.
        n: independent trials, 1 or more.
        confidence: nominal coverage, between 0 and 1.

    Raises:
        ValueError: n is below 1, `successes` is outside 0 … n, or `confidence` outside 0 … 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    _check_confidence(confidence)
    share = successes / n
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the formula is exact, but its rounding is not.
    low = 0.0 if successes == 0 else centre - half_width
    high = 1.0 if successes == n else centre + half_width
    return Interval(share, low, high)


def share_interval(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Confidence interval of the mean of scores between 0 and 1, one for each independent item.

    Wilson's interval where every score is exactly 0 or 1, the percentile bootstrap where some lie between, such as
    pass@k of several samples. The bootstrap cannot serve for both: where all items score 0 its interval is [0, 0],
    although rates of up to about 3 / n are still compatible with nought of n (Hanley & Lippman-Hand 1983, "If Nothing
    Goes Wrong, Is Everything All Right?", JAMA 249: the upper bound of one-sided 95 %; Wilson's two-sided interval
    reaches 3.84 / (n + 3.84)). Fractions that are all equal still give an interval of no width.

    Args:
        values: score of each item, (n_items,).
        confidence: nominal coverage, between 0 and 1.
        seed: of the bootstrap's draws.

    Raises:
        ValueError: `values` is empty, has more than one dimension, or holds NaN or a number outside 0 … 1.
    """
    scores = _checked_items(values, "values")
    if scores.ndim != 1:
        raise ValueError(f"values must be one score for each item, got shape {scores.shape}")
    outside = np.flatnonzero((scores < 0) | (scores > 1))
    if outside.size:
        raise ValueError(f"values must lie between 0 and 1, but item {outside[0]} is {scores[outside[0]]:g}")
    if np.isin(scores, (0.0, 1.0)).all():
        return wilson_interval(int(scores.sum()), len(scores), confidence)
    return bootstrap_interval(scores, confidence=confidence, seed=seed)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    higher_is_better: bool = True,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Compares two systems on the same items by paired bootstrap resampling (Koehn 2004, EMNLP).

    Both systems are scored on the same resampled items, so what makes an item hard for both cancels out: a
    difference can be certain although the two separate intervals overlap.

    Args:
        a, b: score of each item, (n_items,), the items in the same order.
        higher_is_better: False for losses and error rates. Changes `probability_b_better` only: the
            difference is mean(b) - mean(a) in either case.
        n_resamples, confidence, seed: as for `bootstrap_interval`.

    Raises:
        ValueError: empty or unequal lengths, NaN or infinity.
    """
    first, second = _checked_pair(a, b, "a", "b")
    _check_settings(n_resamples, confidence)
    differences = second - first
    scores = np.concatenate([mean(chunk) for chunk in _resamples(differences, n_resamples, seed)])
    low, high = _percentiles(scores, confidence)
    gains = scores if higher_is_better else -scores
    probability = float((gains > 0).mean() + (gains == 0).mean() / 2)
    return PairedComparison(float(differences.mean()), low, high, probability)


def mean_and_spread(values: ArrayLike) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of one score over repeated runs, such as seeds.

    Raises:
        ValueError: fewer than two values, more than one dimension, NaN or infinity.
    """
    runs = _checked_items(values, "values")
    if runs.ndim != 1 or len(runs) < 2:
        raise ValueError(f"the spread over runs needs at least two values in one dimension, got shape {runs.shape}")
    return float(runs.mean()), float(runs.std(ddof=1))


def _resamples(items: FloatArray, n_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yields resamples of the items in chunks (n_chunk, n_items, ...) that fit into memory."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_SIZE // items.size)
    for start in range(0, n_resamples, chunk):
        size = (min(chunk, n_resamples - start), len(items))
        yield items[generator.integers(len(items), size=size)]


def _percentiles(scores: FloatArray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)


def _checked_items(values: ArrayLike, name: str) -> FloatArray:
    items = np.asarray(values, dtype=np.float64)
    if items.ndim not in (1, 2) or items.size == 0:
        raise ValueError(f"{name} must hold at least one item in one or two dimensions, got shape {items.shape}")
    if not np.isfinite(items).all():
        raise ValueError(f"{name} holds NaN or infinity at item {int(np.argwhere(~np.isfinite(items))[0][0])}")
    return items


def _checked_pair(a: ArrayLike, b: ArrayLike, name_a: str, name_b: str) -> tuple[FloatArray, FloatArray]:
    first, second = _checked_items(a, name_a), _checked_items(b, name_b)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"{name_a} and {name_b} must be two lists of the same length, got shapes {first.shape} and {second.shape}"
        )
    return first, second


def _check_settings(n_resamples: int, confidence: float) -> None:
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    _check_confidence(confidence)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
