import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model_optimization.benchmarking.environment import Environment
from model_optimization.benchmarking.graph_cost import (
    OperatorCost,
    Part,
    costs_of_event,
    encoder_flops,
    total,
    variant_cost,
)
from model_optimization.benchmarking.peaks import Peaks, fastest, measure_peaks
from model_optimization.benchmarking.roofline import operator_seconds, predict, reasons
from model_optimization.variants import VariantInfo, write_variant

from .tiny_models import tiny_classifier

PEAKS = Peaks(fp32_gflops=100, int8_gflops=400, gigabytes_per_second=10, threads=1)
MACHINE = Environment(
    cpu="", flags=("avx2", "avx512_vnni"), cores=1, usable_cores=1, threads=1, memory_mb=1, governor=None,
    cpu_limit=None, memory_limit_mb=None, system="", python="", versions={},
)  # fmt: skip
BATCH, TOKENS, LAYERS, HIDDEN, FFN = 3, 16, 2, 32, 64


def event(operator: str, inputs: list[dict[str, list[int]]], outputs: list[dict[str, list[int]]]) -> dict[str, Any]:
    arguments = {"op_name": operator, "input_type_shape": inputs, "output_type_shape": outputs}
    return {"name": "node_kernel_time", "dur": 2000, "args": arguments}


ACTIVATIONS, WIDE = {"float": [2, 8, 16]}, {"float": [2, 8, 64]}
BYTES = {"uint8": [2, 8, 16]}


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        # 2 x 8 rows, 16 x 64 weights: the profile does not list those that were rearranged.
        (event("MatMul", [ACTIVATIONS], [WIDE]), [("layers", "fp32", 32768, 4 * (256 + 1024 + 1024), 0.002)]),
        (
            event("MatMulIntegerToFloat", [BYTES, {"float": []}, {"float": [64]}], [WIDE]),
            [("layers", "int8", 32768, 256 + 4 * 1024 + 1024, 0.002)],
        ),
        (
            event("DynamicQuantizeMatMul", [ACTIVATIONS, {"float": [64]}], [WIDE]),
            [("quantising", "fp32", 0, 5 * 256, None), ("layers", "int8", 32768, 256 + 4 * 1024 + 1024, 0.002)],
        ),
        (
            event("MatMul", [{"float": [2, 4, 8, 8]}, {"float": [2, 4, 8, 5]}], [{"float": [2, 4, 8, 5]}]),
            [("attention", "fp32", 2 * 2 * 4 * 8 * 8 * 5, 4 * (512 + 320 + 320), 0.002)],
        ),
        (
            event("MatMulNBits", [ACTIVATIONS], [WIDE]),
            [("layers", "fp32", 32768, 4 * (256 + 1024) + 1024 / 2, 0.002)],
        ),
        # Of a table of 1000 rows, the 16 that are looked up.
        (
            event("Gather", [{"float": [1000, 16]}, {"int64": [2, 8]}], [ACTIVATIONS]),
            [("embeddings", "fp32", 0, 2 * 4 * 256, 0.002)],
        ),
        (event("Gather", [{"int64": [3]}, {"int64": []}], [{"int64": []}]), [("rest", "fp32", 0, 8 * 5, 0.002)]),
        (event("Softmax", [ACTIVATIONS], [ACTIVATIONS]), [("rest", "fp32", 0, 4 * 512, 0.002)]),
        (event("Reshape", [ACTIVATIONS], [ACTIVATIONS]), [("rest", "fp32", 0, 0, 0.002)]),
        (
            event("DynamicQuantizeLinear", [ACTIVATIONS], [BYTES, {"float": []}, {"uint8": []}]),
            [("quantising", "fp32", 0, 4 * 256 + 256 + 5, 0.002)],
        ),
        (
            event("QAttention", [BYTES], [ACTIVATIONS]),
            [
                ("layers", "int8", 2 * 16 * 16 * 48, 256 + 1024 + 3 * 256, 0.002),
                ("attention", "fp32", 4 * 2 * 8 * 8 * 16, 0, None),
            ],
        ),
    ],
)
def test_costs_of_operators_by_hand(described: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    found = costs_of_event(described, {"node": 4})
    assert [(one.part, one.precision, one.flops, one.bytes, one.seconds) for one in found] == expected


def test_a_network_of_torch_has_the_operations_of_the_formula(tmp_path: Path) -> None:
    classifier = tiny_classifier(tmp_path / "model", layers=LAYERS, hidden=HIDDEN, ffn=FFN)
    costs = variant_cost(tmp_path / "model", BATCH, TOKENS)
    assert costs is not None
    head = 2 * BATCH * HIDDEN * (HIDDEN + 2)
    assert total(costs)[0] == encoder_flops(BATCH, TOKENS, LAYERS, HIDDEN, FFN) + head
    # torch's own counter knows no attention kernel of the CPU: it is asked for the products with weights alone.
    ids = np.full((BATCH, TOKENS), 5, dtype=np.int64)
    with FlopCounterMode(display=False) as counter:
        classifier.padded_logits(ids, np.ones_like(ids))
    assert total(costs, "layers")[0] == counter.get_flop_counts()["Global"][torch.ops.aten.addmm]
    assert total(costs, "attention")[0] == LAYERS * 4 * BATCH * TOKENS * TOKENS * HIDDEN
    weights = LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * FFN) + HIDDEN * HIDDEN + 2 * HIDDEN
    rows = BATCH * TOKENS
    activations = LAYERS * rows * (4 * 2 * HIDDEN + 2 * (HIDDEN + FFN)) + BATCH * (3 * HIDDEN + 2)
    assert total(costs, "layers")[1] == 4 * (weights + activations)
    assert total(costs, "embeddings")[1] == 2 * 4 * (2 * rows + TOKENS) * HIDDEN  # words, types; places once


