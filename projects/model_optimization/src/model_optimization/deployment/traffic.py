"""Two versions side by side: who answers which request, and what came of it."""

import hashlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

_Z = NormalDist().inv_cdf(0.975)
_RECENT = 2000


def is_in_share(key: str, challenger: int, share: float) -> bool:
    """Whether the challenger answers the requests of a key.

    A hash of the key, as a number in [0, 1), is compared with the share: equal keys go the same way on every server and
    after every restart, and a share that grows keeps those that were in it. The challenger's number is hashed, too, so
    that not the same keys are the first to meet each challenger.
    """
    digest = hashlib.blake2b(f"{challenger}:{key}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927): within 0 and 1 also where n is small; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with its 95 % interval by the normal approximation; NaN where there are not two values at least."""
    n = len(values)
    if n < 2:
        return (values[0] if n else math.nan, math.nan, math.nan)
    mean = math.fsum(values) / n
    half = _Z * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return mean, mean - half, mean + half


@dataclass
class Tally:
    """What one version did since it was loaded. Belongs to one event loop."""

    requests: int = 0
    failed: int = 0
    compared: int = 0
    """Copied texts that both versions answered."""

    agreed: int = 0
    shadow_failed: int = 0
    shadow_dropped: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """Of the last requests of clients."""

    shadow_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """Of the last copied requests, which wait until nothing else is to be done."""

    def answered(self, seconds: float) -> None:
        """Count a client's request that was answered."""
        self.requests += 1
        self.seconds.append(seconds)

    def broke(self) -> None:
        """Count a client's request that failed."""
        self.requests += 1
        self.failed += 1

    def compare(self, ours: Sequence[str], theirs: Sequence[str], seconds: float) -> int:
        """Count the labels of a copied request beside the champion's; returns how many agree."""
        agreed = sum(one == other for one, other in zip(ours, theirs, strict=True))
        self.compared += len(ours)
        self.agreed += agreed
        self.shadow_seconds.append(seconds)
        return agreed

    def row(self) -> dict[str, Any]:
        """One row of the comparison, each share and mean with its 95 % interval."""
        return {
            "requests": self.requests,
            "failed": _share(self.failed, self.requests),
            "latency_ms": _latency(self.seconds),
            "shadow": {
                "texts": self.compared,
                "agreement": _share(self.agreed, self.compared),
                "failed_requests": self.shadow_failed,
                "dropped_requests": self.shadow_dropped,
                "latency_ms": _latency(self.shadow_seconds),
            },
        }


def _share(successes: int, n: int) -> dict[str, float | int | None]:
    low, high = wilson(successes, n)
    return {"share": round(successes / n, 6) if n else None, "low": round(low, 6), "high": round(high, 6), "n": n}


def _latency(seconds: Sequence[float]) -> dict[str, float | int | None]:
    values = sorted(seconds)
    mean, low, high = mean_interval(values)

    def ms(value: float) -> float | None:
        return None if math.isnan(value) else round(value * 1e3, 3)

    def quantile(q: float) -> float | None:
        return ms(values[min(len(values) - 1, int(q * len(values)))]) if values else None

    return {
        "mean": ms(mean), "low": ms(low), "high": ms(high), "p50": quantile(0.5), "p99": quantile(0.99),
        "n": len(values),
    }  # fmt: skip
