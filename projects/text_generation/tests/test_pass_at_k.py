"""pass@k against counting all choices, and its interval."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roadmap_shared.metrics import bootstrap_interval, wilson_interval
from text_generation.coding.pass_at_k import exact_pass_at_k, pass_at_k, pass_at_k_interval

UNTIMED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("n", range(1, 9))
def test_equals_the_share_of_all_choices(n: int) -> None:
    for c in range(n + 1):
        passed = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            choices = [any(choice) for choice in combinations(passed, k)]
            assert exact_pass_at_k(n, c, k) == Fraction(sum(choices), len(choices))


@UNTIMED
@given(st.data())
def test_equals_the_product_of_the_paper(data: st.DataObject) -> None:
    """Chen et al. 2021, figure 3: 1 - prod(1 - k / i) for i from n - c + 1 to n, here in rational arithmetic."""
    n = data.draw(st.integers(1, 300))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    product = Fraction(1)
    for i in range(n - c + 1, n + 1):
        product *= max(1 - Fraction(k, i), Fraction(0))
    assert exact_pass_at_k(n, c, k) == 1 - product
    assert pass_at_k(n, c, k) == float(1 - product)


def test_values_by_hand() -> None:
    assert pass_at_k(4, 1, 1) == 0.25
    assert exact_pass_at_k(4, 1, 2) == Fraction(1, 2)
    assert exact_pass_at_k(5, 2, 2) == Fraction(7, 10)
    assert pass_at_k(10, 0, 10) == 0.0
    assert pass_at_k(200, 200, 100) == 1.0


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (3, 1, 4, "pass@4 needs at least 4 samples of each problem and k of at least 1, got n = 3"),
        (3, 1, 0, "pass@0 needs at least 1 samples of each problem and k of at least 1, got n = 3"),
        (3, 4, 1, "4 of 3 samples cannot have passed"),
        (3, -1, 1, "-1 of 3 samples cannot have passed"),
    ],
)
def test_impossible_counts(n: int, c: int, k: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        pass_at_k(n, c, k)
    assert str(caught.value) == message


def test_the_interval_of_fractions_is_the_bootstraps() -> None:
    counts = [(4, 0), (4, 1), (4, 4), (8, 2)]  # 1 - C(6, 2) / C(8, 2) = 13 / 28
    interval = pass_at_k_interval(counts, 2, seed=3)
    assert interval == bootstrap_interval([0.0, 0.5, 1.0, 13 / 28], seed=3)
    assert interval.estimate == pytest.approx((1.5 + 13 / 28) / 4, abs=1e-12)
    assert interval.low <= interval.estimate <= interval.high


def test_the_interval_of_right_and_wrong_problems_is_wilsons() -> None:
    # Nought of 20 problems: up to z² / (20 + z²) with z² = 3.841459, however many samples each has.
    nought = pass_at_k_interval([(8, 0)] * 20, 1)
    assert (nought.estimate, nought.low, nought.high) == (0.0, 0.0, pytest.approx(0.161125, abs=1e-6))
    # With k = n a problem scores 1 where any sample passes.
    assert pass_at_k_interval([(3, 0), (3, 1), (3, 3), (3, 0)], 3) == wilson_interval(2, 4)
