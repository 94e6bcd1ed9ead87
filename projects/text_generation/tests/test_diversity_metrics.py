"""Diversity scores against their definitions written out, sacrebleu, and values worked out by hand."""

import gzip
import math
import statistics

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from text_generation.evaluation.diversity_metrics import (
    compression_ratio,
    distinct_n,
    distinct_n_per_document,
    diversity,
    repetition_rate,
    self_bleu,
    sentence_bleu,
    seq_rep_n,
    words,
)

deterministic = settings(derandomize=True, deadline=None, max_examples=150)

DOCUMENT = st.lists(st.integers(0, 4), max_size=14)
DOCUMENTS = st.lists(DOCUMENT, min_size=1, max_size=8)
ORDERS = st.integers(1, 4)


def grams_by_definition(ids, n):
    found = []
    for start in range(len(ids)):
        if start + n <= len(ids):
            found.append(str(ids[start : start + n]))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t", []),
        ("It's 3.5!", ["It", "'", "s", "3", ".", "5", "!"]),
        ("snake_case x2", ["snake_case", "x2"]),
        ("这部电影GPT很好。", ["这", "部", "电", "影", "GPT", "很", "好", "。"]),
        ("ひらがなカナ", list("ひらがなカナ")),
        ("cafe\u0301 हिन्दी", ["cafe\u0301", "हिन्दी"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("A a", ["A", "a"]),
        ("\U00020000\U00020001", ["\U00020000", "\U00020001"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@deterministic
@given(st.text(max_size=40))
def test_words_lose_nothing_but_blanks(text):
    assert "".join(words(text)) == "".join(text.split())


@deterministic
@given(DOCUMENTS, ORDERS)
def test_distinct_and_repetition_equal_their_definitions(documents, n):
    pooled, repeated, per_document = [], 0, []
    for ids in documents:
        grams = grams_by_definition(ids, n)
        pooled += grams
        repeated += sum(gram in grams[:place] for place, gram in enumerate(grams))
        per_document.append(len(set(grams)) / len(grams) if grams else math.nan)
    known = [value for value in per_document if not math.isnan(value)]
    if not known:
        assert math.isnan(distinct_n(documents, n))
        assert math.isnan(repetition_rate(documents, n))
        assert math.isnan(seq_rep_n(documents, n))
        return
    assert distinct_n(documents, n) == pytest.approx(len(set(pooled)) / len(pooled), abs=1e-12)
    assert repetition_rate(documents, n) == pytest.approx(repeated / len(pooled), abs=1e-12)
    assert seq_rep_n(documents, n) == pytest.approx(statistics.fmean(1 - value for value in known), abs=1e-12)
    assert distinct_n_per_document(documents, n) == pytest.approx(per_document, abs=1e-12, nan_ok=True)


def test_by_hand():
    texts = ["the cat sat", "the cat ran"]
    assert distinct_n(texts, 1) == 4 / 6
    assert distinct_n(texts, 2) == 3 / 4
    assert distinct_n_per_document(texts, 2) == [1.0, 1.0]
    assert distinct_n(["很好很好"], 1) == 0.5
    assert repetition_rate(["a b a b a b", "c d"], 2) == 3 / 6
    assert seq_rep_n(["a b a b a b", "c d"], 2) == (3 / 5 + 0) / 2


def test_ngrams_do_not_cross_documents():
    assert repetition_rate([[1, 2], [1, 2]], 2) == 0.0
    assert distinct_n([[1, 2], [1, 2]], 2) == 0.5


@deterministic
@given(DOCUMENT, st.lists(DOCUMENT.filter(bool), min_size=1, max_size=5), ORDERS)
def test_sentence_bleu_equals_sacrebleu(hypothesis, references, max_order):
    def joined(ids):
        return " ".join(f"w{token}" for token in ids)

    metric = sacrebleu.BLEU(tokenize="none", smooth_method="exp", effective_order=True, max_ngram_order=max_order)
    expected = metric.sentence_score(joined(hypothesis), [joined(ids) for ids in references]).score / 100
    assert sentence_bleu(hypothesis, references, max_order) == pytest.approx(expected, abs=1e-12)


def test_sentence_bleu_equals_sacrebleus_default_on_texts():
    hypothesis, references = "the cat sat on the mat", ["the cat is on the mat", "there is a cat on a mat"]
    expected = sacrebleu.sentence_bleu(hypothesis, references, tokenize="none").score / 100
    assert sentence_bleu(hypothesis, references) == pytest.approx(expected, abs=1e-12)


@deterministic
@given(DOCUMENTS, ORDERS)
def test_self_bleu_equals_each_against_all_others(documents, max_order):
    kept = [ids for ids in documents if ids]
    if len(kept) < 2:
        assert math.isnan(self_bleu(documents, max_order))
        return
    scores = [sentence_bleu(ids, kept[:place] + kept[place + 1 :], max_order) for place, ids in enumerate(kept)]
    assert self_bleu(documents, max_order) == pytest.approx(statistics.fmean(scores), abs=1e-12)


def test_self_bleu_of_equal_and_of_unlike_texts():
    assert self_bleu(["one two three four five"] * 3) == pytest.approx(1, abs=1e-12)
    assert self_bleu(["a b c d", "e f g h"]) == 0.0


def test_compression_ratio():
    texts = ["abc" * 50, "好" * 30]
    content = ("abc" * 50 + "\n" + "好" * 30).encode()
    assert compression_ratio(texts) == len(content) / len(gzip.compress(content))
    assert compression_ratio(["same text " * 50]) > compression_ratio(["0f3a9c71be"]) > 0
    assert math.isnan(compression_ratio([]))
    assert compression_ratio(["\ud800"]) > 0


def test_all_scores_together():
    texts = ["a b a b a b", "a b c d e f"]
    scores = diversity(texts)
    assert scores.distinct_1 == 6 / 12
    assert scores.distinct_2 == 6 / 10
    assert scores.distinct_2_per_document == (2 / 5 + 1) / 2
    assert scores.seq_rep_4 == pytest.approx((1 / 3 + 0) / 2)
    assert scores.self_bleu == self_bleu(texts)
    assert scores.compression_ratio == compression_ratio(texts)


def test_nothing_to_count():
    scores = diversity(["", " "])
    assert all(math.isnan(value) for name, value in vars(scores).items() if name != "compression_ratio")


@pytest.mark.parametrize("score", [lambda d: distinct_n(d, 1), self_bleu, compression_ratio, diversity])
def test_one_string_is_refused(score):
    with pytest.raises(ValueError, match=r"^give a list of documents, not one string: each of its characters would"):
        score("one text")


def test_errors():
    with pytest.raises(ValueError, match=r"^n must be at least 1, got 0$"):
        distinct_n(["a"], 0)
    with pytest.raises(ValueError, match=r"^max_order must be at least 1, got 0$"):
        self_bleu(["a", "b"], 0)
    with pytest.raises(ValueError, match=r"^BLEU needs at least one reference$"):
        sentence_bleu("a", [])
