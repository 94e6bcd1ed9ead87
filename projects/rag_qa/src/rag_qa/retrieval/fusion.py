"""One ranking of several: by reciprocal ranks, or by scores that are made comparable."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

Ranking = Sequence[tuple[int, float]]
"""(id, score) of passages, best first."""

Normalisation = Literal["min_max", "theoretical", "z_score"]

LEAST_SCORE: Mapping[str, float] = {"dense": -1.0, "sparse": 0.0}
"""Least possible score of each search: cosine similarity and BM25."""


def reciprocal_rank_fusion(
    rankings: Sequence[Ranking], k: int = 60, weights: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    """Order by the sum over rankings of weight / (k + rank), ranks counted from 1 (Cormack et al. 2009, SIGIR).

    A passage that a ranking lacks gets nothing from it. Equal sums are ordered by the best rank, then by id.
    """
    weights = weights or [1.0] * len(rankings)
    total: dict[int, float] = {}
    best: dict[int, int] = {}
    for weight, ranking in zip(weights, rankings, strict=True):
        if weight == 0:
            continue
        for rank, (passage, _) in enumerate(ranking, start=1):
            total[passage] = total.get(passage, 0.0) + weight / (k + rank)
            best[passage] = min(rank, best.get(passage, rank))
    return sorted(total.items(), key=lambda item: (-item[1], best[item[0]], item[0]))


def score_fusion(
    rankings: Mapping[str, Ranking], weights: Mapping[str, float], normalisation: Normalisation
) -> list[tuple[int, float]]:
    """Order by the weighted sum of normalised scores: a convex combination (Bruch et al. 2023, ACM TOIS 42(1), §3).

    fused(p) = Σ over rankings of weight · normal(score of p), where normal(s) is

    - min_max: (s - min) / (max - min), minimum and maximum being those of the ranking;
    - theoretical: (s - least) / (max - least), `least` being the least possible score, -1 of a cosine and 0 of BM25;
    - z_score: (s - mean) / standard deviation.

    A passage that a ranking lacks is given the ranking's lowest score there, the most that it can have had; where the
    normalisation is by minimum and maximum that is 0. An empty ranking, or one of weight 0, takes no part. Equal sums
    are ordered by id.
    """
    parts = [
        (weights[name], _normalised(dict(ranking), normalisation, LEAST_SCORE.get(name, 0.0)))
        for name, ranking in rankings.items()
        if ranking and weights[name] > 0
    ]
    passages = sorted({passage for _, scores in parts for passage in scores})
    lowest = [min(scores.values()) for _, scores in parts]
    total = {
        passage: sum(weight * scores.get(passage, floor) for (weight, scores), floor in zip(parts, lowest, strict=True))
        for passage in passages
    }
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))


def _normalised(scores: dict[int, float], normalisation: Normalisation, least: float) -> dict[int, float]:
    """Comparable scores. Where all are equal they tell nothing apart: 1 by min_max and theoretical, 0 by z_score."""
    values = np.fromiter(scores.values(), dtype=np.float64)
    if normalisation == "z_score":
        spread = float(values.std())
        normal = (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
    else:
        low = least if normalisation == "theoretical" else float(values.min())
        width = float(values.max()) - low
        normal = (values - low) / width if width > 0 else np.ones_like(values)
    return dict(zip(scores, normal.tolist(), strict=True))
