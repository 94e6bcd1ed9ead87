"""What is put into another order after the fusion: by a reranker, by MMR, by both, and for how many passages."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.retrieval.mmr import maximal_marginal_relevance
from rag_qa.retrieval.reranker import CrossEncoderReranker
from rag_qa.types import PUBLIC, Retrieved

from .small_index import Backwards, SmallIndex
from .tiny_models import write_cross_encoder

MANY = [f"apple pie {'with cream ' * (n % 5)}number {n}" for n in range(40)]

PIES = [
    "apple",
    "apples",
    "apple pie",
    "apple apple",
    "apple pie pie pie",
    "apple zebra quilt kiwi",
    "apple vixen jumps on mud",
    "apple of a long long lane",
]
CATS = ["the cat sat on the mat", "a dog sat on the sea", "red apple pie", "blue sky of the sea", "the red cat"]


def ids(found: Sequence[Retrieved]) -> list[int]:
    return [item.chunk.id for item in found]


def many(config: RetrievalConfig, reranker: Backwards | None = None) -> HybridRetriever:
    return HybridRetriever.over(SmallIndex(MANY, [(PUBLIC,)] * len(MANY)), config, reranker=reranker)


@given(
    st.sampled_from([None, 0.0, 0.3, 1.0]),
    st.booleans(),
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_a_longer_list_begins_with_the_shorter_one(
    mmr: float | None, reranked: bool, k: int, rerank_candidates: int, one: int, other: int
) -> None:
    config = RetrievalConfig(k=k, mmr=mmr, rerank_candidates=rerank_candidates)
    retriever = many(config, Backwards() if reranked else None)
    short, long = sorted((one, other))
    longer = retriever.search("apple pie", long)
    assert retriever.search("apple pie", short) == longer[:short]
    assert len(set(ids(longer))) == len(longer) == long


def test_the_reranker_reads_so_many_and_the_others_follow_as_the_fusion_has_them() -> None:
    reranker = Backwards()
    found = many(RetrievalConfig(k=2, rerank_candidates=6), reranker).search("apple pie", 10)
    fused = ids(many(RetrievalConfig(k=2)).search("apple pie", 10))

    assert len(reranker.read) == 6
    assert ids(found)[6:] == fused[6:]
    assert sorted(ids(found)[:6]) == sorted(fused[:6])
    assert [item.ranks.get("reranked") for item in found] == [1, 2, 3, 4, 5, 6, None, None, None, None]
    assert [item.score for item in found[6:]] == [item.scores["fused"] for item in found[6:]]


def test_at_least_as_many_are_read_as_are_handed_on() -> None:
    reranker = Backwards()
    many(RetrievalConfig(k=8, rerank_candidates=3), reranker).search("apple pie")

    assert len(reranker.read) == 8


def test_mmr_weighs_the_rerankers_scores_from_0_to_1_against_cosines() -> None:
    config = RetrievalConfig(k=2, mmr=0.4, rerank_candidates=1)  # chooses from 4 x k
    index, public = SmallIndex(PIES, [(PUBLIC,)] * len(PIES)), sorted(PIES, key=len)
    relevance = [1 - (len(text) - len(public[0])) / (len(public[-1]) - len(public[0])) for text in public]
    chosen = maximal_marginal_relevance(relevance, index.encoder.encode(public), len(public), 0.4)
    found = HybridRetriever.over(index, config, reranker=Backwards()).search("apple", 8)

    assert [item.chunk.text for item in found] == [public[i] for i in chosen] != public


def test_other_settings_keep_the_reranker_that_they_name() -> None:
    reranker = Backwards()
    retriever = many(RetrievalConfig(k=3), reranker).with_config(RetrievalConfig(k=2))

    assert [item.ranks["reranked"] for item in retriever.search("apple pie")] == [1, 2]
    assert len(reranker.read) == 20


def test_a_cross_encoder_by_its_folder_orders_what_the_fusion_found(tmp_path: Path) -> None:
    folder = str(write_cross_encoder(tmp_path))
    index = SmallIndex(CATS, [(PUBLIC,)] * len(CATS))
    plain = RetrievalConfig(k=5)
    fused = [item.chunk.text for item in HybridRetriever.over(index, plain).search("the cat")]
    retriever = HybridRetriever.over(index, replace(plain, reranker=folder, rerank_candidates=5))
    found = retriever.search("the cat")
    scores = dict(zip(fused, CrossEncoderReranker(folder).scores("the cat", fused), strict=True))

    assert [item.chunk.text for item in found] == sorted(fused, key=lambda text: -scores[text]) != fused
    assert [item.score for item in found] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-6)
    assert [item.chunk.text for item in retriever.with_config(plain).search("the cat")] == fused
