"""What a variant computes for a batch: floating-point (or integer) operations and bytes moved, operator by operator.

ONNX graphs are run with the profiler on, because the graph that runs is not the one in the file: ONNX Runtime fuses
and replaces operators when it loads it, and the shapes are known only then. Networks of torch are counted by their
modules (`torch_cost`). Shapes: B texts, T tokens, H hidden size, F feed-forward size, L layers.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model_optimization.machine import threads_wanted
from model_optimization.variants import ONNX_FILE, VARIANT_FILE, VariantInfo, read_info

Part = Literal["layers", "attention", "embeddings", "quantising", "rest"]
Precision = Literal["fp32", "int8"]
PARTS: tuple[Part, ...] = ("layers", "attention", "embeddings", "quantising", "rest")
"""Matrix products with constant weights; products of activations (scores and values); look-up of embeddings; changing
floats to bytes and back; all else, such as normalisation, softmax, GELU and additions."""

_RUNS = 3  # profiled runs, of which the fastest counts

_LAYER_OPERATORS: dict[str, Precision] = {
    "Gemm": "fp32",
    "FusedGemm": "fp32",
    "MatMulNBits": "fp32",  # unpacks its weights and multiplies floats
    "DynamicQuantizeMatMul": "int8",
    "MatMulIntegerToFloat": "int8",
    "MatMulInteger": "int8",
    "QLinearMatMul": "int8",
    "QGemm": "int8",
}
_PRODUCTS = {"MatMul", "FusedMatMul"}
_FUSED_ATTENTION: dict[str, Precision] = {"Attention": "fp32", "QAttention": "int8"}
_LOOK_UPS = {"Gather", "GatherBlockQuantized"}
_QUANTISING = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_VIEWS = {"Reshape", "Shape", "Unsqueeze", "Squeeze", "Flatten", "Identity"}
"""Change what is known of the data, and not the data."""

_WIDTHS = {
    "float": 4,
    "double": 8,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}


Tensor = tuple[str, list[int]]
"""Element type and shape."""


@dataclass(frozen=True, kw_only=True)
class OperatorCost:
    """One operator, or one half of a fused one."""

    operator: str
    part: Part
    precision: Precision
    """Of the numbers that are multiplied."""

    flops: float
    """Multiplications and additions, each counted as one."""

    bytes: float
    """Read and written, each tensor once; of an embedding table only the rows that are looked up."""

    seconds: float | None = None
    """As profiled; None where there is no profile, or where it belongs to the other half."""

    def times(self, number: float) -> "OperatorCost":
        """The costs of running it so many times."""
        seconds = None if self.seconds is None else self.seconds * number
        return replace(self, flops=self.flops * number, bytes=self.bytes * number, seconds=seconds)


def encoder_flops(batch: int, tokens: int, layers: int, hidden: int, ffn: int) -> int:
    """Operations of a Transformer encoder's matrix products, embeddings and head left out.

    Each of L layers multiplies B·T rows by four H×H matrices (query, key, value, output) and two H×F ones, and makes
    two products of T×T×H, scores and weighted values; a product of (m, k) and (k, n) takes 2·m·k·n operations
    (Kaplan et al. 2020, table 1, with the feed-forward size written out). The second term grows with T², which is why a
    sequence's length changes what quantised weights can win.
    """
    weights = 4 * hidden * hidden + 2 * hidden * ffn
    return layers * (2 * batch * tokens * weights + 2 * 2 * batch * tokens * tokens * hidden)


def variant_cost(folder: Path, batch: int, tokens: int, threads: int | None = None) -> list[OperatorCost] | None:
    """Costs of all operators for a batch of unpadded texts; None of a variant that no file holds (`on_load`).

    Raises:
        UserError: the folder is no variant, or damaged.
    """
    from model_optimization.benchmarking.torch_cost import torch_cost

    if not (folder / VARIANT_FILE).exists():
        return torch_cost(folder, batch, tokens)
    info = read_info(folder)
    tokens = min(tokens, info.max_length)
    if info.kind == "onnx":
        return onnx_cost(folder, info, batch, tokens, threads_wanted(threads))
    return torch_cost(folder, batch, tokens) if info.on_load is None else None


def onnx_cost(folder: Path, info: VariantInfo, batch: int, tokens: int, threads: int) -> list[OperatorCost]:
    """Profile the graph as ONNX Runtime runs it, in the chunks in which the variant is computed."""
    chunk = min(batch, info.max_chunk or batch)
    events = _profile(folder / ONNX_FILE, info, chunk, tokens, threads)
    bits = _weight_bits(folder / ONNX_FILE)
    costs = [cost for event in events for cost in costs_of_event(event, bits)]
    chunks = batch / chunk
    return [cost.times(chunks) for cost in costs]


def costs_of_event(event: Mapping[str, Any], bits: Mapping[str, int]) -> list[OperatorCost]:
    """Costs of one operator as the profile of ONNX Runtime describes it.

    The profile leaves out weights that were rearranged for the kernel: their size follows from the inner dimension of
    the first input and the last one of the output.

    Args:
        event: with `name`, `dur` (microseconds) and `args`.
        bits: of the weights of MatMulNBits, by the node's name.
    """
    arguments, seconds = event["args"], event["dur"] / 1e6
    operator = arguments["op_name"]
    inputs, outputs = _tensors(arguments["input_type_shape"]), _tensors(arguments["output_type_shape"])
    if operator in _VIEWS or not outputs:
        return [_cost(operator, "rest", 0, 0, seconds)]
    moved = sum(map(_bytes, inputs)) + sum(map(_bytes, outputs))
    if operator in _FUSED_ATTENTION:
        return _fused_attention(operator, inputs[0], moved, seconds)
    if operator in _LAYER_OPERATORS or (operator in _PRODUCTS and not _is_product_of_activations(inputs)):
        width = _weight_width(operator, bits.get(event["name"].removesuffix("_kernel_time"), 4))
        return _layer(operator, inputs[0], outputs[0], width, seconds)
    if operator in _PRODUCTS:
        return [_cost(operator, "attention", 2 * prod(outputs[0][1]) * inputs[0][1][-1], moved, seconds)]
    if operator in _LOOK_UPS and len(outputs[0][1]) == 3:
        return [_cost(operator, "embeddings", 0, 2 * _bytes(outputs[0]), seconds)]
    return [_cost(operator, "quantising" if operator in _QUANTISING else "rest", 0, moved, seconds)]


def total(costs: Iterable[OperatorCost], part: Part | None = None, precision: str | None = None) -> tuple[float, float]:
    """Operations and bytes of a part, or of all."""
    chosen = [c for c in costs if part in (None, c.part) and precision in (None, c.precision)]
    return sum(c.flops for c in chosen), sum(c.bytes for c in chosen)


def _cost(
    operator: str, part: Part, flops: float, moved: float, seconds: float | None, precision: Precision = "fp32"
) -> OperatorCost:
    return OperatorCost(operator=operator, part=part, precision=precision, flops=flops, bytes=moved, seconds=seconds)


def _layer(operator: str, first: Tensor, output: Tensor, width: float, seconds: float) -> list[OperatorCost]:
    inner, outer = first[1][-1], output[1][-1]
    flops = 2 * prod(output[1]) * inner
    precision = _LAYER_OPERATORS.get(operator, "fp32")
    moved = _bytes(output) + inner * outer * width
    if operator != "DynamicQuantizeMatMul":
        return [_cost(operator, "layers", flops, moved + _bytes(first), seconds, precision)]
    # It reads floats, writes bytes, and multiplies those: the first step is what dynamic quantisation costs.
    numbers = prod(first[1])
    quantising = _cost(operator, "quantising", 0, 5 * numbers, None)
    return [quantising, _cost(operator, "layers", flops, moved + numbers, seconds, precision)]


def _fused_attention(operator: str, first: Tensor, moved: int, seconds: float) -> list[OperatorCost]:
    batch, tokens, hidden = first[1]
    precision = _FUSED_ATTENTION[operator]
    weights = 3 * hidden * hidden * (1 if precision == "int8" else 4)
    projections = 2 * batch * tokens * hidden * 3 * hidden
    products = 4 * batch * tokens * tokens * hidden
    return [
        _cost(operator, "layers", projections, moved + weights, seconds, precision),
        _cost(operator, "attention", products, 0, None),
    ]


def _weight_width(operator: str, bits: int) -> float:
    """Bytes of one weight."""
    if operator == "MatMulNBits":
        return bits / 8
    return 1 if _LAYER_OPERATORS.get(operator) == "int8" else 4


def _profile(path: Path, info: VariantInfo, batch: int, tokens: int, threads: int) -> list[dict[str, Any]]:
    """One event for each operator that ran, with its shortest duration."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(info.disabled_optimizers)
        )
        names = [item.name for item in session.get_inputs()]
        feeds = {name: np.ones((batch, tokens), dtype=np.int64) for name in names}
        if "token_type_ids" in feeds:
            feeds["token_type_ids"] = np.zeros_like(feeds["token_type_ids"])
        for _ in range(_RUNS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    fastest: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = event["args"]["node_index"]
            if key not in fastest or event["dur"] < fastest[key]["dur"]:
                fastest[key] = event
    return list(fastest.values())


def _weight_bits(path: Path) -> dict[str, int]:
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return {node.name: item.i for node in nodes for item in node.attribute if item.name == "bits"}


def _tensors(described: Sequence[Mapping[str, list[int]]]) -> list[Tensor]:
    return [(kind, shape) for item in described for kind, shape in item.items()]


def _bytes(tensor: Tensor) -> int:
    return prod(tensor[1]) * _WIDTHS.get(tensor[0], 1)


def _is_product_of_activations(inputs: Sequence[Tensor]) -> bool:
    return len(inputs) > 1 and len(inputs[1][1]) > 2
