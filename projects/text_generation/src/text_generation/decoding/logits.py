"""What happens to a model's logits before the next token is chosen: penalties first, then truncation.

Every function takes logits (B, V) and returns such; a token that may not be chosen gets minus infinity. The order
and the definitions are those of transformers' `generate`, and the tests hold both beside each other.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from text_generation.config.decoding import DecodingConfig

Sequences = Sequence[Sequence[int]]
"""Prompt and answer so far of each row, as token ids without padding."""


def decoding_stages(logits: Tensor, sequences: Sequences, decoding: DecodingConfig) -> Iterator[tuple[str, Tensor]]:
    """Apply the settings one after another.

    Args:
        logits: the model's own, (B, V).
        sequences: B rows of token ids that have occurred.
        decoding: a setting at its neutral value is left out. Temperature and truncation are for sampling alone.

    Yields:
        The setting's name and the logits (B, V) after it.
    """
    if decoding.repetition_penalty != 1:
        logits = penalise_repetition(logits, sequences, decoding.repetition_penalty)
        yield "repetition_penalty", logits
    if decoding.no_repeat_ngram_size:
        logits = forbid_repeated_ngrams(logits, sequences, decoding.no_repeat_ngram_size)
        yield "no_repeat_ngram_size", logits
    if decoding.strategy != "sampling":
        return
    if decoding.temperature != 1:
        logits = logits / decoding.temperature
        yield "temperature", logits
    if decoding.top_k is not None:
        logits = keep_top_k(logits, decoding.top_k)
        yield "top_k", logits
    if decoding.top_p < 1:
        logits = keep_top_p(logits, decoding.top_p)
        yield "top_p", logits
    if decoding.min_p > 0:
        logits = keep_min_p(logits, decoding.min_p)
        yield "min_p", logits
    if decoding.typical_p < 1:
        logits = keep_typical(logits, decoding.typical_p)
        yield "typical_p", logits


def shaped_logits(logits: Tensor, sequences: Sequences, decoding: DecodingConfig) -> Tensor:
    """The logits (B, V) after all stages."""
    for _, shaped in decoding_stages(logits, sequences, decoding):
        logits = shaped
    return logits


def penalise_repetition(logits: Tensor, sequences: Sequences, penalty: float) -> Tensor:
    """Divide the positive logits of tokens that have occurred by `penalty` and multiply their negative ones (Keskar et
    al. 2019, section 4.1)."""
    occurred = torch.zeros_like(logits, dtype=torch.bool)
    for row, tokens in enumerate(sequences):
        occurred[row, list(set(tokens))] = True
    return torch.where(occurred, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def forbid_repeated_ngrams(logits: Tensor, sequences: Sequences, n: int) -> Tensor:
    """Forbid every token that would complete an n-gram which has occurred. Where that leaves no token, all may come."""
    allowed = logits.clone()
    for row, tokens in enumerate(sequences):
        start = tuple(tokens[len(tokens) - n + 1 :]) if len(tokens) >= n else None
        banned = [tokens[i + n - 1] for i in range(len(tokens) - n + 1) if tuple(tokens[i : i + n - 1]) == start]
        allowed[row, banned] = -torch.inf
    nothing_left = allowed.isneginf().all(dim=-1, keepdim=True)  # (B, 1)
    return torch.where(nothing_left, logits, allowed)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k most probable tokens, and those as probable as the last of them (Fan et al. 2018)."""
    threshold = logits.topk(min(k, logits.shape[-1])).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens whose probabilities sum to p or more, the nucleus (Holtzman et al. 2020, section 3.1)."""
    ordered, order = logits.sort(descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    mass_before = probabilities.cumsum(dim=-1) - probabilities  # (B, V), 0 for the most probable token
    outside = mass_before >= p
    outside[:, 0] = False
    return logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens with at least p times the probability of the most probable one (Nguyen et al. 2024)."""
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), -torch.inf)


def keep_typical(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens whose information is nearest to the entropy, until they hold p (Meister et al. 2023, section
    4)."""
    log_probabilities = logits.log_softmax(dim=-1)
    probabilities = log_probabilities.exp()
    entropy = -(probabilities * log_probabilities).nansum(dim=-1, keepdim=True)  # (B, 1); 0 · -inf counts 0
    distance = (-log_probabilities - entropy).abs()
    ordered, order = distance.sort(stable=True)
    mass = probabilities.gather(-1, order).cumsum(dim=-1)
    last = (mass < p).sum(dim=-1, keepdim=True).clamp(max=logits.shape[-1] - 1)  # (B, 1)
    outside = ordered > ordered.gather(-1, last)
    return logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a token of each row by inverting the cumulative distribution.

    One number a row decides, so that a row draws the same token whichever rows share its batch.

    Args:
        logits: (B, V).
        uniform: (B,) float64 in [0, 1).

    Returns:
        (B,) token ids.
    """
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)  # (B, V)
    total = cumulative[:, -1:]
    # Below the total even after rounding: a token of probability 0 can then never be found.
    target = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]
