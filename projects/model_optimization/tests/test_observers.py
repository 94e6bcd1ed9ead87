"""Observers against brute force, SciPy, and the calibrators of ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_optimization.quantization.affine import dequantize, quantize, sqnr_db, symmetric
from model_optimization.quantization.observers import (
    EntropyObserver,
    Histogram,
    MinMaxObserver,
    PercentileObserver,
    best_cut,
    cut_divergence,
)

ARRAYS = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e3, 1e3, width=32))


def normal(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, size).astype(np.float32)


@given(st.lists(ARRAYS, min_size=1, max_size=5))
def test_min_max_over_parts_is_that_of_the_whole(parts: list[np.ndarray]) -> None:
    observer = MinMaxObserver()
    for part in parts:
        observer.observe(part)
    whole = np.concatenate(parts)
    assert observer.range() == (whole.min(), whole.max())


@given(st.lists(ARRAYS, min_size=1, max_size=5))
def test_a_histogram_loses_no_value(parts: list[np.ndarray]) -> None:
    histogram = Histogram(16)
    for part in parts:
        histogram.observe(part)
    whole = np.concatenate(parts)
    assert histogram.counts.sum() == len(whole)
    assert histogram.magnitudes().sum() == len(whole)
    assert len(histogram.counts) == 16
    assert np.abs(whole).max() <= histogram.limit


def test_a_histogram_that_grew_counts_as_one_made_at_once() -> None:
    small, large = normal(5_000), 5 * normal(5_000, seed=1)
    histogram = Histogram(64)
    histogram.observe(small)
    histogram.observe(large)
    limit = np.abs(small).max()
    while limit < np.abs(large).max():
        limit *= 2
    assert histogram.limit == pytest.approx(limit)
    expected = np.histogram(np.concatenate([small, large]).astype(np.float64), 64, range=(-limit, limit))[0]
    # Values on a border may fall to either side of it.
    assert np.abs(histogram.counts - expected).sum() <= 4


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_equals_the_quantiles_to_one_bin(percentile: float) -> None:
    values = np.exp(normal(20_000))  # on one side of 0
    observer = PercentileObserver(percentile)
    for part in np.array_split(values, 7):
        observer.observe(part)
    width = 2 * observer.histogram.limit / len(observer.histogram.counts)
    cut = (100 - percentile) / 200
    low, high = observer.range()
    quantiles = np.quantile(values, [cut, 1 - cut])
    np.testing.assert_allclose([low, high], quantiles, atol=width)
    assert low <= quantiles[0]
    assert high >= quantiles[1]


def test_percentile_of_all_is_min_max() -> None:
    observer, reference = PercentileObserver(100), MinMaxObserver()
    for values in (normal(100), 3 * normal(100, seed=1)):
        observer.observe(values)
        reference.observe(values)
    assert observer.range() == reference.range()


@pytest.mark.parametrize("percentile", [95.03, 99.87])  # whose share of 10,000 values is no whole number
def test_percentile_equals_onnx_runtimes_but_for_the_last_bin(percentile: float) -> None:
    from onnxruntime.quantization.calibrate import HistogramCollector

    values = normal(10_000)
    bins = 2048
    collector = HistogramCollector("percentile", False, bins, None, percentile, "same")
    collector.collect({"x": [values]})
    low, high = collector.compute_collection_result()["x"][:2]
    observer = PercentileObserver(percentile, bins)
    observer.observe(values)
    # Theirs ends at the lower border of the bin in which the percentile lies, which leaves its values out.
    width = 2 * observer.histogram.limit / bins
    np.testing.assert_allclose(observer.range(), (low, high + width), rtol=1e-6)


@pytest.mark.parametrize("kept", [8, 11, 16, 29, 40])
def test_divergence_equals_the_procedure_step_by_step(kept: int) -> None:
    counts = np.random.default_rng(kept).integers(0, 50, 40)
    counts[kept - 1] += 1  # what is saturated needs a bin that Q has
    assert cut_divergence(counts, kept, 8) == pytest.approx(literal_divergence(counts.tolist(), kept, 8))


def literal_divergence(counts: list[int], kept: int, levels: int) -> float:
    """Migacz 2017, p. 38, in loops; the divergence by SciPy."""
    reference = [float(count) for count in counts[:kept]]
    groups = [[index for index in range(kept) if index * levels // kept == level] for level in range(levels)]
    candidate = [0.0] * kept
    for group in groups:
        total = sum(reference[index] for index in group)
        filled = [index for index in group if reference[index]]
        for index in filled:
            candidate[index] = total / len(filled)
    reference[-1] += sum(counts[kept:])
    return float(scipy.stats.entropy(reference, candidate))


def test_best_cut_is_the_least_of_all() -> None:
    counts = np.histogram(np.abs(normal(3_000)), 60)[0]
    divergences = [literal_divergence(counts.tolist(), kept, 8) for kept in range(8, 61)]
    assert best_cut(counts, 8) == 8 + int(np.argmin(divergences))


def test_saturating_into_an_empty_bin_is_no_choice() -> None:
    counts = np.array([5, 5, 5, 5, 0, 0, 0, 1])
    assert cut_divergence(counts, 6, 4) == float("inf")
    assert best_cut(np.zeros(8, np.int64), 4) == 8


def test_entropy_cuts_an_outlier_off_and_leaves_even_values_whole() -> None:
    values = np.append(normal(50_000), np.float32(40))
    cutting = EntropyObserver()
    cutting.observe(values)
    low, high = cutting.range()
    assert -6 < low < -2
    assert 2 < high < 6
    affine, whole = symmetric(low, high), symmetric(values.min(), values.max())
    normal_values = values[:-1]
    gain = sqnr_db(normal_values, dequantize(quantize(normal_values, affine), affine)) - sqnr_db(
        normal_values, dequantize(quantize(normal_values, whole), whole)
    )
    assert gain > 10  # decibels

    even = EntropyObserver(bins=512, levels=128)
    spread = np.linspace(-1, 1, 51_200, dtype=np.float32)
    even.observe(spread)
    np.testing.assert_allclose(even.range(), (-1, 1), atol=0.02)


def test_entropy_of_one_sided_values_stays_on_their_side() -> None:
    observer = EntropyObserver()
    observer.observe(np.abs(normal(5_000)))
    low, high = observer.range()
    assert 0 <= low < 0.01
    assert 2 < high < 6


def test_entropy_agrees_with_onnx_runtimes_where_that_has_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    from onnxruntime.quantization.calibrate import HistogramCollector

    values = np.append(normal(50_000), np.float32(40))
    cuts = {}
    for bins in (128, 2048):  # theirs counts bins on both sides of 0, and starts with as many as it has levels
        collector = HistogramCollector("entropy", False, bins, 128, None, "same")
        collector.collect({"x": [values]})
        cuts[bins] = collector.compute_collection_result()["x"][:2]
    assert cuts[128] == (values.min(), values.max())
    assert cuts[2048][1] < 12
    ours = EntropyObserver()
    ours.observe(values)
    assert ours.range()[1] < 12
    assert "Finding optimal threshold" in capsys.readouterr().out


def test_default_entropy_calibrator_of_onnx_runtime_is_min_max(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    from .onnx_operators import dense_model

    onnx.save(dense_model(np.eye(3, dtype=np.float32)), tmp_path / "graph.onnx")
    values = np.append(normal(2_999), np.float32(40)).reshape(-1, 3)
    ranges = {}
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy):
        calibrator = create_calibrator(
            tmp_path / "graph.onnx", augmented_model_path=str(tmp_path / "more.onnx"), calibrate_method=method
        )
        feeds = iter([{"x": values}])
        reader: Any = type("Reader", (), {"get_next": lambda self, feeds=feeds: next(feeds, None)})()
        calibrator.collect_data(reader)
        ranges[method] = [float(np.squeeze(end)) for end in calibrator.compute_data()["x"].range_value]
    assert ranges[CalibrationMethod.Entropy] == ranges[CalibrationMethod.MinMax]
    assert "Number of quantized bins : 128" in capsys.readouterr().out


@pytest.mark.parametrize("make", [MinMaxObserver, PercentileObserver, EntropyObserver])
def test_observers_of_nothing_and_of_zeros(make: type) -> None:
    observer = make()
    observer.observe(np.zeros(0, np.float32))
    with pytest.raises(ValueError, match=r"^no value was observed$"):
        observer.range()
    observer.observe(np.zeros(5, np.float32))
    assert observer.range() == (0, 0)
    observer.observe(np.full(5, 2, np.float32))
    assert observer.range()[1] == 2


def test_bins_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^a histogram needs a multiple of 4 bins, not 10$"):
        Histogram(10)
    with pytest.raises(ValueError, match=r"^128 bins are too few for 128 levels on each side of 0$"):
        EntropyObserver(bins=128)
