"""BM25 for a part of an index: rarity is counted in that part, so that no score tells which words the rest holds."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rag_qa.config.sparse import SparseConfig
from rag_qa.retrieval.document_frequency import idf
from rag_qa.retrieval.sparse_retrieval import SparseIndex

Method = Literal["lucene", "robertson", "atire", "bm25l", "bm25+"]

WORDS = ["valve", "pump", "oil", "torque", "seal"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("method", "value"),
    # 10 passages, 2 with the term: odds 8.5 / 2.5 = 3.4.
    [("lucene", 1.4816), ("robertson", 1.2238), ("atire", 1.6094), ("bm25l", 1.4816), ("bm25+", 1.7047)],
)
def test_idf_by_hand(method: str, value: float) -> None:
    assert idf(method, 10, 2) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize(
    "method", ["lucene", "atire", "bm25l", "bm25+"]
)  # robertson keeps next to nothing of such texts
@given(TEXTS, TEXTS)
def test_scores_are_those_of_an_index_of_what_is_allowed(method: Method, seen: list[str], hidden: list[str]) -> None:
    config = SparseConfig(method=method, b=0.0)  # lengths apart: their mean is that of the whole index
    both = SparseIndex.build(range(len(seen) + len(hidden)), [*seen, *hidden], config)
    # Where a term says nothing in the whole index, no score is stored that could be put right.
    frequencies = [sum(word in text.split() for text in [*seen, *hidden]) for word in WORDS]
    assume(all(idf(method, len(both), frequency) for frequency in frequencies if frequency))
    alone = SparseIndex.build(range(len(seen)), seen, config)
    allowed = np.arange(len(both)) < len(seen)
    for query in ("valve", "pump oil torque"):
        found, wanted = both.search(query, 8, allowed), alone.search(query, 8)
        assert dict(found) == pytest.approx(dict(wanted), rel=1e-5)


def test_a_hidden_word_does_not_show_in_a_score() -> None:
    seen = ["the valve of the pump", "a pump", "a seal"]
    before = SparseIndex.build(range(3), seen).search("valve pump", 3, np.ones(3, dtype=bool))
    more = SparseIndex.build(range(6), [*seen, "valve valve", "valve pump", "valve"], SparseConfig(b=0.0))
    alone = SparseIndex.build(range(3), seen, SparseConfig(b=0.0)).search("valve pump", 3)
    found = more.search("valve pump", 3, np.arange(6) < 3)
    assert dict(found) == pytest.approx(dict(alone))
    assert [id for id, _ in found] == [id for id, _ in before]
