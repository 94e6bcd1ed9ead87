"""Forgetting: neighbours in the encoder's space, on texts that have nothing to do with the training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_sentiment.arena.forgetting import encoder_features, general_texts, lost_neighbours, nearest
from bert_sentiment.models.methods import apply_method

from .helpers import METHODS, every_method


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(12, 30), st.integers(1, 10))
def test_neighbours_are_those_of_a_brute_force_search(seed, n, k):
    features = np.random.default_rng(seed).normal(size=(n, 5))
    found = nearest(features, k)
    for row in range(n):
        cosines = {
            other: features[row] @ features[other] / np.linalg.norm(features[row]) / np.linalg.norm(features[other])
            for other in range(n)
            if other != row
        }
        assert set(found[row]) == set(sorted(cosines, key=lambda other: -cosines[other])[:k])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_turning_and_scaling_the_space_forgets_nothing(seed):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(40, 6))
    turn, _ = np.linalg.qr(draw.normal(size=(6, 6)))
    assert lost_neighbours(features, 3.5 * features @ turn) == 0


def test_forgetting_by_hand_and_by_chance():
    # On a circle: 0 and 1 are neighbours, 2 and 3; afterwards 0 and 2, 1 and 3.
    angles = np.array([0.0, 0.1, 2.0, 2.1])
    moved = angles[[0, 2, 1, 3]]
    circle, after = (np.stack([np.cos(a), np.sin(a)], axis=1) for a in (angles, moved))
    assert lost_neighbours(circle, after, k=1) == 1
    assert lost_neighbours(circle, np.stack([np.cos(angles), np.sin(angles)], axis=1), k=1) == 0
    draw = np.random.default_rng(0)
    unrelated = lost_neighbours(draw.normal(size=(400, 8)), draw.normal(size=(400, 8)))
    assert unrelated == pytest.approx(1 - 10 / 399, abs=0.01)


@every_method
def test_features_are_those_of_the_texts_own_tokens(tiny_model, method):
    texts = ["the film was good !", "bad", "i really loved this phone , it is great"]
    plain = tiny_model("bert", max_length=40)
    expected = plain.features(texts)
    np.testing.assert_allclose(encoder_features(plain, texts), expected, atol=1e-6)
    model = apply_method(plain, METHODS[method])
    actual = encoder_features(model, texts)
    if method in ("prefix", "p_tuning", "prompt"):
        assert np.abs(actual - expected).max() > 1e-4
        alone = np.concatenate([encoder_features(model, [text]) for text in texts])
        np.testing.assert_allclose(actual, alone, atol=1e-5)
    else:
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert not model.network.training


def test_general_texts_are_prose_and_all_different():
    texts = general_texts(50)
    assert len(set(texts)) == len(texts) == 50
    assert all(text.endswith(".") and 8 <= len(text.split()) <= 80 and "\n" not in text for text in texts)
    assert general_texts(50) == texts
