"""Scores of language models. Losses are cross-entropies in nats, as PyTorch computes them."""

import math

import numpy as np
from numpy.typing import ArrayLike


def perplexity(nats_per_token: float) -> float:
    """exp(mean cross-entropy): the number of equally likely tokens that would be as hard to guess.

    Infinite where the loss is too large for a float. Comparable only between models of one vocabulary: use
    `bits_per_byte` across tokenizers (Jelinek et al. 1977, "Perplexity, a measure of the difficulty of speech
    recognition tasks").
    """
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf


def bits_per_character(nats_per_character: float) -> float:
    """Mean cross-entropy per Unicode character, from nats to bits (divided by ln 2)."""
    return nats_per_character / math.log(2)


def bits_per_byte(total_nats: float, n_bytes: int) -> float:
    """Bits that the model would need per UTF-8 byte of the text, whatever its tokens are.

    Compression view of the loss (Gao et al. 2020, "The Pile"): the negative log-likelihood summed over the
    whole text, in bits, over `len(text.encode())`.

    Args:
        total_nats: summed negative log-likelihood of the text; from a mean, multiply by the number of
            predictions.
        n_bytes: UTF-8 length of exactly the text that was predicted.

    Raises:
        ValueError: no bytes.
    """
    if n_bytes < 1:
        raise ValueError(f"bits per byte needs a text of at least one byte, got {n_bytes}")
    return total_nats / math.log(2) / n_bytes


def token_accuracy(predictions: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Share of target tokens that are predicted exactly.

    Args:
        predictions, targets: token ids of the same shape.
        ignore_index: targets with this id (padding, unmasked positions) are not counted; PyTorch's default.

    Raises:
        ValueError: shapes differ, or every target is ignored.
    """
    guessed, expected = np.asarray(predictions), np.asarray(targets)
    if guessed.shape != expected.shape:
        raise ValueError(f"predictions {guessed.shape} and targets {expected.shape} must have the same shape")
    counted = expected != ignore_index
    if not counted.any():
        raise ValueError(f"no target to score: all {expected.size} are ignore_index ({ignore_index})")
    return float((guessed == expected)[counted].mean())
