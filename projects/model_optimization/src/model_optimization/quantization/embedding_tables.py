"""Embedding tables in 8 or 4 bits: most of a small model's bytes are in the words' table.

A row is looked up and turned back into fp32 by one operator of ONNX Runtime, `GatherBlockQuantized`, so that a table
of 8 bits costs microseconds, and its rows are not moved as fp32. Each row has a scale of its own in 8 bits: rare words
have small rows, which a scale for the whole table would round away (MiniLM's words: 43 dB against 27). With 4 bits each
block of a row has one.

Shapes: R rows, H columns, blocks of `block` columns.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from model_optimization.config.quantization import SMALLEST_BLOCK, Embeddings
from model_optimization.quantization.affine import NARROW_INT8, Affine, IntegerRange, quantize
from model_optimization.quantization.onnx_variant import read_graph, write_graph_variant
from model_optimization.types import FloatArray
from roadmap_shared.errors import UserError

_DOMAIN = "com.microsoft"
_NIBBLES = IntegerRange(-8, 7, np.int8)


def quantize_embeddings(source: Path, folder: Path, embeddings: Embeddings, *, name: str, block: int = 32) -> Path:
    """Make a variant that differs from an ONNX variant in its embedding tables alone, whatever its matrices are.

    Args:
        source: folder of the ONNX variant.
        folder: of the new variant.
        embeddings: int8, or int4 for the words.
        name: of the new variant.
        block: weights of a row that share a scale with int4.

    Raises:
        UserError: the source is no ONNX variant, or has no fp32 table.
    """
    info, model = read_graph(source)
    recipe = {"method": "embeddings", "embeddings": embeddings, "embedding_block": block}
    quantize_embedding_tables(model, embeddings, block)
    return write_graph_variant(
        source, folder, info, lambda path: onnx.save(model, path), name=name, recipe=recipe, notes=()
    )


def quantize_embedding_tables(model: onnx.ModelProto, embeddings: Embeddings, block: int) -> onnx.ModelProto:
    """Replace, in place, every look-up of an fp32 table; with int4, the largest table gets 4 bits, the others 8.

    Raises:
        UserError: the graph looks nothing up in an fp32 table.
    """
    if embeddings == "fp32":
        return model
    weights = {item.name: item for item in model.graph.initializer}
    lookups = [node for node in model.graph.node if _is_lookup(node, weights)]
    if not lookups:
        raise UserError("embeddings: the graph looks nothing up in an fp32 table: leave them at fp32")
    tables = {node.input[0]: numpy_helper.to_array(weights[node.input[0]]) for node in lookups}
    largest = max(tables, key=lambda name: tables[name].size)
    for name, table in tables.items():
        bits = 4 if embeddings == "int4" and name == largest else 8
        size = block if bits == 4 else _whole_row(table.shape[1])
        integers, scales = quantize_rows(table, bits, size)
        model.graph.initializer.extend(
            [numpy_helper.from_array(integers, f"{name}_quantized"), numpy_helper.from_array(scales, f"{name}_scales")]
        )
        for node in lookups:
            if node.input[0] == name:
                _replace(node, bits, size)
    _drop_unused(model, set(tables))
    if all(item.domain != _DOMAIN for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return model


def quantize_rows(table: FloatArray, bits: int, block: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """Quantise a table in blocks along its rows.

    With 4 bits, the value of largest magnitude becomes -8, and the scale gets its sign turned: all 16 integers are
    used, where a symmetric range would leave one out.

    Args:
        table: (R, H) fp32.
        bits: 8 or 4.
        block: columns that share a scale; the last block of a row may be shorter.

    Returns:
        (R, H · bits / 8) integers plus their middle, two of 4 bits to a byte, the lower half first; (R, blocks) scales.
    """
    rows, columns = table.shape
    blocks = -(-columns // block)
    in_blocks = np.zeros((rows, blocks * block), np.float32)
    in_blocks[:, :columns] = table
    in_blocks = in_blocks.reshape(rows * blocks, block)
    lowest, highest = in_blocks.min(axis=1), in_blocks.max(axis=1)
    if bits == 8:
        used, scale = NARROW_INT8, np.maximum(-lowest, highest) / 127
    else:
        used, scale = _NIBBLES, np.where(highest > -lowest, highest, lowest) / -8
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    affine = Affine(scale=scale, zero_point=np.zeros(scale.shape, np.int8), integers=used, axis=0)
    middle = 2 ** (bits - 1)
    integers = (quantize(in_blocks, affine).astype(np.int16) + middle).astype(np.uint8)
    integers = integers.reshape(rows, blocks * block)[:, :columns]
    if bits == 4:
        integers = integers[:, ::2] | (integers[:, 1::2] << 4)
    return integers, scale.reshape(rows, blocks)


def _is_lookup(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    table = weights.get(node.input[0]) if node.op_type == "Gather" else None
    if table is None or table.data_type != onnx.TensorProto.FLOAT or len(table.dims) != 2:
        return False
    by_row = all(attribute.i == 0 for attribute in node.attribute if attribute.name == "axis")
    return by_row and table.dims[1] >= SMALLEST_BLOCK and table.dims[1] % 2 == 0


def _replace(node: onnx.NodeProto, bits: int, block: int) -> None:
    name, indices, output = node.input[0], node.input[1], node.output[0]
    node.CopyFrom(
        helper.make_node(
            "GatherBlockQuantized",
            [f"{name}_quantized", indices, f"{name}_scales"],
            [output],
            name=f"{node.name}_Q{bits}",
            domain=_DOMAIN,
            gather_axis=0,
            quantize_axis=1,
            block_size=block,
            bits=bits,
        )
    )


def _drop_unused(model: onnx.ModelProto, names: set[str]) -> None:
    """Remove the tables that nothing reads any more; one that is an output matrix as well stays."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name not in names or item.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _whole_row(columns: int) -> int:
    """The least power of 2 that holds a row."""
    return max(SMALLEST_BLOCK, 1 << (columns - 1).bit_length())
