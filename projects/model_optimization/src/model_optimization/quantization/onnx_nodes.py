"""The matrix products of a graph by the layer and the part of a Transformer that they belong to.

An exporter names its nodes in a manner of its own: the tracing one after the module (`/bert/encoder/layer.0/output/
dense/MatMul`), the one on torch.export by a number (`node_MatMul_52`), with the module in the node's metadata.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx

from roadmap_shared.errors import UserError

_SCOPES = "pkg.torch.onnx.name_scopes"
_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)(?:\.|$)")

# Ends of a module's name: of BERT and RoBERTa, then of DistilBERT. The first that fits counts.
_PARTS = (
    ("attention.output.dense", "attention_output"),
    ("intermediate.dense", "ffn_in"),
    ("pooler.dense", "pooler"),
    ("output.dense", "ffn_out"),
    ("query", "query"),
    ("key", "key"),
    ("value", "value"),
    ("classifier.dense", "pooler"),
    ("classifier.out_proj", "classifier"),
    ("pre_classifier", "pooler"),
    ("classifier", "classifier"),
    ("q_lin", "query"),
    ("k_lin", "key"),
    ("v_lin", "value"),
    ("out_lin", "attention_output"),
    ("lin1", "ffn_in"),
    ("lin2", "ffn_out"),
)


@dataclass(frozen=True, kw_only=True)
class MatMulNode:
    """A product of activations with a constant weight matrix."""

    name: str
    """Of the node in its graph."""

    layer: int | None
    """Number of the Transformer layer, from 0; None outside of them."""

    part: str
    """query, key, value, attention_output, ffn_in, ffn_out, pooler or classifier; other modules keep their name."""

    @property
    def label(self) -> str:
        """Layer and part, `0.ffn_out`; the part alone outside of layers."""
        return self.part if self.layer is None else f"{self.layer}.{self.part}"


def matmul_nodes(model: onnx.ModelProto) -> list[MatMulNode]:
    """MatMul and Gemm nodes whose second operand is constant, in the graph's order.

    Products of two activations, as in attention, are not among them: they hold no weights, and cost little time.
    """
    constants = constant_names(model)
    return [
        _named(node)
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1 and node.input[1] in constants
    ]


def constant_names(model: onnx.ModelProto) -> set[str]:
    """Names of the values that do not depend on an input."""
    names = {item.name for item in model.graph.initializer}
    return names | {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}


def name_all_nodes(model: onnx.ModelProto) -> None:
    """Give every node without a name one of its own: nodes are excluded by name."""
    taken = {node.name for node in model.graph.node}
    for number, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


def chosen_nodes(nodes: Sequence[MatMulNode], patterns: Sequence[str], flag: str) -> list[MatMulNode]:
    """The nodes that any of the patterns means: a node's name, its label (`0.ffn_out`), or its part (`ffn_out`).

    In labels and parts * stands for anything: `0.*` is layer 0, `*.ffn_*` both FFN matrices of all layers.

    Raises:
        UserError: a pattern means no node.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        meant = {
            node.name
            for node in nodes
            if node.name == pattern or fnmatchcase(node.label, pattern) or fnmatchcase(node.part, pattern)
        }
        if not meant:
            parts = ", ".join(dict.fromkeys(node.part for node in nodes))
            layers = [node.layer for node in nodes if node.layer is not None]
            counted = f" and the layers 0 to {max(layers)}" if layers else ""
            raise UserError(f"{flag} {pattern}: is no matrix of this model, which has the parts {parts}{counted}")
        chosen |= meant
    return [node for node in nodes if node.name in chosen]


def place_of(module: str) -> tuple[int | None, str]:
    """Layer and part of a torch module by its dotted name: `bert.encoder.layer.0.output.dense` is (0, "ffn_out")."""
    layer = _LAYER.search(module)
    part = next((part for end, part in _PARTS if module == end or module.endswith(f".{end}")), None)
    return (int(layer[1]) if layer else None), part or module.rpartition(".")[2]


def _named(node: onnx.NodeProto) -> MatMulNode:
    layer, part = place_of(_module(node))
    return MatMulNode(name=node.name, layer=layer, part=part or node.name)


def _module(node: onnx.NodeProto) -> str:
    """Dotted name of the torch module that a node comes from, as far as the exporter tells."""
    for item in node.metadata_props:
        if item.key == _SCOPES:
            scopes = ast.literal_eval(item.value)
            return scopes[-2] if len(scopes) > 1 else ""
    return ".".join(part for part in node.name.split("/")[:-1] if part)
