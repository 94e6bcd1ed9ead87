"""Dynamic quantisation: int8 weights in the file, int8 activations while running.

Each product's input is quantised by the range of the very values that come in (`DynamicQuantizeLinear`), multiplied
with the int8 weights in integers (`MatMulInteger`), and scaled back; `affine.quantized_matmul` is the same by hand.
No calibration is needed, and nothing saturates. The price: the range is taken over all texts that are computed at
once, padding included, so that the logits of a text depend on its neighbours.
"""

from dataclasses import asdict
from pathlib import Path

import onnx

from model_optimization.config.quantization import DynamicConfig
from model_optimization.quantization.embedding_tables import quantize_embedding_tables
from model_optimization.quantization.onnx_variant import (
    quiet_quantizers,
    read_graph,
    to_quantize,
    write_graph_variant,
)

NEIGHBOURS = "activation ranges are taken over all texts computed at once: logits depend on the neighbours in a batch"


def quantize_dynamic_variant(source: Path, folder: Path, config: DynamicConfig, *, name: str) -> Path:
    """Make an int8 variant of an fp32 ONNX variant.

    Args:
        source: folder of the fp32 ONNX variant.
        folder: of the new variant.
        config: what stays fp32, and what embeddings become.
        name: of the new variant.

    Raises:
        UserError: the source is no fp32 ONNX variant, `--dynamic.exclude` means no matrix, or leaves none.
    """
    info, model = read_graph(source)
    quantized, excluded = to_quantize(source, model, config.exclude, "--dynamic.exclude")
    recipe = {
        "method": "dynamic",
        **asdict(config),
        "matrices": len(quantized),
        "excluded_nodes": [node.name for node in excluded],
    }

    def write(path: Path) -> None:
        quantize_matrices(model, path, [node.name for node in excluded], per_channel=config.per_channel)
        if config.embeddings != "fp32":
            onnx.save(quantize_embedding_tables(onnx.load(path), config.embeddings, config.embedding_block), path)

    return write_graph_variant(source, folder, info, write, name=name, recipe=recipe, notes=(NEIGHBOURS,))


def quantize_matrices(model: onnx.ModelProto, path: Path, excluded: list[str], *, per_channel: bool) -> None:
    """Write the graph with every constant weight matrix in int8, but for those of the nodes named.

    Works on the graphs of both exporters and on those with fused operators, whose outputs have a type that ONNX's
    shape inference does not know: they are fp32, as everything here that the quantiser may ask for.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet_quantizers():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            # A Gemm is first written as a MatMul and an Add, under another name.
            nodes_to_exclude=[*excluded, *(f"{name}_MatMul" for name in excluded)],
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )
