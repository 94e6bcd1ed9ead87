"""Fake quantisation by hand: a network learns in fp32 with the values that int8 will leave of its weights and inputs.

A number x becomes the integer q = round(x / scale) + zero_point, cut off at the ends of the integers, and stands for
(q - zero_point) * scale (Jacob et al. 2018, §2.1). Fake quantisation computes that last number and stays in fp32, so
that the loss sees the rounding error (§3). Rounding has slope 0 wherever it has one, and nothing would be learned
through it. The straight-through estimator (Bengio et al. 2013, §3) takes the slope as 1 where nothing was cut off, and
as 0 where the end of the integers was passed: there x could move without any effect.

The scheme is that of ONNX Runtime's dynamic quantisation: inputs as unsigned integers with a zero point, whose range is
taken from the inputs themselves; weights as signed integers around 0, one scale for each output.

Shapes: O outputs and I inputs of a linear layer, B texts of a batch, T tokens.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Granularity = Literal["tensor", "token"]


@dataclass(frozen=True)
class Integers:
    """The integers that numbers are rounded to."""

    low: int
    high: int


UINT8 = Integers(0, 255)
INT8 = Integers(-127, 127)
"""Without -128, so that they lie evenly around 0 (Jacob et al. 2018, §3)."""


@torch.no_grad()
def asymmetric_parameters(
    values: Tensor, integers: Integers = UINT8, granularity: Granularity = "tensor"
) -> tuple[Tensor, Tensor]:
    """Scale and zero point that spread the integers from the smallest to the largest value.

    The range is made to hold 0, which then has an integer of its own, without error: padding and ReLU produce many
    (Jacob et al. 2018, §2.1).

    Args:
        values: (..., I).
        integers: that the values become.
        granularity: one range for all values, or one for each token, the last axis.

    Returns:
        Both of the shape (..., 1), of 1 alone where there is one range; the zero point is whole.
    """
    axes = -1 if granularity == "token" else tuple(range(values.ndim))
    low = values.amin(axes, keepdim=True).clamp(max=0)
    high = values.amax(axes, keepdim=True).clamp(min=0)
    scale = _usable((high - low) / (integers.high - integers.low))
    zero_point = torch.round(integers.low - low / scale).clamp(integers.low, integers.high)
    return scale, zero_point


@torch.no_grad()
def symmetric_parameters(weight: Tensor, integers: Integers = INT8) -> tuple[Tensor, Tensor]:
    """Scale of each output that spreads the integers over its weights, and a zero point of 0.

    Args:
        weight: (O, I).
        integers: that the weights become.

    Returns:
        Both (O, 1).
    """
    scale = _usable(weight.abs().amax(dim=1, keepdim=True) / ((integers.high - integers.low) / 2))
    return scale, torch.zeros_like(scale)


def fake_quantize(values: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
    """What integers leave of the values, with the straight-through gradient; see the module.

    Args:
        values: of any shape.
        scale: that can be broadcast to it, above 0.
        zero_point: like the scale; whole numbers.
        integers: that the values are rounded to.

    Returns:
        fp32 of the shape of the values. No gradient goes to scale and zero point.
    """
    return _FakeQuantize.apply(values, scale, zero_point, integers)  # type: ignore[no-any-return]


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
        quantized = torch.round(values / scale) + zero_point
        ctx.save_for_backward((quantized >= integers.low) & (quantized <= integers.high))
        return (quantized.clamp(integers.low, integers.high) - zero_point) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


class FakeQuantizedLinear(nn.Linear):
    """A linear layer that computes with the values that int8 will leave of its input and its weight.

    Its parameters are those of the layer that it stands for, in fp32: small steps of the optimiser add up in them until
    an integer changes. The bias stays as it is, as in ONNX Runtime, which adds it in fp32.
    """

    def __init__(self, linear: nn.Linear, granularity: Granularity = "tensor") -> None:
        # On no device: the parameters are those of the other layer, so none are drawn.
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.granularity: Granularity = granularity
        self.training = linear.training

    def forward(self, input: Tensor) -> Tensor:
        inputs = fake_quantize(input, *asymmetric_parameters(input, UINT8, self.granularity), UINT8)  # (B, T, I)
        weight = fake_quantize(self.weight, *symmetric_parameters(self.weight), INT8)  # (O, I)
        return F.linear(inputs, weight, self.bias)  # (B, T, O)

    def to_linear(self) -> nn.Linear:
        """The plain layer with these parameters."""
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear.train(self.training)


def _usable(scale: Tensor) -> Tensor:
    """The scale, or 1 where it is too small to divide by: all values are 0 there, and any scale represents them."""
    return torch.where(scale >= torch.finfo(scale.dtype).tiny, scale, torch.ones_like(scale))
