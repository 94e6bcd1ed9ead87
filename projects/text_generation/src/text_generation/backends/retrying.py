"""Trying again: exponential back-off with jitter, as long as a server asks for where it says so."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from text_generation.backends.types import BackendError

Result = TypeVar("Result")


class TemporaryError(BackendError):
    """One attempt failed. `retry_after` is the wait in seconds that the server asked for, if it did."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GaveUpError(BackendError):
    """All attempts failed: whoever catches it tries no further."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a `BackendError` is answered by another attempt, and after what wait.

    The wait before attempt n + 1 is drawn between half and the whole of `first_wait` · 2^(n-1) seconds, at most
    `longest_wait`: many clients that failed together do not come back together ("equal jitter", AWS Architecture Blog
    2015). A server's Retry-After replaces it; one beyond `longest_retry_after` ends the attempts.
    """

    retries: int = 4
    first_wait: float = 0.5
    longest_wait: float = 20.0
    longest_retry_after: float = 120.0
    total: float = float("inf")
    """Seconds after which no further attempt begins."""
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random
    """A number in [0, 1)."""
    clock: Callable[[], float] = time.monotonic

    def call(self, attempt: Callable[[], Result]) -> Result:
        """Return what the first successful attempt returns.

        Raises:
            GaveUpError: the last attempt's message, and how often it was tried.
        """
        start = self.clock()
        tried = 0
        while True:
            try:
                return attempt()
            except GaveUpError:
                raise
            except BackendError as error:
                tried += 1
                wait = self._wait(error, tried)
                too_late = self.clock() - start + wait > self.total
                too_long = (getattr(error, "retry_after", None) or 0) > self.longest_retry_after
                if tried > self.retries or too_late or too_long:
                    times = "once" if tried == 1 else f"{tried} times"
                    raise GaveUpError(f"{error} (tried {times})") from error
                self.sleep(wait)

    def _wait(self, error: BackendError, tried: int) -> float:
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            return asked
        whole = min(self.longest_wait, self.first_wait * 2 ** (tried - 1))
        return whole * (0.5 + self.draw() / 2)
