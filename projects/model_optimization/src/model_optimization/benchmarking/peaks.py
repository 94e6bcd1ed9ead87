"""How fast this machine multiplies matrices and moves bytes, measured in a second.

The peaks are those of ONNX Runtime's own kernels on a matrix product that is large enough to keep them busy, and of a
copy of arrays of the size of a small model's weights: what a program can hope for, not what the data sheet says.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from model_optimization.machine import threads_wanted

_SIDE = 512  # its 2 ms fit between two interruptions of a busy machine, of which the fastest repetition has none
_COPY_BYTES = 16_000_000  # more than a core's own cache holds
_REPEATS = 40


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """What one process with these threads can do at most."""

    fp32_gflops: float
    """10^9 multiplications and additions of floats a second, each counted as one."""

    int8_gflops: float
    """10^9 multiplications of bytes and additions in 32 bits a second."""

    gigabytes_per_second: float
    """Read and written, together, by a copy."""

    threads: int

    @property
    def bytes_per_second(self) -> float:
        """Of the copy."""
        return self.gigabytes_per_second * 1e9

    def flops_per_second(self, precision: Literal["fp32", "int8"]) -> float:
        """Of matrix products."""
        return 1e9 * (self.int8_gflops if precision == "int8" else self.fp32_gflops)


def measure_peaks(threads: int | None = None) -> Peaks:
    """Measure the machine; the fastest of several repetitions counts, because others can only slow it down."""
    wanted = threads_wanted(threads)
    operations = 2 * _SIDE**3
    return Peaks(
        fp32_gflops=operations / fastest(_product("MatMul", np.float32, np.float32, wanted)) / 1e9,
        int8_gflops=operations / fastest(_product("MatMulInteger", np.uint8, np.int8, wanted)) / 1e9,
        gigabytes_per_second=2 * _COPY_BYTES / fastest(_copy(wanted)) / 1e9,
        threads=wanted,
    )


def fastest(call: Callable[[], Any], repeats: int = _REPEATS, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    call()
    durations = []
    for _ in range(repeats):
        started = clock()
        call()
        durations.append(clock() - started)
    return min(durations)


def _product(operator: str, left: Any, right: Any, threads: int) -> Callable[[], Any]:
    """A product of two matrices of 512 x 512, the second of which is a constant, as a layer's weights are."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    generator = np.random.default_rng(0)
    activations = generator.integers(1, 100, (_SIDE, _SIDE)).astype(left)
    weights = numpy_helper.from_array(generator.integers(-100, 100, (_SIDE, _SIDE)).astype(right), "W")
    result = onnx.TensorProto.FLOAT if left is np.float32 else onnx.TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["A", "W"], ["Y"])],
        "product",
        [helper.make_tensor_value_info("A", helper.np_dtype_to_tensor_dtype(np.dtype(left)), [_SIDE, _SIDE])],
        [helper.make_tensor_value_info("Y", result, [_SIDE, _SIDE])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"A": activations})


def _copy(threads: int) -> Callable[[], Any]:
    """A copy of an array, cut into one piece for each thread."""
    source = np.ones(_COPY_BYTES // 8)
    target = np.empty_like(source)
    pieces = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads)

    def copy() -> None:
        for done in [pool.submit(np.copyto, to, at) for to, at in pieces]:
            done.result()

    return copy
