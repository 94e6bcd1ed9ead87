"""A version that is loaded, warm and behind a queue."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_optimization.config.serving import BatchingConfig
from model_optimization.deployment.batch_runner import warm_up
from model_optimization.deployment.batching_jobs import Answer
from model_optimization.deployment.batching_queue import BatchingQueue
from model_optimization.deployment.registry import Registry
from model_optimization.deployment.server_metrics import ServerMetrics
from model_optimization.deployment.traffic import Tally
from model_optimization.softmax import softmax

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Name, size, time and inode of each file of a version: another one means that somebody was there."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a version says about one text."""

    label: str
    probabilities: tuple[float, ...]
    """Of the K labels, in their order."""

    n_tokens: int

    @property
    def probability(self) -> float:
        """Of the label."""
        return max(self.probabilities)


class ServedVersion:
    """Computes its batches in a thread of its own, so that a slow version keeps no other one waiting."""

    def __init__(
        self,
        registry: Registry,
        number: int,
        *,
        config: BatchingConfig,
        threads: int | None,
        metrics: ServerMetrics,
        idle: Callable[[], bool],
    ) -> None:
        """Load a version and compute its first batches.

        Raises:
            UserError: it is missing, damaged, or cannot compute.
        """
        self.number, self.label = number, str(number)
        self.fingerprint = fingerprint(registry.folder(number))  # before it is loaded: a change meanwhile is seen
        self.name = next((one.name for one in registry.versions() if one.number == number), "")
        self.classifier = registry.load(number, threads)
        self.labels, self.max_length = self.classifier.labels, self.classifier.max_length
        try:
            model = warm_up(self.classifier, config.max_batch)
        except BaseException:
            self.classifier.close()
            raise
        self.since = time.time()
        self.tally = Tally()
        self._metrics = metrics
        batch_seconds, batch_texts = metrics.batch_seconds.labels(self.label), metrics.batch_texts.labels(self.label)

        def observe(n: int, tokens: int, seconds: float) -> None:
            batch_seconds.observe(seconds)
            batch_texts.observe(n)

        self.queue = BatchingQueue(self.classifier, config, model=model, observer=observe, idle=idle)

    def predictions(self, answer: Answer) -> list[Prediction]:
        """Probabilities by a softmax of the logits, and the label that has the largest."""
        found = []
        for logits, n_tokens in zip(answer.logits, answer.n_tokens, strict=True):
            probabilities = softmax(logits)
            found.append(Prediction(self.labels[int(probabilities.argmax())], tuple(probabilities.tolist()), n_tokens))
        return found

    def count(self, predictions: Sequence[Prediction], seconds: float) -> None:
        """Count a client's request that was answered."""
        self.tally.answered(seconds)
        metrics, label = self._metrics, self.label
        metrics.answer_seconds.labels(label).observe(seconds)
        metrics.texts.labels(label).inc(len(predictions))
        metrics.tokens.labels(label).inc(sum(prediction.n_tokens for prediction in predictions))
        for prediction in predictions:
            metrics.predictions.labels(label, prediction.label).inc()
            metrics.confidence.labels(label).observe(prediction.probability)

    def description(self) -> dict[str, Any]:
        """For /v1/models."""
        return {
            "version": self.number,
            "name": self.name,
            "labels": list(self.labels),
            "max_tokens": self.max_length,
            "loaded_since": round(self.since, 3),
            "latency_model": self.queue.model.table(),
        }

    def close(self) -> None:
        """Answer what waits, and free the network."""
        self.queue.close()
        self.classifier.close()


def fingerprint(folder: Path) -> Fingerprint:
    """Of the files in a folder; empty where there is none."""
    found = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        try:
            stat = path.stat()
        except OSError:  # gone meanwhile
            continue
        found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(found)
