"""Real numbers as small integers, by hand: the arithmetic that every int8 kernel stands on.

    real = scale · (integer - zero_point)                               Jacob et al. 2018, eq. 1

The scale is the distance of two neighbouring integers, the zero point the integer that stands for 0.0 exactly, because
padding and ReLU produce so many zeros. Rounding is to the nearest integer, halves to even, as in ONNX and in the
processor's own instruction.

- **Asymmetric** uses all integers between the lowest and the highest value: for activations, which after GELU are
  hardly ever negative. **Symmetric** takes the same range on both sides of 0, so that the zero point is 0 and three of
  the four terms of a product vanish: for weights.
- **Per tensor** has one scale, **per channel** one for each output channel of a weight matrix: one large weight then
  costs its own column precision, and no other.

Shapes: M rows of activations, K values summed over, N output channels.

Jacob et al. 2018: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference.
Nagel et al. 2021: A White Paper on Neural Network Quantization, §2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model_optimization.types import FloatArray

Integers = NDArray[Any]


@dataclass(frozen=True)
class IntegerRange:
    """The integers that are used."""

    low: int
    high: int
    dtype: type[np.integer[Any]]
    """What holds them: no type of numpy has 4 bits."""


UINT8 = IntegerRange(0, 255, np.uint8)
INT8 = IntegerRange(-128, 127, np.int8)
NARROW_INT8 = IntegerRange(-127, 127, np.int8)
"""Without -128, so that the range is symmetric: what weights are quantised to."""

UINT4 = IntegerRange(0, 15, np.uint8)


@dataclass(frozen=True, kw_only=True)
class Affine:
    """How integers stand for real numbers."""

    scale: FloatArray | np.float32
    """() per tensor; (channels,) per channel."""

    zero_point: Integers | np.integer[Any]
    """The integer of 0.0, in the shape of scale."""

    integers: IntegerRange
    axis: int | None = None
    """Axis of the channels; None: per tensor."""


def asymmetric(
    lowest: ArrayLike, highest: ArrayLike, integers: IntegerRange = UINT8, axis: int | None = None
) -> Affine:
    """Spread the integers from `lowest` to `highest`, each () or (channels,).

    The range is widened to hold 0, which must have an integer of its own. The division is in single precision, as in
    ONNX's DynamicQuantizeLinear. A range of 0 gets scale 1.

    Raises:
        ValueError: a bound is NaN or infinite, or the lowest lies above the highest.
    """
    below, above = _bounds(lowest, highest)
    below, above = np.minimum(below, np.float32(0)), np.maximum(above, np.float32(0))
    scale = _usable((above - below) / np.float32(integers.high - integers.low))
    # 0 lies (0 - below) / scale steps above the lowest integer.
    zero_point = np.clip(np.rint(integers.low - below / scale), integers.low, integers.high)
    zero_point = np.where(above > below, zero_point, 0)
    return Affine(scale=scale, zero_point=zero_point.astype(integers.dtype), integers=integers, axis=axis)


def symmetric(
    lowest: ArrayLike, highest: ArrayLike, integers: IntegerRange = NARROW_INT8, axis: int | None = None
) -> Affine:
    """Spread the integers over [-m, m], where m is the larger of |lowest| and |highest|, each () or (channels,).

    Raises:
        ValueError: a bound is NaN or infinite, or the lowest lies above the highest.
    """
    below, above = _bounds(lowest, highest)
    largest = np.maximum(np.abs(below), np.abs(above))
    scale = _usable(2 * largest / np.float32(integers.high - integers.low))
    middle = np.rint((integers.low + integers.high) / 2)  # 0 of signed integers, 128 of unsigned ones
    zero_point = np.full(scale.shape, middle).astype(integers.dtype)
    return Affine(scale=scale, zero_point=zero_point, integers=integers, axis=axis)


def symmetric_per_channel(weight: FloatArray, axis: int) -> Affine:
    """The affine of a weight of any shape with one scale for each index along `axis`."""
    others = tuple(other for other in range(weight.ndim) if other != axis % weight.ndim)
    return symmetric(weight.min(axis=others), weight.max(axis=others), axis=axis)


def quantize(values: FloatArray, affine: Affine) -> Integers:
    """Nearest integer of each value, in the shape of `values`; values outside the range take its ends (saturate)."""
    scale, zero_point = _along(affine.scale, affine, values.ndim), _along(affine.zero_point, affine, values.ndim)
    integers = np.rint(values / scale) + zero_point.astype(np.float32)
    return np.clip(integers, affine.integers.low, affine.integers.high).astype(affine.integers.dtype)


def dequantize(integers: Integers, affine: Affine) -> FloatArray:
    """The real number of each integer: within half a scale of what was quantised, if that lay in the range."""
    scale, zero_point = _along(affine.scale, affine, integers.ndim), _along(affine.zero_point, affine, integers.ndim)
    # The difference of two 8-bit integers needs 9 bits.
    return (integers.astype(np.int32) - zero_point.astype(np.int32)).astype(np.float32) * scale


def matmul_integer(a: Integers, b: Integers, a_zero: ArrayLike = 0, b_zero: ArrayLike = 0) -> NDArray[np.int32]:
    """Σₖ (a[m, k] - a_zero) (b[k, n] - b_zero), from products of the integers as they are stored.

    The zero points are multiplied out (Jacob et al. 2018, eq. 7), so that the large product takes 8-bit operands:

        Σ a b  -  b_zero Σₖ a  -  a_zero Σₖ b  +  K a_zero b_zero

    Two terms are sums of rows and of columns, the last is a constant; with symmetric weights b_zero is 0, and
    Σₖ b is known before any input is. The sums need 32 bits: one product of 8-bit numbers may have 16.

    Args:
        a: (M, K).
        b: (K, N).
        a_zero: zero point of a, ().
        b_zero: zero points of b, () or (N,).

    Returns:
        (M, N); exact as long as K · 255² stays below 2³¹, K below 33,025.
    """
    a, b = a.astype(np.int32), b.astype(np.int32)
    a_zero, b_zero = np.asarray(a_zero, np.int32), np.asarray(b_zero, np.int32)
    products = a @ b  # (M, N)
    row_sums = a.sum(axis=1, keepdims=True, dtype=np.int32)  # (M, 1)
    column_sums = b.sum(axis=0, keepdims=True, dtype=np.int32)  # (1, N)
    terms = products - b_zero * row_sums - a_zero * column_sums + np.int32(a.shape[1]) * a_zero * b_zero
    return terms.astype(np.int32)


def quantized_matmul(activations: FloatArray, weight: Integers, affine: Affine) -> FloatArray:
    """What an int8 layer computes at run time ("dynamic quantisation").

    The activations' range is taken from the very values that come in, all rows together: an unusual row costs its
    neighbours precision, which is why the result for a text depends on the others in its batch.

    Args:
        activations: (M, K).
        weight: (K, N) integers.
        affine: of the weight; per tensor, or per channel along axis 1.

    Returns:
        (M, N), an approximation of activations @ dequantize(weight, affine).
    """
    of_activations = asymmetric(activations.min(), activations.max())
    sums = matmul_integer(quantize(activations, of_activations), weight, of_activations.zero_point, affine.zero_point)
    return np.multiply(sums, of_activations.scale * affine.scale, dtype=np.float32)


def sqnr_db(reference: ArrayLike, approximation: ArrayLike) -> float:
    """Signal to quantisation noise: 10 log₁₀(Σ reference² / Σ (reference - approximation)²), in decibels.

    Each bit more is worth about 6 dB. Infinite where both are equal, minus infinite where only the reference is 0.

    Raises:
        ValueError: the shapes differ.
    """
    signal, other = np.asarray(reference, np.float64), np.asarray(approximation, np.float64)
    if signal.shape != other.shape:
        raise ValueError(f"the reference has the shape {signal.shape}, its approximation {other.shape}")
    power, noise = float(np.sum(signal**2)), float(np.sum((signal - other) ** 2))
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(power / noise)) if power > 0 else float("-inf")


def _bounds(lowest: ArrayLike, highest: ArrayLike) -> tuple[FloatArray, FloatArray]:
    below, above = np.asarray(lowest, np.float32), np.asarray(highest, np.float32)
    if not (np.isfinite(below).all() and np.isfinite(above).all()):
        raise ValueError("a range with NaN or infinity cannot be quantised")
    if (below > above).any():
        raise ValueError("the lowest value of a range lies above its highest")
    return below, above


def _usable(scale: NDArray[Any]) -> FloatArray:
    """1 in place of a scale that nothing can be divided by: the values are all 0, or next to it."""
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale).astype(np.float32)


def _along(values: Any, affine: Affine, ndim: int) -> NDArray[Any]:
    """(channels,) in a shape that broadcasts along the axis of the channels."""
    if affine.axis is None:
        return values
    shape = [1] * ndim
    shape[affine.axis] = -1
    return values.reshape(shape)
