"""Hybrid search: what takes part in it, what each stage leaves, and what it refuses."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.protocols import Condition
from rag_qa.retrieval.fusion import score_fusion
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.retrieval.language import COMMON_HAN, trust
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.types import PUBLIC, User
from roadmap_shared.errors import UserError

from .small_index import GROUPS, TEXTS, Backwards, LetterEncoder, SmallIndex


def sources(found: Sequence[object]) -> list[str]:
    return [one.chunk.source for one in found]  # type: ignore[attr-defined]


def test_every_stage_is_in_the_result() -> None:
    index = SmallIndex()
    best, second, *_ = HybridRetriever.over(index).search("apple pie", 3)

    public = (Condition(field="groups", any_of=(PUBLIC,)),)
    dense = index.store.search(index.encoder.encode(["apple pie"]), 100, public)[0]
    sparse = index.sparse.search("apple pie", 100, np.array([PUBLIC in group for group in GROUPS]))
    fused = score_fusion({"dense": dense, "sparse": sparse}, {"dense": 0.8, "sparse": 0.2}, "theoretical")
    assert (best.chunk.source, second.chunk.source) == ("0.txt", "1.txt")
    assert best.ranks == {"dense": 1, "sparse": 1, "fused": 1}
    assert best.scores == pytest.approx({"dense": dense[0][1], "sparse": sparse[0][1], "fused": fused[0][1]})
    assert best.score == best.scores["fused"]
    assert second.score == pytest.approx(fused[1][1])


@pytest.mark.parametrize(("mode", "stages"), [("dense", {"dense", "fused"}), ("sparse", {"sparse", "fused"})])
def test_one_search_alone(mode: str, stages: set[str]) -> None:
    found = HybridRetriever.over(SmallIndex(), RetrievalConfig(mode=mode)).search("apple")  # type: ignore[arg-type]

    assert set(found[0].ranks) == stages
    assert len(found) == (4 if mode == "dense" else 2)


def test_reciprocal_ranks_weigh_both_the_same() -> None:
    found = HybridRetriever.over(SmallIndex(), RetrievalConfig(fusion="rrf")).search("apple pie")

    assert found[0].score == pytest.approx(2 / 61)


@pytest.mark.parametrize("config", [RetrievalConfig(), RetrievalConfig(fusion="rrf", mmr=0.5, multi_query=3)])
@given(
    groups=st.lists(st.sampled_from([("a",), ("b",), ("a", "b"), (PUBLIC,)]), min_size=1, max_size=8),
    user=st.sampled_from([None, User(), User(groups=("a",)), User(groups=("a", "b")), User(groups=("c",))]),
    texts=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_nothing_forbidden_takes_part_anywhere(
    config: RetrievalConfig, groups: list[tuple[str, ...]], user: User | None, texts: st.DataObject
) -> None:
    index = SmallIndex([texts.draw(st.sampled_from(TEXTS)) + f" {i}" for i in range(len(groups))], groups)
    reranker = Backwards()
    visible = set((user or User()).visible_groups)
    allowed = {chunk.id for chunk in index.all if visible & set(chunk.groups)}
    retriever = HybridRetriever.over(index, config, reranker=reranker)

    found = retriever.search("apple pie", 3, user)
    stages = retriever.stages("apple pie", 3, user)

    assert {one.chunk.id for one in found} <= allowed
    assert len(found) == min(3, len(allowed))
    assert index.store.compared <= allowed
    for ranking in (*stages.searches.values(), stages.fused):
        assert {passage for passage, _ in ranking} <= allowed
    texts_allowed = {chunk.text for chunk in index.all if chunk.id in allowed}
    assert set(reranker.read) <= texts_allowed
    assert {text for text in index.encoder.seen if text not in stages.queries} <= texts_allowed


def test_a_filter_that_fails_is_an_error_and_not_a_leak() -> None:
    index = SmallIndex()
    open_door = HybridRetriever(
        index.chunks, index.store, index.sparse, index.encoder, RetrievalConfig(mode="sparse"),
        lambda where: np.ones(len(TEXTS), dtype=bool),
    )  # fmt: skip

    with pytest.raises(RuntimeError, match=r"^the index's filter let a chunk through that the user may not see$"):
        open_door.search("secret launch")


def test_conditions_hold_in_both_searches() -> None:
    where = (Condition(field="source", any_of=("1.txt", "3.txt")),)

    assert sources(HybridRetriever.over(SmallIndex()).search("apple", 5, None, where)) == ["1.txt", "3.txt"]


def test_documents_can_be_filtered_by_what_they_say_of_themselves() -> None:
    retriever = HybridRetriever.over(SmallIndex(), RetrievalConfig(mode="sparse"))

    assert sources(retriever.search("sky", 5, None, (Condition(field="language", any_of=("en",)),))) == ["3.txt"]
    assert retriever.search("sky", 5, None, (Condition(field="language", any_of=("zh",)),)) == []
    assert retriever.search("secret launch") == []  # though its document claims to be public


def test_a_change_of_the_index_is_seen_at_once() -> None:
    index = SmallIndex()
    retriever = HybridRetriever.over(index, RetrievalConfig(mode="sparse"))
    assert sources(retriever.search("sky")) == ["3.txt"]

    index.all = [chunk for chunk in index.all if chunk.id != 30]
    assert retriever.search("sky") == []  # its text is gone, though the sparse index still lists it
    index.sparse = SparseIndex.build([0], ["sky"])
    assert sources(retriever.search("sky")) == ["0.txt"]


def test_reranker_orders_and_its_ranks_are_kept() -> None:
    found = HybridRetriever.over(SmallIndex(), reranker=Backwards()).search("apple pie", 2, User(groups=("board",)))

    assert [len(one.chunk.text) for one in found] == sorted(len(text) for text in TEXTS)[:2]
    assert [one.ranks["reranked"] for one in found] == [1, 2]
    assert found[0].score == found[0].scores["reranked"] == -len(found[0].chunk.text)


def test_mmr_avoids_the_near_copy() -> None:
    board = User(groups=("board",))
    plain = HybridRetriever.over(SmallIndex()).search("apple pie recipe", 2, board)
    diverse = HybridRetriever.over(SmallIndex(), RetrievalConfig(mmr=0.3)).search("apple pie recipe", 2, board)

    assert sources(plain) == ["0.txt", "4.txt"]
    assert sources(diverse)[0] == "0.txt"
    assert sources(diverse)[1] != "4.txt"
    assert [one.ranks["mmr"] for one in diverse] == [1, 2]


def test_a_chinese_question_is_left_to_the_words() -> None:
    index = SmallIndex()
    stages = HybridRetriever.over(index).stages("苹果好吃吗")

    assert (set(stages.searches), stages.dense_weight) == ({"sparse"}, 0.0)
    assert stages.fused[0][0] == 50


def test_where_no_word_matches_vectors_answer_in_any_language() -> None:
    stages = HybridRetriever.over(SmallIndex()).stages("龙")

    assert stages.searches["sparse"] == []
    assert len(stages.fused) == 4


def test_trust_is_the_share_that_the_encoder_knows() -> None:
    encoder = LetterEncoder()

    assert trust(encoder, "apple") == 1.0
    assert trust(encoder, "ab红苹") == pytest.approx(0.5)
    assert trust(encoder, COMMON_HAN) == 0.0


@pytest.mark.parametrize(("lacking", "expected"), [(2, 1.0), (3, 0.5)])
def test_a_vocabulary_for_chinese_lacks_two_of_a_hundred_common_characters_at_most(
    lacking: int, expected: float
) -> None:
    class Speller(LetterEncoder):
        def unknown_share(self, text: str) -> float:
            return lacking / 100 if text == COMMON_HAN else 0.0

    speller = Speller()
    speller.fingerprint = f"lacks-{lacking}"
    assert trust(speller, "ab红苹") == expected


def test_tokens_that_cannot_be_spelled_lower_the_trust_in_any_language() -> None:
    assert trust(LetterEncoder(), "éé ab") == pytest.approx(1 - 2 / 5)


def test_several_wordings_are_fused() -> None:
    retriever = HybridRetriever.over(
        SmallIndex(), RetrievalConfig(multi_query=2), ask=lambda prompt: "1. blue sky\n\n- sea"
    )

    assert retriever.stages("apple").queries == ("apple", "blue sky", "sea")
    assert "3.txt" in sources(retriever.search("apple", 2))


def test_more_are_found_than_there_are_candidates_where_more_are_wanted() -> None:
    config = RetrievalConfig(mode="dense", k=3, candidates=1)

    assert len(HybridRetriever.over(SmallIndex(), config).search("apple")) == 3


def test_an_empty_index_finds_nothing() -> None:
    assert HybridRetriever.over(SmallIndex([], [])).search("anything") == []


@pytest.mark.parametrize("query", ["", " \n", "?!"])
def test_empty_question(query: str) -> None:
    with pytest.raises(UserError, match=r"^the question is empty: ask something with at least one letter or digit$"):
        HybridRetriever.over(SmallIndex()).search(query)


def test_k_below_one() -> None:
    with pytest.raises(UserError, match=r"^0 passages are asked for: k must be at least 1$"):
        HybridRetriever.over(SmallIndex()).search("apple", 0)


def test_unknown_reranker() -> None:
    with pytest.raises(UserError, match=r"^reranker 'nowhere': not a folder, nor a hub id such as cross-encoder/"):
        HybridRetriever.over(SmallIndex(), RetrievalConfig(reranker="nowhere"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "--retrieval.k 0 must be at least 1"),
        ({"dense_weight": 1.5}, "--retrieval.dense_weight 1.5 must be between 0 and 1, or None"),
        ({"mmr": -1.0}, "--retrieval.mmr -1.0 must be between 0 and 1, or None"),
        ({"multi_query": -1}, "--retrieval.multi_query -1 must not be negative"),
        ({"reranker": " "}, "--retrieval.reranker must name a folder or a hub id, or be None"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        RetrievalConfig(**settings)  # type: ignore[arg-type]
