"""Graphs of one operator or of few, for tests that ask ONNX Runtime."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

OPSET = 21


def run_operator(op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> list[Any]:
    """What ONNX Runtime's operator returns for these inputs."""
    names = [f"in_{index}" for index in range(len(inputs))]
    results = [f"out_{index}" for index in range(outputs)]
    node = helper.make_node(op_type, names, results, **attributes)
    graph = helper.make_graph(
        [node],
        "operator",
        [_value(name, value) for name, value in zip(names, inputs, strict=True)],
        [onnx.ValueInfoProto(name=name) for name in results],
    )
    return run(model_of(graph), dict(zip(names, inputs, strict=True)))


def dense_model(*weights: np.ndarray, between: Sequence[onnx.NodeProto] = ()) -> onnx.ModelProto:
    """x -> x @ weights[0] -> `between`, from `y0` to `x1` -> @ weights[1] ... -> y; the products are `dense_0` on."""
    nodes, inputs = [], ["x", *(f"x{index}" for index in range(1, len(weights)))]
    for index in range(len(weights)):
        output = "y" if index == len(weights) - 1 else f"y{index}"
        nodes.append(helper.make_node("MatMul", [inputs[index], f"w{index}"], [output], name=f"dense_{index}"))
    for place, node in enumerate(between, start=1):
        nodes.insert(place, node)
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", weights[0].shape[0]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", weights[-1].shape[1]])],
        [numpy_helper.from_array(weight, f"w{index}") for index, weight in enumerate(weights)],
    )
    return model_of(graph, opset=17)


def model_of(graph: onnx.GraphProto, opset: int = OPSET) -> onnx.ModelProto:
    """A model with ONNX Runtime's own operators at hand."""
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[Any]:
    """All outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def _value(name: str, value: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
