"""Weight-only quantisation: 4 or 8 bits a weight in the file, fp32 in the arithmetic.

ONNX Runtime's `MatMulNBits` stores a weight matrix in blocks along its columns, each with a scale, and turns a block
back into fp32 next to the product. That is made for language models that write one token at a time, whose speed is
that of reading the weights. An encoder multiplies each weight with all tokens of a text: reading the matrix is little
beside the arithmetic, and products of int8 numbers win. Its use here is size, with hardly a prediction changed at 8
bits.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import onnx

from model_optimization.config.quantization import WeightOnlyConfig
from model_optimization.quantization.embedding_tables import quantize_embedding_tables
from model_optimization.quantization.onnx_nodes import matmul_nodes
from model_optimization.quantization.onnx_variant import (
    quiet_quantizers,
    read_graph,
    to_quantize,
    write_graph_variant,
)
from roadmap_shared.errors import UserError

_ACCURACY_LEVELS = {"fp32": 0, "int8": 4}  # values of the operator's attribute of that name


def quantize_weights_only_variant(source: Path, folder: Path, config: WeightOnlyConfig, *, name: str) -> Path:
    """Make a variant of an fp32 ONNX variant with its weight matrices in 4 or 8 bits.

    Pooler and classification layer stay fp32: they are small, and exported as another operator.

    Args:
        source: folder of the fp32 ONNX variant.
        folder: of the new variant.
        config: bits, blocks, what stays fp32.
        name: of the new variant.

    Raises:
        UserError: the source is no fp32 ONNX variant, `--weight_only.exclude` means no matrix, or leaves none.
    """
    info, model = read_graph(source)
    chosen, _ = to_quantize(source, model, config.exclude, "--weight_only.exclude")
    products = {node.name for node in model.graph.node if node.op_type == "MatMul"}
    names = [node.name for node in chosen if node.name in products]
    if not names:
        raise UserError(f"{source}: no fp32 matrix is left that can be stored in few bits")
    excluded = [node.name for node in matmul_nodes(model) if node.name not in names]
    model = quantize_matrices(model, names, config)
    model = quantize_embedding_tables(model, config.embeddings, config.embedding_block)
    recipe = {"method": "weight-only", **asdict(config), "matrices": len(names), "excluded_nodes": excluded}
    return write_graph_variant(
        source, folder, info, lambda path: onnx.save(model, path), name=name, recipe=recipe, notes=()
    )


def quantize_matrices(model: onnx.ModelProto, names: Sequence[str], config: WeightOnlyConfig) -> onnx.ModelProto:
    """The graph with the weight matrices of the MatMul nodes named in blocks of few bits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with quiet_quantizers():
        quantizer = MatMulNBitsQuantizer(
            model,
            bits=config.bits,
            block_size=config.block,
            is_symmetric=True,
            accuracy_level=_ACCURACY_LEVELS[config.accuracy_level],
            nodes_to_exclude=[node.name for node in model.graph.node if node.name not in names],
        )
        quantizer.process()
    return cast(Any, quantizer.model).model
