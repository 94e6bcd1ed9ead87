"""Layer normalisation (Ba et al. 2016) and root-mean-square normalisation (Zhang & Sennrich 2019), by hand."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.config import NormName


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """Shift and scale each vector of (..., C) to mean 0 and variance 1, then apply weight and bias (Ba et al. 2016,
    §3).

    The variance is the mean of squared differences (divided by C, not C - 1), and is never taken as E[x²] - E[x]²:
    that difference loses all its digits where a vector is nearly constant. `eps` stands inside the root. 16-bit vectors
    are normalised in float32.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(dim=-1, keepdim=True)
    # The mean was rounded to the precision of x, which is coarse where a vector is nearly constant: take off the rest.
    centred = centred - centred.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    normalised = centred / torch.sqrt(variance + eps)
    if weight is not None:
        normalised = normalised * weight
    if bias is not None:
        normalised = normalised + bias
    return normalised.to(x.dtype)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float = 1e-6) -> Tensor:
    """Scale each vector of (..., C) to root mean square 1; no shift (Zhang & Sennrich 2019, eq. 4).

    `eps` stands inside the root. 16-bit vectors are normalised in float32: the square of 256 is beyond float16.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    normalised = wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    if weight is not None:
        normalised = normalised * weight
    return normalised.to(x.dtype)


class LayerNorm(nn.Module):
    """`layer_norm` with trained weight and optional bias; computed by PyTorch's fused kernel unless `by_hand`."""

    def __init__(self, width: int, *, bias: bool = True, eps: float = 1e-5, by_hand: bool = False) -> None:
        super().__init__()
        self.eps, self.by_hand = eps, by_hand
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.by_hand:
            return layer_norm(x, self.weight, self.bias, self.eps)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """`rms_norm` with a trained weight; computed by PyTorch's kernel unless `by_hand`."""

    def __init__(self, width: int, *, eps: float = 1e-6, by_hand: bool = False) -> None:
        super().__init__()
        self.eps, self.by_hand = eps, by_hand
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if self.by_hand:
            return rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def build_norm(name: NormName, width: int, *, bias: bool) -> nn.Module:
    """The normalisation of that name; RMSNorm has no bias by definition."""
    return LayerNorm(width, bias=bias) if name == "layer" else RMSNorm(width)
