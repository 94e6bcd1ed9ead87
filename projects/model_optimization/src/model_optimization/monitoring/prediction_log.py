"""Every prediction kept for later, without ever delaying or breaking the answer.

`write` puts records into a queue of limited length and returns; a thread redacts them and brings them to the disk, many
in one transaction. What does not fit, or cannot be written, is dropped and counted.
"""

import hashlib
import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from model_optimization.config.monitoring import LogConfig
from model_optimization.monitoring.log_database import open_log, sweep
from model_optimization.monitoring.redaction import LONGEST, redact
from roadmap_shared.errors import UserError, one_line

_BATCH = 500
_SWEEP_SECONDS = 60.0
_COMPLAINT_SECONDS = 60.0
logger = logging.getLogger("model_optimization.prediction_log")


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """One answered text, or one that got no answer."""

    time: float
    """Seconds since 1970, when it was answered."""

    version: str
    """Of the model that answered."""

    text: str | None
    label: str
    """The answer; empty where there is none."""

    probabilities: tuple[float, ...]
    """Of the K labels; empty where there is no answer."""

    latency_ms: float
    n_tokens: int
    request_id: str
    shadow: bool = False
    """Computed beside the answer that the caller got, and never sent."""

    error: str | None = None
    """Why there is no answer, in a word such as `deadline`."""

    @property
    def confidence(self) -> float | None:
        """Probability of the answer."""
        return max(self.probabilities) if self.probabilities else None


class PredictionSink(Protocol):
    """Where a server puts its records."""

    def write(self, records: Sequence[PredictionRecord]) -> None:
        """Keep them, some day. Never waits and never raises."""
        ...


@dataclass(frozen=True, kw_only=True)
class LogCounts:
    """What became of the records of this process."""

    seen: int
    errors: int
    """Of those seen: without an answer."""

    skipped: int
    """Not among the share that is kept."""

    dropped: int
    """The queue was full."""

    failed: int
    """The file could not be written."""

    written: int


class PredictionLog:
    """Implements `PredictionSink` by a SQLite file, which any number of threads and processes may write at once."""

    def __init__(self, config: LogConfig, *, clock: Callable[[], float] = time.time) -> None:
        """Open the file, making it where it is missing, and start the thread that writes.

        Raises:
            UserError: no path is given, or the file cannot be opened, or is something else.
        """
        if config.path is None:
            raise UserError("--log.path is not given: name the file that predictions are kept in")
        self.path: Path = config.path
        self._config, self._clock = config, clock
        self._queue: queue.Queue[PredictionRecord | threading.Event] = queue.Queue(config.queue)
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {field.name: 0 for field in fields(LogCounts)}
        self._connection: sqlite3.Connection | None = None
        self._swept = self._complained = float("-inf")
        self._closing = threading.Event()
        open_log(self.path).close()  # a wrong place is told at once; the thread's connection is its own
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> LogCounts:
        """What became of the records so far."""
        with self._lock:
            return LogCounts(**self._counts)

    def write(self, records: Sequence[PredictionRecord]) -> None:
        """Queue the records that are among the share that is kept. Never waits and never raises."""
        kept = [record for record in records if is_kept(record.request_id, self._config.share)]
        dropped = 0
        for record in kept:
            try:
                self._queue.put_nowait(record)
            except queue.Full:
                dropped += 1
        errors = sum(record.error is not None for record in records)
        self._count(seen=len(records), errors=errors, skipped=len(records) - len(kept), dropped=dropped)

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until what was queued before is on the disk or counted as failed; False where that takes longer."""
        done = threading.Event()
        try:
            self._queue.put(done, timeout=seconds)
        except queue.Full:
            return False
        return done.wait(seconds)

    def close(self, seconds: float = 10.0) -> None:
        """Write what is queued, and end the thread. Harmless when called again."""
        if not self._closing.is_set():
            self.flush(seconds)
        self._closing.set()
        self._thread.join(seconds)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number

    def _run(self) -> None:
        while not (self._closing.is_set() and self._queue.empty()):
            batch = self._next_batch()
            self._store([item for item in batch if isinstance(item, PredictionRecord)])
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()
        self._disconnect()

    def _next_batch(self) -> list[PredictionRecord | threading.Event]:
        batch: list[PredictionRecord | threading.Event] = []
        try:
            batch.append(self._queue.get(timeout=0.2))
            while len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _store(self, records: Sequence[PredictionRecord]) -> None:
        """Nothing that happens here may end the thread: the records after these have a chance of their own."""
        if not records and self._clock() - self._swept < _SWEEP_SECONDS:
            return
        try:
            rows = [self._row(record) for record in records]
            connection = self._connected()
            with connection:
                connection.executemany(f"INSERT INTO predictions VALUES ({', '.join('?' * 13)})", rows)
            self._count(written=len(records))
        except Exception as error:
            self._disconnect()
            self._count(failed=len(records))
            self._complain(error)
            return
        self._sweep_now_and_then(connection)

    def _sweep_now_and_then(self, connection: sqlite3.Connection) -> None:
        if self._clock() - self._swept < _SWEEP_SECONDS:
            return
        self._swept = self._clock()
        try:
            sweep(connection, before=self._clock() - self._config.days * 86_400, max_bytes=self._config.max_mb * 1e6)
        except sqlite3.Error as error:
            self._complain(error)

    def _row(self, record: PredictionRecord) -> tuple[object, ...]:
        text = self._kept_text(record.text)
        return (
            None,
            float(record.time),
            _clean(record.version),
            _clean(record.request_id),
            text,
            _clean(record.label),
            record.confidence,
            json.dumps([round(float(value), 6) for value in record.probabilities]),
            float(record.latency_ms),
            int(record.n_tokens),
            int(record.shadow),
            None if record.error is None else _clean(record.error),
            1 / self._config.share,
        )

    def _kept_text(self, text: str | None) -> str | None:
        if text is None or not self._config.keep_text:
            return None
        limit = self._config.max_text
        text = _clean(text[: limit + LONGEST])
        return (redact(text).text if self._config.redact else text)[:limit]

    def _connected(self) -> sqlite3.Connection:
        # A file that was moved away would be written on, unseen.
        if self._connection is not None and not self.path.exists():
            self._disconnect()
        if self._connection is None:
            self._connection = open_log(self.path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _complain(self, error: Exception) -> None:
        if time.monotonic() - self._complained > _COMPLAINT_SECONDS:
            self._complained = time.monotonic()
            logger.error("%s: predictions cannot be kept: %s", self.path, one_line(error))


def is_kept(request_id: str, share: float) -> bool:
    """Whether a request is among the share that is kept: its id's hash, as a number in [0, 1), is below the share.

    The same in every process, so that a champion's and a challenger's answers to one request are kept together.
    """
    digest = hashlib.blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which SQLite cannot keep."""
    return text.encode("utf-8", "replace").decode("utf-8")
