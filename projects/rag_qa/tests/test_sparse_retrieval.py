"""BM25 against the formula written out, and what an index survives."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.config.sparse import SparseConfig
from rag_qa.retrieval.sparse_retrieval import FILE_NAME, SparseIndex
from rag_qa.retrieval.words import query_terms, segment, terms
from roadmap_shared.errors import UserError

TEXTS = ["red apple red", "green apple pie with cream", "blue sky", "sky sky sky apple", ""]
IDS = [30, 10, 20, 50, 40]


def bm25(texts: list[list[str]], query: list[str], k1: float, b: float) -> list[float]:
    """Robertson and Zaragoza 2009, equation 3.15, with Lucene's inverse document frequency."""
    mean = sum(map(len, texts)) / len(texts)
    total = [0.0] * len(texts)
    for term in query:
        having = sum(term in text for text in texts)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for i, text in enumerate(texts):
            if not (count := text.count(term)):
                continue
            total[i] += idf * count / (count + k1 * (1 - b + b * len(text) / mean))
    return total


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (2.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("query", ["apple", "red sky", "apple apple pie"])
def test_scores_are_those_of_the_formula(query: str, k1: float, b: float) -> None:
    index = SparseIndex.build(IDS, TEXTS, SparseConfig(k1=k1, b=b))
    expected = bm25([terms(text) for text in TEXTS], query_terms(query), k1, b)

    found = dict(index.search(query, 10))

    assert found == pytest.approx({IDS[i]: score for i, score in enumerate(expected) if score > 0}, rel=1e-5)


def bm25_variant(method: str, texts: list[list[str]], query: list[str], config: SparseConfig) -> list[float]:
    """Kamphuis et al. 2020, table 1, less what a term gives to every passage without it."""
    n, mean = len(texts), sum(map(len, texts)) / len(texts)
    k1, b, delta = config.k1, config.b, config.delta
    total = [0.0] * n
    for term in query:
        having = sum(term in text for text in texts)
        if not having:
            continue
        idf = {
            "robertson": max(0.0, math.log((n - having + 0.5) / (having + 0.5))),
            "atire": math.log(n / having),
            "bm25l": math.log((n + 1) / (having + 0.5)),
            "bm25+": math.log((n + 1) / having),
        }[method]
        for i, text in enumerate(texts):
            if not (count := text.count(term)):
                continue
            norm = 1 - b + b * len(text) / mean
            total[i] += (
                idf
                * {
                    "robertson": count / (count + k1 * norm),
                    "atire": count * (k1 + 1) / (count + k1 * norm),
                    "bm25l": (k1 + 1) * (count / norm + delta) / (k1 + count / norm + delta)
                    - (k1 + 1) * delta / (k1 + delta),
                    "bm25+": count * (k1 + 1) / (count + k1 * norm) + delta - delta,
                }[method]
            )
    return total


@pytest.mark.parametrize("method", ["robertson", "atire", "bm25l", "bm25+"])
@pytest.mark.parametrize("query", ["blue", "red sky", "apple apple pie", "cream cream zebra"])
def test_scores_of_the_other_variants(method: str, query: str) -> None:
    config = SparseConfig(method=method, k1=1.6, b=0.4, delta=0.9)  # type: ignore[arg-type]
    expected = bm25_variant(method, [terms(text) for text in TEXTS], query_terms(query), config)

    found = dict(SparseIndex.build(IDS, TEXTS, config).search(query, 10))

    wanted = {IDS[i]: score for i, score in enumerate(expected) if score > 0}
    assert found == pytest.approx(wanted, rel=1e-5)


def test_passages_without_a_word_of_the_question_are_not_returned() -> None:
    index = SparseIndex.build(IDS, TEXTS)

    assert [passage for passage, _ in index.search("blue", 5)] == [20]


@pytest.mark.parametrize("query", ["", "?!", "zebra", "斑马"])
def test_nothing_is_found_for_unknown_and_empty_questions(query: str) -> None:
    assert SparseIndex.build(IDS, TEXTS).search(query, 5) == []


def test_stop_words_count_only_where_there_is_nothing_else() -> None:
    index = SparseIndex.build([1, 2], ["the who live at leeds", "with love"])

    assert [passage for passage, _ in index.search("the who", 5)] == [1]
    assert [passage for passage, _ in index.search("who was the love", 5)] == [2]


@pytest.mark.parametrize("texts", [[], ["..."], ["", ""]])
def test_an_index_without_words_finds_nothing(texts: list[str], tmp_path: Path) -> None:
    index = SparseIndex.build(range(len(texts)), texts)
    index.save(tmp_path)

    assert index.search("anything", 3) == []
    assert SparseIndex.load(tmp_path).search("anything", 3) == []


def test_equal_scores_keep_the_order_of_the_passages() -> None:
    index = SparseIndex.build([9, 3, 7], ["same words", "same words", "same words"])

    assert [passage for passage, _ in index.search("words", 2)] == [9, 3]


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join), max_size=12),
    st.lists(st.sampled_from("abcdefghz"), max_size=3).map(" ".join),
    st.integers(1, 12),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_mask_finds_all_but_what_it_hides(texts: list[str], query: str, k: int, data: st.DataObject) -> None:
    index = SparseIndex.build(range(len(texts)), texts)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), dtype=bool)

    expected = {id for id, _ in index.search(query, 100) if mask[id]}
    found = index.search(query, 100, mask)

    assert {id for id, _ in found} == expected
    assert index.search(query, k, mask) == found[:k]


