"""Latency of repeated calls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class LatencySummary:
    """Median and tail percentiles of the durations, in the unit they came in."""

    p50: float
    p95: float
    p99: float


def latency_summary(durations: ArrayLike) -> LatencySummary:
    """Percentiles of the durations (n_calls,), linearly interpolated (Hyndman & Fan 1996, definition 7).

    Raises:
        ValueError: no duration, NaN, or a negative duration.
    """
    calls = np.asarray(durations, dtype=np.float64)
    if calls.ndim != 1 or calls.size == 0 or not (calls >= 0).all():
        raise ValueError("a latency summary needs at least one duration, none negative and none NaN")
    p50, p95, p99 = np.quantile(calls, [0.50, 0.95, 0.99])
    return LatencySummary(float(p50), float(p95), float(p99))
