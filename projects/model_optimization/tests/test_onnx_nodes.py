"""Matrices are found in the graphs of both exporters and called by the same names."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from model_optimization.quantization.onnx_nodes import (
    MatMulNode,
    chosen_nodes,
    matmul_nodes,
    name_all_nodes,
    place_of,
)
from roadmap_shared.errors import UserError

from .onnx_variants import fp32_variant

IN_A_LAYER = ["query", "key", "value", "attention_output", "ffn_in", "ffn_out"]
LABELS = [f"{layer}.{part}" for layer in (0, 1) for part in IN_A_LAYER] + ["pooler", "classifier"]


def test_the_matrices_of_bert(tmp_path: Path) -> None:
    model = onnx.load(fp32_variant(tmp_path / "fp32") / "model.onnx")
    nodes = matmul_nodes(model)
    assert [node.label for node in nodes] == LABELS
    assert {node.name for node in nodes} <= {node.name for node in model.graph.node}
    assert nodes[5].name == "/bert/encoder/layer.0/output/dense/MatMul"


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("roberta.encoder.layer.11.attention.self.query", (11, "query")),
        ("roberta.encoder.layer.3.attention.output.dense", (3, "attention_output")),
        ("classifier.dense", (None, "pooler")),
        ("classifier.out_proj", (None, "classifier")),
        ("distilbert.transformer.layer.0.attention.out_lin", (0, "attention_output")),
        ("distilbert.transformer.layer.5.ffn.lin2", (5, "ffn_out")),
        ("pre_classifier", (None, "pooler")),
        ("model.layers.2.mlp.Wo", (2, "Wo")),
        ("bert.pooler.dense", (None, "pooler")),
        ("", (None, "")),
    ],
)
def test_places_of_modules(module: str, place: tuple[int | None, str]) -> None:
    assert place_of(module) == place


def test_products_without_a_constant_are_no_matrices() -> None:
    constant = helper.make_tensor("c", onnx.TensorProto.FLOAT, [2, 2], [1.0] * 4)
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["a"], name="attention"),
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("MatMul", ["a", "c"], ["y"], name="/layers.1/mine/MatMul"),
        helper.make_node("MatMul", ["c", "a"], ["z"], name="other"),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    assert matmul_nodes(model) == [MatMulNode(name="/layers.1/mine/MatMul", layer=1, part="mine")]


def test_nodes_without_a_name_get_one() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], name=name) for name in ("", "Relu_0", "")]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    name_all_nodes(model)
    assert [node.name for node in model.graph.node] == ["Relu_0_", "Relu_0", "Relu_2"]


@pytest.mark.parametrize(
    ("patterns", "labels"),
    [
        ((), []),
        (("0.ffn_out",), ["0.ffn_out"]),
        (("ffn_out",), ["0.ffn_out", "1.ffn_out"]),
        (("1.*",), [label for label in LABELS if label.startswith("1.")]),
        (("*.ffn_*", "pooler"), ["0.ffn_in", "0.ffn_out", "1.ffn_in", "1.ffn_out", "pooler"]),
        (("node 13",), ["classifier"]),
    ],
)
def test_patterns(patterns: tuple[str, ...], labels: list[str]) -> None:
    assert [node.label for node in chosen_nodes(bert_nodes(), patterns, "--flag")] == labels


def test_a_pattern_that_means_nothing() -> None:
    message = (
        "--flag 2.ffn_out: is no matrix of this model, which has the parts query, key, value, attention_output, "
        "ffn_in, ffn_out, pooler, classifier and the layers 0 to 1"
    )
    with pytest.raises(UserError) as refused:
        chosen_nodes(bert_nodes(), ("ffn_in", "2.ffn_out"), "--flag")
    assert str(refused.value) == message


def bert_nodes() -> list[MatMulNode]:
    places = [(int(label[0]), label[2:]) if label[0].isdigit() else (None, label) for label in LABELS]
    return [MatMulNode(name=f"node {i}", layer=layer, part=part) for i, (layer, part) in enumerate(places)]
