"""Adaptive micro-batching: texts of many requests are computed together, by one thread.

A run of a network costs a fixed time and some more for each text, so that 32 requests of one text each are answered
several times as fast in one run as in 32. The thread takes what waits, sorts it by length, and computes the text that
waits for longest with its neighbours in length, while the next ones gather. How many, and whether to wait for more, the
latency model says that it fits to its own batches.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence

from model_optimization.config.serving import BatchingConfig
from model_optimization.deployment.batch_runner import BatchRunner, Failed
from model_optimization.deployment.batching_jobs import Answer, DeadlineExceeded, Item, Job, QueueClosed, QueueFull
from model_optimization.deployment.batching_policy import choose, worth_waiting
from model_optimization.deployment.latency_model import LatencyModel
from model_optimization.types import Classifier

_GAP_WEIGHT = 0.2
_SHADOW_PAUSE = 0.005


Observer = Callable[[int, int, float], None]
"""Told of each batch: texts, tokens of the longest, seconds."""


class BatchingQueue:
    """A classifier behind a queue. `submit` and `result` belong to an event loop, `close` to any thread."""

    def __init__(
        self,
        classifier: Classifier,
        config: BatchingConfig,
        *,
        model: LatencyModel | None = None,
        observer: Observer = lambda n, tokens, seconds: None,
        idle: Callable[[], bool] = lambda: True,
    ) -> None:
        """Args:
        classifier: used by the queue's thread alone.
        config: limits.
        model: what batches cost, where that is known already.
        observer: see `Observer`; called in the queue's thread.
        idle: whether no other queue has texts of clients waiting; copied texts are computed only then.
        """
        self._config, self._idle, self._observer = config, idle, observer
        self.model = model or LatencyModel()
        self._runner = BatchRunner(classifier)
        self._changed = threading.Condition()
        self._inbox: list[Job] = []
        self._closing = False
        self._gap, self._last_arrival = 4 * config.max_wait_ms / 1000, -math.inf
        self._n_waiting = self._n_shadow = 0
        # The thread's own: texts by length.
        self._live: list[Item] = []
        self._copies: list[Item] = []
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Texts of clients that wait, those just being computed aside."""
        return self._n_waiting

    def submit(self, texts: Sequence[str], *, shadow: bool = False) -> Job:
        """Let texts wait for their turn; `result` tells what came of them.

        Args:
            texts: at least one.
            shadow: they are copies, which no client waits for: computed when nothing else is to be done.

        Raises:
            QueueFull: too many wait.
            QueueClosed: the server shuts down, or the version was replaced.
        """
        loop, now = asyncio.get_running_loop(), time.monotonic()
        job = Job(texts, now, now + self._config.deadline_seconds, loop, loop.create_future(), shadow)
        with self._changed:
            if self._closing:
                raise QueueClosed
            waiting, most = (
                (self._n_shadow, self._config.max_shadow) if shadow else (self._n_waiting, self._config.max_queue)
            )
            if waiting + len(texts) > most:
                raise QueueFull(self._backlog_seconds())
            self._count(job, len(texts))
            if not shadow:
                # Beyond what a text may wait, one gap is as long as another: a pause must not outweigh a burst.
                since = min(now - self._last_arrival, 4 * self._config.max_wait_ms / 1000)
                self._gap += _GAP_WEIGHT * (since - self._gap)
                self._last_arrival = now
            self._inbox.append(job)
            self._changed.notify()
        return job

    async def result(self, job: Job) -> Answer:
        """Logits of a job's texts, all or none. Whoever stops waiting takes his texts out of the queue.

        Raises:
            DeadlineExceeded: no answer within the deadline.
            Failed: the network cannot compute them.
            QueueClosed: copies were left out because the queue was closed.
            Abandoned: `Job.abandon` was called.
        """
        try:
            async with asyncio.timeout_at(job.loop.time() + max(0.0, job.deadline - time.monotonic())):
                return await job.future
        except TimeoutError:
            raise DeadlineExceeded from None
        finally:
            job.cancelled = True  # of no effect on one that has its answer

    def close(self, timeout: float | None = None) -> None:
        """Take no more texts, compute those of clients that wait, end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _count(self, job: Job, n: int) -> None:
        if job.shadow:
            self._n_shadow += n
        else:
            self._n_waiting += n

    def _backlog_seconds(self) -> float:
        """Expected time until what waits is answered, taken to be as long as the text in the middle of it."""
        tokens = [len(item.tokens) for item in self._live]  # a copy: the thread may change the list meanwhile
        middle = tokens[len(tokens) // 2] if tokens else 1
        batch = self.model.useful_batch(middle, self._config.max_batch)
        return math.ceil(self._n_waiting / batch) * self.model.seconds(batch, middle)

    # What follows runs in the queue's thread.

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._inbox or self._live or self._closing or self._may_copy()):
                    self._changed.wait(_SHADOW_PAUSE if self._copies else None)
                inbox, self._inbox = self._inbox, []
                closing = self._closing
            self._admit(inbox)
            self._forget_ended()
            if self._live:
                if closing or not self._patient():
                    self._compute(self._live)
            elif closing:
                self._drop_copies()
                return
            elif self._may_copy():
                self._compute(self._copies)

    def _may_copy(self) -> bool:
        return bool(self._copies) and self._idle()

    def _admit(self, jobs: list[Job]) -> None:
        """Turn texts into tokens, in one call for all of them, and sort them in."""
        for job in [job for job in jobs if job.cancelled]:
            jobs.remove(job)
            self._release(job, len(job.texts))
        if not jobs:
            return
        texts = [text for job in jobs for text in job.texts]
        tokens = iter(self._runner.tokens(texts))
        for job in jobs:
            job.left = len(job.texts)
            job.logits = [None] * job.left
            found = [next(tokens) for _ in job.texts]
            failed = next((one for one in found if isinstance(one, Failed)), None)
            if failed is not None:
                self._release(job, job.left)
                self._end([(job, failed)])
                continue
            items = [Item(job, place, one) for place, one in enumerate(found) if not isinstance(one, Failed)]
            job.n_tokens = [len(item.tokens) for item in items]
            (self._copies if job.shadow else self._live).extend(items)
        for waiting in (self._live, self._copies):
            waiting.sort(key=lambda item: len(item.tokens))

    def _forget_ended(self) -> None:
        """Take out the texts that nobody waits for any more: cancelled, failed, or past their deadline."""
        now, late = time.monotonic(), []
        for waiting in (self._live, self._copies):
            stay: list[Item] = []
            for item in waiting:
                job = item.job  # asked once: its client may leave at any moment
                if not (job.cancelled or job.ended or now > job.deadline):
                    stay.append(item)
                    continue
                self._release(job, 1)
                if not (job.cancelled or job.ended):
                    late.append((job, DeadlineExceeded()))
                    job.ended = True
            waiting[:] = stay
        self._end(late)

    def _patient(self) -> bool:
        """Wait for more texts where that is worth it; returns whether any came."""
        n, longest = len(self._live), len(self._live[-1].tokens)
        useful = self.model.useful_batch(longest, self._config.max_batch)
        _, fixed = self.model.coefficients(longest)
        now = time.monotonic()
        latest = min(item.job.arrived for item in self._live) + self._config.max_wait_ms / 1000
        if n >= useful or now >= latest or not worth_waiting(n, self._gap, fixed):
            return False
        with self._changed:
            # When none came for twice the usual gap, the burst is over.
            return bool(self._inbox) or (self._changed.wait(min(latest - now, 2 * self._gap)) and not self._closing)

    def _compute(self, waiting: list[Item]) -> None:
        lengths = [len(item.tokens) for item in waiting]
        oldest = min(range(len(waiting)), key=lambda place: waiting[place].job.arrived)
        chosen = choose(lengths, oldest, self.model, self._config.max_batch)
        batch = waiting[chosen.start : chosen.stop]
        del waiting[chosen.start : chosen.stop]
        for item in batch:
            self._release(item.job, 1)
        begun = time.perf_counter()
        results = self._runner.logits([item.tokens for item in batch])
        seconds = time.perf_counter() - begun
        self.model.observe(len(batch), lengths[chosen.stop - 1], seconds)
        self._observer(len(batch), lengths[chosen.stop - 1], seconds)
        finished: list[tuple[Job, Answer | Exception]] = []
        for item, result in zip(batch, results, strict=True):
            job = item.job
            if job.ended:
                continue
            if isinstance(result, Failed):
                job.ended = True
                finished.append((job, result))
                continue
            job.logits[item.place] = result
            job.left -= 1
            if not job.left:
                job.ended = True
                finished.append((job, Answer([one for one in job.logits if one is not None], job.n_tokens)))
        self._end(finished)

    def _release(self, job: Job, n: int) -> None:
        with self._changed:
            self._count(job, -n)

    def _end(self, jobs: Sequence[tuple[Job, Answer | Exception]]) -> None:
        """Hand out results, with one call into each event loop: waking it costs as much as a small batch."""
        for job, _ in jobs:
            job.ended = True
        for loop in {job.loop for job, _ in jobs}:
            mine = [(job, result) for job, result in jobs if job.loop is loop]
            try:
                loop.call_soon_threadsafe(_resolve, mine)
            except RuntimeError:  # the loop is closed, and nobody waits
                continue

    def _drop_copies(self) -> None:
        gone, self._copies = self._copies, []
        for item in gone:
            self._release(item.job, 1)
        self._end([(job, QueueClosed()) for job in {item.job for item in gone}])


def _resolve(results: Sequence[tuple[Job, Answer | Exception]]) -> None:
    for job, result in results:
        if job.future.done():  # by its deadline, or because the client left
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
