"""Ranges of a graph's activations over calibration texts.

The graph is run on each text alone, with the activations in question as further outputs, and an observer summarises
each of them. ONNX Runtime's own calibrators keep all outputs of all texts in memory and stack them, so that histograms
of texts of different length fail, and padding them to one length would count the padding as values; its entropy
calibrator starts with as many bins as levels, which leaves it one range to choose: min-max. Nothing of that here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from model_optimization.quantization.observers import Observer
from model_optimization.types import FloatArray
from roadmap_shared.errors import UserError, one_line


def activation_ranges(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    inputs: Iterable[Mapping[str, Any]],
    observer: Callable[[], Observer],
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Lowest and highest value, both () fp32, that each tensor's integers are to stand for.

    Args:
        model: the fp32 graph.
        tensors: names of fp32 values in it.
        inputs: what the graph is run on, one feed after the other; at least one.
        observer: makes a new one.

    Raises:
        UserError: the graph cannot be run, or computes NaN or infinity.
    """
    observers = {name: observer() for name in tensors}
    session = _session_with_outputs(model, tensors)
    for feeds in inputs:
        for name, values in zip(tensors, session.run(list(tensors), dict(feeds)), strict=True):
            if not np.isfinite(values).all():
                raise UserError(f"{name}: is NaN or infinite on a calibration text: such a model cannot be quantised")
            observers[name].observe(values)
    ranges = {name: observed.range() for name, observed in observers.items()}
    return {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()}


def float_activations(model: onnx.ModelProto) -> list[str]:
    """Names of all fp32 values that nodes give, constants too, as far as shape inference knows their types."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {item.name: item.type.tensor_type.elem_type for item in (*graph.value_info, *graph.output)}
    given = [name for node in graph.node for name in node.output]
    return [name for name in given if types.get(name) == onnx.TensorProto.FLOAT]


def _session_with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> Any:
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    there = {item.name for item in watched.graph.output}
    # Without a type: the runtime infers it.
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in there)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class but this one
        raise UserError(f"the graph cannot be run for calibration: {one_line(error)}") from error
