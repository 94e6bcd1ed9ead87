"""What a server would gain from micro-batching, by simulation from the measured times of a batch."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from model_optimization.benchmarking.batching_simulator import BatchSeconds, QueuePolicy, poisson_arrivals, simulate
from model_optimization.benchmarking.speed import Speed
from roadmap_shared.report import Section, Table
from roadmap_shared.report.blocks import Cell

_LOADS = (0.5, 0.9, 1.5, 3.0)  # of what a server that computes one text at a time could answer
_REQUESTS = 4000
_POLICIES = {
    "one at a time": QueuePolicy(max_batch=1, queue_limit=64),
    "up to 32": QueuePolicy(max_batch=32, max_wait=0.005, queue_limit=64),
}


def batch_seconds(measured: Mapping[int, float]) -> BatchSeconds:
    """The line a·n + b through the measured seconds by batch size n, least squares, neither part below 0.

    Raises:
        ValueError: fewer than two batch sizes tell no line.
    """
    if len(measured) < 2:
        raise ValueError(f"a line needs two batch sizes, got {list(measured)}")
    sizes = np.array(list(measured), dtype=float)
    seconds = np.array(list(measured.values()))
    per_text, fixed = np.polyfit(sizes, seconds, 1)
    if fixed < 0:  # large batches leave the cache: each text costs more there than alone
        per_text, fixed = float(sizes @ seconds / (sizes @ sizes)), 0.0
    return BatchSeconds(per_text=max(float(per_text), 0.0), fixed=float(fixed))


def batching_section(speeds: Sequence[Speed], seed: int = 0) -> Section:
    """Throughput and latency under Poisson load of the first variant and the last, with and without micro-batching.

    Raises:
        ValueError: fewer than two batch sizes were measured.
    """
    compared = {one.name: one for one in (speeds[0], speeds[-1])}
    rows = [row for speed in compared.values() for row in _rows(speed, seed)]
    table = Table(
        columns=("variant", "asked/s", "batches", "answered/s", "p50, ms", "p99, ms", "rejected", "texts a batch"),
        rows=rows,
        caption=f"Simulated: {_REQUESTS:,} requests of one text of {speeds[0].tokens} tokens; 64 may wait, more are "
        "refused.",
        formats={"asked/s": ".0f", "answered/s": ".0f", "p50, ms": ",.0f", "p99, ms": ",.0f", "rejected": ".1%",
                 "texts a batch": ".1f"},
    )  # fmt: skip
    return Section(
        "What batches would do for a server",
        [table],
        "A batch of n texts takes a·n + b: the measured times give a and b, a simulation of the server's queue the "
        "rest. Batches win where b is large beside a, as with short texts; where one long text keeps the processor "
        "busy by itself, they win little.",
    )


def _rows(speed: Speed, seed: int) -> Iterator[list[Cell]]:
    seconds = batch_seconds({batch: speed.undisturbed_seconds(batch) for batch in speed.latency})
    for load in _LOADS:
        rate = load / seconds.of(1)
        arrivals = poisson_arrivals(rate, _REQUESTS, seed)
        for name, policy in _POLICIES.items():
            found = simulate(arrivals, seconds, policy)
            tails = found.percentiles()
            median, tail = (1000 * tails.p50, 1000 * tails.p99) if tails else (None, None)
            yield [speed.name, rate, name, found.throughput, median, tail, found.rejected_share, found.mean_batch]
