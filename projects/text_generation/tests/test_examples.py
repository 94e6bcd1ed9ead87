"""Example selection: BM25 by an independent formula, cosine, and what is never shown."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from text_generation.prompting.examples import BM25, FixedExamples, RandomExamples, SimilarExamples, words_of

POOL = [
    {"text": "the cat sat on the mat", "answer": "1"},
    {"text": "dogs chase the cat", "answer": "2"},
    {"text": "stocks fell on Monday", "answer": "3"},
    {"text": "the bank raised rates and stocks fell", "answer": "4"},
]
WORDS = st.lists(st.sampled_from("a b c d e".split()), min_size=1, max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6), WORDS)
def test_bm25_against_its_formula(documents: list[str], query: str) -> None:
    split = [document.split() for document in documents]
    mean = sum(map(len, split)) / len(split)
    expected = []
    for document in split:
        score = 0.0
        for term in query.split():
            n = sum(term in other for other in split)
            idf = math.log(1 + (len(split) - n + 0.5) / (n + 0.5))
            tf = document.count(term)
            score += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(document) / mean))
        expected.append(score)
    assert BM25(documents).scores(query) == pytest.approx(expected, abs=1e-12)


def test_words() -> None:
    assert words_of("The Cat's 2nd 电池坏了!") == ["the", "cat", "s", "2nd", "电", "池", "坏", "了"]


def test_the_most_similar_stands_last() -> None:
    chosen = SimilarExamples(POOL, "text").select("why stocks fell", 2)
    assert [example["answer"] for example in chosen] == ["4", "3"]


def test_cosine_of_given_vectors() -> None:
    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([[text.count("t"), text.count("s")] for text in texts], dtype=float)

    selector = SimilarExamples(POOL, "text", encode)
    vectors = encode([example["text"] for example in POOL])
    query = np.array([0.0, 3.0])
    expected = vectors @ query / np.linalg.norm(vectors, axis=1) / 3
    assert selector.scores("sss") == pytest.approx(expected)
    assert selector.select("sss", 1) == [POOL[int(np.argmax(expected))]]


def test_a_text_without_any_feature_resembles_nothing() -> None:
    selector = SimilarExamples(POOL, "text", lambda texts: np.zeros((len(texts), 3)))
    assert selector.scores("x") == [0.0] * 4
    assert SimilarExamples([], "text").select("x", 3) == []


@pytest.mark.parametrize("make", [FixedExamples, RandomExamples, SimilarExamples])
def test_the_case_itself_is_never_shown(make: type) -> None:
    selector = make(POOL, "text")
    for case in POOL:
        chosen = selector.select(case["text"], 10)
        assert case not in chosen
        assert len(chosen) == 3


def test_random_draws_depend_on_the_query_and_the_seed_alone() -> None:
    selector = RandomExamples(POOL, "text", seed=1)
    first = selector.select("x", 2)
    selector.select("y", 2)
    assert selector.select("x", 2) == first
    draws = {
        tuple(example["answer"] for example in RandomExamples(POOL, "text", seed).select("x", 2)) for seed in range(30)
    }
    assert len(draws) > 5


def test_fixed_keeps_the_order() -> None:
    assert FixedExamples(POOL, "text").select("x", 2) == POOL[:2]
