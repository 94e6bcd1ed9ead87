"""From blocks of durations to what is told of a variant: percentiles, throughput, ratios with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from model_optimization.benchmarking.idle_gate import KeptBlock
from roadmap_shared.metrics import Interval, bootstrap_ratio, latency_summary


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """One input at one batch size. Milliseconds of one call, which computes one batch."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    """Of fewer than 100 calls this is next to the slowest of them: see `calls`."""

    cpu_ms: float
    """Mean processor time of a call, all threads together. Load of others changes it far less than the clock's."""

    texts_per_second: float
    calls: int
    blocks: int
    blocks_rejected: int
    """Noisy blocks that were measured again."""

    noise: str | None
    """Why the figures are not those of an idle machine; None where at least half of the blocks were quiet, which then
    alone count."""

    speedup: Interval | None
    """The reference's time by the clock over this one's, above 1 where this one is faster, with a 95 % bootstrap
    interval over paired blocks; few blocks make it somewhat too narrow. None without a reference."""

    cpu_speedup: Interval | None
    """The same of processor time."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a variant costs in time and memory."""

    name: str
    folder: str
    size_mb: float
    """Weights on disk, in 10^6 bytes."""

    load_seconds: float
    """From files in the system's cache to a variant that answers; importing the libraries is left out."""

    peak_mb: float
    """Most memory that its process held, libraries included, in 10^6 bytes."""

    base_mb: float
    """Of that, what the process held before the variant was loaded."""

    threads: int
    tokens: int
    """Of each text of the exact inputs."""

    latency: Mapping[int, LatencyRow]
    """By batch size, of texts of exactly `tokens` tokens."""

    realistic: Mapping[int, LatencyRow]
    """By batch size, of texts as they come, tokenisation included."""

    @property
    def throughput(self) -> dict[int, float]:
        """Texts a second of the exact inputs, by batch size."""
        return {batch: row.texts_per_second for batch, row in self.latency.items()}

    def undisturbed_seconds(self, batch: int) -> float:
        """Of one exact batch: the median by the clock; on a busy machine, its processor time divided by the threads."""
        row = self.latency[batch]
        return (row.cpu_ms / self.threads if row.noise else row.p50_ms) / 1000

    @property
    def noisy(self) -> bool:
        """Whether any figure was measured beside other work."""
        return any(row.noise for row in (*self.latency.values(), *self.realistic.values()))

    def as_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self) | {"throughput": self.throughput, "noisy": self.noisy}


def latency_row(kept: Sequence[KeptBlock], reference: Sequence[KeptBlock] | None, *, texts_per_pass: int) -> LatencyRow:
    """Sum up the blocks of one input, and compare them with the reference's, which were measured in the same turns."""
    quiet = _usable([one.noise is None for one in kept])
    blocks = [kept[index].block for index in quiet]
    calls = np.concatenate([block.calls for block in blocks])
    summary = latency_summary(1000 * calls)
    return LatencyRow(
        p50_ms=summary.p50,
        p95_ms=summary.p95,
        p99_ms=summary.p99,
        cpu_ms=1000 * sum(block.cpu for block in blocks) / len(calls),
        texts_per_second=texts_per_pass * sum(block.passes for block in blocks) / float(calls.sum()),
        calls=len(calls),
        blocks=len(blocks),
        blocks_rejected=sum(one.rejected for one in kept),
        noise=next((kept[index].noise for index in quiet if kept[index].noise), None),
        speedup=speedup(reference, kept, "wall") if reference else None,
        cpu_speedup=speedup(reference, kept, "cpu") if reference else None,
    )


def speedup(
    reference: Sequence[KeptBlock], kept: Sequence[KeptBlock], clock: Literal["wall", "cpu"]
) -> Interval | None:
    """Mean seconds of a pass of the reference over those of the variant, resampled by pairs of the same turn.

    Pairs, because load that lasts for some seconds slows both and cancels out.
    """
    pairs = list(zip(reference, kept, strict=True))
    quiet = _usable([one.noise is None and other.noise is None for one, other in pairs])
    seconds = [[getattr(one.block, clock) / one.block.passes for one in pairs[index]] for index in quiet]
    tops, bottoms = np.array(seconds).T
    if min(tops.min(), bottoms.min()) <= 0:  # a clock too coarse for blocks this short
        return None
    return bootstrap_ratio(tops, bottoms)


def _usable(quiet: Sequence[bool]) -> list[int]:
    """Places of the quiet blocks where they are at least half; otherwise of all, which are noisy alike."""
    places = [index for index, one in enumerate(quiet) if one]
    return places if 2 * len(places) >= len(quiet) else list(range(len(quiet)))
