"""Static quantisation: int8 weights and activations, with ranges that calibration texts have fixed beforehand.

The graph gets `QuantizeLinear` and `DequantizeLinear` around the products (the QDQ form), which ONNX Runtime fuses
into integer kernels when it loads the file. While running, no range has to be looked for, and a text's logits do not
depend on its neighbours; values beyond the calibrated range saturate.

Activations are unsigned and weights signed (U8S8), which is what the int8 instructions of x86 multiply. Only products
with weight matrices are quantised: the others are few and cheap, and softmax, GELU, layer norm and the residual sums
between them lose much more than they give (`--static.everything` shows it).
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from model_optimization.config.quantization import StaticConfig
from model_optimization.deployment.onnx_session import OnnxClassifier
from model_optimization.quantization.calibration import activation_ranges, float_activations
from model_optimization.quantization.embedding_tables import quantize_embedding_tables
from model_optimization.quantization.observers import EntropyObserver, MinMaxObserver, Observer, PercentileObserver
from model_optimization.quantization.onnx_variant import quiet_quantizers, read_graph, to_quantize, write_graph_variant
from model_optimization.types import FloatArray
from model_optimization.variants import VariantInfo
from roadmap_shared.errors import UserError
from roadmap_shared.progress import progress

Ranges = Mapping[str, tuple[FloatArray, FloatArray]]


def quantize_static_variant(
    source: Path, folder: Path, calibration: Sequence[str], config: StaticConfig, *, name: str
) -> Path:
    """Make an int8 variant of an fp32 ONNX variant with ranges from calibration texts.

    Args:
        source: folder of the fp32 ONNX variant.
        folder: of the new variant.
        calibration: texts like those that it will see; none of the test part.
        config: how ranges are chosen, and what stays fp32.
        name: of the new variant.

    Raises:
        UserError: there is no calibration text, the source is no fp32 ONNX variant, `--static.exclude` means no matrix
            or leaves none, or an activation is not finite.
    """
    texts = [text for text in calibration if text.strip()][: config.texts]
    if not texts:
        raise UserError("static quantisation: there is no calibration text: give some that are like the ones to come")
    info, model = read_graph(source)
    nodes, excluded = to_quantize(source, model, config.exclude, "--static.exclude")
    names = None if config.everything else [node.name for node in nodes]
    tensors = float_activations(model) if names is None else _inputs_of(model, names)
    ranges = activation_ranges(model, tensors, _feeds(source, info, model, texts), _observer(config))
    recipe = {
        "method": "static",
        **asdict(config),
        "texts": len(texts),
        "matrices": len(nodes),
        "excluded_nodes": [node.name for node in excluded],
    }
    note = f"activation ranges come from {len(texts)} calibration texts ({config.calibration}); values beyond saturate"

    def write(path: Path) -> None:
        quantize_with_ranges(model, path, ranges, names, per_channel=config.per_channel)
        if config.embeddings != "fp32":
            onnx.save(quantize_embedding_tables(onnx.load(path), config.embeddings, config.embedding_block), path)

    return write_graph_variant(source, folder, info, write, name=name, recipe=recipe, notes=(note,))


def quantize_with_ranges(
    model: onnx.ModelProto, path: Path, ranges: Ranges, names: list[str] | None, *, per_channel: bool
) -> None:
    """Write the graph with the inputs and the weights of the nodes named in int8; None: every operator that can be."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, TensorsData, quantize_static
    from onnxruntime.quantization.calibrate import save_tensors_data

    options: dict[str, Any] = {"WeightSymmetric": True}
    if names is not None:
        # What follows a product is computed in fp32: to round its output again would serve nobody.
        options["OpTypesToExcludeOutputQuantization"] = ["MatMul", "Gemm"]
    with tempfile.TemporaryDirectory() as work, quiet_quantizers():
        ranges_file = Path(work) / "ranges.json"
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, dict(ranges)), ranges_file)
        quantize_static(
            model,
            path,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=None if names is None else ["MatMul", "Gemm"],
            nodes_to_quantize=names,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_cache_path=ranges_file,
            extra_options=options,
        )


def _observer(config: StaticConfig) -> Callable[[], Observer]:
    return {
        "min-max": MinMaxObserver,
        "percentile": lambda: PercentileObserver(config.percentile),
        "entropy": EntropyObserver,
    }[config.calibration]


def _inputs_of(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    """The activations that the nodes named multiply with their weights, each once."""
    return list(dict.fromkeys(node.input[0] for node in model.graph.node if node.name in set(names)))


def _feeds(source: Path, info: VariantInfo, model: onnx.ModelProto, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each text as the graph takes it, alone: padding would be counted among the values.

    Where masked scores are quantised as well it would do worse: with the mask's -3.4e38 in the range, all scores
    become 0.
    """
    wanted = {item.name for item in model.graph.input}
    classifier = OnnxClassifier.load(source, info)
    sequences = classifier.token_ids(texts)
    classifier.close()
    for sequence in progress(sequences, "calibrating", "text"):
        input_ids = np.array([sequence], dtype=np.int64)  # (1, T)
        feeds = {
            "input_ids": input_ids,
            "attention_mask": np.ones_like(input_ids),
            "token_type_ids": np.zeros_like(input_ids),
        }
        yield {name: values for name, values in feeds.items() if name in wanted}
