"""Confidence interval of a share of successes: an accuracy, a failure rate."""

from math import sqrt
from statistics import NormalDist

from roadmap_shared.metrics import Interval


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The share successes / n with its score interval (Wilson 1927).

    It holds its confidence for small n and for shares near 0 and 1, where the bootstrap's interval shrinks to a point:
    0 failures of 20 are compatible with a failure rate of up to .16.

    Raises:
        ValueError: n is below 1, `successes` is outside 0 … n, or `confidence` outside 0 … 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    share = successes / n
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the formula is exact, but its rounding is not.
    low = 0.0 if successes == 0 else centre - half_width
    high = 1.0 if successes == n else centre + half_width
    return Interval(share, low, high)
