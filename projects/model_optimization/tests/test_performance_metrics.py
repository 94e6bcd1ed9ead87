"""Latency, throughput, errors and cost, by hand."""

from pathlib import Path

import numpy as np
import pytest

from model_optimization.monitoring.log_database import read_log
from model_optimization.monitoring.performance_metrics import (
    CostMeter,
    cost_per_thousand,
    percentiles,
    performance,
    performance_series,
)

from .monitoring_world import record, write_log


def test_figures_of_ten_records(tmp_path: Path) -> None:
    answers = [record(n, time=100.0 + n, latency_ms=float(n + 1), label="ab"[n % 2], n_tokens=n) for n in range(8)]
    errors = [
        record(n, time=100.0 + n, latency_ms=9999.0, label="", probabilities=(), error="deadline") for n in (8, 9)
    ]
    table = read_log(write_log(tmp_path / "log.sqlite", [*answers, *errors, record(99, time=500.0)]))
    figures = performance(table, 100, 120)
    assert (figures.n_records, figures.n_requests, figures.per_second) == (10, 10.0, 0.5)
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == (4.0, 8.0, 8.0), "refusals are not latency"
    assert figures.error_share == pytest.approx(0.2)
    assert figures.mean_confidence == pytest.approx(0.8)
    assert figures.mean_tokens == 3.5
    assert figures.labels == {"a": 0.5, "b": 0.5}


def test_what_is_sampled_counts_for_what_it_stands_for(tmp_path: Path) -> None:
    records = [record(n, time=float(n)) for n in range(400)]
    figures = performance(read_log(write_log(tmp_path / "log.sqlite", records, share=0.25)), 0, 400)
    assert figures.n_requests == 4 * figures.n_records
    assert figures.per_second == pytest.approx(1, rel=0.25)


def test_an_empty_span_has_no_figures(tmp_path: Path) -> None:
    figures = performance(read_log(write_log(tmp_path / "log.sqlite", [])), 0, 10)
    assert (figures.n_requests, figures.per_second, figures.labels) == (0, 0, {})
    assert figures.p50_ms is figures.p99_ms is figures.error_share is figures.mean_confidence is None


def test_the_series_is_the_whole_cut_up(tmp_path: Path) -> None:
    records = [record(n, time=float(n % 97)) for n in range(300)]
    table = read_log(write_log(tmp_path / "log.sqlite", records))
    series = performance_series(table, 0, 97, 7)
    assert sum(span.n_records for span in series) == 300
    assert [span.start for span in series[1:]] == [span.end for span in series[:-1]]


def test_percentiles_are_the_nearest_rank() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, 1001))
    assert percentiles(values, np.ones(1000)) == (500, 950, 990)
    weights = np.where(values == 1000, 1000.0, 1.0)
    assert percentiles(values, weights) == (1000, 1000, 1000)


def test_cost_by_hand() -> None:
    # 50 ms of a core each, 1,000 of them are 50 s: at 3.60 an hour, 0.001 a second, 0.05.
    assert cost_per_thousand(5, 100, 3.6) == pytest.approx(0.05)
    with pytest.raises(ValueError, match=r"^cost of 1,000 requests needs at least one request$"):
        cost_per_thousand(1, 0, 1)
    seconds = iter([10.0, 15.0])
    meter = CostMeter(3.6, lambda: next(seconds))
    assert meter.per_thousand(0) is None
    assert meter.per_thousand(100) == pytest.approx(0.05)
