"""The n-gram baselines, against their definitions written out with dictionaries."""

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_from_scratch.ngram import KneserNey, absolute_discount, continuation_counts, unigram_losses

deterministic = settings(derandomize=True, deadline=None)

VOCAB = 4
IDS = st.lists(st.integers(0, VOCAB - 1), min_size=4, max_size=40)


def counts_by_definition(ids, k, order):
    """c_k: occurrences at the highest level, else the number of distinct tokens to the left."""
    if k == order:
        return Counter(tuple(ids[i : i + k]) for i in range(len(ids) - k + 1))
    lefts = defaultdict(set)
    for i in range(len(ids) - k):
        lefts[tuple(ids[i + 1 : i + 1 + k])].add(ids[i])
    return {gram: len(tokens) for gram, tokens in lefts.items()}


def probability_by_definition(ids, order, context, token, vocab_size=VOCAB):
    """p(token | context) in exact fractions, by the recursion of Chen & Goodman 1999, section 2.7."""
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
    contexts = [ids[max(0, i - order + 1) : i] for i in range(len(ids))]
    expected = [
        -math.log(probability_by_definition(train_ids, order, context, token))
        for context, token in zip(contexts, ids, strict=True)
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


@deterministic
@given(IDS, st.lists(st.integers(0, VOCAB - 1), max_size=5), st.integers(1, 4))
def test_probabilities_are_positive_and_sum_to_one(train_ids, context, order):
    # One token of the vocabulary is never in the training text, so some contexts are unseen for certain.
    model = KneserNey(order).fit(train_ids, VOCAB + 1)
    for seen_or_not in (context, train_ids[:5], [*context, VOCAB]):
        probabilities = model.next_token_probabilities(seen_or_not)
        assert probabilities.shape == (VOCAB + 1,)
        assert probabilities.min() > 0
        assert probabilities.sum() == pytest.approx(1, rel=1e-12)


def test_next_token_probabilities_agree_with_losses():
    train_ids = np.random.default_rng(0).integers(0, 10, 500)
    model = KneserNey(3).fit(train_ids, 10)
    ids = train_ids[:40]
    expected = [-np.log(model.next_token_probabilities(ids[:i])[ids[i]]) for i in range(len(ids))]
    np.testing.assert_allclose(model.losses(ids), expected, rtol=1e-12)


def test_continuation_counts_see_how_many_contexts_a_token_follows():
    # "san francisco" four times over: francisco (1) is frequent but follows only san (0); 2 follows 3 tokens.
    ids = np.array([0, 1, 0, 1, 0, 1, 0, 1, 2, 0, 2, 3, 2])
    bigrams = np.unique(ids[:-1] * 4 + ids[1:], return_inverse=True)[1]
    assert continuation_counts(ids, bigrams).tolist() == [2, 1, 3, 1]


def test_a_frequent_token_with_one_context_is_unlikely_after_an_unseen_one():
    ids = [0, 1, 0, 1, 0, 1, 0, 1, 2, 0, 2, 3, 2]
    probabilities = KneserNey(2).fit(ids, 5).next_token_probabilities([4])
    assert ids.count(1) > ids.count(2)
    assert probabilities[1] < probabilities[2]


def test_absolute_discount():
    assert absolute_discount(np.array([1, 1, 1, 2, 2, 5, 0])) == pytest.approx(3 / 7)
    assert absolute_discount(np.array([4, 4, 2])) == 0.5


def test_large_vocabularies_do_not_overflow():
    # 200,000 ** 5 needs 88 bits: n-grams named by packing their tokens into 64 would collide.
    vocab_size, order = 200_000, 5
    ids = np.random.default_rng(0).choice([0, 1, 65_536, 131_072, vocab_size - 1], 60).tolist()
    model = KneserNey(order).fit(ids, vocab_size)
    expected = [
        -math.log(probability_by_definition(ids, order, ids[max(0, i - order + 1) : i], ids[i], vocab_size))
        for i in range(len(ids))
    ]
    np.testing.assert_allclose(model.losses(ids), expected, rtol=1e-12)


def test_more_context_predicts_a_periodic_text_better():
    ids = np.tile([0, 1, 2, 0, 1, 3], 200)
    unigram, bigram, trigram = (KneserNey(order).fit(ids, 4).losses(ids).mean() for order in (1, 2, 3))
    assert trigram < bigram < unigram
    entropy = 2 / 3 * np.log(3) + 1 / 3 * np.log(6)
    assert unigram == pytest.approx(entropy, rel=1e-3)


@deterministic
@given(IDS, st.lists(st.integers(0, VOCAB), min_size=1))
def test_unigram_losses_are_add_one_estimates(train_ids, ids):
    expected = [-math.log((train_ids.count(token) + 1) / (len(train_ids) + VOCAB + 1)) for token in ids]
    np.testing.assert_allclose(unigram_losses(train_ids, ids, VOCAB + 1), expected, rtol=1e-12)


def test_no_tokens_have_no_losses():
    assert KneserNey(3).fit([0, 1, 0, 1], 2).losses([]).tolist() == []


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: KneserNey(0), "order must be at least 1, got 0"),
        (lambda: KneserNey(5).fit([0, 1], 2), "a model of order 5 needs at least that many tokens, got 2"),
        (lambda: KneserNey(2).fit([0, 1, 2], 2), r"token ids must be in \[0, 2\), got 0 to 2"),
        (lambda: KneserNey(2).fit([0, 1, -1], 2), r"token ids must be in \[0, 2\), got -1 to 1"),
        (lambda: KneserNey(2).fit([[0, 1]], 2), r"token ids must be one sequence, got shape \(1, 2\)"),
        (lambda: KneserNey(2).fit([0, 1, 0], 2).losses([2]), r"token ids must be in \[0, 2\), got 2 to 2"),
    ],
)
def test_errors(use, message):
    with pytest.raises(ValueError, match=message):
        use()
