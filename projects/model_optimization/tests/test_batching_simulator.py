from math import exp, factorial, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_optimization.benchmarking.batching_simulator import (
    BatchSeconds,
    QueuePolicy,
    Simulated,
    poisson_arrivals,
    simulate,
)
from model_optimization.config.serving import BatchingConfig

from .virtual_queue import serve_in_virtual_time

ONE_SECOND = BatchSeconds(per_text=0.0, fixed=1.0)


def md1_mean_wait(rate: float, service: float) -> float:
    """Mean time in the queue of Poisson arrivals before one server of constant time (Pollaczek & Khinchine)."""
    load = rate * service
    return load * service / (2 * (1 - load))


def md1_wait_distribution(wait: float, rate: float, service: float) -> float:
    """P(time in the queue <= wait) (Erlang 1909, "The Theory of Probabilities and Telephone Conversations")."""
    terms = (
        (-rate * (wait - k * service)) ** k / factorial(k) * exp(rate * (wait - k * service))
        for k in range(floor(wait / service) + 1)
    )
    return (1 - rate * service) * sum(terms)


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_one_at_a_time_waits_as_the_closed_form_says(load: float) -> None:
    found = simulate(poisson_arrivals(load, 200_000, seed=1), ONE_SECOND, QueuePolicy(max_batch=1))
    waits = found.latencies - 1.0
    assert waits.mean() == pytest.approx(md1_mean_wait(load, 1.0), rel=0.03)
    assert found.utilisation == pytest.approx(load, rel=0.01)
    assert found.throughput == pytest.approx(load, rel=0.01)
    for wait in (0.0, 0.5, 1.0, 2.5):
        share = float((waits <= wait + 1e-9).mean())
        assert share == pytest.approx(md1_wait_distribution(wait, load, 1.0), abs=0.01)


def test_a_schedule_by_hand() -> None:
    seconds = BatchSeconds(per_text=1.0, fixed=2.0)
    found = simulate(np.array([0.0, 1.0, 2.0, 2.5, 20.0]), seconds, QueuePolicy(max_batch=2))
    # The first alone until 3; the next two until 7; the fourth until 10; the last from 20 to 23.
    assert found.batches == (1, 2, 1, 1)
    assert found.latencies.tolist() == [3.0, 6.0, 5.0, 7.5, 3.0]
    assert found.span == 23.0
    assert found.busy == 13.0
    assert found.mean_batch == 5 / 4
    percentiles = found.percentiles()
    assert percentiles is not None
    assert percentiles.p50 == 5.0


def test_company_is_waited_for_and_a_full_batch_starts_at_once() -> None:
    policy = QueuePolicy(max_batch=3, max_wait=2.0, adaptive=False)
    found = simulate(np.array([0.0, 0.5, 0.75, 10.0, 11.0]), ONE_SECOND, policy)
    assert found.batches == (3, 2)
    # Full at 0.75; the fourth waits its 2 seconds.
    assert found.latencies.tolist() == [1.75, 1.25, 1.0, 3.0, 2.0]


def test_adaptive_waiting_ends_when_company_costs_more_than_it_saves() -> None:
    # The gap is taken to be twice the longest wait, at first, so that a run of its own is cheaper.
    policy = QueuePolicy(max_batch=3, max_wait=2.0)
    found = simulate(np.array([0.0, 0.5]), BatchSeconds(per_text=1.0, fixed=0.1), policy)
    assert found.batches == (1, 1)
    assert found.latencies.tolist() == pytest.approx([1.1, 1.7])


def test_a_full_queue_refuses() -> None:
    policy = QueuePolicy(max_batch=1, queue_limit=2)
    found = simulate(np.array([0.0, 0.1, 0.2, 0.3, 0.4]), ONE_SECOND, policy)
    assert (found.refused, found.late, len(found.latencies)) == (2, 0, 3)
    assert found.rejected_share == pytest.approx(2 / 5)


def test_who_is_late_is_dropped_or_computed_in_vain() -> None:
    # The second is answered at 2, after its deadline of 1.6; the third is dropped at 2, when nobody waits for it.
    found = simulate(np.array([0.0, 0.1, 0.2]), ONE_SECOND, QueuePolicy(max_batch=1, deadline=1.5))
    assert (found.late, found.batches, found.latencies.tolist()) == (2, (1, 1), [1.0])


