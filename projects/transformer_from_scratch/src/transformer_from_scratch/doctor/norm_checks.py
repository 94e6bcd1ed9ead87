"""Layer norm and RMS norm: which of the known formulas gives the target's own numbers?

Ordinary vectors hide a misplaced eps: at a variance of 1 it moves the sixth digit. Nearly constant vectors show it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from transformer_from_scratch.doctor.checks import Check, failed, noted, passed
from transformer_from_scratch.doctor.measuring import shown

_Formula = Callable[[Tensor, float], Tensor]


def _layer(
    x: Tensor, eps: float, *, dim: tuple[int, ...] = (-1,), correction: int = 0, outside: bool = False
) -> Tensor:
    centred = x - x.mean(dim, keepdim=True)
    variance = x.var(dim, correction=correction, keepdim=True)
    return centred / (variance.sqrt() + eps if outside else (variance + eps).sqrt())


def _rms(x: Tensor, eps: float, *, outside: bool = False) -> Tensor:
    square = x.square().mean(-1, keepdim=True)
    return x / (square.sqrt() + eps if outside else (square + eps).sqrt())


def _no_shift(x: Tensor, eps: float) -> Tensor:
    return x / (x.var(-1, correction=0, keepdim=True) + eps).sqrt()


FORMULAS: dict[tuple[str, ...], _Formula] = {
    ("layer norm",): _layer,
    ("RMS norm",): _rms,
    ("norm_eps_outside",): lambda x, e: _layer(x, e, outside=True),
    ("norm_eps_outside", "RMS"): lambda x, e: _rms(x, e, outside=True),
    ("norm_unbiased",): lambda x, e: _layer(x, e, correction=1),
    ("norm_unbiased", "norm_eps_outside"): lambda x, e: _layer(x, e, correction=1, outside=True),
    ("norm_not_centred",): _no_shift,
    ("norm_wrong_axis",): lambda x, e: _layer(x, e, dim=(1,)),
    ("norm_wrong_axis", "all"): lambda x, e: _layer(x, e, dim=(1, 2)),
    ("norm_wrong_axis", "batch"): lambda x, e: _layer(x, e, dim=(0,)),
}
"""What a formula is called, or the bugs it has."""


def probe_input(width: int, dtype: torch.dtype) -> Tensor:
    """(3, 7, C): ordinary vectors, shifted ones, and nearly constant ones, whose variance is about eps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, width, generator=generator, dtype=dtype)
    x[:, 1] += 3
    x[:, 2] = 0.02 + 0.003 * x[:, 2]
    x[:, 3] *= 0.003
    return x


def norm_check(name: str, module: nn.Module, x: Tensor, output: Tensor, tolerance: float) -> Check:
    """Compare a norm's (B, T, C) output with every formula, under its own weight, bias and eps."""
    gain, shift = _affine(module, x.shape[-1])
    eps_values = _eps(module)
    for names, formula in FORMULAS.items():
        for eps in eps_values:
            expected = formula(x, eps) * gain + shift
            error = ((output - expected).abs().amax() / expected.std(correction=0)).item()
            if not error <= tolerance:
                continue
            if names[0] in ("layer norm", "RMS norm"):
                return passed(name, f"equals {names[0]} with eps {eps:g} to {shown(error)}")
            bugs = [bug for bug in names if bug.startswith("norm_")]
            text = f"equals a reference with this bug to {shown(error)} (eps {eps:g})"
            return failed(name, text, *bugs, proven=True)
    return noted(name, "equals no known formula of layer norm or RMS norm, right or wrong")


def _affine(module: nn.Module, width: int) -> tuple[Tensor | float, Tensor | float]:
    """Gain and bias, told apart by name, else by order."""
    vectors = [(n, p) for n, p in module.named_parameters() if p.numel() == width]
    shift = next((p for n, p in vectors if n.lower() in ("bias", "beta", "b", "b_2", "b2", "shift", "offset")), None)
    gains = [p for _, p in vectors if p is not shift]
    gain: Tensor | float = gains[0].detach() if gains else 1.0
    if shift is None and len(gains) > 1:
        shift = gains[1]
    return gain, 0.0 if shift is None else shift.detach()


def _eps(module: nn.Module) -> list[float]:
    """Its own eps, else the usual ones."""
    names = ("eps", "epsilon", "variance_epsilon")
    own = [value for name in names if isinstance(value := getattr(module, name, None), float)]
    return own or [1e-5, 1e-6, 1e-8, 1e-12, 0.0]
