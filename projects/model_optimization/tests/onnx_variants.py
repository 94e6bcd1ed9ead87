"""Exported variants of tiny classifiers."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from model_optimization.config.export import ExportConfig
from model_optimization.deployment.onnx_conversion import export_classifier
from model_optimization.variants import VariantInfo, write_variant

from .tiny_models import tiny_classifier


def fp32_variant(folder: Path, exporter: Literal["legacy", "dynamo"] = "legacy") -> Path:
    """A tiny classifier with 2 layers as an fp32 ONNX variant named fp32."""
    return export_classifier(tiny_classifier(), folder, ExportConfig(exporter=exporter), name="fp32", parent="tiny")


def torch_variant(folder: Path) -> Path:
    """The same as a torch variant."""
    classifier = tiny_classifier()
    info = VariantInfo(name="tiny", kind="torch", labels=classifier.labels, max_length=64)
    return write_variant(folder, info, classifier.save)


def operators(folder: Path) -> dict[str, int]:
    """How often each operator is in the graph."""
    kinds = [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def weights(folder: Path) -> dict[str, np.ndarray]:
    """All constants of the graph."""
    graph = onnx.load(folder / "model.onnx").graph
    return {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
