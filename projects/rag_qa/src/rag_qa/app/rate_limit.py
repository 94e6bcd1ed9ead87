"""How often one key may ask: a token bucket for each."""

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_BUCKETS = 10_000


class RateLimit:
    """A bucket holds `burst` tokens and is filled at a steady rate; a request takes one.

    Over t minutes, no more than burst + t * per_minute requests pass. Buckets that were not used for longest are
    forgotten beyond 10,000: such a bucket is full again. Belongs to one event loop.
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        per_minute: tokens that come in a minute; 0 sets no limit.
        burst: tokens of a full bucket.
        clock: tells the time in seconds.
        """
        self._rate, self._burst, self._clock = per_minute / 60, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> float:
        """Take a token; returns 0, or the seconds after which there is one again."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, then = self._buckets.pop(who, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        passed = tokens >= 1
        self._buckets[who] = (tokens - passed, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if passed else (1 - tokens) / self._rate
