import pytest

from roadmap_shared.metrics import latency_summary


def test_percentiles_of_a_known_sample_in_any_order() -> None:
    summary = latency_summary([float(i) for i in range(100, -1, -1)])
    assert (summary.p50, summary.p95, summary.p99) == pytest.approx((50.0, 95.0, 99.0))


def test_percentiles_between_two_calls_are_interpolated() -> None:
    assert latency_summary([1.0, 2.0]).p95 == pytest.approx(1.95)


@pytest.mark.parametrize("durations", [[], [1.0, -0.1], [1.0, float("nan")]])
def test_impossible_durations_are_refused(durations: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one duration, none negative and none NaN"):
        latency_summary(durations)
