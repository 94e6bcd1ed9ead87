"""How a served model does: latency, throughput, errors, confidence, and what 1,000 requests cost."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from model_optimization.monitoring.log_database import LogTable

PERCENTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Figures of one span of time. None where nothing was logged that would tell."""

    start: float
    """Seconds since 1970."""

    end: float
    n_records: int
    n_requests: float
    """Requests that the records stand for, where only a share is kept."""

    per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    error_share: float | None
    mean_confidence: float | None
    mean_tokens: float | None
    labels: dict[str, float]
    """Share of each label among the answers."""


def performance(table: LogTable, start: float, end: float) -> Performance:
    """Figures of the records from `start` up to but without `end`. Latency is that of answers: a request that was
    refused at once must not make the model look fast."""
    rows = table.rows((table.time >= start) & (table.time < end))
    answered = rows.answered
    requests = float(rows.weight.sum())
    p50, p95, p99 = percentiles(answered.latency_ms, answered.weight)
    return Performance(
        start=start,
        end=end,
        n_records=len(rows),
        n_requests=requests,
        per_second=requests / (end - start),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        error_share=1 - float(answered.weight.sum()) / requests if requests else None,
        mean_confidence=_mean(answered.confidence, answered.weight),
        mean_tokens=_mean(answered.n_tokens, answered.weight),
        labels=label_shares(answered),
    )


def performance_series(table: LogTable, start: float, end: float, bins: int) -> list[Performance]:
    """The span cut into so many equal ones, the oldest first."""
    edges = np.linspace(start, end, bins + 1)
    return [performance(table, float(a), float(b)) for a, b in pairwise(edges)]


def percentiles(values: np.ndarray, weights: np.ndarray) -> tuple[float | None, ...]:
    """p50, p95 and p99: the smallest value that so large a share of the weight does not exceed."""
    if not len(values):
        return (None,) * len(PERCENTILES)
    found = np.quantile(values, PERCENTILES, weights=weights, method="inverted_cdf")
    return tuple(float(value) for value in found)


def label_shares(answered: LogTable) -> dict[str, float]:
    """Share of each label, the most frequent first."""
    names, places = np.unique(answered.label.astype(str), return_inverse=True)
    sums = np.bincount(places, weights=answered.weight, minlength=len(names))
    order = np.argsort(-sums, kind="stable")
    return {str(names[place]): float(sums[place] / sums.sum()) for place in order}


def cost_per_thousand(cpu_seconds: float, requests: float, price_per_core_hour: float) -> float:
    """What 1,000 requests cost, in the currency of the price, when a core is paid for by the hour and kept busy.

    Raises:
        ValueError: there are no requests.
    """
    if not requests > 0:
        raise ValueError("cost of 1,000 requests needs at least one request")
    return 1000 * cpu_seconds / requests * price_per_core_hour / 3600


class CostMeter:
    """Cost of this process's requests since it began to count."""

    def __init__(self, price_per_core_hour: float, cpu_clock: Callable[[], float] = time.process_time) -> None:
        self._price, self._clock, self._start = price_per_core_hour, cpu_clock, cpu_clock()

    def per_thousand(self, requests: float) -> float | None:
        """Cost of 1,000 requests when so many were answered; None before the first."""
        return cost_per_thousand(self._clock() - self._start, requests, self._price) if requests > 0 else None


def _mean(values: np.ndarray, weights: np.ndarray) -> float | None:
    if not len(values):
        return None
    mean = float(np.average(values, weights=weights))
    return None if math.isnan(mean) else mean