def test_words_meet_by_stem_case_accent_and_full_width() -> None:
    index = SparseIndex.build([1, 2, 3], ["Retrieving Zürich's files", "ＡＢＣ１２３", "on_disk_cache of Python"])

    queries = ("retrieved", "zurich", "abc123", "disk", "ON_DISK_CACHE")
    assert [index.search(query, 3)[0][0] for query in queries] == [1, 1, 2, 3, 3]


def test_chinese_is_found_by_word_pair_and_single_character() -> None:
    index = SparseIndex.build([1, 2, 3], ["中国的首都是北京。", "黑猫睡觉", "Python 由吉多·范罗苏姆创造"])

    assert [index.search(query, 3)[0][0] for query in ("首都在哪里", "猫", "范罗苏", "python")] == [1, 2, 3, 3]


def test_segmentation_covers_the_text_and_writes_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "".join(segment("我来到北京清华大学")) == "我来到北京清华大学"
    assert segment("北京清华大学") == ["北京", "清华大学"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_an_index_is_the_same_after_saving(method: str, tmp_path: Path) -> None:
    index = SparseIndex.build(IDS, TEXTS, SparseConfig(method=method))  # type: ignore[arg-type]
    index.save(tmp_path)
    loaded = SparseIndex.load(tmp_path)

    assert loaded.config == index.config
    assert loaded.ids.tolist() == IDS
    assert [loaded.search(query, 5) for query in ("apple", "sky red")] == [
        index.search(query, 5) for query in ("apple", "sky red")
    ]


def test_a_missing_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with pytest.raises(UserError, match=r"^" + str(path) + ": not there: build the index again$"):
        SparseIndex.load(tmp_path)
    SparseIndex.build(IDS, TEXTS).save(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\x80\x04K\x01.", whole[:-200] + b"x" * 200):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"not a readable word index .*: build the index again$"):
            SparseIndex.load(tmp_path)


def test_parts_of_two_indexes_do_not_pass_for_one(tmp_path: Path) -> None:
    SparseIndex.build(IDS, TEXTS).save(tmp_path)
    with np.load(tmp_path / FILE_NAME) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / FILE_NAME, **{**arrays, "ids": arrays["ids"][:1]})

    with pytest.raises(UserError, match=r"its parts do not fit each other"):
        SparseIndex.load(tmp_path)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^2 texts need as many different ids, not 1 of 2$"):
        SparseIndex.build([1, 1], ["a", "b"])
    with pytest.raises(ValueError, match=r"^k 0 must be at least 1$"):
        SparseIndex.build([1], ["a"]).search("a", 0)
    with pytest.raises(ValueError, match=r"^a mask of \(2,\) does not fit 1 passages$"):
        SparseIndex.build([1], ["a"]).search("a", 1, np.ones(2, dtype=bool))
    with pytest.raises(ValueError, match=r"^--sparse.b 2 must be between 0 and 1$"):
        SparseConfig(b=2)
