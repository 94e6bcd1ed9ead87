"""Figures for Prometheus, in a registry of their own: two servers in one process do not share them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServerMetrics:
    """What `/metrics` shows. Names begin with `ragqa_`. No label is one that a client or a document chooses."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ragqa_requests", "HTTP requests by route and status", ["route", "status"], registry=self.registry
        )
        self.answers = Counter(
            "ragqa_answers", "Questions by how they ended: answered, refused, abandoned, failed", ["ending"],
            registry=self.registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "ragqa_stage_seconds", "Time of each stage of an answer: waiting, retrieval, generation", ["stage"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.ingested = Counter(
            "ragqa_uploaded_files", "Uploaded files by outcome: indexed, refused", ["outcome"], registry=self.registry
        )
        self.active = Gauge("ragqa_active", "Questions that are worked on", registry=self.registry)
        self.waiting = Gauge("ragqa_waiting", "Questions that wait for their turn", registry=self.registry)

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)
