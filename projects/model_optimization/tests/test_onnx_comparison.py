"""The comparison of graphs: each agrees with torch, and each setting does what its row says."""

from pathlib import Path

import pytest

from model_optimization.config.export import ComparisonConfig, ExportConfig
from model_optimization.deployment.onnx_comparison import (
    Graph,
    GraphRow,
    compare_graphs,
    cpu_race,
    fuse,
    open_graph,
    table,
)
from model_optimization.deployment.onnx_conversion import export_network, graph_difference
from roadmap_shared.errors import UserError

from .tiny_models import tiny_classifier


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GraphRow]:
    config = ComparisonConfig(batches=(1, 3), tokens=8, repeats=1)
    made, failures = compare_graphs(tiny_classifier(), tmp_path_factory.mktemp("graphs"), ExportConfig(), config)
    assert failures == []
    return {row.name: row for row in made}


def test_every_graph_agrees_with_torch(rows: dict[str, GraphRow]) -> None:
    assert len(rows) == 12
    assert all(row.max_difference < 1e-5 for row in rows.values())
    assert all(set(row.speedup) == {1, 3} and min(row.speedup.values()) > 0 for row in rows.values())


def test_optimisation_leaves_fewer_nodes(rows: dict[str, GraphRow]) -> None:
    levels = [rows[f"legacy, eager; {name}"].nodes_run for name in ("no optimisation", "level basic", "level extended")]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > levels[1] > levels[2]
    assert rows["legacy, eager"].nodes == rows["legacy, eager; level basic"].nodes


def test_fusions_are_there_where_the_row_says_so(rows: dict[str, GraphRow]) -> None:
    layers = 2
    assert rows["dynamo, eager"].fused["SkipLayerNormalization"] == 2 * layers
    assert "SkipLayerNormalization" not in rows["dynamo, eager; without SkipLayerNorm fusion"].fused
    assert rows["dynamo, eager; without SkipLayerNorm fusion"].fused["BiasGelu"] == layers
    assert "BiasGelu" not in rows["dynamo, eager; without SkipLayerNorm and BiasGelu fusion"].fused
    assert rows["legacy, eager; fused by onnxruntime.transformers"].fused["Attention"] == layers


def test_table_has_a_line_for_each_graph(rows: dict[str, GraphRow]) -> None:
    lines = table(list(rows.values())).splitlines()
    assert lines[0].split() == ["graph", "nodes", "run", "MB", "difference", "batch", "1", "batch", "3", "fused"]
    assert len(lines) == 1 + len(rows)


def test_fused_attention_hides_the_padding(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    export_network(classifier, tmp_path / "plain.onnx", ExportConfig())
    fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx", classifier)
    assert graph_difference(classifier, open_graph(Graph(name="fused", path=tmp_path / "fused.onnx"))) < 1e-5


def test_graph_without_attention_that_can_be_fused_is_one_line(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    export_network(classifier, tmp_path / "plain.onnx", ExportConfig(exporter="dynamo"))
    with pytest.raises(UserError, match=r"^plain\.onnx: onnxruntime\.transformers finds no attention"):
        fuse(tmp_path / "plain.onnx", tmp_path / "fused.onnx", classifier)
    assert not (tmp_path / "fused.onnx").exists()


def test_race_takes_turns() -> None:
    turns: list[str] = []
    cpu_race({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=2)
    assert turns == ["a", "b"] * 3  # once to warm up
