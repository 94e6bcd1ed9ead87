"""What is watched: the panels of the Grafana dashboard and the alerts of Prometheus, as PromQL.

Only figures of `server_metrics.ServerMetrics` and of Prometheus' process collector occur, under the names that
Prometheus sees: a counter ends with `_total`, a histogram with `_bucket`, `_sum` and `_count`.
"""

from dataclasses import dataclass
from typing import Any

from model_optimization.config.docker import DockerConfig


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One graph over time."""

    title: str
    unit: str
    """As Grafana names it: s, reqps, percentunit, short, bytes."""

    queries: tuple[tuple[str, str], ...]
    """PromQL, and the name of its line."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that somebody must look at."""

    name: str
    expression: str
    hold: str
    """How long it must be true."""

    severity: str
    summary: str


def quantile(part: float, histogram: str, by: str = "le") -> str:
    """PromQL of a quantile over five minutes; `by` may add a label to `le`."""
    return f"histogram_quantile({part}, sum by ({by}) (rate({histogram}_bucket[5m])))"


def mean(histogram: str) -> str:
    """PromQL of a histogram's mean over five minutes, for each version."""
    return f"sum by (version) (rate({histogram}_sum[5m])) / sum by (version) (rate({histogram}_count[5m]))"


def share(counter: str, condition: str, among: str = "") -> str:
    """PromQL of the part of a counter's growth over five minutes that meets a condition on its labels."""
    both = f"{among},{condition}" if among else condition
    return f"sum(rate({counter}{{{both}}}[5m])) / sum(rate({counter}{{{among}}}[5m]))"


_ANSWER = "model_server_answer_seconds"
PANELS = (
    Panel(
        title="Requests by status",
        unit="reqps",
        queries=(("sum by (status) (rate(model_server_requests_total[1m]))", "{{status}}"),),
    ),
    Panel(
        title="Time to answer",
        unit="s",
        queries=tuple((quantile(part, _ANSWER), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99)),
    ),
    Panel(
        title="Texts answered a second",
        unit="short",
        queries=(("sum by (version) (rate(model_server_texts_total[1m]))", "{{version}}"),),
    ),
    Panel(
        title="Texts waiting", unit="short", queries=(("sum by (version) (model_server_queue_texts)", "{{version}}"),)
    ),
    Panel(
        title="Texts computed together",
        unit="short",
        queries=((mean("model_server_batch_texts"), "{{version}}"),),
    ),
    Panel(
        title="Time to compute a batch, p95",
        unit="s",
        queries=((quantile(0.95, "model_server_batch_seconds", "le, version"), "{{version}}"),),
    ),
    Panel(
        title="Refused, by reason",
        unit="reqps",
        queries=(("sum by (code) (rate(model_server_refused_total[1m]))", "{{code}}"),),
    ),
    Panel(
        title="Failures of the model",
        unit="reqps",
        queries=(("sum by (version) (rate(model_server_failures_total[1m]))", "{{version}}"),),
    ),
    Panel(
        title="Labels answered",
        unit="percentunit",
        queries=(
            (
                "sum by (label) (rate(model_server_predictions_total[5m]))"
                " / scalar(sum(rate(model_server_predictions_total[5m])))",
                "{{label}}",
            ),
        ),
    ),
    Panel(
        title="Mean confidence",
        unit="percentunit",
        queries=((mean("model_server_confidence_ratio"), "{{version}}"),),
    ),
    Panel(
        title="Shadow: texts on which the challenger disagrees",
        unit="percentunit",
        queries=((share("model_server_shadow_total", 'outcome="disagree"'), "disagree"),),
    ),
    Panel(
        title="Memory and processors",
        unit="short",
        queries=(
            ("process_resident_memory_bytes / 1e9", "GB, {{instance}}"),
            ("rate(process_cpu_seconds_total[1m])", "cores, {{instance}}"),
        ),
    ),
    Panel(
        title="Prediction log",
        unit="short",
        queries=(("sum by (outcome) (rate(model_server_log_records_total[1m]))", "{{outcome}}"),),
    ),
    Panel(
        title="Ready, and the wanted version loaded",
        unit="short",
        queries=(
            ("model_server_ready", "ready, {{instance}}"),
            ("1 - model_server_reload_failed", "loaded, {{instance}}"),
        ),
    ),
)


def alerts(config: DockerConfig) -> list[Alert]:
    """The alerts, with the limits of the configuration."""
    slowest = quantile(0.95, _ANSWER)
    errors = share("model_server_requests_total", 'status=~"5.."', 'route=~"/v1/.+"')  # probes may fail
    return [
        Alert(
            name="ModelServerDown",
            expression=f'up{{job="{config.name}"}} == 0',
            hold="1m",
            severity="page",
            summary="{{ $labels.instance }} does not answer Prometheus",
        ),
        Alert(
            name="ModelServerNotReady",
            expression="model_server_ready == 0",
            hold="2m",
            severity="page",
            summary="{{ $labels.instance }} runs, but answers no requests",
        ),
        Alert(
            name="ModelServerErrors",
            expression=f"{errors} > {config.error_percent / 100:g}",
            hold="5m",
            severity="page",
            summary="{{ $value | humanizePercentage }} of the requests end in an error of the server",
        ),
        Alert(
            name="ModelServerSlow",
            expression=f"{slowest} > {config.slow_seconds:g}",
            hold="5m",
            severity="ticket",
            summary="The slowest twentieth of the answers takes {{ $value | humanizeDuration }} and more",
        ),
        Alert(
            name="ModelServerOverloaded",
            expression='sum(rate(model_server_refused_total{code="queue_full"}[5m])) > 0',
            hold="5m",
            severity="ticket",
            summary="Requests are refused because too many wait: raise the number of replicas",
        ),
        Alert(
            name="ModelServerMemory",
            expression=f"process_resident_memory_bytes > {0.9 * config.memory_mb * 2**20:.0f}",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.instance }} uses {{ $value | humanize1024 }}B, nine tenths of what it may",
        ),
        Alert(
            name="ModelServerReloadFailed",
            expression="model_server_reload_failed == 1",
            hold="5m",
            severity="ticket",
            summary="{{ $labels.instance }} cannot load the wanted version and serves another one",
        ),
        Alert(
            name="ModelServerLogLoss",
            expression='sum(rate(model_server_log_records_total{outcome=~"dropped|failed"}[10m])) > 0',
            hold="10m",
            severity="ticket",
            summary="Predictions are missing from the log",
        ),
    ]


def dashboard(config: DockerConfig) -> dict[str, Any]:
    """The dashboard as Grafana reads it from a file: two panels in a row, each half the width of 24 units."""
    return {
        "uid": config.name,
        "title": config.name,
        "tags": ["model-server"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": number % 2 * 12, "y": number // 2 * 8, "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }
