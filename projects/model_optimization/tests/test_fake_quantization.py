import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_optimization.quantization.fake_quantization import (
    INT8,
    UINT8,
    FakeQuantizedLinear,
    Granularity,
    Integers,
    asymmetric_parameters,
    fake_quantize,
    symmetric_parameters,
)


def drawn(*shape: int, seed: int = 0, spread: float = 3.0) -> torch.Tensor:
    """Numbers that lie nowhere near the middle between two integers of a scale, where libraries round apart."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread + 0.7


def ties(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    place = (values / scale).double()
    return ((place - place.floor()) - 0.5).abs() < 1e-4


def same_but_for_ties(ours: torch.Tensor, theirs: torch.Tensor, values: torch.Tensor, scale: torch.Tensor) -> None:
    """Torch multiplies by 1 / scale, we divide: only a number within 1e-4 of the middle may land on the other side."""
    tie = ties(values, scale)
    torch.testing.assert_close(ours[~tie], theirs[~tie], rtol=1e-6, atol=1e-7)
    assert tie.float().mean() < 0.02


def test_per_tensor_is_torchs() -> None:
    values = drawn(40, 50).requires_grad_()
    scale, zero_point = torch.tensor(0.03), torch.tensor(120.0)  # cuts values off at both ends
    ours = fake_quantize(values, scale, zero_point, UINT8)
    theirs = torch.fake_quantize_per_tensor_affine(values, 0.03, 120, 0, 255)
    same_but_for_ties(ours.detach(), theirs.detach(), values.detach(), scale)
    weights = drawn(40, 50, seed=1)
    (ours_gradient,) = torch.autograd.grad((ours * weights).sum(), values)
    (theirs_gradient,) = torch.autograd.grad((theirs * weights).sum(), values)
    assert torch.equal(ours_gradient, theirs_gradient)
    assert 0.05 < (ours_gradient == 0).float().mean() < 0.5


def test_per_channel_is_torchs() -> None:
    weight = drawn(20, 64).requires_grad_()
    scale, zero_point = symmetric_parameters(weight)
    scale = scale * 0.8  # so that the ends are cut off
    ours = fake_quantize(weight, scale, zero_point, INT8)
    theirs = torch.fake_quantize_per_channel_affine(weight, scale.flatten(), zero_point.flatten().int(), 0, -127, 127)
    same_but_for_ties(ours.detach(), theirs.detach(), weight.detach(), scale)
    gradients = [torch.autograd.grad(result.square().sum(), weight)[0] for result in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_a_value_by_hand() -> None:
    values = torch.tensor([-1.0, 0.0, 0.25, 1.55])
    scale, zero_point = asymmetric_parameters(values)
    assert scale.item() == pytest.approx(2.55 / 255)
    assert zero_point.item() == 100
    assert fake_quantize(values, torch.tensor(0.1), torch.tensor(10.0), Integers(0, 20)).tolist() == pytest.approx(
        [-1.0, 0.0, 0.2, 1.0]  # 2.5 is rounded to the even 2; 15.5 + 10 is beyond 20
    )


def test_the_gradient_by_hand() -> None:
    values = torch.tensor([-1.04, 0.2, 1.04, 1.06, 9.0], requires_grad=True)
    fake_quantize(values, torch.tensor(0.1), torch.tensor(0.0), Integers(-10, 10)).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 1, 0, 0]  # 1.04 is rounded to 10, the last integer; 1.06 to 11, cut off


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30), st.sampled_from(["tensor", "token"]))
def test_zero_is_kept_and_no_error_exceeds_half_a_step(numbers: list[float], granularity: Granularity) -> None:
    values = torch.tensor([[*numbers, 0.0]])
    scale, zero_point = asymmetric_parameters(values, UINT8, granularity)
    result = fake_quantize(values, scale, zero_point, UINT8)
    assert result[0, -1] == 0
    # Half a step of the value's rounding, and half of the zero point's at the ends.
    assert (result - values).abs().max() <= scale.item() * 1.001
    inside = (values > values.min()) & (values < values.max())
    assert (result - values).abs()[inside].sum() <= scale.item() * 1.001 * inside.sum()


def test_values_that_are_all_zero_stay_zero() -> None:
    zeros = torch.zeros(3, 4)
    assert torch.equal(fake_quantize(zeros, *asymmetric_parameters(zeros), UINT8), zeros)
    assert torch.equal(fake_quantize(zeros, *symmetric_parameters(zeros), INT8), zeros)


def test_each_token_has_a_range_of_its_own() -> None:
    values = drawn(2, 3, 8)
    scale, zero_point = asymmetric_parameters(values, UINT8, "token")
    assert scale.shape == zero_point.shape == (2, 3, 1)
    alone = asymmetric_parameters(values[1, 2])
    assert (scale[1, 2], zero_point[1, 2]) == (alone[0], alone[1])


def test_a_layer_computes_with_integers_and_keeps_its_parameters() -> None:
    linear = nn.Linear(16, 5)
    layer = FakeQuantizedLinear(linear)
    inputs = drawn(2, 3, 16)
    scale, zero_point = asymmetric_parameters(inputs)
    steps, _ = symmetric_parameters(linear.weight)
    q = (inputs.double() / scale).round().add(zero_point).clamp(0, 255).sub(zero_point).numpy()
    w = (linear.weight.detach().double() / steps).round().clamp(-127, 127).numpy()
    expected = np.einsum("bti,oi->bto", q, w) * (scale * steps.flatten()).numpy() + linear.bias.detach().numpy()
    np.testing.assert_allclose(layer(inputs).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    assert layer.weight is linear.weight
    assert layer.to_linear().weight is linear.weight
    assert type(layer.to_linear()) is nn.Linear


def test_a_layer_learns_in_fp32() -> None:
    layer = FakeQuantizedLinear(nn.Linear(4, 2, bias=False))
    layer(drawn(3, 4)).sum().backward()
    assert layer.bias is None
    assert layer.weight.grad is not None
    assert bool((layer.weight.grad != 0).all())


@pytest.mark.parametrize("granularity", ["token", "channel"])
def test_it_is_torchaos(granularity: str) -> None:
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    from torchao.quantization.qat import (  # type: ignore[import-not-found]
        IntxFakeQuantizeConfig,
        IntxFakeQuantizer,
    )

    whole = Integers(-128, 127)
    values = drawn(12, 64).requires_grad_()
    if granularity == "token":
        config = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
        scale, zero_point = asymmetric_parameters(values, whole, "token")
    else:
        config = IntxFakeQuantizeConfig(torch.int8, "per_channel", is_symmetric=True)
        scale, zero_point = symmetric_parameters(values, whole)
    quantizer = IntxFakeQuantizer(config)
    theirs = quantizer(values)
    assert quantizer.scale is not None
    torch.testing.assert_close(scale.flatten(), quantizer.scale.flatten(), rtol=1e-6, atol=0)
    ours = fake_quantize(values, scale, zero_point, whole)
    same_but_for_ties(ours.detach(), theirs.detach(), values.detach(), scale)
    sure = ~ties(
        values.detach(), scale
    )  # the largest weight of a channel lies at 127.5: cut off by one, kept by the other
    gradients = [torch.autograd.grad(result.sum(), values)[0][sure] for result in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)
