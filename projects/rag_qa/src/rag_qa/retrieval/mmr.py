"""Maximal marginal relevance: passages that are relevant and do not repeat each other."""

from collections.abc import Sequence

import numpy as np

from rag_qa.protocols import FloatArray


def maximal_marginal_relevance(
    relevance: Sequence[float], vectors: FloatArray, k: int, trade_off: float = 0.5
) -> list[int]:
    """Return positions of up to `k` passages, chosen one by one (Carbonell and Goldstein 1998, SIGIR, equation 1).

    Each time the one is taken that has the greatest trade_off · relevance - (1 - trade_off) · greatest similarity to
    those that are chosen; of equals the first.

    Args:
        relevance: of each passage, on the scale of the similarity, best at 1.
        vectors: (N, D) unit vectors of the passages.
        k: how many are wanted.
        trade_off: 1 orders by relevance alone, 0 by difference alone.

    Raises:
        ValueError: sizes that differ, or a trade-off out of 0 to 1.
    """
    if len(relevance) != len(vectors):
        raise ValueError(f"{len(relevance)} relevances do not fit {len(vectors)} vectors")
    if not 0 <= trade_off <= 1:
        raise ValueError(f"trade_off {trade_off} must be between 0 and 1")
    relevances = np.asarray(relevance, dtype=np.float64)
    nearest = np.zeros(len(relevances))
    left = np.ones(len(relevances), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < k and left.any():
        margin = np.where(left, trade_off * relevances - (1 - trade_off) * nearest, -np.inf)
        best = int(margin.argmax())
        similarity = (vectors @ vectors[best]).astype(np.float64)
        nearest = np.maximum(nearest, similarity) if chosen else similarity
        left[best] = False
        chosen.append(best)
    return chosen
