"""The n-gram model against its definition in exact fractions, and the compressors."""

import gzip
import lzma
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text_generation.evaluation.ngram_baseline import (
    KneserNey,
    NgramBaseline,
    compressed_bits_per_byte,
    utf8_bytes,
)

deterministic = settings(derandomize=True, deadline=None, max_examples=60)

VOCAB = 4
IDS = st.lists(st.integers(0, VOCAB - 1), min_size=4, max_size=40)


def counts_by_definition(ids, k, order):
    if k == order:
        return Counter(tuple(ids[i : i + k]) for i in range(len(ids) - k + 1))
    lefts = defaultdict(set)
    for i in range(len(ids) - k):
        lefts[tuple(ids[i + 1 : i + 1 + k])].add(ids[i])
    return {gram: len(tokens) for gram, tokens in lefts.items()}


def probability_by_definition(ids, order, context, token, vocab_size=VOCAB):
    """p(token | context) by the recursion of Chen & Goodman 1999, section 2.7."""
    probability = Fraction(1, vocab_size)
    for k in range(1, len(context) + 2):
        counts = counts_by_definition(ids, k, order)
        n1, n2 = list(counts.values()).count(1), list(counts.values()).count(2)
        discount = Fraction(n1, n1 + 2 * n2) if n1 else Fraction(1, 2)
        history = tuple(context[len(context) - k + 1 :])
        followers = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == history}
        if followers:
            total = sum(followers.values())
            kept = max(followers.get(token, 0) - discount, Fraction(0))
            probability = kept / total + discount * len(followers) / total * probability
    return probability


@deterministic
@given(IDS, st.lists(st.integers(0, VOCAB - 1), max_size=12), st.integers(1, 4))
def test_losses_equal_the_definition(train_ids, ids, order):
    losses = KneserNey(order).fit(train_ids, VOCAB).losses(ids)
    expected = [
        -math.log(probability_by_definition(train_ids, order, ids[max(0, i - order + 1) : i], ids[i]))
        for i in range(len(ids))
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@deterministic
@given(IDS, st.lists(st.integers(0, VOCAB), max_size=4), st.integers(1, 4))
def test_probabilities_sum_to_one(train_ids, context, order):
    model = KneserNey(order).fit(train_ids, VOCAB + 1)
    probabilities = [math.exp(-model.losses([*context, token])[-1]) for token in range(VOCAB + 1)]
    assert min(probabilities) > 0
    assert sum(probabilities) == pytest.approx(1, abs=1e-12)


def test_large_vocabularies_do_not_overflow():
    vocab_size, order = 200_000, 5  # packed into one number, five ids would need 88 bits
    ids = np.random.default_rng(0).choice([0, 1, 65_536, 131_072, vocab_size - 1], 60).tolist()
    expected = [
        -math.log(probability_by_definition(ids, order, ids[max(0, i - order + 1) : i], ids[i], vocab_size))
        for i in range(len(ids))
    ]
    np.testing.assert_allclose(KneserNey(order).fit(ids, vocab_size).losses(ids), expected, rtol=1e-12)


def test_fewer_tokens_than_the_order_lower_it():
    np.testing.assert_array_equal(
        KneserNey(5).fit([0, 1, 0], 2).losses([0, 1, 1, 0, 0]), KneserNey(3).fit([0, 1, 0], 2).losses([0, 1, 1, 0, 0])
    )


def test_baseline_predicts_every_document_from_its_start():
    train, held_out, start = ["abab", "ba好"], ["aba", "", "好b"], 256
    stream = [start, *b"abab", start, *"ba好".encode()]
    score = NgramBaseline(train, order=3).score(held_out)
    for text, nats in zip(held_out, score.nats, strict=True):
        ids = [start, *text.encode()]
        expected = -sum(
            math.log(probability_by_definition(stream, 3, ids[max(0, i - 2) : i], ids[i], 257))
            for i in range(1, len(ids))
        )
        assert nats == pytest.approx(expected, rel=1e-12)
    assert score.n_bytes.tolist() == [3, 0, 4]
    assert score.bits_per_byte == pytest.approx(score.nats.sum() / math.log(2) / 7, rel=1e-12)


def test_baseline_over_other_tokens():
    def encode(text):
        return [ord(sign) - ord("a") for sign in text]

    score = NgramBaseline(["abcabc"], order=2, encode=encode, vocab_size=3).score(["abc"])
    losses = KneserNey(2).fit([3, 0, 1, 2, 0, 1, 2], 4).losses([3, 0, 1, 2])
    assert score.nats[0] == pytest.approx(losses[1:].sum(), rel=1e-12)


def test_more_context_predicts_a_periodic_text_better():
    by_order = [NgramBaseline(["abcabd" * 100], order=n).score(["abcabd" * 20]).bits_per_byte for n in (1, 2, 4)]
    assert by_order == sorted(by_order, reverse=True)


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("gzip", lambda content: gzip.compress(content, 9)),
        ("xz", lambda content: lzma.compress(content, preset=6 | lzma.PRESET_EXTREME)),
    ],
)
def test_compressors(name, compress):
    text, before = "def f(x):\n    return x\n好" * 5, "def g(x):\n    return 2 * x\n" * 20
    n_bytes = len(text.encode())
    assert compressed_bits_per_byte(text, name) == 8 * len(compress(text.encode())) / n_bytes
    primed = 8 * (len(compress((before + text).encode())) - len(compress(before.encode()))) / n_bytes
    assert compressed_bits_per_byte(text, name, primed_with=before) == primed
    assert primed < compressed_bits_per_byte(text, name)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: KneserNey(0), "order must be at least 1, got 0"),
        (lambda: KneserNey(2).fit([], 2), "an n-gram model needs at least one token to learn from"),
        (lambda: KneserNey(2).fit([0, 1, 2], 2), "token ids must be in [0, 2), got 0 to 2"),
        (lambda: KneserNey(2).fit([[0, 1]], 2), "token ids must be one sequence, got shape (1, 2)"),
        (lambda: KneserNey(2).fit([0, 1, 0], 2).losses([2]), "token ids must be in [0, 2), got 2 to 2"),
        (lambda: NgramBaseline(["", ""]), "an n-gram model needs training texts that are not empty"),
        (lambda: NgramBaseline(["a"]).score([""]), "an n-gram model needs held-out texts that are not empty"),
        (lambda: compressed_bits_per_byte("", "gzip"), "bits per byte need a text that is not empty"),
    ],
)
def test_errors(use, message):
    with pytest.raises(ValueError) as caught:
        use()
    assert str(caught.value) == message


def test_no_tokens_have_no_losses():
    assert KneserNey(3).fit([0, 1, 0, 1], 2).losses([]).tolist() == []
    assert list(utf8_bytes("é")) == [0xC3, 0xA9]
