"""Black-box measurements: what depends on what, how far two results are apart, weights that make bugs visible."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

DOUBLE_TOLERANCE = 1e-5
"""Largest relative error that counts as equal in float64. Not smaller, as rotary code often works in float32 inside."""

SINGLE_TOLERANCE = 2e-4
"""The same for code that only runs in float32."""


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let tensors that the learner's code makes itself, such as masks, have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def tolerance_of(dtype: torch.dtype) -> float:
    """The largest relative error that counts as equal."""
    return DOUBLE_TOLERANCE if dtype == torch.float64 else SINGLE_TOLERANCE


def relative_error(output: Tensor, expected: Tensor) -> float:
    """Largest difference over the spread of `expected`; inf where only one of them is NaN, or the shapes differ."""
    if output.shape != expected.shape or not torch.equal(output.isnan(), expected.isnan()):
        return float("inf")
    finite = expected.isfinite() & output.isfinite()
    if not bool(finite.any()):
        return float("inf")
    spread = expected[finite].std(correction=0).item() + 1e-12
    return (output[finite] - expected[finite]).abs().max().item() / spread


def dependency(function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> Tensor:
    """(T, T): how strongly output i (row) depends on input j (column), for the first sequence of the batch.

    Token j of `x` is exchanged for that of `other`, one j at a time; the entry is the largest change of output i,
    relative to the spread of all outputs. NaN outputs count as unchanged.
    """
    before = function(x)
    finite = before[before.isfinite()]
    spread = finite.std(correction=0).item() + 1e-12 if finite.numel() else 1.0
    columns = []
    for token in range(x.shape[1]):
        changed = x.clone()
        changed[0, token] = other[0, token]
        difference = (function(changed)[0] - before[0]).flatten(1).abs()  # (T, …)
        columns.append(difference.nan_to_num(0.0, 0.0).amax(dim=1) / spread)
    return torch.stack(columns, dim=1)


def randomize(module: nn.Module, seed: int) -> None:
    """Weights under which no two wrong computations agree: nothing is 0, nothing is 1, scores have a spread above 1."""
    generator = torch.Generator().manual_seed(seed)
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.requires_grad or not parameter.is_floating_point():
                continue
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            if id(parameter) in tables or (parameter.dim() == 3 and parameter.shape[0] == 1):
                parameter.copy_(noise)  # a table of embeddings
            elif parameter.dim() >= 2:
                parameter.copy_(noise * 1.2 / parameter.shape[-1] ** 0.5)
            else:
                is_gain = parameter.numel() > 0 and bool((parameter == 1).all())
                parameter.copy_(1 + 0.3 * noise if is_gain else 0.3 * noise)


def tensors_in(result: Any) -> list[Tensor]:
    """All tensors in a returned value, depth first: tuples, lists, dicts, and output objects of Hugging Face."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        return [tensor for value in result.values() for tensor in tensors_in(value)]
    if isinstance(result, (tuple, list)):
        return [tensor for value in result for tensor in tensors_in(value)]
    names = ("logits", "last_hidden_state", "output", "loss")
    return [value for name in names if isinstance(value := getattr(result, name, None), Tensor)]


def shown(number: float) -> str:
    """A measured number, short."""
    return f"{number:.2g}"
