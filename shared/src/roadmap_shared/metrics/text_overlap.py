"""Scores of generated text against a reference. BLEU and ROUGE come from sacrebleu and rouge-score."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """Exact match of each item: 1.0 where prediction and reference are equal, else 0.0, (n_items,).

    Nothing is normalised: case, spaces and Unicode form all count. Normalise both sides first where they
    should not.

    Raises:
        ValueError: empty or unequal lengths.
    """
    _check_lengths(predictions, references)
    return np.array([float(p == r) for p, r in zip(predictions, references, strict=True)])


def edit_distance(source: Sequence[Hashable], target: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that turn source into target (Levenshtein 1966).

    Strings are compared by code point, lists item by item (words, tokens). Wagner & Fischer's dynamic
    programme (1974) in O(len(source) * len(target)) time and one row of memory.
    """
    row = list(range(len(target) + 1))  # row[j]: distance from the source so far to target[:j]
    for i, symbol in enumerate(source, start=1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(target, start=1):
            substitution = diagonal + (symbol != wanted)
            diagonal = row[j]
            row[j] = min(substitution, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def character_error_rate(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Edit distance summed over all items / characters of all references. 0 is perfect; it may exceed 1.

    Raises:
        ValueError: empty or unequal lengths, or no character in any reference.
    """
    _check_lengths(predictions, references)
    n_characters = sum(map(len, references))
    if n_characters == 0:
        raise ValueError("the character error rate needs a reference with at least one character")
    return sum(map(edit_distance, predictions, references)) / n_characters


def _check_lengths(predictions: Sequence[str], references: Sequence[str]) -> None:
    if isinstance(predictions, str) or isinstance(references, str):
        raise ValueError("predictions and references must be lists of strings, not one string")
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"one prediction per reference and at least one: got {len(predictions)} and {len(references)}")
