import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from model_optimization.deployment.traffic import Tally, is_in_share, mean_interval, wilson

KEYS = [f"user-{number}" for number in range(20_000)]


def test_split_is_sticky_and_has_its_share():
    first = [is_in_share(key, 2, 0.3) for key in KEYS]
    assert first == [is_in_share(key, 2, 0.3) for key in KEYS]
    # Three standard deviations of a binomial of 20,000.
    assert abs(np.mean(first) - 0.3) < 3 * math.sqrt(0.3 * 0.7 / 20_000)
    assert not any(is_in_share(key, 2, 0.0) for key in KEYS)
    assert all(is_in_share(key, 2, 1.0) for key in KEYS)


def test_a_larger_share_keeps_those_that_were_in_it_and_challengers_draw_apart():
    small = {key for key in KEYS if is_in_share(key, 2, 0.1)}
    large = {key for key in KEYS if is_in_share(key, 2, 0.3)}
    assert small < large
    both = sum(is_in_share(key, 3, 0.1) for key in small) / len(small)
    assert abs(both - 0.1) < 4 * math.sqrt(0.09 / len(small))


@given(st.integers(1, 500), st.data())
def test_wilson_interval_agrees_with_scipy(n, data):
    k = data.draw(st.integers(0, n))
    expected = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_interval_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=200)
    low, high = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values.tolist()) == pytest.approx((values.mean(), low, high))
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(mean_interval([])[0])
    assert mean_interval([2.0])[0] == 2.0


def test_row_of_the_comparison():
    tally = Tally()
    assert tally.row()["latency_ms"]["mean"] is None
    for milliseconds in range(1, 101):
        tally.answered(milliseconds / 1000)
    tally.broke()
    assert tally.compare(["a", "b", "a"], ["a", "a", "a"], 0.002) == 2
    row = tally.row()
    assert row["requests"] == 101
    assert row["failed"]["share"] == pytest.approx(1 / 101, abs=1e-6)
    assert row["latency_ms"]["mean"] == 50.5
    assert (row["latency_ms"]["p50"], row["latency_ms"]["p99"]) == (51.0, 100.0)
    assert row["shadow"]["agreement"] == {
        "share": 0.666667,
        "low": pytest.approx(wilson(2, 3)[0], abs=1e-6),
        "high": pytest.approx(wilson(2, 3)[1], abs=1e-6),
        "n": 3,
    }
