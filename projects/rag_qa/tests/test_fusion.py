"""Fusion by hand, and maximal marginal relevance against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.retrieval.fusion import reciprocal_rank_fusion, score_fusion
from rag_qa.retrieval.mmr import maximal_marginal_relevance


def test_reciprocal_ranks_by_hand() -> None:
    fused = reciprocal_rank_fusion([[(1, 0.9), (2, 0.8)], [(3, 7.0), (1, 5.0)]])

    assert fused == [(1, 1 / 61 + 1 / 62), (3, 1 / 61), (2, 1 / 62)]


def test_weights_and_constant_of_reciprocal_ranks() -> None:
    assert reciprocal_rank_fusion([[(1, 1.0)], [(2, 1.0)]], k=1, weights=[0.5, 0.0]) == [(1, 0.25)]
    assert reciprocal_rank_fusion([]) == []


def test_equal_sums_go_by_the_best_rank_and_then_by_id() -> None:
    # With k = 1 rank r gives 1 / (1 + r): 1/2 for rank 1, 1/3 + 1/6 for ranks 2 and 5, 1/4 + 1/4 for rank 3 twice.
    one, other = [(9, 1.0), (2, 1.0), (1, 1.0)], [(8, 1.0), (7, 1.0), (1, 1.0), (6, 1.0), (2, 1.0)]

    assert reciprocal_rank_fusion([one, other], k=1) == [(8, 0.5), (9, 0.5), (2, 0.5), (1, 0.5), (7, 1 / 3), (6, 0.2)]


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        # Dense .8 and .4, sparse 6 and 3; passage 3 lacks a cosine, passage 1 a BM25 score.
        ("min_max", {1: 0.5, 2: 0.5, 3: 0.0}),
        ("theoretical", {1: 0.5 + 0.5 * 0.5, 2: 0.5 * 1.4 / 1.8 + 0.5, 3: 0.5 * 1.4 / 1.8 + 0.5 * 0.5}),
        ("z_score", {1: 0.5 - 0.5, 2: -0.5 + 0.5, 3: -0.5 - 0.5}),
    ],
)
def test_score_fusion_by_hand(normalisation: str, expected: dict[int, float]) -> None:
    rankings = {"dense": [(1, 0.8), (2, 0.4)], "sparse": [(2, 6.0), (3, 3.0)]}

    fused = score_fusion(rankings, {"dense": 0.5, "sparse": 0.5}, normalisation)  # type: ignore[arg-type]

    assert dict(fused) == pytest.approx(expected)
    assert [passage for passage, _ in fused] == sorted(expected, key=lambda one: (-dict(fused)[one], one))


@pytest.mark.parametrize(
    ("normalisation", "dense", "expected"),
    [
        ("min_max", 0.5, [1.0, 1.0]),
        ("theoretical", 0.5, [1.0, 1.0]),
        ("theoretical", -1.0, [1.0, 1.0]),
        ("z_score", 0.5, [0.0, 0.0]),
    ],
)
def test_scores_that_are_all_equal(normalisation: str, dense: float, expected: list[float]) -> None:
    fused = score_fusion({"dense": [(2, dense), (1, dense)]}, {"dense": 1.0}, normalisation)  # type: ignore[arg-type]

    assert fused == list(zip([1, 2], expected, strict=True))


@pytest.mark.parametrize("normalisation", ["min_max", "theoretical", "z_score"])
def test_what_is_empty_or_weighs_nothing_takes_no_part(normalisation: str) -> None:
    dense = [(5, 0.3), (4, 0.1)]
    weights = {"dense": 0.5, "sparse": 0.5}

    assert [p for p, _ in score_fusion({"dense": dense, "sparse": []}, weights, normalisation)] == [5, 4]  # type: ignore[arg-type]
    assert [
        p
        for p, _ in score_fusion({"dense": dense, "sparse": [(9, 1.0)]}, {"dense": 1.0, "sparse": 0.0}, normalisation)  # type: ignore[arg-type]
    ] == [5, 4]
    assert score_fusion({"dense": [], "sparse": []}, weights, normalisation) == []  # type: ignore[arg-type]
    assert [p for p, _ in score_fusion({"dense": [(2, 0.5), (1, 0.5)]}, weights, normalisation)] == [1, 2]  # type: ignore[arg-type]


def test_mmr_by_hand() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)

    assert maximal_marginal_relevance([1.0, 0.9, 0.5], vectors, 3, 0.5) == [0, 2, 1]
    assert maximal_marginal_relevance([1.0, 0.9, 0.5], vectors, 3, 1.0) == [0, 1, 2]


@given(st.integers(0, 6), st.integers(0, 8), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_mmr_takes_the_best_margin_each_time(n: int, k: int, trade_off: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = random.random(n).tolist()

    chosen = maximal_marginal_relevance(relevance, vectors, k, trade_off)

    assert len(chosen) == len(set(chosen)) == min(n, k)
    for step, taken in enumerate(chosen):
        margins = {
            i: trade_off * relevance[i]
            - (1 - trade_off) * max((float(vectors[i] @ vectors[j]) for j in chosen[:step]), default=0.0)
            for i in range(n)
            if i not in chosen[:step]
        }
        assert margins[taken] == pytest.approx(max(margins.values()), abs=1e-6)


def test_mmr_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^1 relevances do not fit 2 vectors$"):
        maximal_marginal_relevance([1.0], np.zeros((2, 3), dtype=np.float32), 1)
    with pytest.raises(ValueError, match=r"^trade_off 2 must be between 0 and 1$"):
        maximal_marginal_relevance([], np.zeros((0, 3), dtype=np.float32), 1, 2)
