"""Figures for Prometheus, in a registry of their own: two servers in one process do not share them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServerMetrics:
    """What `/metrics` shows. Names begin with `textgen_`."""

    def __init__(self, active: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Args:
        active: tells the number of answers in the making.
        waiting: tells the number of answers that wait for their turn.
        """
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "textgen_requests", "HTTP requests by path and status", ["path", "status"], registry=self.registry
        )
        self.answers = Counter(
            "textgen_answers", "Answers by how they ended: stop, length, cancelled, error", ["ending"],
            registry=self.registry,
        )  # fmt: skip
        self.prompt_tokens = Counter("textgen_prompt_tokens", "Tokens of prompts", registry=self.registry)
        self.new_tokens = Counter("textgen_new_tokens", "Tokens of finished answers", registry=self.registry)
        self.first_token = Histogram(
            "textgen_first_token_seconds", "From the request to the first text of an answer, waiting included",
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.answer_seconds = Histogram(
            "textgen_answer_seconds", "From the request to the end of an answer", buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        Gauge("textgen_active", "Answers in the making", registry=self.registry).set_function(active)
        Gauge("textgen_queue_length", "Answers that wait", registry=self.registry).set_function(waiting)

    def text(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)
