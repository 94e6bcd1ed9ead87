"""Static int8 variants: ranges from texts of any length, and what they are used for."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from model_optimization.config.quantization import StaticConfig
from model_optimization.deployment.onnx_session import CHUNK
from model_optimization.quantization.affine import (
    asymmetric,
    dequantize,
    matmul_integer,
    quantize,
    symmetric_per_channel,
)
from model_optimization.quantization.calibration import activation_ranges, float_activations
from model_optimization.quantization.observers import MinMaxObserver
from model_optimization.quantization.static_quantization import quantize_static_variant, quantize_with_ranges
from model_optimization.variants import load_variant, read_info
from roadmap_shared.errors import UserError

from .onnx_operators import dense_model, run
from .onnx_variants import fp32_variant, operators, torch_variant, weights
from .tiny_models import TEXTS

MATRICES = 14


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp32_variant(tmp_path_factory.mktemp("static") / "fp32")


@pytest.mark.parametrize(
    "config",
    [
        StaticConfig(),
        StaticConfig(calibration="percentile", percentile=99.9),
        StaticConfig(calibration="entropy"),
        StaticConfig(per_channel=False),
        StaticConfig(embeddings="int8"),
    ],
)
def test_every_calibration_takes_texts_of_differing_length(fp32: Path, tmp_path: Path, config: StaticConfig) -> None:
    classifier = load_variant(fp32)
    assert len({len(tokens) for tokens in classifier.token_ids(TEXTS)}) > 3
    folder = quantize_static_variant(fp32, tmp_path / "static", TEXTS, config, name="static")
    reference, quantized = classifier.logits(TEXTS), load_variant(folder).logits(TEXTS)
    tolerance = 0.5 if config.calibration == "entropy" else 0.15
    np.testing.assert_allclose(quantized, reference, atol=tolerance)
    assert np.abs(quantized - reference).max() > 1e-4


def test_variant_says_what_it_is(fp32: Path, tmp_path: Path) -> None:
    config = StaticConfig(calibration="percentile", exclude=("1.ffn_out",), texts=5)
    info = read_info(quantize_static_variant(fp32, tmp_path / "static", ["", *TEXTS], config, name="static"))
    assert (info.name, info.parent, info.max_chunk) == ("static", "fp32", CHUNK)
    assert info.notes == ("activation ranges come from 5 calibration texts (percentile); values beyond saturate",)
    expected = {"method": "static", "calibration": "percentile", "texts": 5, "matrices": MATRICES - 1}
    assert {name: info.recipe[name] for name in expected} == expected
    assert info.recipe["excluded_nodes"] == ["/bert/encoder/layer.1/output/dense/MatMul"]


def test_only_matrices_are_quantised_u8s8(fp32: Path, tmp_path: Path) -> None:
    folder = quantize_static_variant(fp32, tmp_path / "static", TEXTS, StaticConfig(), name="static")
    # Query, key and value share their input; no output is rounded.
    assert operators(folder)["QuantizeLinear"] == 4 * 2 + 2
    constants = weights(folder)
    nodes = [node for node in onnx.load(folder / "model.onnx").graph.node if node.op_type == "QuantizeLinear"]
    assert {constants[node.input[2]].dtype for node in nodes} == {np.dtype(np.uint8)}
    quantized = [weight for name, weight in constants.items() if name.endswith("_quantized") and weight.ndim == 2]
    assert len(quantized) == MATRICES
    assert {weight.dtype for weight in quantized} == {np.dtype(np.int8)}


def test_everything_quantises_what_is_between_as_well(fp32: Path, tmp_path: Path) -> None:
    some = quantize_static_variant(fp32, tmp_path / "some", TEXTS, StaticConfig(), name="some")
    every = quantize_static_variant(fp32, tmp_path / "all", TEXTS, StaticConfig(everything=True), name="all")
    assert operators(every)["QuantizeLinear"] > 3 * operators(some)["QuantizeLinear"]
    reference = load_variant(fp32).logits(TEXTS)
    errors = [np.abs(load_variant(folder).logits(TEXTS) - reference).max() for folder in (some, every)]
    assert errors[1] > 2 * errors[0]


def test_a_layer_computes_what_the_arithmetic_by_hand_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight, seen, later = (random.normal(0, 1, shape).astype(np.float32) for shape in ((32, 8), (50, 32), (20, 32)))
    model = dense_model(weight)
    ranges = activation_ranges(model, ["x"], [{"x": seen}], MinMaxObserver)
    assert ranges == {"x": (seen.min(), seen.max())}
    quantize_with_ranges(model, tmp_path / "static.onnx", ranges, ["dense_0"], per_channel=True)
    theirs = run(onnx.load(tmp_path / "static.onnx"), {"x": 2 * later})[0]
    of_x, of_weight = asymmetric(*ranges["x"]), symmetric_per_channel(weight, axis=1)
    inputs, matrix = quantize(2 * later, of_x), quantize(weight, of_weight)
    assert (inputs == 255).any()  # beyond the calibrated range
    sums = matmul_integer(inputs, matrix, of_x.zero_point, of_weight.zero_point)
    np.testing.assert_allclose(sums * (of_x.scale * of_weight.scale), theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dequantize(inputs, of_x) @ dequantize(matrix, of_weight), theirs, rtol=1e-4, atol=1e-4)


def test_logits_do_not_depend_on_the_neighbours(fp32: Path, tmp_path: Path) -> None:
    folder = quantize_static_variant(fp32, tmp_path / "static", TEXTS, StaticConfig(), name="static")
    classifier = load_variant(folder)
    tokens = classifier.token_ids(TEXTS[:CHUNK])
    alone, together = classifier.logits_of_tokens(tokens[:1])[0], classifier.logits_of_tokens(tokens)[0]
    # Sums in fp32 may differ in their last bit, and that may round an activation to the next integer.
    np.testing.assert_allclose(alone, together, atol=0.01)


def test_ranges_equal_those_of_onnx_runtimes_calibrator(fp32: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    model = onnx.load(fp32 / "model.onnx")
    feeds = feeds_of(fp32)
    tensors = float_activations(model)
    ours = activation_ranges(model, tensors, feeds, MinMaxObserver)
    calibrator = create_calibrator(
        fp32 / "model.onnx",
        augmented_model_path=str(tmp_path / "more.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.collect_data(reader(feeds))
    theirs = calibrator.compute_data()
    assert set(theirs.keys()) <= set(ours)
    products = [node.output[0] for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert set(products) <= set(theirs.keys())
    for name in theirs:
        np.testing.assert_allclose(ours[name], np.ravel(theirs[name].range_value), rtol=1e-5, atol=1e-6)


def test_histograms_of_onnx_runtime_fail_on_texts_of_differing_length(
    fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    calibrator = create_calibrator(
        fp32 / "model.onnx",
        ["MatMul"],
        augmented_model_path=str(tmp_path / "more.onnx"),
        calibrate_method=CalibrationMethod.Percentile,
    )
    with pytest.raises(ValueError, match="inhomogeneous shape"):
        calibrator.collect_data(reader(feeds_of(fp32)))
    assert "Collecting tensor data" in capsys.readouterr().out


def test_no_calibration_text(fp32: Path, tmp_path: Path) -> None:
    message = "static quantisation: there is no calibration text: give some that are like the ones to come"
    for texts in ([], ["", "  "]):
        assert refusal(fp32, tmp_path / "new", texts) == message
    assert not (tmp_path / "new").exists()


def test_sources_and_exclusions_that_cannot_be(fp32: Path, tmp_path: Path) -> None:
    source = torch_variant(tmp_path / "torch")
    assert refusal(source, tmp_path / "new", TEXTS) == f"{source}: is a torch variant: export it to ONNX first"
    config = StaticConfig(exclude=("*",))
    assert refusal(fp32, tmp_path / "new", TEXTS, config) == "--static.exclude *: leaves no matrix to quantise"


def test_activations_that_are_not_finite() -> None:
    model = dense_model(np.full((2, 2), 3e38, np.float32))
    with pytest.raises(UserError) as refused:
        activation_ranges(model, ["y"], [{"x": np.full((1, 2), 9, np.float32)}], MinMaxObserver)
    assert str(refused.value) == "y: is NaN or infinite on a calibration text: such a model cannot be quantised"


def feeds_of(fp32: Path) -> list[dict[str, Any]]:
    feeds = []
    for tokens in load_variant(fp32).token_ids(TEXTS):
        ids = np.array([tokens], dtype=np.int64)
        feeds.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
    return feeds


def reader(feeds: list[dict[str, Any]]) -> Any:
    remaining = iter(feeds)
    return type("Reader", (), {"get_next": lambda self: next(remaining, None)})()


def refusal(source: Path, target: Path, texts: Any, config: StaticConfig | None = None) -> str:
    with pytest.raises(UserError) as refused:
        quantize_static_variant(source, target, texts, config or StaticConfig(), name="new")
    return str(refused.value)
