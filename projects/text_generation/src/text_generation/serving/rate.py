"""How often one address may ask."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from text_generation.serving.errors import busy

_MINUTE = 60.0


class RateLimit:
    """At most so many requests of one client address in a minute, wrong keys and chats in a WebSocket included.

    Minutes are counted one after another, not from each request on. Belongs to one event loop.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        per_minute: requests at most; 0 sets no limit.
        clock: tells the time in seconds.
        """
        self._per_minute, self._clock = per_minute, clock
        self._begun = clock()
        self._counts: Counter[str] = Counter()

    def count(self, client: str) -> None:
        """Count a request of this address.

        Raises:
            ApiError: 429, it is one too many.
        """
        if not self._per_minute:
            return
        if (now := self._clock()) - self._begun >= _MINUTE:
            self._begun = now
            self._counts.clear()
        self._counts[client] += 1
        if self._counts[client] > self._per_minute:
            wait = int(self._begun + _MINUTE - now) + 1
            raise busy(f"more than {self._per_minute} requests in a minute", wait)


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a connection comes from."""
    return scope["client"][0] if scope.get("client") else ""
