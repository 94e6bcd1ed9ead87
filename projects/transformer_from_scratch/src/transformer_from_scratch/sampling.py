"""From logits to the next token: temperature, three filters, and the draw.

A filter sets the logits of the tokens that it rejects to -inf and leaves the others alone, so filters chain
in any order. `candidates` applies them as Hugging Face does: temperature, top-k, top-p, min-p. Every tie goes to
the lower token id, so the same logits always give the same candidates, and temperature 0 is defined: it is
greedy.

Shapes: V vocabulary; "..." any leading dimensions, usually the batch.
"""

import math

import torch
from torch import Tensor

from transformer_from_scratch.config import SamplingConfig

GREEDY = SamplingConfig(temperature=0.0)
"""Always the most probable token."""


def greedy(logits: Tensor) -> Tensor:
    """(..., V) -> (...): the most probable token, of several the one with the lowest id."""
    return logits.argmax(dim=-1)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """(..., V) logits / temperature, shifted so that the largest is 0 (Ackley, Hinton & Sejnowski 1985, §2).

    The shift leaves the softmax as it is, and keeps a tiny temperature from making +inf out of logits.
    Temperature 0 leaves one token, the one that `greedy` takes; any other keeps equal logits equal.

    Raises:
        ValueError: `temperature` is negative or not finite.
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature {temperature} must be a finite number of at least 0")
    if temperature == 0:
        return torch.full_like(logits, -torch.inf).scatter(-1, greedy(logits)[..., None], 0.0)
    shifted = logits - logits.amax(dim=-1, keepdim=True)  # all <= 0: the quotient can only overflow to -inf
    # Below the smallest normal number the divisor would be rounded to 0, and 0/0 is NaN.
    return shifted / max(temperature, torch.finfo(logits.dtype).tiny)


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Keep exactly the `k` largest of (..., V) logits, or all where V < k (Fan et al. 2018, §5.4).

    Raises:
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"top_k {k} must be at least 1")
    if k >= logits.shape[-1]:
        return logits
    smallest_kept = logits.topk(k, dim=-1).values[..., -1:]
    larger, equal = logits > smallest_kept, logits == smallest_kept
    n_equal_kept = k - larger.sum(dim=-1, keepdim=True)
    keep = larger | (equal & (equal.cumsum(dim=-1) <= n_equal_kept))
    return logits.masked_fill(~keep, -torch.inf)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the nucleus: the fewest tokens whose probabilities sum to at least `p` (Holtzman et al. 2020,
    §3.1).

    The most probable token is always kept.

    Raises:
        ValueError: `p` is outside (0, 1].
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p {p} must be above 0 and at most 1")
    if p == 1:
        return logits
    # float64, because the rounding of a float32 sum over a large vocabulary would shift the border.
    probabilities, order = logits.double().softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    mass_before = torch.zeros_like(probabilities)  # of all tokens more probable than this one
    mass_before[..., 1:] = probabilities[..., :-1].cumsum(dim=-1)
    rejected = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, mass_before >= p)
    return logits.masked_fill(rejected, -torch.inf)


def min_p_filter(logits: Tensor, min_p: float) -> Tensor:
    """Keep the tokens at least `min_p` times as probable as the most probable one (Nguyen et al. 2024, §3).

    Raises:
        ValueError: `min_p` is outside [0, 1].
    """
    if not 0 <= min_p <= 1:
        raise ValueError(f"min_p {min_p} must lie between 0 and 1")
    if min_p == 0:
        return logits
    threshold = logits.amax(dim=-1, keepdim=True) + math.log(min_p)
    return logits.masked_fill(logits < threshold, -torch.inf)


def sample(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(..., V) -> (...): one token drawn from softmax(logits). `generator` lives on the device of the
    logits.
    """
    probabilities = logits.float().softmax(dim=-1)
    drawn = torch.multinomial(probabilities.view(-1, logits.shape[-1]), num_samples=1, generator=generator)
    return drawn.view(logits.shape[:-1])


def candidates(logits: Tensor, sampling: SamplingConfig) -> Tensor:
    """(..., V) logits after the temperature and every filter that `sampling` sets: -inf for what cannot be drawn."""
    logits = apply_temperature(logits, sampling.temperature)
    if sampling.top_k is not None:
        logits = top_k_filter(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = top_p_filter(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = min_p_filter(logits, sampling.min_p)
    return logits


def choose(logits: Tensor, sampling: SamplingConfig, generator: torch.Generator | None = None) -> Tensor:
    """(B, V) logits -> (B,) next tokens, drawn as `sampling` says."""
    if sampling.temperature == 0:
        return greedy(logits)
    return sample(candidates(logits, sampling), generator)