def test_a_graph_has_the_operations_of_the_formula_whatever_was_fused(tmp_path: Path) -> None:
    whole = variant_cost(onnx_variant(tmp_path, "whole", max_chunk=None), 4, TOKENS)
    assert whole is not None
    head = 2 * 4 * HIDDEN * (HIDDEN + 2)
    assert total(whole)[0] == encoder_flops(4, TOKENS, LAYERS, HIDDEN, FFN) + head
    assert total(whole, precision="int8")[0] == 0
    assert all(cost.seconds is None or cost.seconds >= 0 for cost in whole)


def test_chunks_read_the_weights_once_each(tmp_path: Path) -> None:
    whole, cut = (
        variant_cost(onnx_variant(tmp_path, name, max_chunk=chunk), 4, TOKENS)
        for name, chunk in (("whole", None), ("cut", 1))
    )
    assert whole is not None
    assert cut is not None
    assert total(cut)[0] == total(whole)[0]
    weights = 4 * (LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * FFN) + HIDDEN * HIDDEN + 2 * HIDDEN)
    assert total(cut, "layers")[1] == total(whole, "layers")[1] + 3 * weights


def test_a_quantised_graph_has_the_same_operations_on_bytes(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = onnx_variant(tmp_path, "source", max_chunk=None)

    def write(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("variant.json"))
        quantize_dynamic(
            source / "model.onnx", folder / "model.onnx", op_types_to_quantize=["MatMul"], per_channel=True,
            weight_type=QuantType.QInt8, extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip

    info = VariantInfo(name="int8", kind="onnx", labels=("negative", "positive"), max_length=64)
    costs = variant_cost(write_variant(tmp_path / "int8", info, write), 4, TOKENS)
    assert costs is not None
    layers = LAYERS * 2 * 4 * TOKENS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * FFN)
    head = 2 * 4 * HIDDEN * (HIDDEN + 2)  # whose Gemm becomes a MatMul on the way
    assert total(costs, "layers", "int8")[0] == layers + head
    assert total(costs, "attention", "fp32")[0] == LAYERS * 4 * 4 * TOKENS * TOKENS * HIDDEN
    assert total(costs, "quantising")[1] > 0


def test_what_no_file_holds_is_not_counted(tmp_path: Path) -> None:
    info = VariantInfo(name="x", kind="torch", labels=("a",), max_length=64, on_load="torchao_int8_dynamic")
    assert variant_cost(write_variant(tmp_path / "x", info, lambda folder: None), 1, 8) is None


def cost(part: Part, flops: float, moved: float, precision: Any = "fp32") -> OperatorCost:
    return OperatorCost(operator="", part=part, precision=precision, flops=flops, bytes=moved)


def test_the_bound_is_the_longer_of_arithmetic_and_traffic() -> None:
    assert operator_seconds(cost("layers", 200e9, 1e9), PEAKS) == pytest.approx(2.0)
    assert operator_seconds(cost("layers", 200e9, 1e9, "int8"), PEAKS) == pytest.approx(0.5)
    assert operator_seconds(cost("layers", 200e9, 50e9), PEAKS) == pytest.approx(5.0)


def test_a_prediction_by_hand() -> None:
    found = predict([cost("layers", 200e9, 1e9), cost("layers", 400e9, 1e9, "int8"), cost("rest", 0, 10e9)], PEAKS)
    assert found.seconds == pytest.approx(2 + 1 + 1)
    assert found.by_part["layers"] == pytest.approx(3)
    assert found.memory_bound == pytest.approx(1 / 4)
    assert (found.flops_fp32, found.flops_int8, found.bytes) == (200e9, 400e9, 12e9)
    assert found.intensity == pytest.approx(50)


def test_reasons_carry_their_numbers_and_the_weightiest_comes_first() -> None:
    costs = [
        cost("layers", 400e9, 0, "int8"),
        cost("attention", 100e9, 0),
        cost("quantising", 0, 2e9),
        cost("rest", 0, 15e9),
        cost("embeddings", 0, 1e9),
    ]
    found = reasons(predict(costs, PEAKS), PEAKS, MACHINE, tokens=128)
    assert found == (
        "80% of the operations are on bytes, which this processor multiplies 4.0 x as fast (by avx512_vnni)",
        "softmax, GELU, normalisation and additions take 39%: no quantisation of weights makes them faster",
        "attention's products stay in floats: 26% of the time at 128 tokens, and their share grows with the length, so "
        "that bytes win less on longer texts",
        "changing floats to bytes and back takes 5%, which has no counterpart in the original",
        "looking up embeddings takes 2.6%: quantising the table makes the file smaller, not the model faster",
    )


def test_reasons_of_a_model_in_floats_that_waits_for_memory() -> None:
    found = reasons(predict([cost("layers", 10e9, 10e9)], PEAKS), PEAKS, MACHINE, tokens=8)
    assert found == (
        "100% of the time is traffic, not arithmetic: 1 operations a byte are too few to keep the multipliers busy",
        "looking up embeddings takes 0.0%: quantising the table makes the file smaller, not the model faster",
    )


def test_the_fastest_call_counts_and_the_first_does_not() -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    calls: list[int] = []
    assert fastest(lambda: calls.append(1), repeats=3, clock=lambda: next(clock)) == 2.0
    assert len(calls) == 4


def test_the_peaks_of_this_machine_can_be_measured() -> None:
    found = measure_peaks(threads=1)
    assert min(found.fp32_gflops, found.int8_gflops, found.gigabytes_per_second) > 0
    assert found.threads == 1


def onnx_variant(folder: Path, name: str, max_chunk: int | None) -> Path:
    classifier = tiny_classifier(layers=LAYERS, hidden=HIDDEN, ffn=FFN)

    def write(target: Path) -> None:
        from model_optimization.config.export import ExportConfig
        from model_optimization.deployment.onnx_conversion import export_network

        export_network(classifier, target / "model.onnx", ExportConfig())

    info = VariantInfo(name=name, kind="onnx", labels=("negative", "positive"), max_length=64, max_chunk=max_chunk)
    return write_variant(folder / name, info, write)
