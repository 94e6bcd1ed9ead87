"""What runs and watches the server in a cluster: of the right form, of one piece, and asking for what there is."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import prometheus_client
import pytest
import yaml

from model_optimization.config.docker import DockerConfig
from model_optimization.deployment.docker_deployment import write_deployment
from model_optimization.deployment.server_metrics import ServerMetrics
from model_optimization.monitoring.prediction_log import LogCounts

from .deployment_files import read_yaml, stub_of_onnx

KUBERNETES = "1.31"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool, of Prometheus, is not installed")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    return write_deployment(stub_of_onnx(folder / "int8"), DockerConfig(output=folder / "deployment"))


# Kubernetes


def test_manifests_are_of_their_schemas(written: Path) -> None:
    kinds = []
    for path in sorted((written / "kubernetes").iterdir()):
        manifest = read_yaml(path)
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        kinds.append(manifest["kind"])
        manifest["spec"]["wrongKey"] = 1
        with pytest.raises(kubernetes_validate.ValidationError, match="wrongKey"):
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    assert kinds == ["HorizontalPodAutoscaler", "Deployment", "PodDisruptionBudget", "Service"]


def test_manifests_belong_together(written: Path) -> None:
    scaler, deployment, budget, service = (read_yaml(path) for path in sorted((written / "kubernetes").iterdir()))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    names = {port["name"] for port in container["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in names
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} <= names
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]
    volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_container_of_the_cluster_may_do_little(written: Path) -> None:
    pod = read_yaml(written / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    resources = pod["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "1000m", "memory": "768Mi"}, "limits": {"cpu": "2", "memory": "1536Mi"}}


# Prometheus and Grafana


def _series() -> dict[str, set[str]]:
    """Every series that the server exports, with its labels."""
    metrics = ServerMetrics()
    metrics.watch_log(lambda: LogCounts(**dict.fromkeys((item.name for item in fields(LogCounts)), 0)))
    series: dict[str, set[str]] = {"up": {"job", "instance"}}
    for metric in vars(metrics).values():
        if not isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
            continue
        name, labels = metric._name, {*metric._labelnames, "job", "instance"}
        match metric:
            case prometheus_client.Counter():
                series[f"{name}_total"] = labels
            case prometheus_client.Histogram():
                series |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
            case _:
                series[name] = labels
    for family in metrics.registry.collect():  # those of collectors; a labelled metric has no samples yet
        for sample in family.samples:
            series.setdefault(sample.name, {"job", "instance", *sample.labels})
    return series


_WORDS = re.compile(r"[a-z_][a-z_0-9]*")
_FUNCTIONS = {"sum", "by", "rate", "histogram_quantile", "scalar"}


def _unknown(expression: str, series: dict[str, set[str]]) -> set[str]:
    """Words of a PromQL expression that are neither functions, nor series, nor labels of the series in it."""
    text = re.sub(r'"[^"]*"|\[\w+\]|\b[0-9.]+(e[0-9]+)?\b', "", expression)
    words = set(_WORDS.findall(text)) - _FUNCTIONS
    named = words & set(series)
    return words - named - set().union(*(series[name] for name in named)) or (set() if named else {"no series"})


def _expressions(written: Path) -> Iterator[str]:
    board = json.loads((written / "grafana" / "dashboards" / "model-server.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in read_yaml(written / "prometheus" / "alerts.yml")["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_dashboard_and_alerts_ask_for_what_the_server_exports(written: Path) -> None:
    series = _series()
    expressions = list(_expressions(written))
    assert len(expressions) > 20
    assert {expression: words for expression in expressions if (words := _unknown(expression, series))} == {}
    assert _unknown("sum by (model) (rate(model_server_texts_total[1m]))", series) == {"model"}
    assert _unknown("rate(model_server_requests[1m])", series) == {"model_server_requests"}


def test_dashboard_is_laid_out_without_gaps_and_finds_its_data(written: Path) -> None:
    board = json.loads((written / "grafana" / "dashboards" / "model-server.json").read_text(encoding="utf-8"))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in board["panels"]})
    source = read_yaml(written / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    provider = read_yaml(written / "grafana" / "provisioning" / "dashboards" / "dashboards.yml")["providers"][0]
    volumes = read_yaml(written / "compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in volumes


@needs_promtool
def test_promtool_accepts_scraping_and_alerts(written: Path) -> None:
    config = written / "prometheus" / "prometheus.yml"
    done = subprocess.run([str(PROMTOOL), "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then(written: Path, tmp_path: Path) -> None:
    def at(minutes: int, name: str, fires: bool, **labels: str) -> dict[str, Any]:
        expected = [{"exp_labels": {"severity": labels.pop("severity"), **labels}}] if fires else []
        return {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": expected}

    down = {"job": "model-server", "instance": "a"}
    series = [
        ('up{job="model-server",instance="a"}', "1x10 0x20"),
        ('model_server_requests_total{route="/v1/predict",status="200"}', "0+99x40"),
        ('model_server_requests_total{route="/v1/predict",status="500"}', "0x10 0+3x30"),
        ('model_server_requests_total{route="/readyz",status="503"}', "0+99x40"),
        ('model_server_refused_total{code="queue_full"}', "0x40"),
    ]
    tests = {
        "rule_files": [str(written / "prometheus" / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series],
                "alert_rule_test": [
                    at(10, "ModelServerDown", fires=False),
                    at(13, "ModelServerDown", fires=True, severity="page", **down),
                    at(10, "ModelServerErrors", fires=False),
                    at(25, "ModelServerErrors", fires=True, severity="page"),
                    at(35, "ModelServerOverloaded", fires=False),
                ],
            }
        ],
    }
    for case in tests["tests"][0]["alert_rule_test"]:
        for alert in case["exp_alerts"]:
            summary = {
                "ModelServerDown": "a does not answer Prometheus",
                "ModelServerErrors": "2.941% of the requests end in an error of the server",
            }
            alert["exp_annotations"] = {"summary": summary[case["alertname"]]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
