"""Figures of the server for Prometheus, in a registry of their own: two servers in one process do not share them.

Names begin with `model_server_` and end with their unit. No label holds what a client chose, so that nobody can fill
the memory with series of his own: routes, versions and the labels of the model are few.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from model_optimization.monitoring.prediction_log import LogCounts

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
CONFIDENCE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class ServerMetrics:
    """What `/metrics` shows, beside the `process_` figures of memory and processor time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._add_requests(self.registry)
        self._add_answers(self.registry)
        self._add_versions(self.registry)

    def _add_requests(self, registry: CollectorRegistry) -> None:
        """What clients see, and the server as a whole."""
        self.requests = Counter(
            "model_server_requests", "HTTP requests by route and status", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "model_server_request_seconds", "From a request's headers to the start of its response", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "model_server_refused", "Requests that were refused, by the code of the refusal", ["code"],
            registry=registry,
        )  # fmt: skip
        self.ready = Gauge("model_server_ready", "1 while requests are answered", registry=registry)

    def _add_answers(self, registry: CollectorRegistry) -> None:
        """What versions and their queues do."""
        self.texts = Counter("model_server_texts", "Texts answered to clients", ["version"], registry=registry)
        self.tokens = Counter("model_server_tokens", "Tokens of texts answered", ["version"], registry=registry)
        self.answer_seconds = Histogram(
            "model_server_answer_seconds", "From the acceptance of a request to its answer, waiting included",
            ["version"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.predictions = Counter(
            "model_server_predictions", "Texts answered, by label", ["version", "label"], registry=registry
        )
        self.confidence = Histogram(
            "model_server_confidence_ratio", "Probability of the label that was answered", ["version"],
            buckets=CONFIDENCE, registry=registry,
        )  # fmt: skip
        self.failures = Counter(
            "model_server_failures", "Requests of clients that a version failed to compute", ["version"],
            registry=registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "model_server_batch_seconds", "Time to compute one batch", ["version"], buckets=SECONDS, registry=registry
        )
        self.batch_texts = Histogram(
            "model_server_batch_texts", "Texts computed together", ["version"], buckets=BATCHES, registry=registry
        )
        self.queue_texts = Gauge(
            "model_server_queue_texts", "Texts that wait, those of clients", ["version"], registry=registry
        )

    def _add_versions(self, registry: CollectorRegistry) -> None:
        """Versions beside each other, and their changes."""
        self.shadow = Counter(
            "model_server_shadow", "Copied texts by outcome: agree, disagree, failed, dropped", ["version", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.version_info = Gauge(
            "model_server_version_info", "1 for a version that is loaded, with its role and name",
            ["version", "role", "name"], registry=registry,
        )  # fmt: skip
        self.reloads = Counter(
            "model_server_reloads", "Versions that were loaded while serving, by outcome: ok, failed", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.reload_failed = Gauge(
            "model_server_reload_failed", "1 while the wanted version cannot be loaded and another one serves",
            registry=registry,
        )  # fmt: skip
        self.switches = Counter(
            "model_server_switches", "Changes of the champion: promote, rollback, reload", ["action"], registry=registry
        )

    def watch_log(self, counts: Callable[[], "LogCounts"]) -> None:
        """Show what became of the prediction log's records.

        Args:
            counts: tells it.
        """
        self.registry.register(_LogCollector(counts))

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)


class _LogCollector(Collector):
    """`model_server_log_records_total` by outcome: written, skipped, dropped, failed."""

    def __init__(self, counts: Callable[[], "LogCounts"]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts()
        records = CounterMetricFamily(
            "model_server_log_records", "Records for the prediction log, by what became of them", labels=["outcome"]
        )
        for outcome in ("written", "skipped", "dropped", "failed"):
            records.add_metric([outcome], getattr(counts, outcome))
        yield records