def test_batches_lift_the_capacity_as_the_fixed_cost_is_shared() -> None:
    seconds = BatchSeconds(per_text=0.002, fixed=0.010)
    arrivals = poisson_arrivals(200, 20_000, seed=0)  # one at a time could serve 83 a second, eight together 308
    alone = simulate(arrivals, seconds, QueuePolicy(max_batch=1, queue_limit=50))
    together = simulate(arrivals, seconds, QueuePolicy(max_batch=8, queue_limit=50))
    assert alone.rejected_share == pytest.approx(1 - 1 / (0.012 * 200), abs=0.02)
    assert together.rejected_share == 0
    assert together.throughput > 2.3 * alone.throughput


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=40),
    max_batch=st.integers(1, 5),
    max_wait=st.floats(0, 2),
    adaptive=st.booleans(),
    queue_limit=st.none() | st.integers(1, 4),
    deadline=st.none() | st.floats(0.5, 5),
)
def test_every_request_is_answered_refused_or_late(
    gaps: list[float], max_batch: int, max_wait: float, adaptive: bool, queue_limit: int | None, deadline: float | None
) -> None:
    seconds = BatchSeconds(per_text=0.3, fixed=0.5)
    policy = QueuePolicy(
        max_batch=max_batch, max_wait=max_wait, adaptive=adaptive, queue_limit=queue_limit, deadline=deadline
    )
    found: Simulated = simulate(np.cumsum(gaps), seconds, policy)
    assert found.offered == len(gaps)
    assert 1 <= max(found.batches) <= max_batch
    assert found.busy == pytest.approx(sum(map(seconds.of, found.batches)))
    assert found.utilisation <= 1 + 1e-9
    assert (found.latencies >= seconds.of(1) - 1e-9).all()
    if deadline is not None:
        assert (found.latencies <= deadline).all()
    elif queue_limit is None:
        assert sum(found.batches) == len(found.latencies) == len(gaps)


def test_poisson_arrivals_have_exponential_gaps() -> None:
    gaps = np.diff(poisson_arrivals(50, 100_000, seed=0))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.02)
    with pytest.raises(ValueError, match="expected a rate above 0 and at least one request, got 0 and 5"):
        poisson_arrivals(0, 5, seed=0)


@pytest.mark.parametrize("max_wait_ms", [0.0, 5.0])
@pytest.mark.parametrize("rate", [20, 100, 200, 300])
def test_the_servers_queue_does_what_the_simulation_says(
    monkeypatch: pytest.MonkeyPatch, rate: float, max_wait_ms: float
) -> None:
    """The server's own code under Poisson load, from one quarter of what one at a time could bear to nearly all that
    batches can: every batch and the latency of every request are the simulation's, to rounding."""
    seconds = BatchSeconds(per_text=0.002, fixed=0.010)
    arrivals = poisson_arrivals(rate, 3000, seed=0)
    config = BatchingConfig(max_batch=16, max_wait_ms=max_wait_ms, max_queue=3000)
    classifier, _, largest = serve_in_virtual_time(monkeypatch, arrivals.tolist(), seconds, config)
    simulated = simulate(arrivals, seconds, QueuePolicy(max_batch=largest, max_wait=max_wait_ms / 1000))
    latencies = np.array([classifier.done[request] - arrivals[request] for request in range(len(arrivals))])
    assert tuple(classifier.batches) == simulated.batches
    assert latencies == pytest.approx(simulated.latencies, abs=1e-9)


def test_the_servers_queue_refuses_as_many_as_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = BatchSeconds(per_text=0.002, fixed=0.010)
    arrivals = poisson_arrivals(900, 3000, seed=0)  # twice what batches of sixteen can bear
    config = BatchingConfig(max_batch=16, max_wait_ms=5, max_queue=100)
    classifier, time, largest = serve_in_virtual_time(monkeypatch, arrivals.tolist(), seconds, config)
    simulated = simulate(arrivals, seconds, QueuePolicy(max_batch=largest, max_wait=0.005, queue_limit=100))
    assert simulated.rejected_share > 0.4
    assert time.refused == simulated.refused
    assert len(classifier.done) == len(arrivals) - time.refused
