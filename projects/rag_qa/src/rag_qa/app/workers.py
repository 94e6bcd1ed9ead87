"""A few threads for what takes long, and a limit to how many wait for them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from prometheus_client import Gauge

from rag_qa.app.errors import busy

P = ParamSpec("P")
T = TypeVar("T")
_RETRY_SECONDS = 5


class Workers:
    """Runs functions in at most `threads` threads; refuses what would have to wait behind `max_waiting` others."""

    def __init__(self, name: str, threads: int, max_waiting: int, active: Gauge, waiting: Gauge) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"rag-{name}")
        self._capacity = threads + max_waiting
        self._lock = threading.Lock()
        self._taken = 0
        self._active, self._waiting = active, waiting

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a function as soon as a thread is free. A future that is cancelled before gives its place up.

        Raises:
            ApiError: 503, too many wait.
        """
        with self._lock:
            if self._taken >= self._capacity:
                raise busy(503, "too many questions at a time: try again", _RETRY_SECONDS)
            self._taken += 1
        self._waiting.inc()
        future: Future[T] = self._pool.submit(self._run, function, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result.

        Raises:
            ApiError: 503, too many wait.
        """
        return await asyncio.wrap_future(self.start(function, *args, **kwargs))

    def close(self) -> None:
        """Drop what waits; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._waiting.dec()
        self._active.inc()
        try:
            return function(*args, **kwargs)
        finally:
            self._active.dec()

    def _done(self, future: Future[T]) -> None:
        if future.cancelled():
            self._waiting.dec()
        with self._lock:
            self._taken -= 1
