"""The server's own batching queue under a load, in time that is counted and not waited for.

Its thread becomes a function that is called; its clock stands still but for what a batch takes; waiting for a
signal lets the next request in. What decides is the server's code, line by line, and the result is the same every time.
"""

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_optimization.benchmarking.batching_simulator import BatchSeconds
from model_optimization.config.serving import BatchingConfig
from model_optimization.deployment import batching_queue
from model_optimization.deployment.latency_model import LatencyModel
from model_optimization.types import FloatArray, TokenIds

_TOKENS = 8


class VirtualTime:
    """The clock, and the requests that come as it moves."""

    def __init__(self, arrivals: Sequence[float]) -> None:
        self.arrivals, self.next, self.now, self.refused = list(arrivals), 0, 0.0, 0
        self.queue: Any = None
        self.jobs: dict[int, Any] = {}

    def __call__(self) -> float:
        return self.now

    def move_to(self, moment: float) -> None:
        """Let in whoever comes until then."""
        while self.next < len(self.arrivals) and self.arrivals[self.next] <= moment:
            self.now = self.arrivals[self.next]
            request, self.next = self.next, self.next + 1
            try:
                self.jobs[request] = self.queue.submit([str(request)])
            except batching_queue.QueueFull:
                self.refused += 1
        self.now = moment

    def wait(self, timeout: float | None) -> bool:
        """Stand in for the wait of a condition: until the next request or the timeout, whichever is first."""
        coming = self.arrivals[self.next] if self.next < len(self.arrivals) else None
        if coming is not None and (timeout is None or coming <= self.now + timeout):
            self.move_to(coming)
            return True
        if timeout is None:
            self.queue.close()
            return True
        self.move_to(self.now + timeout)
        return False


class VirtualCondition:
    """A condition that one thread alone uses."""

    def __init__(self, time: VirtualTime) -> None:
        self._lock, self._time = threading.RLock(), time

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        return self._time.wait(timeout)

    def notify(self) -> None:
        """Nobody sleeps."""

    notify_all = notify


class SlowClassifier:
    """Takes a·n + b seconds of virtual time, and remembers when each text was done."""

    labels, max_length = ("a", "b"), 64

    def __init__(self, time: VirtualTime, seconds: BatchSeconds) -> None:
        self._time, self._seconds = time, seconds
        self.done: dict[int, float] = {}
        self.batches: list[int] = []

    def token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        return [[int(text)] * _TOKENS for text in texts]

    def logits_of_tokens(self, sequences: Sequence[TokenIds]) -> FloatArray:
        self._time.move_to(self._time.now + self._seconds.of(len(sequences)))
        self.batches.append(len(sequences))
        self.done |= {sequence[0]: self._time.now for sequence in sequences}
        return np.zeros((len(sequences), 2), dtype=np.float32)

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        return self.logits_of_tokens(self.token_ids(texts))

    def close(self) -> None:
        """Nothing is held."""


def serve_in_virtual_time(
    monkeypatch: pytest.MonkeyPatch, arrivals: Sequence[float], seconds: BatchSeconds, config: BatchingConfig
) -> tuple[SlowClassifier, VirtualTime, int]:
    """Answer all requests; the classifier knows when, the time who was refused, and last the largest useful batch."""
    time = VirtualTime(arrivals)
    classifier = SlowClassifier(time, seconds)
    model = LatencyModel()
    for n in (1, 4, 8):
        model.observe(n, _TOKENS, seconds.of(n), lasting=True)
    thread = SimpleNamespace(start=lambda: None, join=lambda timeout: None)
    fake_threading = SimpleNamespace(
        Condition=lambda: VirtualCondition(time), Thread=lambda **arguments: thread, current_thread=lambda: thread
    )
    monkeypatch.setattr(batching_queue, "threading", fake_threading)
    monkeypatch.setattr(batching_queue, "time", SimpleNamespace(monotonic=time, perf_counter=time))

    async def work() -> None:
        time.queue = batching_queue.BatchingQueue(classifier, config, model=model)
        time.queue._work()

    asyncio.run(work())
    return classifier, time, model.useful_batch(_TOKENS, config.max_batch)
