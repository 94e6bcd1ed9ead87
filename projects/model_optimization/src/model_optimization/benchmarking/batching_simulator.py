"""What micro-batching would do under a load: a simulation of the server's queue, event by event.

Requests of one text each arrive at given times, as a rule those of a Poisson process. One server takes the oldest ones
that wait, at most `max_batch` of them, and computes n texts in a·n + b seconds. What is simulated are decisions and
times only, so that hours of load take a second. Times are in seconds. Shapes: N requests.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model_optimization.deployment.batching_policy import worth_waiting
from roadmap_shared.metrics import LatencySummary, latency_summary

Times = NDArray[np.float64]

_GAP_WEIGHT = 0.2  # of the newest gap in the running mean, as in the server


@dataclass(frozen=True, kw_only=True)
class BatchSeconds:
    """Time of a batch of n texts: a·n + b."""

    per_text: float
    fixed: float

    def of(self, n: int) -> float:
        """Seconds of n texts."""
        return self.per_text * n + self.fixed


@dataclass(frozen=True, kw_only=True)
class QueuePolicy:
    """The rules of the queue."""

    max_batch: int
    max_wait: float = 0.0
    """Seconds that a request may wait for company while the server is free."""

    adaptive: bool = True
    """Whether to wait only as long as company is expected soon enough to be worth it (`worth_waiting`), and no longer
    than twice the mean gap between arrivals. False: always up to `max_wait`, unless the batch is full."""

    queue_limit: int | None = None
    """Waiting requests beyond which new ones are refused (429). None: no limit."""

    deadline: float | None = None
    """Seconds after which nobody waits for the answer any more (503). None: everybody waits."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came of a load."""

    latencies: Times
    """Of the requests answered in time, from arrival to answer, in the order of their arrival."""

    batches: tuple[int, ...]
    """Texts of each batch."""

    refused: int
    """Found the queue full."""

    late: int
    """Had no answer by their deadline, whether computed in vain or not."""

    span: float
    """From the first arrival to the last answer."""

    busy: float
    """Seconds in which the server computed."""

    @property
    def offered(self) -> int:
        """All requests."""
        return len(self.latencies) + self.refused + self.late

    @property
    def rejected_share(self) -> float:
        """Of all requests, those without an answer."""
        return (self.refused + self.late) / self.offered

    @property
    def throughput(self) -> float:
        """Requests answered in time, a second."""
        return len(self.latencies) / self.span

    @property
    def utilisation(self) -> float:
        """Share of the time in which the server computed."""
        return self.busy / self.span

    @property
    def mean_batch(self) -> float:
        """Texts of a batch."""
        return float(np.mean(self.batches))

    def percentiles(self) -> LatencySummary | None:
        """Of the latencies, in seconds; None where nobody was answered."""
        return latency_summary(self.latencies) if len(self.latencies) else None


def poisson_arrivals(rate: float, n: int, seed: int) -> Times:
    """(N,) times at which N requests of independent clients arrive, `rate` a second on average.

    Raises:
        ValueError: the rate is not positive, or N is below 1.
    """
    if not rate > 0 or n < 1:
        raise ValueError(f"expected a rate above 0 and at least one request, got {rate:g} and {n}")
    return np.random.default_rng(seed).exponential(1 / rate, n).cumsum()


def simulate(arrivals: Times, seconds: BatchSeconds, policy: QueuePolicy) -> Simulated:
    """Serve requests that arrive at the given, ascending times."""
    queue = _Queue(arrivals, policy)
    answered: list[tuple[int, float]] = []
    batches: list[int] = []
    now = busy = 0.0
    while queue.has_work():
        now = queue.wait_for_work(now)
        queue.drop_late(now)
        if not queue.waiting:
            continue
        now = _wait_for_company(queue, seconds, now)
        batch = list(queue.take())
        duration = seconds.of(len(batch))
        now, busy = now + duration, busy + duration
        queue.admit(now)
        batches.append(len(batch))
        answered += [(request, now - arrivals[request]) for request in batch]
    in_time = sorted((r, latency) for r, latency in answered if policy.deadline is None or latency <= policy.deadline)
    return Simulated(
        latencies=np.array([latency for _, latency in in_time]),
        batches=tuple(batches),
        refused=queue.refused,
        late=queue.dropped + len(answered) - len(in_time),
        span=max(now - float(arrivals[0]), 1e-12),
        busy=busy,
    )


def _wait_for_company(queue: "_Queue", seconds: BatchSeconds, now: float) -> float:
    """The moment at which the batch starts: full, or not worth waiting any longer."""
    policy = queue.policy
    latest = queue.arrivals[queue.waiting[0]] + policy.max_wait
    while len(queue.waiting) < policy.max_batch and now < latest:
        until = latest
        if policy.adaptive:
            if not worth_waiting(len(queue.waiting), queue.gap, seconds.fixed):
                break
            until = min(latest, now + 2 * queue.gap)
        coming = queue.next_arrival()
        if coming > until:
            return until
        now = coming
        queue.admit(now)
    return now


@dataclass
class _Queue:
    """Who has arrived and waits."""

    arrivals: Times
    policy: QueuePolicy
    waiting: deque[int] = field(default_factory=deque)
    next: int = 0
    refused: int = 0
    dropped: int = 0
    last_arrival: float = -np.inf

    def __post_init__(self) -> None:
        self.gap = 4 * self.policy.max_wait

    def has_work(self) -> bool:
        """Whether anybody waits or is still to come."""
        return bool(self.waiting) or self.next < len(self.arrivals)

    def next_arrival(self) -> float:
        """When the next request comes; never, once all have come."""
        return float(self.arrivals[self.next]) if self.next < len(self.arrivals) else np.inf

    def wait_for_work(self, now: float) -> float:
        """The first moment from `now` on at which somebody waits."""
        if not self.waiting:
            now = max(now, self.next_arrival())
        self.admit(now)
        return now

    def admit(self, now: float) -> None:
        """Let in who has come until now, and refuse those for whom there is no place."""
        while self.next_arrival() <= now:
            request, self.next = self.next, self.next + 1
            if self.policy.queue_limit is not None and len(self.waiting) >= self.policy.queue_limit:
                self.refused += 1
                continue
            arrived = float(self.arrivals[request])
            since = min(arrived - self.last_arrival, 4 * self.policy.max_wait)
            self.gap += _GAP_WEIGHT * (since - self.gap)
            self.last_arrival = arrived
            self.waiting.append(request)

    def drop_late(self, now: float) -> None:
        """Forget those whose deadline is over: nobody waits for them."""
        if self.policy.deadline is None:
            return
        while self.waiting and now > self.arrivals[self.waiting[0]] + self.policy.deadline:
            self.waiting.popleft()
            self.dropped += 1

    def take(self) -> Iterator[int]:
        """The oldest ones, a batch of them."""
        for _ in range(min(self.policy.max_batch, len(self.waiting))):
            yield self.waiting.popleft()
