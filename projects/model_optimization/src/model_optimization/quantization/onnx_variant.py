"""An ONNX variant's graph in, another one's out: what all quantisers of graphs have in common."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from model_optimization.quantization.onnx_nodes import MatMulNode, chosen_nodes, matmul_nodes, name_all_nodes
from model_optimization.variants import ONNX_FILE, VARIANT_FILE, VariantInfo, check_files, read_info, write_variant
from roadmap_shared.errors import UserError, one_line


def read_graph(source: Path) -> tuple[VariantInfo, onnx.ModelProto]:
    """An ONNX variant's record and graph, whose nodes all have names.

    Raises:
        UserError: the folder holds no ONNX variant, or a damaged one.
    """
    info = read_info(source)
    if info.kind != "onnx":
        raise UserError(f"{source}: is a {info.kind} variant: export it to ONNX first")
    check_files(source)
    try:
        model = onnx.load(source / ONNX_FILE)
    except (OSError, DecodeError, ValueError) as error:
        raise UserError(f"{source / ONNX_FILE}: is no ONNX graph: {one_line(error)}") from error
    name_all_nodes(model)
    # The exporter on torch.export may leave a weight's shape from before it was transposed: shape inference, with which
    # every quantiser starts, refuses such a graph. Nothing in the list is needed.
    del model.graph.value_info[:]
    return info, model


def to_quantize(
    source: Path, model: onnx.ModelProto, exclude: tuple[str, ...], flag: str
) -> tuple[list[MatMulNode], list[MatMulNode]]:
    """The weight matrices that become integers, and those that stay.

    Raises:
        UserError: the graph has no fp32 matrix, or one with NaN or infinity; `exclude` means none, or leaves none.
    """
    nodes = matmul_nodes(model)
    if not nodes:
        raise UserError(f"{source}: has no fp32 weight matrix left: quantise the fp32 variant that it was made from")
    for weight in model.graph.initializer:
        if len(weight.dims) == 2 and not np.isfinite(numpy_helper.to_array(weight)).all():
            raise UserError(f"{source}: {weight.name} holds NaN or infinity: train the network again")
    excluded = chosen_nodes(nodes, exclude, flag)
    if len(excluded) == len(nodes):
        raise UserError(f"{flag} {' '.join(exclude)}: leaves no matrix to quantise")
    return [node for node in nodes if node not in excluded], excluded


def write_graph_variant(
    source: Path,
    folder: Path,
    parent: VariantInfo,
    write: Callable[[Path], None],
    *,
    name: str,
    recipe: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Path:
    """A variant that differs from its parent in the graph alone, which `write` puts at the path that it gets.

    It runs as its parent does: with the same graph optimisations left out, in chunks of the same size.

    Raises:
        UserError: the folder cannot be written.
    """
    if parent.recipe.get("method") not in (None, "onnx"):
        recipe = {**recipe, "on_top_of": dict(parent.recipe)}

    def fill(unfinished: Path) -> None:
        for path in source.iterdir():
            if path.is_file() and path.name not in (ONNX_FILE, VARIANT_FILE) and path.suffix != ".data":
                shutil.copy2(path, unfinished / path.name)
        write(unfinished / ONNX_FILE)

    notes = tuple(dict.fromkeys((*parent.notes, *notes)))
    return write_variant(folder, replace(parent, name=name, parent=parent.name, recipe=recipe, notes=notes), fill)


@contextmanager
def quiet_quantizers() -> Iterator[None]:
    """Within it, ONNX Runtime's tools log nothing below an error: they report each node, and praise preprocessing.

    `logging.warning`, which they call, would add a handler to the root logger for good where there is none.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers
