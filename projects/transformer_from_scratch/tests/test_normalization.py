"""Layer norm and RMS norm against their formulas in float64, PyTorch's kernels and Hugging Face's Llama."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from transformer_from_scratch.normalization import LayerNorm, RMSNorm, build_norm, layer_norm, rms_norm

WIDTH = 96


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def layer_norm_in_float64(x: Tensor, eps: float) -> Tensor:
    x = x.double()
    mean = x.sum(dim=-1, keepdim=True) / x.shape[-1]
    variance = ((x - mean) ** 2).sum(dim=-1, keepdim=True) / x.shape[-1]
    return (x - mean) * (variance + eps) ** -0.5


def rms_norm_in_float64(x: Tensor, eps: float) -> Tensor:
    x = x.double()
    return x * ((x**2).sum(dim=-1, keepdim=True) / x.shape[-1] + eps) ** -0.5


def vectors(kind: str) -> Tensor:
    noise = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {
        "ordinary": 3 + 2 * noise,
        "nearly constant": 3 + 1e-3 * noise,
        "nearly constant, large": 1e4 + 1e-3 * noise,  # neighbouring float32 numbers are 1e-3 apart here
        "tiny": 1e-4 * noise,
        "huge": 1e15 * noise,
        "zero": 0 * noise,
    }[kind].float()


KINDS = ("ordinary", "nearly constant", "nearly constant, large", "tiny", "huge", "zero")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_layer_norm_is_the_formula(kind, eps):
    x = vectors(kind)
    torch.testing.assert_close(
        layer_norm(x, None, None, eps).double(), layer_norm_in_float64(x, eps), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [1e-6, 1e-3])
def test_rms_norm_is_the_formula(kind, eps):
    x = vectors(kind)
    torch.testing.assert_close(rms_norm(x, None, eps).double(), rms_norm_in_float64(x, eps), rtol=1e-6, atol=1e-6)


def test_a_worked_example():
    # Mean 3, variance (4 + 0 + 4) / 3, divided by 3 and not by 2; eps joins it inside the root.
    x = torch.tensor([1.0, 3.0, 5.0])
    expected = torch.tensor([-2.0, 0.0, 2.0]) / (8 / 3 + 1 / 3) ** 0.5
    torch.testing.assert_close(layer_norm(x, None, None, eps=1 / 3), expected)
    # Mean square 35 / 3.
    torch.testing.assert_close(rms_norm(x, None, eps=1 / 3), x / 12**0.5)


@pytest.mark.parametrize("kind", ["ordinary", "tiny", "huge"])
def test_layer_norm_equals_torch(kind):
    x, weight, bias = vectors(kind), torch.randn(WIDTH), torch.randn(WIDTH)
    torch.testing.assert_close(
        layer_norm(x, weight, bias), F.layer_norm(x, (WIDTH,), weight, bias), rtol=2e-6, atol=2e-6
    )
    torch.testing.assert_close(layer_norm(x, weight, None), F.layer_norm(x, (WIDTH,), weight), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", ["ordinary", "tiny", "huge"])
def test_rms_norm_equals_torch_and_llama(kind):
    x, weight = vectors(kind), torch.randn(WIDTH)
    llama = LlamaRMSNorm(WIDTH, eps=1e-6)
    llama.weight.data.copy_(weight)
    actual = rms_norm(x, weight)
    torch.testing.assert_close(actual, F.rms_norm(x, (WIDTH,), weight, 1e-6), rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(actual, llama(x), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_precision(dtype):
    x = (10 + 300 * torch.randn(8, WIDTH)).to(dtype)  # 300² is beyond float16
    for actual, expected in (
        (layer_norm(x, None, None), layer_norm_in_float64(x, 1e-5)),
        (rms_norm(x, None), rms_norm_in_float64(x, 1e-6)),
    ):
        assert actual.dtype == dtype
        # Nothing but the rounding of the result.
        torch.testing.assert_close(actual.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def with_weights(norm):
    """Away from the identity that they start as."""
    generator = torch.Generator().manual_seed(1)
    for parameter in norm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return norm


@pytest.mark.parametrize(
    "build",
    [
        lambda by_hand: LayerNorm(WIDTH, eps=0.1, by_hand=by_hand),
        lambda by_hand: LayerNorm(WIDTH, bias=False, by_hand=by_hand),
        lambda by_hand: RMSNorm(WIDTH, eps=0.1, by_hand=by_hand),
    ],
    ids=["layer", "layer without bias", "rms"],
)
def test_modules_give_the_same_by_hand_and_fused(build):
    by_hand, fused = with_weights(build(True)), with_weights(build(False))
    outputs, gradients = [], []
    for norm in (by_hand, fused):
        x = vectors("ordinary").requires_grad_()
        output = norm(x)
        outputs.append(output)
        gradients.append(torch.autograd.grad(output.sin().sum(), [x, *norm.parameters()]))
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for hand, kernel in zip(*gradients, strict=True):
        torch.testing.assert_close(hand, kernel, rtol=1e-4, atol=1e-5)


def test_modules_apply_weight_and_bias():
    x, layer, rms = vectors("ordinary"), with_weights(LayerNorm(WIDTH)), with_weights(RMSNorm(WIDTH))
    assert layer.bias is not None
    expected = layer_norm_in_float64(x, 1e-5) * layer.weight.double() + layer.bias.double()
    torch.testing.assert_close(layer(x).double(), expected, rtol=0, atol=3e-6)
    expected = rms_norm_in_float64(x, 1e-6) * rms.weight.double()
    torch.testing.assert_close(rms(x).double(), expected, rtol=0, atol=3e-6)


def test_modules_start_as_plain_normalisation():
    x = vectors("ordinary")
    torch.testing.assert_close(LayerNorm(WIDTH)(x), layer_norm(x, None, None), rtol=0, atol=2e-6)
    torch.testing.assert_close(RMSNorm(WIDTH)(x), rms_norm(x, None), rtol=0, atol=2e-6)


def test_gradients_of_the_functions():
    x, weight, bias = (torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in ((3, 5), 5, 5))
    assert torch.autograd.gradcheck(layer_norm, (x, weight, bias))
    assert torch.autograd.gradcheck(rms_norm, (x, weight))


def test_build_norm_by_name():
    layer, rms = build_norm("layer", 8, bias=True), build_norm("rms", 8, bias=True)
    assert isinstance(layer, LayerNorm)
    assert isinstance(rms, RMSNorm)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in rms.named_parameters()] == ["weight"]
    assert [name for name, _ in build_norm("layer", 8, bias=False).named_parameters()] == ["weight"]
