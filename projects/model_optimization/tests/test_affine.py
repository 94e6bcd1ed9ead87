"""Affine quantisation by hand against ONNX Runtime's operators, its quantiser, torch, and values worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model_optimization.quantization.affine import (
    INT8,
    NARROW_INT8,
    UINT4,
    UINT8,
    Affine,
    IntegerRange,
    asymmetric,
    dequantize,
    matmul_integer,
    quantize,
    quantized_matmul,
    sqnr_db,
    symmetric,
    symmetric_per_channel,
)
from model_optimization.quantization.dynamic_quantization import quantize_matrices

from .onnx_operators import dense_model, run, run_operator

FLOATS = st.floats(-1e4, 1e4, width=32)
MATRICES = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=FLOATS)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def test_a_range_by_hand() -> None:
    affine = asymmetric(-1.0, 3.0)
    assert affine.scale == pytest.approx(4 / 255)
    assert affine.zero_point == 64  # 1 / (4 / 255) = 63.75
    values = np.array([-5, -1, 0, 1, 3, 9], np.float32)
    assert quantize(values, affine).tolist() == [0, 0, 64, 128, 255, 255]
    steps = np.array([-64, -64, 0, 64, 191, 191])
    np.testing.assert_allclose(dequantize(quantize(values, affine), affine), steps * affine.scale)


def test_halves_are_rounded_to_even() -> None:
    affine = Affine(scale=np.float32(1), zero_point=np.int8(0), integers=INT8)
    assert quantize(np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32), affine).tolist() == [0, 2, 2, 0, -2]


def test_a_symmetric_range_has_its_zero_in_the_middle() -> None:
    signed, unsigned = symmetric(-1.0, 2.0), symmetric(-1.0, 2.0, UINT8)
    assert (signed.scale, signed.zero_point) == (pytest.approx(2 / 127), 0)
    assert (unsigned.scale, unsigned.zero_point) == (pytest.approx(4 / 255), 128)


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (0.0, 1e-44)])
def test_a_range_of_nothing_can_be_divided_by(bounds: tuple[float, float]) -> None:
    for affine in (asymmetric(*bounds), symmetric(*bounds)):
        assert affine.scale == 1
        assert quantize(np.zeros(3, np.float32), affine).tolist() == [affine.zero_point] * 3


def test_a_range_without_zero_is_widened() -> None:
    assert asymmetric(2.0, 4.0).zero_point == 0
    assert asymmetric(2.0, 4.0).scale == pytest.approx(4 / 255)
    assert asymmetric(-4.0, -2.0).zero_point == 255


@pytest.mark.parametrize("make", [asymmetric, symmetric])
def test_ranges_that_are_none(make: type) -> None:
    for bound in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^a range with NaN or infinity cannot be quantised$"):
            make(-1.0, bound)
    with pytest.raises(ValueError, match=r"^the lowest value of a range lies above its highest$"):
        make(1.0, -1.0)


@given(MATRICES, st.sampled_from([UINT8, INT8, UINT4, NARROW_INT8]))
def test_what_lies_in_the_range_is_met_to_half_a_step(values: np.ndarray, integers: IntegerRange) -> None:
    for affine in (asymmetric(values.min(), values.max(), integers), symmetric(values.min(), values.max(), integers)):
        quantized = quantize(values, affine)
        assert quantized.min() >= integers.low
        assert quantized.max() <= integers.high
        # Half a step of rounding; the ends move by up to another half, because the zero point is rounded, too.
        error = np.abs(dequantize(quantized, affine) - values).max()
        assert error <= 1.0001 * affine.scale
        assert dequantize(quantize(np.zeros(1, np.float32), affine), affine) == 0


@pytest.mark.parametrize("integers", [UINT8, INT8])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_equal_to_quantize_linear(integers: IntegerRange, axis: int | None) -> None:
    values = normal(200, 300, scale=3)
    channels = () if axis is None else (values.shape[axis],)
    affine = asymmetric(normal(*channels) - 5, normal(*channels, seed=1) + 5, integers, axis=axis)
    where = {} if axis is None else {"axis": axis}
    theirs = run_operator("QuantizeLinear", values, affine.scale, affine.zero_point, **where)[0]
    ours = quantize(values, affine)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    back = run_operator("DequantizeLinear", theirs, affine.scale, affine.zero_point, **where)[0]
    np.testing.assert_array_equal(dequantize(ours, affine), back)


@pytest.mark.parametrize("shift", [-4.0, -0.3, 0.0, 4.0])
def test_equal_to_dynamic_quantize_linear(shift: float) -> None:
    for seed in range(20):
        values = normal(8, 50, seed=seed) + np.float32(shift)
        theirs, scale, zero_point = run_operator("DynamicQuantizeLinear", values, outputs=3)
        affine = asymmetric(values.min(), values.max())
        assert (affine.scale, affine.zero_point) == (scale, zero_point)
        np.testing.assert_array_equal(quantize(values, affine), theirs)


def test_dynamic_quantize_linear_of_zeros() -> None:
    theirs, scale, zero_point = run_operator("DynamicQuantizeLinear", np.zeros((2, 3), np.float32), outputs=3)
    affine = asymmetric(0.0, 0.0)
    assert (affine.scale, affine.zero_point, theirs.any()) == (scale, zero_point, False)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # torch means to drop its quantised types
def test_equal_to_torch() -> None:
    values = normal(64, 100, scale=2)
    # torch multiplies by 1 / scale where ONNX divides by it: powers of 2 are exact in both.
    scale, zero_point = np.float32(2**-5), np.int8(-7)
    affine = Affine(scale=scale, zero_point=zero_point, integers=INT8)
    theirs = torch.quantize_per_tensor(torch.from_numpy(values), float(scale), int(zero_point), torch.qint8)
    np.testing.assert_array_equal(quantize(values, affine), theirs.int_repr().numpy())
    np.testing.assert_array_equal(dequantize(quantize(values, affine), affine), theirs.dequantize().numpy())

    scales, zero_points = (2.0 ** -np.arange(64)[:, None] % 7).ravel().astype(np.float32), np.arange(-32, 32)
    scales = np.where(scales == 0, 1, scales).astype(np.float32)
    affine = Affine(scale=scales, zero_point=zero_points.astype(np.int8), integers=INT8, axis=0)
    theirs = torch.quantize_per_channel(
        torch.from_numpy(values), torch.from_numpy(scales).double(), torch.from_numpy(zero_points), 0, torch.qint8
    )
    np.testing.assert_array_equal(quantize(values, affine), theirs.int_repr().numpy())


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_weights_equal_those_of_onnx_runtimes_quantiser(axis: int | None) -> None:
    from onnxruntime.quantization.quant_utils import quantize_data

    weight = normal(30, 20, scale=0.1)
    affine = symmetric(weight.min(), weight.max()) if axis is None else symmetric_per_channel(weight, axis)
    ours = quantize(weight, affine)
    channels = [weight] if axis is None else [weight.take(index, axis) for index in range(weight.shape[axis])]
    for index, channel in enumerate(channels):
        zero_point, scale, theirs = quantize_data(channel, onnx.TensorProto.INT8, symmetric=True)
        assert (zero_point, np.atleast_1d(affine.scale)[index]) == (0, pytest.approx(scale, rel=1e-7))
        np.testing.assert_array_equal(ours if axis is None else ours.take(index, axis), theirs)


@pytest.mark.parametrize("per_channel", [False, True])
def test_integer_product_equals_matmul_integer(per_channel: bool) -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (9, 70), dtype=np.uint8), random.integers(-128, 128, (70, 5), dtype=np.int8)
    a_zero = np.uint8(131)
    b_zero = random.integers(-128, 128, 5, dtype=np.int8) if per_channel else np.int8(-3)
    theirs = run_operator("MatMulInteger", a, b, np.array(a_zero), np.array(b_zero))[0]
    ours = matmul_integer(a, b, a_zero, b_zero)
    assert ours.dtype == theirs.dtype == np.int32
    np.testing.assert_array_equal(ours, theirs)


@given(st.data(), st.integers(1, 6), st.integers(1, 40), st.integers(1, 6))
def test_integer_product_equals_that_of_the_differences(data: st.DataObject, m: int, k: int, n: int) -> None:
    a, b = (data.draw(hnp.arrays(np.uint8, shape)) for shape in ((m, k), (k, n)))
    a_zero, b_zero = data.draw(st.integers(0, 255)), data.draw(hnp.arrays(np.uint8, n))
    plain = (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - b_zero.astype(np.int64))
    np.testing.assert_array_equal(matmul_integer(a, b, a_zero, b_zero), plain)


def test_the_longest_sum_fits_into_32_bits() -> None:
    a, b = np.full((1, 33_024), 255, np.uint8), np.full((33_024, 1), 255, np.uint8)
    assert matmul_integer(a, b)[0, 0] == 33_024 * 255**2


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantized_matmul_is_what_a_dynamically_quantised_graph_computes(tmp_path: Path, per_channel: bool) -> None:
    weight, activations = normal(48, 24, scale=0.2), normal(10, 48, seed=1)
    quantize_matrices(dense_model(weight), tmp_path / "int8.onnx", [], per_channel=per_channel)
    theirs = run(onnx.load(tmp_path / "int8.onnx"), {"x": activations})[0]
    affine = symmetric_per_channel(weight, axis=1) if per_channel else symmetric(weight.min(), weight.max())
    ours = quantized_matmul(activations, quantize(weight, affine), affine)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert 30 < sqnr_db(activations @ weight, ours) < 50  # near fp32, and not it


def test_a_scale_for_each_channel_keeps_the_small_ones() -> None:
    weight = normal(64, 8)
    weight[:, 0] *= 100
    whole, each = symmetric(weight.min(), weight.max()), symmetric_per_channel(weight, axis=1)
    small = weight[:, 1:]
    per_tensor = sqnr_db(small, dequantize(quantize(weight, whole), whole)[:, 1:])
    per_channel = sqnr_db(small, dequantize(quantize(weight, each), each)[:, 1:])
    assert per_tensor < 10 < 40 < per_channel


def test_channels_may_be_counted_from_the_last_axis() -> None:
    weight = normal(4, 6)
    last, second = symmetric_per_channel(weight, axis=-1), symmetric_per_channel(weight, axis=1)
    np.testing.assert_array_equal(quantize(weight, last), quantize(weight, second))


def test_signal_to_noise_by_hand() -> None:
    assert sqnr_db([3.0, 4.0], [3.0, 3.5]) == pytest.approx(20)  # 25 / 0.25
    assert sqnr_db([1.0], [1.0]) == float("inf")
    assert sqnr_db([0.0], [1.0]) == float("-inf")
    with pytest.raises(ValueError, match=r"^the reference has the shape \(2,\), its approximation \(1,\)$"):
        sqnr_db([1.0, 2.0], [1.0])


def test_a_bit_more_is_worth_six_decibels() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    ranges = [IntegerRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, np.int16) for bits in range(4, 11)]
    ratios = [
        sqnr_db(values, dequantize(quantize(values, affine), affine))
        for affine in (asymmetric(-1.0, 1.0, integers) for integers in ranges)
    ]
    np.testing.assert_allclose(np.diff(ratios), 20 * np.log10(2), atol=0.7)
